//! Request headers: texts and secrets.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::template::{Names, Template, Values, check, fill_with};
use super::config::HeaderConfig;
use crate::component::Problems;
use crate::error::{Error, Result};
use crate::secret::{SecretFiles, SecretRef};

/// Headers that only the HTTP client sets.
const RESERVED: &str = "host content-length transfer-encoding connection upgrade te trailer expect";

/// Parts of names of headers whose values are credentials.
const CREDENTIALS: &str = "authorization cookie api-key apikey secret password access-token auth-token";

#[derive(Debug, Clone, Default)]
pub(in super::super) struct Headers {
    texts: Vec<(HeaderName, Template)>,
    secrets: Vec<(HeaderName, SecretRef)>,
    /// The values of `secrets`, once they are read.
    secret_values: HeaderMap,
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
        let (mut headers, mut seen) = (Self::default(), Vec::new());
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
            if seen.contains(&name) {
                here.add("duplicate header: names are case-insensitive");
            }
            seen.push(name.clone());
            match content {
                HeaderConfig::Secret(place) => headers.secrets.push((name, place.clone())),
                HeaderConfig::Text(_) if is_credential(&name) => {
                    here.add_with_hint(
                        "the value of this header is a credential and must be a reference, not text",
                        "use `{env: NAME}` or `{file: PATH}`, or `auth` for the usual kinds of credentials",
                    );
                }
                HeaderConfig::Text(text) => {
                    let Some(template) = check(text, names, &mut here) else {
                        continue;
                    };
                    if !text.chars().all(fits) {
                        here.add("a header value may contain printable ASCII characters only");
                    }
                    headers.texts.push((name, template));
                }
            }
        }
        headers
    }

    /// Paths are relative to `base`.
    pub(in super::super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        for (name, place) in &self.secrets {
            let secret = place.read(base, files)?;
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                Error::config(format!(
                    "the secret for the header `{name}` contains characters that are not allowed in a header, such as a \
                     line break"
                ))
            })?;
            value.set_sensitive(true);
            self.secret_values.insert(name.clone(), value);
        }
        Ok(())
    }

    pub(super) fn fill(&self, values: &Values) -> Result<HeaderMap> {
        let mut map = self.secret_values.clone();
        if map.len() < self.secrets.len() {
            return Err(Error::unexpected("the secrets of headers were not read"));
        }
        for (name, template) in &self.texts {
            let text = fill_with(template, values, |placeholder, value, out| {
                if !value.chars().all(fits) {
                    return Err(Error::input(format!(
                        "a value of `{{{placeholder}}}` contains characters that are not allowed in the header `{name}`: \
                         only printable ASCII is"
                    )));
                }
                out.push_str(value);
                Ok(())
            })?;
            map.insert(name.clone(), header_value(name, &text)?);
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

fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.split(' ').any(|part| name.as_str().contains(part))
}

fn fits(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}
