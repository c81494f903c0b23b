//! Keys and certificates for tests. No system trusts them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// An RSA key of 2048 bits (PKCS #1), without the lines that would make it look like a key that matters. Nothing here
/// can make one.
const RSA: &str = "\
MIIEowIBAAKCAQEAwqZ0q87Ci6a1Z47W9omkYHAMXCzUHSl0GNiTcbPbNNQoKwOQXTva0n7+ZCV7NsrIrOu2OYQoAkvE9EqGft+E\
Hq5DraZIaPPFKYZkivyGf+rCMxgCx3v2Hr6PPmJH9NgEhg4tBJ9s2N2h5DNN88WI6BgV0YgeUe2UFKoCOIoxhhX3K1JVjAoOhx2S\
w5YF7HiZtAYYSRYnpe5CqyUrKCbe/ueRZDnSkBuYLv4m/mwfuitL0yGDBkRYbr2tXo+Vj2E+JvQofumfqWUlqSenCLbVUAvnrQYI\
BpiaqPpc5CQxXaurkFsWqJqkY9dGHMkRigBn6zExkZlTD95dMfrc3dqh9wIDAQABAoIBAFDmKbt2VXkBMof13/XbQwwpxZlRsF7m\
abAh4zXwkHymaINoGcoGJG40BbrNsSYWpczosnW5LX+2ygbWKov0jc7KkqpLX/Duz9TwXD0/sw7bHRdrNUx/gs1IWfSNmGZ0mXy1\
y5QORojjpHNZt15HjR0ZVYgeUKuwWEk2V3H0TZzyLnxktup0xIktdtr4xBGy1yKUQ1Du/Y1zkLxTIlLuGovDP+MiDYL1FJWdL6d1\
tBAYWfv++jc49S58NWcOPnn/HLXhI9lh7Dh0s2PpzNZAoiOfix7/MvjuqbhGTXfvkjsyBiXgxn1d8mNl/yzDrrD6m4zTlwR3I3wb\
E3nCBk5REMECgYEA5v2KenAMcAg749shsWvd63U3cPrMcuJ4ru/DS5SCFeHOpUeKIjO8CGcNQlk5pRC233VxfrQ7ceJPblTNh2T3\
MQdXyD7okJv8mHG+1Obonf6KU8z77Ts49sH8Yo59nnoJpPBHsa18WZpozW7yOgiaVe7HvIeJUhZESnlL06yHSScCgYEA17monw9T\
Bktu9pPyCVPlURduwDhBL7ZY2mRVWSgoKiV7nHu1AKJs1joGFaTKKKa+e9oFv81yVKY+ulFI8u0Z99+NGKpEacOyFoZT97URfOJ5\
QyLESrnqE3SN2sWPUesrEGtqeo8RSWbpUzCtz//HgqSxc8K05Ne0gYrStmgDQrECgYB9yepkXKpZRBKhNc72WGBkfdOwQdOeaHgC\
A+1dNkVU9z/aP8gYcgXeqYfN7tr2adC8ha9FqY6JqQ1KbwHxzmjSmUYTdTaesWNv/NlIBWr9xwS7N/ClMtAFiIQRg7ki2SBxYqwY\
NPp3rR+PZ/Ce69poG31HzKNaQWf1CnLhlZ2ilwKBgQCf441lBvikS7icrZ7Q5wuqBNIjSg6WjHJiu8a+ZBMQ2eM6Yj4PkFNWnH7x\
/8eORbgdF8T3GhDJSMZpVeHZm36Jx3lOdLRsJ42RQFJv4BZsF3eFGPmf4Rfq/5I8Of013DV44AR1fiBz5QC+le/doFiBLgwQHpnw\
myfAc+IlLAZuoQKBgE/vSvMYYm2dpL3GNZ56xmTCakjnc5oGqCHNQa1FLBenEPjieDFl33Gg3neZASh6qUT4+VjGp2hg/tCcH51H\
V1IPLzg9cWg+kkkVg9txW7EQWLBQxS3lz157f2SSMsYmQxmeTkZ5pv7Xt3Gv/6Dp5znxf8xKBapLD8Jo1hUniISx";

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

pub fn rsa_pkcs1() -> Vec<u8> {
    STANDARD.decode(RSA).expect(VALID)
}

pub fn rsa_pkcs8() -> Vec<u8> {
    let inner = rsa_pkcs1();
    let length = |length: usize| u16::try_from(length).expect(VALID).to_be_bytes();
    // Version 0, rsaEncryption, and the key in an octet string.
    let head = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00, 0x04, 0x82,
    ];
    let mut der = vec![0x30, 0x82];
    der.extend(length(head.len() + 2 + inner.len()));
    der.extend(head);
    der.extend(length(inner.len()));
    der.extend(inner);
    der
}

pub fn rsa_pem() -> String {
    pem("PRIVATE KEY", &rsa_pkcs8())
}

/// A new EC key on P-256 in PEM form.
pub fn ec_pem() -> String {
    pem("PRIVATE KEY", &KeyPair::generate().expect(VALID).serialize_der())
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

/// An authority that signs certificates.
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
