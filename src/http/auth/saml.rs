//! The signed SAML 2.0 assertion that is exchanged for an access token (RFC 7522).
//!
//! The signature is inside the assertion (XML-DSig: enveloped, exclusive canonical form, RSA with SHA-256). The
//! assertion is written in canonical form, of which the digest is taken, so nothing has to be parsed or rewritten.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::signing::SigningKey;
use crate::error::{Error, Result};
use crate::secret::Secret;

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

/// The format of the subject's name, and how it was authenticated.
const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
const AUTHN_UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified";

/// An assertion is valid from this long before it was made, since clocks differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

const ASSERTION_NS: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SIGNATURE_NS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const DIGEST_SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

pub(crate) struct SamlGrant {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audience: String,
    pub(crate) recipient: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) lifetime: Duration,
    pub(crate) key: SigningKey,
    /// The certificate of the key (DER), put into the signature.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl SamlGrant {
    pub(crate) fn assertion(&self) -> Result<Secret> {
        // Begins with a letter, as an XML id must.
        let id = format!("_{}", Uuid::new_v4().simple());
        let xml = self.signed(&id, SystemTime::now())?;
        Ok(Secret::new(STANDARD.encode(xml)))
    }

    fn signed(&self, id: &str, now: SystemTime) -> Result<String> {
        let (before, after) = self.unsigned(id, now)?;
        let digested = STANDARD.encode(digest(&SHA256, format!("{before}{after}").as_bytes()));
        // The canonical form of a part declares the namespaces it uses; in the document its parent does.
        let info = |declared: &str| {
            format!(
                "<ds:SignedInfo{declared}><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\">\
                 </ds:CanonicalizationMethod><ds:SignatureMethod Algorithm=\"{RSA_SHA256}\"></ds:SignatureMethod>\
                 <ds:Reference URI=\"#{id}\"><ds:Transforms><ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>\
                 <ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform></ds:Transforms>\
                 <ds:DigestMethod Algorithm=\"{DIGEST_SHA256}\"></ds:DigestMethod>\
                 <ds:DigestValue>{digested}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
            )
        };
        let declared = format!(" xmlns:ds=\"{SIGNATURE_NS}\"");
        let signature = STANDARD.encode(self.key.sign(info(&declared).as_bytes())?);
        let certificate = self.certificate.as_ref().map(|der| {
            format!(
                "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
                STANDARD.encode(der)
            )
        });
        Ok(format!(
            "{before}<ds:Signature{declared}>{}<ds:SignatureValue>{signature}</ds:SignatureValue>{}</ds:Signature>{after}",
            info(""),
            certificate.unwrap_or_default()
        ))
    }

    /// The assertion without its signature, in two parts: the signature goes after the issuer.
    fn unsigned(&self, id: &str, now: SystemTime) -> Result<(String, String)> {
        let issued = moment(now)?;
        let from = moment(now - CLOCK_TOLERANCE)?;
        let until = moment(now + self.lifetime)?;
        let before = format!(
            "<saml2:Assertion xmlns:saml2=\"{ASSERTION_NS}\" ID=\"{id}\" IssueInstant=\"{issued}\" Version=\"2.0\">\
             <saml2:Issuer>{}</saml2:Issuer>",
            text("issuer", &self.issuer)?
        );
        let mut after = format!(
            "<saml2:Subject><saml2:NameID Format=\"{UNSPECIFIED}\">{}</saml2:NameID>\
             <saml2:SubjectConfirmation Method=\"{BEARER}\">\
             <saml2:SubjectConfirmationData NotOnOrAfter=\"{until}\" Recipient=\"{}\">\
             </saml2:SubjectConfirmationData></saml2:SubjectConfirmation></saml2:Subject>\
             <saml2:Conditions NotBefore=\"{from}\" NotOnOrAfter=\"{until}\"><saml2:AudienceRestriction>\
             <saml2:Audience>{}</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions>\
             <saml2:AuthnStatement AuthnInstant=\"{issued}\" SessionIndex=\"{id}\"><saml2:AuthnContext>\
             <saml2:AuthnContextClassRef>{AUTHN_UNSPECIFIED}</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement>",
            text("subject", &self.subject)?,
            attribute("recipient", &self.recipient)?,
            text("audience", &self.audience)?,
        );
        if !self.attributes.is_empty() {
            after.push_str("<saml2:AttributeStatement>");
            for (name, value) in &self.attributes {
                after.push_str(&format!(
                    "<saml2:Attribute Name=\"{}\"><saml2:AttributeValue>{}</saml2:AttributeValue></saml2:Attribute>",
                    attribute("attributes", name)?,
                    text("attributes", value)?
                ));
            }
            after.push_str("</saml2:AttributeStatement>");
        }
        after.push_str("</saml2:Assertion>");
        Ok((before, after))
    }
}

fn moment(time: SystemTime) -> Result<String> {
    let time = Timestamp::try_from(time)
        .and_then(|time| time.round(jiff::Unit::Millisecond))
        .map_err(|_| Error::unexpected("this machine's clock is out of range"))?;
    Ok(format!("{time:.3}"))
}

fn text(field: &str, value: &str) -> Result<String> {
    escape(field, value, false)
}

fn attribute(field: &str, value: &str) -> Result<String> {
    escape(field, value, true)
}

fn escape(field: &str, value: &str, quoted: bool) -> Result<String> {
    let mut escaped = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '\r' => escaped.push_str("&#xD;"),
            '>' if !quoted => escaped.push_str("&gt;"),
            '"' if quoted => escaped.push_str("&quot;"),
            '\t' if quoted => escaped.push_str("&#x9;"),
            '\n' if quoted => escaped.push_str("&#xA;"),
            '\t' | '\n' => escaped.push(c),
            '\0'..' ' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(Error::config(format!(
                    "`{field}` has a control character, which is not allowed in a SAML assertion"
                )));
            }
            c => escaped.push(c),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests;
