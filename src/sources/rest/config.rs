//! The settings of the source `rest`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::AuthConfig;
use super::extract::RecordsConfig;
use super::fetch::Fetcher;
use super::incremental::IncrementalConfig;
use super::pagination::PaginationConfig;
use super::partitions::ForEachConfig;
use super::plan::Plan;
use super::rate_limit::RateLimitConfig;
use super::request::RequestConfig;
use super::response_actions::ResponseActionConfig;
use super::source::RestSource;
use crate::component::{
    Description, Problems, SkipsUnchanged, Source, SourceConfig, SourceContext, SourceTraits,
};
use crate::error::{Error, Result};
use crate::format::json::ColumnType;
use crate::http::address::service_url;
use crate::http::client::Client;
use crate::http::link::AllowedHosts;
use crate::http::settings::{Proxy, RetrySettings, TlsSettings};
use crate::http::transport::TransportConfig;
use crate::secret::SecretFiles;
use crate::settings::bounded::{MINUTE, SECOND, Timeout};

/// Reads records from a REST API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestConfig {
    /// The URL that all paths are appended to, such as `https://api.example.com/v1`. `https`, except on this machine.
    pub base_url: String,
    /// Authentication. Default: no authentication.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Certificate authorities to trust, and a client certificate.
    #[serde(default)]
    pub tls: TlsSettings,
    /// The timeout of a request, from its start to the end of the response body. Increase it for reports that the service
    /// generates on request.
    #[serde(default = "timeout")]
    pub timeout: Timeout,
    /// The timeout of connecting.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Timeout,
    /// The proxy: a URL, or `none`. Default: the system's settings (`HTTPS_PROXY`, `NO_PROXY`).
    #[serde(default)]
    pub proxy: Proxy,
    /// Additional hosts that links to the next page may point to, such as `*.example.com`. hrsink sends the credentials to
    /// them. Default: only the host of the base URL.
    #[serde(default)]
    #[schemars(example = ["api2.example.com"])]
    pub allowed_hosts: Vec<String>,
    /// The request.
    pub request: RequestConfig,
    /// How to find the next page. Default: there is one page.
    #[serde(default)]
    pub pagination: PaginationConfig,
    /// Where the records are in a response. Default: the whole body.
    #[serde(default)]
    pub records: RecordsConfig,
    /// The columns and their types; the rows of a page are then passed on at once. Default: inferred from all records,
    /// which are kept in a temporary file until the last page is read.
    pub columns: Option<BTreeMap<String, ColumnType>>,
    /// Repeats the request for each of several values: fixed values, or keys from the rows of a parent request.
    pub for_each: Option<Box<ForEachConfig>>,
    /// Reads what has changed since the last delivered run. Default: everything, in every run.
    pub incremental: Option<IncrementalConfig>,
    /// How to handle specific responses. The first matching rule applies; without a match, the status decides.
    #[serde(default)]
    pub response_actions: Vec<ResponseActionConfig>,
    /// Retries of a request.
    #[serde(default)]
    pub retry: RetrySettings,
    /// Request rate, concurrency and waiting. Default: no limit.
    #[serde(default)]
    pub rate_limit: RateLimitConfig,
}

fn timeout() -> Timeout {
    Timeout::new(5 * MINUTE)
}

fn connect_timeout() -> Timeout {
    Timeout::new(30 * SECOND)
}

#[async_trait]
impl SourceConfig for RestConfig {
    fn validate(&self, problems: &mut Problems<'_>) {
        Plan::new(self, problems);
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_position: self.incremental.is_some(),
            skips_unchanged: self.skips_unchanged(),
            ..SourceTraits::default()
        }
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let plan = Plan::new(self, &mut Problems::new(&mut Vec::new()))
            .ok_or_else(|| Error::config("the settings of the source are invalid"))?;
        Ok(Box::new(RestSource::new(self, plan, &cx)?))
    }
}

inventory::submit! {
    Description::source::<RestConfig>("rest", "reads a REST API: pages, parent and child requests, incrementally")
}

impl RestConfig {
    fn skips_unchanged(&self) -> Option<SkipsUnchanged> {
        let max_duration = match self.incremental.as_ref()?.full_refresh_every {
            None => Duration::MAX,
            // A number of runs says nothing about the time.
            Some(every) => every.every?.get(),
        };
        Some(SkipsUnchanged {
            max_duration,
            remedy: "set its `incremental.full_refresh_every: {every: 14d}`",
        })
    }

    pub(super) fn hosts(&self) -> std::result::Result<AllowedHosts, String> {
        AllowedHosts::new(self.allowed_hosts.iter().map(String::as_str))
    }

    /// Reads secrets and makes the client.
    pub(super) fn fetcher(&self, cx: &SourceContext) -> Result<Fetcher> {
        let base = service_url(&self.base_url).map_err(Error::config)?;
        let mut transport = TransportConfig {
            connect_timeout: self.connect_timeout.get(),
            timeout: self.timeout.get(),
            tls: base.scheme() == "https" || self.auth.has_token(),
            proxy: self.proxy.clone(),
            ..TransportConfig::default()
        };
        self.tls
            .apply(&cx.run.base, &SecretFiles::of(&cx.run), &mut transport)?;
        let http = transport.client()?;
        // A token may be bound to the certificate that it was requested with.
        let way = format!("{:?} {:?}", self.tls, self.proxy);
        let client = Client {
            auth: self.auth.build(&cx.run, &http, &way)?,
            http,
            retry: self.retry,
            rate_limit: Some((cx.run.services.get_or_default(), self.rate_limit.limit())),
            abort_on_cancel: true,
        };
        Ok(Fetcher {
            client,
            allowed: self.hosts().map_err(Error::config)?,
            cx: cx.clone(),
        })
    }

    /// What gives a position its meaning.
    pub(super) fn identity(&self) -> Vec<(&'static str, String)> {
        // Templates, not their values: the same in every run.
        let of = |request: &RequestConfig| {
            let parts = (&request.path, &request.query, &request.json, &request.form);
            serde_json::to_string(&parts).unwrap_or_default()
        };
        let for_each = self.for_each.as_ref().map(|for_each| {
            let values = serde_json::to_string(&for_each.values).unwrap_or_default();
            let parent = for_each.parent.as_ref().map(|parent| of(&parent.request));
            values + &parent.unwrap_or_default()
        });
        vec![
            ("base_url", self.base_url.clone()),
            ("request", of(&self.request)),
            ("for_each", for_each.unwrap_or_default()),
        ]
    }
}
