use std::process::Command;

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};

use super::*;
use crate::http::auth::pem;
use test_server::certificates::{rsa_certificate, rsa_pem, rsa_pkcs8};

const AWKWARD: &str = "Müller & \"Sons\" <a> 'b' ]]>\r\n\t\u{a0}é\u{1f600} ";

fn grant(subject: &str) -> SamlGrant {
    SamlGrant {
        issuer: "api-key".to_owned(),
        subject: subject.to_owned(),
        audience: "www.successfactors.com".to_owned(),
        recipient: "https://api.contoso.com/oauth/token?a=1&b=2".to_owned(),
        attributes: Vec::new(),
        lifetime: Duration::from_secs(300),
        key: SigningKey::from_pem(&Secret::new(rsa_pem()), "").unwrap(),
        certificate: None,
    }
}

fn xml(grant: &SamlGrant) -> String {
    let assertion = grant.assertion().unwrap();
    String::from_utf8(STANDARD.decode(assertion.expose()).unwrap()).unwrap()
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// Verifies digest and signature, by the text alone.
fn verify(xml: &str) -> Result<(), &'static str> {
    let (before, rest) = xml.split_once("<ds:Signature ").ok_or("no signature")?;
    let (signature, after) = rest.split_once("</ds:Signature>").ok_or("no end")?;
    let info = between(signature, "<ds:SignedInfo", "</ds:SignedInfo>");
    let digested = digest(&SHA256, format!("{before}{after}").as_bytes());
    if STANDARD.encode(digested) != between(info, "<ds:DigestValue>", "</ds:DigestValue>") {
        return Err("digest");
    }
    let id = between(before, " ID=\"", "\"");
    if between(info, "URI=\"", "\"") != format!("#{id}") {
        return Err("reference");
    }
    let canonical =
        format!("<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"{info}</ds:SignedInfo>");
    let value = between(signature, "<ds:SignatureValue>", "</ds:SignatureValue>");
    let key = RsaKeyPair::from_pkcs8(&rsa_pkcs8()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public())
        .verify(canonical.as_bytes(), &STANDARD.decode(value).unwrap())
        .map_err(|_| "signature")
}

#[test]
fn contains_times_and_escaped_values() {
    let made = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let xml = grant("</saml2:NameID><evil>").signed("_1", made).unwrap();
    for part in [
        "ID=\"_1\" IssueInstant=\"2023-11-14T22:13:20.250Z\" Version=\"2.0\"><saml2:Issuer>api-key</saml2:Issuer><ds:Signature ",
        ":unspecified\">&lt;/saml2:NameID&gt;&lt;evil&gt;</saml2:NameID>",
        "NotOnOrAfter=\"2023-11-14T22:18:20.250Z\" Recipient=\"https://api.contoso.com/oauth/token?a=1&amp;b=2\">",
        "<saml2:Conditions NotBefore=\"2023-11-14T22:08:20.250Z\" NotOnOrAfter=\"2023-11-14T22:18:20.250Z\">",
        "<saml2:Audience>www.successfactors.com</saml2:Audience>",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    let error = grant("a\u{1}marker").assertion().unwrap_err().to_string();
    assert!(
        error.contains("`subject`") && !error.contains("marker"),
        "{error}"
    );
}

/// Verified by the text alone and, if it is installed, by another implementation of XML signatures.
#[test]
#[expect(clippy::print_stderr, reason = "reports the skipped test")]
fn signs_the_assertion() {
    let xmlsec = Command::new("xmlsec1").arg("--version").output().is_ok();
    if !xmlsec {
        eprintln!("skipped: SAML signatures with xmlsec1, which is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("key.pem"), folder.path().join("assertion.xml"));
    std::fs::write(&key, rsa_certificate()).unwrap();
    let verifies = |xml: &str, key_option: &str| {
        std::fs::write(&file, xml).unwrap();
        let id = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion";
        let mut command = Command::new("xmlsec1");
        command.args(["--verify", "--id-attr:ID", id, key_option]);
        command.args([&key, &file]).output().unwrap().status.success()
    };
    let mut grant = grant(AWKWARD);
    grant.attributes = vec![(AWKWARD.to_owned(), AWKWARD.to_owned())];
    let (_, chain) = pem::certificates(&Secret::new(rsa_certificate()), "").unwrap();
    for (certificate, option) in [
        (None, "--pubkey-cert-pem"),
        (Some(chain[0].to_vec()), "--trusted-pem"),
    ] {
        grant.certificate = certificate;
        let signed = xml(&grant);
        assert_ne!(signed, xml(&grant), "each has its own ID");
        verify(&signed).unwrap();
        let other_issuer = signed.replace("api-key", "api-kex");
        assert_eq!(verify(&other_issuer), Err("digest"));
        let other_algorithm = signed.replacen("rsa-sha256", "rsa-sha512", 1);
        assert_eq!(verify(&other_algorithm), Err("signature"));
        if xmlsec {
            assert!(verifies(&signed, option), "{signed}");
            assert!(!verifies(&other_issuer, option));
        }
    }
}
