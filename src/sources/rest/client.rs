//! What a source asks with: client, credentials, pace.

use super::config::RestConfig;
use super::fetch::Fetcher;
use super::request::RequestConfig;
use super::response_actions::ErrorMessageFinder;
use crate::component::SourceContext;
use crate::config::Problems;
use crate::error::{Error, Result};
use crate::http::address::service_url;
use crate::http::link::AllowedHosts;
use crate::http::transport::{Proxy, TransportConfig};
use crate::secret::SecretFiles;

/// The longest time-out: a report may take half an hour, and a few of them at a time longer.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

impl RestConfig {
    /// Notes what is wrong with time-outs, proxy and hosts.
    pub(super) fn check_connection(&self, problems: &mut Problems<'_>) {
        let connection = &self.connection;
        for (key, value) in [
            ("timeout", connection.timeout),
            ("connect_timeout", connection.connect_timeout),
        ] {
            if value.0.is_zero() || value.0 > LONGEST {
                problems
                    .at(key)
                    .add(format!("expected more than zero and at most 2h, found {value}"));
            }
        }
        if let Some(Err(what)) = self.proxy() {
            problems
                .at("proxy")
                .add_with_hint(what, "such as `http://proxy.example.com:3128`, or `none`");
        }
        if let Err(what) = self.allowed_hosts() {
            problems.at("allowed_hosts").add(what);
        }
        for (key, value) in [
            ("max_record", connection.max_record),
            ("max_buffered_page", connection.max_buffered_page),
        ] {
            if value.0 == 0 {
                problems.at(key).add("must be more than zero");
            }
        }
    }

    fn proxy(&self) -> Option<std::result::Result<Proxy, &'static str>> {
        let text = self.connection.proxy.as_deref()?;
        if text == "none" {
            return Some(Ok(Proxy::Direct));
        }
        // The URL may hold credentials and is not repeated.
        Some(match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
                Ok(Proxy::Url(url))
            }
            _ => Err(
                "is not the URL of a proxy (what was found is not repeated, since it may hold a password)",
            ),
        })
    }

    fn allowed_hosts(&self) -> std::result::Result<AllowedHosts, String> {
        AllowedHosts::new(self.connection.allowed_hosts.iter().map(String::as_str))
    }

    /// Reads the secrets and makes the client; `config` has no problems.
    ///
    /// # Errors
    /// A secret or certificate cannot be read, or is not what it should be.
    pub(super) fn fetcher(&self, cx: &SourceContext) -> Result<Fetcher> {
        let base = service_url(&self.base_url).map_err(Error::config)?;
        let mut transport = TransportConfig {
            connect_timeout: self.connection.connect_timeout.0,
            timeout: self.connection.timeout.0,
            tls: base.scheme() == "https" || self.auth.has_token(),
            ..TransportConfig::default()
        };
        if let Some(proxy) = self.proxy() {
            transport.proxy = proxy.map_err(Error::config)?;
        }
        self.tls
            .apply(&cx.run.base, &SecretFiles::of(&cx.run), &mut transport)?;
        let client = transport.client()?;
        let retry = self.retry.policy();
        // A token may be bound to the certificate that it was asked for with.
        let way = format!("{:?} {:?}", self.tls, self.connection.proxy);
        Ok(Fetcher {
            auth: self.auth.build(&cx.run, &client, &way)?,
            client,
            limiters: cx.run.services.get_or_default(),
            pace: self.rate_limit.limit(),
            retry,
            messages: ErrorMessageFinder::new(),
            allowed: self.allowed_hosts().map_err(Error::config)?,
            cancel: cx.run.cancel.clone(),
            pages: cx.pages.clone(),
            source: cx.name.clone(),
            recorder: cx.run.record.clone(),
        })
    }

    /// What gives a position its meaning: with another of these, it is that of something else.
    pub(super) fn identity(&self) -> Vec<(&'static str, String)> {
        // Templates, not what fills them: the same in every run.
        let of = |request: &RequestConfig| {
            serde_json::to_string(&(&request.path, &request.query, &request.json, &request.form))
                .unwrap_or_default()
        };
        let each = self.for_each.as_ref().map(|each| {
            let values = serde_json::to_string(&each.values).unwrap_or_default();
            let parent = each.parent.as_ref().map(|parent| of(&parent.request));
            values + &parent.unwrap_or_default()
        });
        vec![
            ("base_url", self.base_url.clone()),
            ("request", of(&self.request)),
            ("for_each", each.unwrap_or_default()),
        ]
    }
}
