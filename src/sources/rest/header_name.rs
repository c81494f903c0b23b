//! Names of headers in settings.

use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a header; case-insensitive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    rename = "HeaderName",
    with = "String",
    extend("pattern" = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
    example = "X-Request-Id"
)]
pub(crate) struct HeaderNameSetting(pub(super) HeaderName);

impl TryFrom<String> for HeaderNameSetting {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        parsed
            .map(Self)
            .map_err(|_| format!("`{name}` is not a valid header name"))
    }
}

impl From<HeaderNameSetting> for String {
    fn from(name: HeaderNameSetting) -> Self {
        name.0.as_str().to_owned()
    }
}
