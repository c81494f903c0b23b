//! Keys and certificates for tests. No system trusts them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// An RSA key of 2048 bits (PKCS #8), without the lines that would make it look like a key that matters. Nothing here
/// can make one.
const RSA: &str = "\
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDCpnSrzsKLprVnjtb2iaRgcAxcLNQdKXQY2JNxs9s01CgrA5Bd\
O9rSfv5kJXs2ysis67Y5hCgCS8T0SoZ+34QerkOtpkho88UphmSK/IZ/6sIzGALHe/Yevo8+Ykf02ASGDi0En2zY3aHkM03zxYjo\
GBXRiB5R7ZQUqgI4ijGGFfcrUlWMCg6HHZLDlgXseJm0BhhJFiel7kKrJSsoJt7+55FkOdKQG5gu/ib+bB+6K0vTIYMGRFhuva1e\
j5WPYT4m9Ch+6Z+pZSWpJ6cIttVQC+etBggGmJqo+lzkJDFdq6uQWxaomqRj10YcyRGKAGfrMTGRmVMP3l0x+tzd2qH3AgMBAAEC\
ggEAUOYpu3ZVeQEyh/Xf9dtDDCnFmVGwXuZpsCHjNfCQfKZog2gZygYkbjQFus2xJhalzOiydbktf7bKBtYqi/SNzsqSqktf8O7P\
1PBcPT+zDtsdF2s1TH+CzUhZ9I2YZnSZfLXLlA5GiOOkc1m3XkeNHRlViB5Qq7BYSTZXcfRNnPIufGS26nTEiS122vjEEbLXIpRD\
UO79jXOQvFMiUu4ai8M/4yINgvUUlZ0vp3W0EBhZ+/76Nzj1Lnw1Zw4+ef8cteEj2WHsOHSzY+nM1kCiI5+LHv8y+O6puEZNd++S\
OzIGJeDGfV3yY2X/LMOusPqbjNOXBHcjfBsTecIGTlEQwQKBgQDm/Yp6cAxwCDvj2yGxa93rdTdw+sxy4niu78NLlIIV4c6lR4oi\
M7wIZw1CWTmlELbfdXF+tDtx4k9uVM2HZPcxB1fIPuiQm/yYcb7U5uid/opTzPvtOzj2wfxijn2eegmk8EexrXxZmmjNbvI6CJpV\
7se8h4lSFkRKeUvTrIdJJwKBgQDXuaifD1MGS272k/IJU+VRF27AOEEvtljaZFVZKCgqJXuce7UAomzWOgYVpMoopr572gW/zXJU\
pj66UUjy7Rn3340YqkRpw7IWhlP3tRF84nlDIsRKueoTdI3axY9R6ysQa2p6jxFJZulTMK3P/8eCpLFzwrTk17SBitK2aANCsQKB\
gH3J6mRcqllEEqE1zvZYYGR907BB055oeAID7V02RVT3P9o/yBhyBd6ph83u2vZp0LyFr0WpjompDUpvAfHOaNKZRhN1Np6xY2/8\
2UgFav3HBLs38KUy0AWIhBGDuSLZIHFirBg0+netH49n8J7r2mgbfUfMo1pBZ/UKcuGVnaKXAoGBAJ/jjWUG+KRLuJytntDnC6oE\
0iNKDpaMcmK7xr5kExDZ4zpiPg+QU1acfvH/x45FuB0XxPcaEMlIxmlV4dmbfonHeU50tGwnjZFAUm/gFmwXd4UY+Z/hF+r/kjw5\
/TXcNXjgBHV+IHPlAL6V792gWIEuDBAemfCbJ8Bz4iUsBm6hAoGAT+9K8xhibZ2kvcY1nnrGZMJqSOdzmgaoIc1BrUUsF6cQ+OJ4\
MWXfcaDed5kBKHqpRPj5WManaGD+0JwfnUdXUg8vOD1xaD6SSRWD23FbsRBYsFDFLeXPXnt/ZJIyxiZDGZ5ORnmm/te3ca//oOnn\
OfF/zEoFqksPwmjWFSeIhLE=";

const VALID: &str = "a valid key or certificate";

pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

pub fn rsa_pkcs8() -> Vec<u8> {
    STANDARD.decode(RSA).expect(VALID)
}

/// The key in the octet string of PKCS #8.
pub fn rsa_pkcs1() -> Vec<u8> {
    rsa_pkcs8().split_off(26)
}

pub fn rsa_pem() -> String {
    pem("PRIVATE KEY", &rsa_pkcs8())
}

/// A certificate of the RSA key, signed by itself: PEM.
pub fn rsa_certificate() -> String {
    let der = PrivatePkcs8KeyDer::from(rsa_pkcs8());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).expect(VALID);
    let mut params = CertificateParams::new(Vec::new()).expect(VALID);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    pem("CERTIFICATE", params.self_signed(&key).expect(VALID).der())
}

pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect(VALID);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            params,
            key: KeyPair::generate().expect(VALID),
        }
    }

    pub fn pem(&self) -> String {
        pem(
            "CERTIFICATE",
            self.params.self_signed(&self.key).expect(VALID).der(),
        )
    }

    /// A server's certificate for this host name, and its key: PEM.
    pub fn server(&self, name: &str) -> (String, String) {
        self.issue(name, ServerAuth, false)
    }

    /// As [`server`](Self::server), expired in 2021.
    pub fn expired_server(&self, name: &str) -> (String, String) {
        self.issue(name, ServerAuth, true)
    }

    /// A client certificate of this name, and its key: PEM.
    pub fn client(&self, name: &str) -> (String, String) {
        self.issue(name, ClientAuth, false)
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, expired: bool) -> (String, String) {
        let key = KeyPair::generate().expect(VALID);
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect(VALID);
        params.extended_key_usages = vec![usage];
        if expired {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect(VALID);
        (
            pem("CERTIFICATE", certificate.der()),
            pem("PRIVATE KEY", &key.serialize_der()),
        )
    }
}
