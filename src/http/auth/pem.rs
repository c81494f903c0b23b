//! Reads PEM text from environment variables and secret stores: line breaks may also be `\n` or spaces. Errors never
//! repeat the text.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};
use crate::http::redact::clean;
use crate::secret::Secret;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The one private key in the text, also in PEM form; certificates are skipped. `what` names the text.
pub(crate) fn private_key(text: &Secret, what: &str) -> Result<(Secret, PrivateKeyDer<'static>)> {
    let lines = lines(text, what, "private key", |label| label.ends_with("PRIVATE KEY"))?;
    let mut keys = PrivateKeyDer::pem_slice_iter(lines.expose().as_bytes());
    let (Some(Ok(key)), next) = (keys.next(), keys.next()) else {
        return Err(damaged(what));
    };
    match next {
        None => Ok((lines, key)),
        Some(_) => Err(Error::config(format!("{what} has more than one private key"))
            .with_hint("give the one that belongs to the certificate")),
    }
}

/// The certificates in the text, in order, also in PEM form; at least one. A private key is skipped.
pub(crate) fn certificates(text: &Secret, what: &str) -> Result<(Secret, Vec<CertificateDer<'static>>)> {
    let lines = lines(text, what, "certificate", |label| label == "CERTIFICATE")?;
    let certificates = CertificateDer::pem_slice_iter(lines.expose().as_bytes());
    let certificates = certificates
        .collect::<Result<_, _>>()
        .map_err(|_| damaged(what))?;
    Ok((lines, certificates))
}

/// The blocks of one kind with proper lines, without the text between them; at least one.
fn lines(text: &Secret, what: &str, kind: &str, is_kind: impl Fn(&str) -> bool) -> Result<Secret> {
    let damaged = || damaged(what);
    let mut lines = String::with_capacity(text.expose().len() + 64);
    let mut found = Vec::new();
    let mut rest = text.expose();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES).ok_or_else(damaged)?;
        let (body, after) = after.split_once(END).ok_or_else(damaged)?;
        rest = after.split_once(DASHES).ok_or_else(damaged)?.1;
        if body.contains("ENCRYPTED") || label.contains("ENCRYPTED") {
            return Err(Error::config(format!(
                "{what} has a private key that is encrypted with a password"
            ))
            .with_hint(
                "remove the password with `openssl pkey -in KEY.pem -out PLAIN.pem`, and protect the file",
            ));
        }
        if is_kind(label) {
            lines.push_str(&format!("{BEGIN}{label}{DASHES}\n"));
            let body = body.replace("\\r", "").replace("\\n", "");
            lines.extend(body.chars().filter(|c| !c.is_whitespace()));
            lines.push_str(&format!("\n{END}{label}{DASHES}\n"));
        }
        found.push(clean(label, 40));
    }
    if !lines.is_empty() {
        return Ok(Secret::new(lines));
    }
    let found = match found.is_empty() {
        true => String::new(),
        false => format!(" (found: {})", found.join(", ")),
    };
    Err(Error::config(format!("{what} has no {kind} in PEM form{found}")).with_hint(
        "PEM form is text with a line such as `-----BEGIN PRIVATE KEY-----` or `-----BEGIN CERTIFICATE-----`; \
         `openssl pkcs12 -in FILE.pfx -nodes` extracts both from a PKCS #12 file",
    ))
}

fn damaged(what: &str) -> Error {
    Error::config(format!("{what} has a damaged PEM block"))
        .with_hint("copy the text again, from the line with BEGIN to the line with END")
}
