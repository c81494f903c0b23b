//! The settings of the source `rest`, and what can be wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::AuthConfig;
use super::extract::RecordsConfig;
use super::incremental::IncrementalConfig;
use super::pagination::PaginationConfig;
use super::partitions::ForEachConfig;
use super::plan::Plan;
use super::rate_limit::RateLimitConfig;
use super::request::RequestConfig;
use super::response_actions::ResponseActionConfig;
use crate::component::{Description, SkipsUnchanged, Source, SourceConfig, SourceContext, SourceTraits};
use crate::config::{ByteSize, HumanDuration, Problems};
use crate::error::Result;
use crate::http::settings::{RetrySettings, TlsSettings};

/// Reads records from a REST API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// The URL that every `path` is below, such as `https://api.example.com/v1`. `https`, except on this machine.
    pub base_url: String,
    /// How requests prove who asks. Default: not at all.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Client certificate, and further certificates to trust.
    #[serde(default)]
    pub tls: TlsSettings,
    /// Time-outs, proxy, bounds.
    #[serde(default)]
    pub connection: ConnectionConfig,
    /// The request.
    pub request: RequestConfig,
    /// How one page leads to the next. Default: there is one page.
    #[serde(default)]
    pub pagination: PaginationConfig,
    /// Where the records are in an answer. Default: the whole body.
    #[serde(default)]
    pub records: RecordsConfig,
    /// The columns and their types, the same in every run. Left out, they are learnt from all records, which wait in a
    /// temporary file until the last page is there; declared, the rows of a page go on at once.
    #[serde(default)]
    pub columns: Option<BTreeMap<String, ColumnKind>>,
    /// Reads once for each of several values: fixed ones, or the keys of a parent's rows.
    #[serde(default)]
    pub for_each: Option<Box<ForEachConfig>>,
    /// Reads what has changed since the last run that was delivered. Default: everything, each time.
    #[serde(default)]
    pub incremental: Option<IncrementalConfig>,
    /// What to do about answers, first match first; what no rule matches is judged by its status.
    #[serde(default)]
    pub response_actions: Vec<ResponseActionConfig>,
    /// How often and how long a request is tried again.
    #[serde(default)]
    pub retry: RetrySettings,
    /// Request rate, concurrency and waiting. Default: no limit.
    #[serde(default)]
    pub rate_limit: RateLimitConfig,
}

/// Time-outs, proxy, bounds.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionConfig {
    /// Longest time for a request, from its begin to the end of the answer's body; at most 2 h. Default `5m`. A report
    /// that is made while it is asked for may take half an hour.
    pub timeout: HumanDuration,
    /// Longest time to connect. Default `30s`.
    pub connect_timeout: HumanDuration,
    /// The proxy's URL, or `none`. Default: what the environment says (`HTTPS_PROXY`, `NO_PROXY`).
    pub proxy: Option<String>,
    /// Hosts besides the base URL's that a link to the next page may lead to, such as `api2.example.com` or
    /// `*.example.com`. They get the credentials too.
    pub allowed_hosts: Vec<String>,
    /// Longest record. Default `16MiB`.
    pub max_record: ByteSize,
    /// Longest page whose `records.path` has a filter, a slice or `..`, since such a page is kept in memory whole.
    /// Default `64MiB`.
    pub max_buffered_page: ByteSize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            timeout: HumanDuration(Duration::from_secs(300)),
            connect_timeout: HumanDuration(Duration::from_secs(30)),
            proxy: None,
            allowed_hosts: Vec::new(),
            max_record: ByteSize(16 << 20),
            max_buffered_page: ByteSize(64 << 20),
        }
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Text. Numbers and truth values are taken as they are written.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A floating point number of 64 bits.
    Number,
    /// True or false.
    Boolean,
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
        Ok(Box::new(super::source::RestSource::new(self, cx)?))
    }
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
}

inventory::submit! {
    Description::source::<RestConfig>("rest", "reads a REST API: pages, parents and children, only what has changed")
}
