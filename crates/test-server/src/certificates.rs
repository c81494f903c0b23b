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
const RSA: &str = include_str!("rsa-2048.txt");

const VALID: &str = "a valid key or certificate";

pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

pub fn rsa_pkcs8() -> Vec<u8> {
    STANDARD
        .decode(RSA.replace(char::is_whitespace, ""))
        .expect(VALID)
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
        let certificate = self.params.self_signed(&self.key).expect(VALID);
        pem("CERTIFICATE", certificate.der())
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
        let key = pem("PRIVATE KEY", &key.serialize_der());
        (pem("CERTIFICATE", certificate.der()), key)
    }
}
