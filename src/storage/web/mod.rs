//! Web servers: one file for each URL, because servers do not list their files.

#[cfg(feature = "https")]
mod client;
#[cfg(feature = "https")]
mod storage;

use std::collections::BTreeMap;
#[cfg(feature = "https")]
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::add_properties;
use super::location::RemoteLocation;
use super::registry::{Backend, BackendSettings};
use super::transport::{TransportSettings, UNENCRYPTED, validate_methods, with_transport};
#[cfg(feature = "https")]
use super::{Context, Storage};
use crate::component::Problems;
use crate::error::Result;
use crate::http::address::is_loopback;
use crate::secret::SecretRef;

/// A web server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields, default)]
#[schemars(rename = "HttpsConfig", transform = add_properties::<TransportSettings>)]
pub(super) struct HttpsConfig {
    /// How to authenticate.
    #[schemars(example = serde_json::json!({"type": "bearer", "token": {"env": "FILES_TOKEN"}}))]
    auth: Option<WebAuth>,
    /// Headers to send with every request. Each value is a secret.
    #[schemars(example = serde_json::json!({"X-Api-Key": {"env": "FILES_KEY"}}))]
    headers: BTreeMap<String, SecretRef>,
    /// The query of the URL, for signed links: the part after the `?`.
    #[schemars(example = serde_json::json!({"env": "FILES_SIGNATURE"}))]
    query: Option<SecretRef>,
    #[serde(skip)]
    transport: TransportSettings,
}

with_transport!(HttpsConfig);

/// How to authenticate at a web server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(feature = "https"), allow(dead_code, reason = "read by the client only"))]
enum WebAuth {
    /// HTTP Basic.
    Basic {
        /// The user name.
        #[schemars(example = &"hr-export")]
        username: String,
        /// The password.
        #[schemars(example = serde_json::json!({"env": "FILES_PASSWORD"}))]
        password: SecretRef,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        #[schemars(example = serde_json::json!({"env": "FILES_TOKEN"}))]
        token: SecretRef,
    },
}

impl HttpsConfig {
    fn validate_headers(&self, problems: &mut Problems<'_>) {
        const RESERVED: [&str; 5] = ["host", "range", "content-length", "accept-encoding", "if-match"];
        for name in self.headers.keys() {
            if HeaderName::try_from(name.as_str()).is_err() {
                problems.add(format!("`{name}` is not a valid header name"));
            } else if RESERVED.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                problems.add(format!("`{name}` is set by hrsink"));
            }
        }
    }
}

fn validate_url(location: &RemoteLocation, allow_http: bool, problems: &mut Problems<'_>) {
    if !location.user.is_empty() {
        problems.add_with_hint("contains a user", "use `https: {auth: {type: basic, …}}`");
    }
    let is_local = url::Url::parse(&location.origin()).is_ok_and(|url| is_loopback(&url));
    if location.scheme == "http" && !allow_http && !is_local {
        problems.add_with_hint(
            UNENCRYPTED,
            "use `https://`; on a trusted network, set `https: {allow_http: true}`",
        );
    }
    if location.path.contains('?') {
        problems.add_with_hint(
            "contains a query (what follows `?`), which is often a signature and must not be stored in this file",
            "remove it, and reference it as a secret: `https: {query: {env: NAME}}`",
        );
    } else if location.path.contains(['*', '[', ']']) {
        problems.add_with_hint(
            "is a pattern, and web servers do not list their files",
            "name one file; write a date in the name as `{date:%Y%m%d}`, and `*` and `[` as `%2A` and `%5B`",
        );
    }
    if location.path.trim_matches('/').is_empty() {
        problems.add("has no path to a file");
    }
}

inventory::submit! {
    Backend {
        key: "https",
        schemes: &["https", "http"],
        urls: &["https://host/file.csv"],
        summary: "web servers",
        is_built_in: cfg!(feature = "https"),
        read_only: Some("not supported for web servers: their files cannot be moved or deleted"),
        ..Backend::new::<HttpsConfig>()
    }
}

#[async_trait]
impl BackendSettings for HttpsConfig {
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        validate_url(location, self.transport.allow_http, &mut problems.at("path"));
        let mut problems = problems.at("https");
        self.transport.validate(None, &mut problems);
        let is_authorization = |name: &String| name.eq_ignore_ascii_case("authorization");
        let methods = [
            ("auth", self.auth.is_some()),
            ("headers.Authorization", self.headers.keys().any(is_authorization)),
        ];
        validate_methods(&methods, &mut problems);
        self.validate_headers(&mut problems.at("headers"));
    }

    #[cfg(feature = "https")]
    async fn connect(&self, location: &RemoteLocation, cx: &Context) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(storage::Web {
            client: client::WebClient::new(self, location, cx)?,
            read_ahead: super::fetch::ReadAhead::new(self.transport.read_ahead.get()),
        }))
    }
}
