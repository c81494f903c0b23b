//! Headers: texts and secrets.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::template::{Names, Template, Uses, Values};
use super::config::HeaderConfig;
use crate::config::Problems;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};

/// Headers that a request is not given: the client writes them.
const THE_CLIENTS: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
];

/// Headers whose values are credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// What names of such headers have in them.
const CREDENTIALS_IN: [&str; 6] = [
    "api-key",
    "apikey",
    "secret",
    "password",
    "access-token",
    "auth-token",
];

/// Headers with placeholders.
#[derive(Debug, Clone)]
pub(super) struct Headers(Vec<(HeaderName, Content)>);

#[derive(Debug, Clone)]
enum Content {
    Text(Template),
    Unread(SecretRef),
    Secret(Secret),
}

/// Notes what is wrong with the name of a header.
pub(super) fn check_name(name: &str, problems: &mut Problems<'_>) {
    parse_name(name, problems);
}

fn parse_name(name: &str, problems: &mut Problems<'_>) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        problems.add(format!("`{name}` cannot be the name of a header"));
        return None;
    };
    if THE_CLIENTS.contains(&parsed.as_str()) {
        problems.add(format!(
            "the header `{name}` follows from the request and cannot be set"
        ));
        return None;
    }
    Some(parsed)
}

impl Headers {
    /// Checks what users wrote; `problems` points at it.
    pub(super) fn new(
        config: &BTreeMap<String, HeaderConfig>,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Self {
        let mut headers: Vec<(HeaderName, Content)> = Vec::new();
        for (name, content) in config {
            let mut here = problems.at(name);
            let Some(name) = parse_name(name, &mut here) else {
                continue;
            };
            if headers.iter().any(|(known, _)| *known == name) {
                here.add("the header is there twice: letter case makes no difference");
            }
            let content = match content {
                HeaderConfig::Secret(place) => Content::Unread(place.clone()),
                HeaderConfig::Text(_) if is_credential(&name) => {
                    here.add_with_hint(
                        "the header's value is a credential, and is given by reference, never as text in the file (the \
                         text found here is not repeated)",
                        "`{env: NAME}` or `{file: PATH}`; credentials of the usual kinds belong into `auth`",
                    );
                    continue;
                }
                HeaderConfig::Text(text) => {
                    let Some(template) = Template::check(text, names, &mut here) else {
                        continue;
                    };
                    if !text.chars().all(fits) {
                        here.add("a header's value is of printable ASCII characters only");
                    }
                    Content::Text(template)
                }
            };
            headers.push((name, content));
        }
        Self(headers)
    }

    /// Adds the placeholders in it.
    pub(super) fn uses(&self, uses: &mut Uses) {
        for (_, content) in &self.0 {
            if let Content::Text(template) = content {
                uses.extend(template.names().cloned());
            }
        }
    }

    /// Reads the secrets.
    pub(super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        for (name, content) in &mut self.0 {
            if let Content::Unread(place) = content {
                let secret = place.read(base, files)?;
                // Tried now, so that it is not found out in the middle of a run.
                secret_value(name, &secret)?;
                *content = Content::Secret(secret);
            }
        }
        Ok(())
    }

    /// The headers for these values.
    pub(super) fn fill(&self, values: &Values) -> Result<HeaderMap> {
        let mut map = HeaderMap::with_capacity(self.0.len() + 1);
        for (name, content) in &self.0 {
            let value = match content {
                Content::Text(template) => {
                    let text = template.fill_with(values, |placeholder, value, out| {
                        if !value.chars().all(fits) {
                            return Err(Error::input(format!(
                                "a value of `{{{placeholder}}}` has characters that the header `{name}` cannot have: \
                                 control characters, or others than ASCII"
                            )));
                        }
                        out.push_str(value);
                        Ok(())
                    })?;
                    header_value(name, &text)?
                }
                Content::Secret(secret) => secret_value(name, secret)?,
                Content::Unread(_) => {
                    return Err(Error::unexpected(format!(
                        "the secret of the header `{name}` was not read"
                    )));
                }
            };
            map.insert(name.clone(), value);
        }
        Ok(map)
    }
}

/// Sets a header for a page.
pub(super) fn put(headers: &mut HeaderMap, name: &str, text: &str) -> Result<()> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::config(format!("`{name}` cannot be the name of a header")))?;
    let value = header_value(&parsed, text)?;
    headers.insert(parsed, value);
    Ok(())
}

fn header_value(name: &HeaderName, text: &str) -> Result<HeaderValue> {
    if !text.chars().all(fits) {
        return Err(Error::input(format!(
            "the value for the header `{name}` has characters that a header cannot have"
        )));
    }
    HeaderValue::from_str(text).map_err(|_| {
        Error::input(format!(
            "the value for the header `{name}` cannot stand in a header"
        ))
    })
}

fn secret_value(name: &HeaderName, secret: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
        Error::config(format!(
            "the secret for the header `{name}` has characters that a header cannot have, such as a line end"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str()) || CREDENTIALS_IN.iter().any(|part| name.as_str().contains(part))
}

/// Printable ASCII.
fn fits(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}
