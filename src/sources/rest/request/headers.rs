//! Request headers: texts and secrets.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::template::{Names, Template, Values, check, fill_with};
use super::config::HeaderConfig;
use crate::component::Problems;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};

/// Headers that only the HTTP client sets.
const RESERVED: &str = "host content-length transfer-encoding connection upgrade te trailer expect";

/// Parts of names of headers whose values are credentials.
const CREDENTIALS: &str = "authorization cookie api-key apikey secret password access-token auth-token";

#[derive(Debug, Clone)]
pub(super) struct Headers(Vec<(HeaderName, Content)>);

#[derive(Debug, Clone)]
enum Content {
    Text(Template),
    Unread(SecretRef),
    Secret(Secret),
}

pub(super) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.split(' ').any(|known| known == name.as_str())
}

impl Headers {
    pub(super) fn new(
        config: &BTreeMap<String, HeaderConfig>,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Self {
        let mut headers: Vec<(HeaderName, Content)> = Vec::new();
        for (name, content) in config {
            let mut here = problems.at(name);
            let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
                here.add(format!("invalid header name `{name}`"));
                continue;
            };
            if is_reserved(&parsed) {
                here.add(format!("the header `{name}` is set by the HTTP client"));
                continue;
            }
            let name = parsed;
            if headers.iter().any(|(known, _)| *known == name) {
                here.add("duplicate header: names are case-insensitive");
            }
            let content = match content {
                HeaderConfig::Secret(place) => Content::Unread(place.clone()),
                HeaderConfig::Text(_) if is_credential(&name) => {
                    here.add_with_hint(
                        "the value of this header is a credential and must be a reference, not text",
                        "use `{env: NAME}` or `{file: PATH}`, or `auth` for the usual kinds of credentials",
                    );
                    continue;
                }
                HeaderConfig::Text(text) => {
                    let Some(template) = check(text, names, &mut here) else {
                        continue;
                    };
                    if !text.chars().all(fits) {
                        here.add("a header value may contain printable ASCII characters only");
                    }
                    Content::Text(template)
                }
            };
            headers.push((name, content));
        }
        Self(headers)
    }

    pub(super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        for (name, content) in &mut self.0 {
            if let Content::Unread(place) = content {
                let secret = place.read(base, files)?;
                secret_value(name, &secret)?;
                *content = Content::Secret(secret);
            }
        }
        Ok(())
    }

    pub(super) fn fill(&self, values: &Values) -> Result<HeaderMap> {
        let mut map = HeaderMap::with_capacity(self.0.len() + 1);
        for (name, content) in &self.0 {
            let value = match content {
                Content::Text(template) => {
                    let text = fill_with(template, values, |placeholder, value, out| {
                        if !value.chars().all(fits) {
                            return Err(Error::input(format!(
                                "a value of `{{{placeholder}}}` contains characters that are not allowed in the header \
                                 `{name}`: only printable ASCII is"
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

pub(super) fn header_value(name: &HeaderName, text: &str) -> Result<HeaderValue> {
    let value = text.chars().all(fits).then(|| HeaderValue::from_str(text));
    value.and_then(std::result::Result::ok).ok_or_else(|| {
        Error::input(format!(
            "the value for the header `{name}` contains characters that are not allowed in a header"
        ))
    })
}

fn secret_value(name: &HeaderName, secret: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
        Error::config(format!(
            "the secret for the header `{name}` contains characters that are not allowed in a header, such as a line break"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.split(' ').any(|part| name.as_str().contains(part))
}

fn fits(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}
