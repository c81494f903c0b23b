//! Reads PEM text from environment variables and secret stores: line breaks may also be `\n` or spaces. Errors never
//! repeat the text.

use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::secret::Secret;

/// What is wrong with a PEM text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    /// There is no block of this kind.
    #[error("has no {wanted} in PEM form{}", found_instead(.found))]
    Missing {
        wanted: &'static str,
        found: Vec<String>,
    },
    /// The key needs a password.
    #[error("has a private key that is encrypted with a password")]
    Encrypted,
    /// More than one private key.
    #[error("has more than one private key")]
    SeveralKeys,
    /// The content of a block is not Base64.
    #[error("has a damaged PEM block")]
    Damaged,
}

fn found_instead(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!(" (found: {})", found.join(", ")),
    }
}

impl PemError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "PEM form is text with a line such as `-----BEGIN PRIVATE KEY-----` or `-----BEGIN CERTIFICATE-----`; \
                 `openssl pkcs12 -in FILE.pfx -nodes` extracts both from a PKCS #12 file"
            }
            Self::Encrypted => {
                "remove the password with `openssl pkey -in KEY.pem -out PLAIN.pem`, and protect the file"
            }
            Self::SeveralKeys => "give the one that belongs to the certificate",
            Self::Damaged => "copy the text again, from the line with BEGIN to the line with END",
        }
    }
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The blocks with proper lines, without the text between them.
fn in_lines(text: &str) -> Result<(Secret, Vec<String>), PemError> {
    let mut lines = String::with_capacity(text.len() + 64);
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES).ok_or(PemError::Damaged)?;
        let (body, after) = after.split_once(END).ok_or(PemError::Damaged)?;
        rest = after.split_once(DASHES).ok_or(PemError::Damaged)?.1;
        if body.contains("ENCRYPTED") || label.contains("ENCRYPTED") {
            return Err(PemError::Encrypted);
        }
        lines.push_str(&format!("{BEGIN}{label}{DASHES}\n"));
        let body = body.replace("\\r", "").replace("\\n", "");
        lines.extend(body.chars().filter(|c| !c.is_whitespace()));
        lines.push_str(&format!("\n{END}{label}{DASHES}\n"));
        labels.push(crate::http::redact::clean(label, 40));
    }
    Ok((Secret::new(lines), labels))
}

/// The one private key in the text; certificates are skipped.
pub(crate) fn private_key(text: &Secret) -> Result<PrivateKeyDer<'static>, PemError> {
    let (lines, found) = in_lines(text.expose())?;
    let mut keys = PrivateKeyDer::pem_slice_iter(lines.expose().as_bytes());
    let key = match keys.next() {
        Some(key) => key.map_err(|_| PemError::Damaged)?,
        None => {
            return Err(PemError::Missing {
                wanted: "private key",
                found,
            });
        }
    };
    if keys.next().is_some() {
        return Err(PemError::SeveralKeys);
    }
    Ok(key)
}

/// The certificates in the text, in order; at least one. A private key is skipped.
pub(crate) fn certificates(text: &Secret) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let (lines, found) = in_lines(text.expose())?;
    let certificates = <(SectionKind, Vec<u8>)>::pem_slice_iter(lines.expose().as_bytes())
        .filter_map(|section| match section {
            Ok((SectionKind::Certificate, der)) => Some(Ok(CertificateDer::from(der))),
            Ok(_) => None,
            Err(_) => Some(Err(PemError::Damaged)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(PemError::Missing {
            wanted: "certificate",
            found,
        });
    }
    Ok(certificates)
}
