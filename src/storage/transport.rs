//! Settings of the backends that use HTTP: object stores and web servers.

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer};
use url::Url;

use super::flatten::FlatSettings;
use crate::component::Problems;
use crate::http::address::{has_credentials, is_loopback};
use crate::http::settings::{Proxy, RetrySettings, TlsSettings};
#[cfg(feature = "http-storage")]
use crate::http::transport::TransportConfig;
use crate::settings::BoundedSize;
use crate::settings::bounded::{GIB, MIB, SECOND, Timeout};

/// How a service is reached over HTTP. The keys are on the same level as those of the backend.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TransportSettings {
    /// How long a response may be silent before the request is retried.
    #[schemars(example = &"2m")]
    pub(crate) timeout: Timeout,
    /// The timeout of connecting.
    #[schemars(example = &"5s")]
    pub(crate) connect_timeout: Timeout,
    /// TLS: additional certificate authorities, a client certificate, the minimum version.
    #[schemars(example = serde_json::json!({"ca_file": "ca.pem"}))]
    pub(crate) tls: TlsSettings,
    /// The proxy: a URL, or `none`. Default: the system's settings.
    #[schemars(example = &"http://proxy.example.com:3128")]
    pub(crate) proxy: Proxy,
    /// Retries of requests that fail for a transient cause.
    #[schemars(example = serde_json::json!({"max_attempts": 4}))]
    pub(crate) retry: RetrySettings,
    /// Allows unencrypted `http://` to another machine: everyone on the network can read the data.
    #[schemars(example = true)]
    pub(crate) allow_http: bool,
    /// Bytes of a file that are fetched, with several requests in flight, before they are decoded.
    #[schemars(example = &"64MiB")]
    pub(crate) read_ahead: BoundedSize<MIB, GIB>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            timeout: Timeout::new(60 * SECOND),
            connect_timeout: Timeout::new(10 * SECOND),
            tls: TlsSettings::default(),
            proxy: Proxy::System,
            retry: RetrySettings::default(),
            allow_http: false,
            read_ahead: BoundedSize::new(16 * MIB),
        }
    }
}

impl FlatSettings for TransportSettings {
    fn keys() -> impl Iterator<Item = &'static str> {
        [
            "timeout",
            "connect_timeout",
            "tls",
            "proxy",
            "retry",
            "allow_http",
            "read_ahead",
        ]
        .into_iter()
    }

    fn set<'de, D: Deserializer<'de>>(&mut self, key: &str, value: D) -> Result<(), D::Error> {
        match key {
            "timeout" => self.timeout = Deserialize::deserialize(value)?,
            "connect_timeout" => self.connect_timeout = Deserialize::deserialize(value)?,
            "tls" => self.tls = Deserialize::deserialize(value)?,
            "proxy" => self.proxy = Deserialize::deserialize(value)?,
            "retry" => self.retry = Deserialize::deserialize(value)?,
            "allow_http" => self.allow_http = Deserialize::deserialize(value)?,
            _ => self.read_ahead = Deserialize::deserialize(value)?,
        }
        Ok(())
    }
}

impl TransportSettings {
    /// Reports what is wrong, also with the URL of the service; `problems` is at the settings of the backend.
    pub(super) fn validate(&self, endpoint: Option<&String>, problems: &mut Problems<'_>) {
        self.tls.validate(&mut problems.at("tls"));
        self.retry.validate(&mut problems.at("retry"));
        validate_endpoint("endpoint", endpoint, self.allow_http, problems);
    }

    #[cfg(feature = "http-storage")]
    pub(super) fn client_config(&self, cx: &super::Context) -> crate::error::Result<TransportConfig> {
        let mut config = TransportConfig {
            connect_timeout: self.connect_timeout.get(),
            // Transfers may take as long as bytes arrive.
            timeout: std::time::Duration::from_secs(24 * 3600),
            read_timeout: Some(self.timeout.get()),
            decompress: false,
            proxy: self.proxy.clone(),
            pool_max_idle_per_host: 16,
            ..TransportConfig::default()
        };
        self.tls.apply(&cx.base, &cx.secret_files, &mut config)?;
        Ok(config)
    }
}

pub(super) fn validate_endpoint(
    key: &str,
    endpoint: Option<&String>,
    allow_http: bool,
    problems: &mut Problems<'_>,
) {
    if let Some((message, hint)) = endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
        problems.at(key).add_with_hint(message, hint);
    }
}

/// Implements `Deserialize` for settings that include [`TransportSettings`] in the field `transport`.
macro_rules! with_transport {
    ($settings:ident) => {
        impl<'de> serde::Deserialize<'de> for $settings {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut transport = $crate::storage::transport::TransportSettings::default();
                let settings = Self::deserialize($crate::storage::Flat {
                    inner: deserializer,
                    group: &mut transport,
                })?;
                Ok(Self {
                    transport,
                    ..settings
                })
            }
        }
    };
}
pub(super) use with_transport;

pub(super) const UNENCRYPTED: &str = "is `http://`: everyone on the network can read the data";

/// What is wrong with the URL of a service, and a hint.
pub(super) fn endpoint_problem(endpoint: &str, allow_http: bool) -> Option<(String, &'static str)> {
    const FORM: &str = "expected `https://host` or `https://host:port`";
    let Ok(url) = Url::parse(endpoint) else {
        return Some(("is not a URL".to_owned(), FORM));
    };
    if has_credentials(&url) || url.query().is_some() || url.fragment().is_some() {
        return Some((
            "contains credentials or a query".to_owned(),
            "use the settings for the login",
        ));
    }
    match url.scheme() {
        "https" => None,
        "http" if allow_http || is_loopback(&url) => None,
        "http" => Some((
            UNENCRYPTED.to_owned(),
            "use `https://`; on a trusted network, set `allow_http: true`",
        )),
        other => Some((format!("is `{other}://`"), FORM)),
    }
}

/// Reports more than one login method.
pub(super) fn validate_methods(methods: &[(&'static str, bool)], problems: &mut Problems<'_>) {
    let given = methods.iter().filter(|(_, is_given)| *is_given);
    let given: Vec<String> = given.map(|(name, _)| format!("`{name}`")).collect();
    if given.len() > 1 {
        let given = given.join(" and ");
        let message = format!("{given} exclude each other: one login method is used");
        problems.add_with_hint(message, "keep the one that you need");
    }
}
