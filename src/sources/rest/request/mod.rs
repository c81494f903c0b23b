//! Builds requests from settings and values.
//!
//! ```text
//! RequestConfig ─check─▶ RequestPlan ─secrets─▶ build(values, page) ─▶ request
//! ```
//!
//! A value is encoded for its position or rejected, so that it can change neither the host, nor the shape of the path,
//! nor the set of parameters. Knows no network; errors do not repeat values.

mod address;
mod body;
mod config;
mod headers;
mod pairs;
#[cfg(test)]
mod tests;

use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use serde_json::Value;
use url::Url;

use self::address::Address;
use self::body::BodyPlan;
pub(crate) use self::config::RequestConfig;
use self::config::RequestMethod;
use self::headers::{Headers, header_value};
use self::pairs::{Pairs, text_to_set};
use super::header_name::HeaderNameSetting;
use super::page::InjectInto;
use super::template::{Names, Values};
use crate::component::Problems;
use crate::error::Result;
use crate::secret::SecretFiles;

#[derive(Debug, Clone)]
pub(super) struct RequestPlan {
    method: Method,
    address: Address,
    query: Pairs,
    headers: Headers,
    body: BodyPlan,
}

impl RequestPlan {
    /// Checks a request with the placeholders `names`. `problems` is at the block with the keys `base_url` and `request`.
    pub(super) fn new(
        base_url: &str,
        config: &RequestConfig,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let before = problems.len();
        let address = Address::new(base_url, &config.path, names, problems);
        let mut problems = problems.at("request");
        let query = Pairs::new(&config.query, names, &mut problems.at("query"));
        let headers = Headers::new(&config.headers, names, &mut problems.at("headers"));
        let body = match (&config.json, &config.form) {
            (None, None) => BodyPlan::None,
            (Some(json), None) => {
                body::check_json(json, names, &mut problems.at("json"));
                BodyPlan::Json(json.clone())
            }
            (None, Some(form)) => BodyPlan::Form(Pairs::new(form, names, &mut problems.at("form"))),
            (Some(_), Some(_)) => {
                problems.add("`json` and `form` are mutually exclusive");
                BodyPlan::None
            }
        };
        if config.method == Some(RequestMethod::Get) && config.json.is_some() != config.form.is_some() {
            problems.at("method").add_with_hint(
                "a GET request has no body",
                "remove `method`, or set it to `POST`",
            );
        }
        (problems.len() == before).then_some(Self {
            method: config.method(),
            address: address?,
            query,
            headers,
            body,
        })
    }

    /// Reads the secrets of the headers; paths are relative to `base`.
    pub(super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        self.headers.read_secrets(base, files)
    }

    /// The request for these values; values of secrets are marked as sensitive. `set` is injected. `link` replaces URL and
    /// query: the service gave it for the page.
    pub(super) fn build(
        &self,
        values: &Values,
        set: &[(InjectInto, Value)],
        link: Option<Url>,
    ) -> Result<Request> {
        let has_link = link.is_some();
        let (mut url, mut query) = match link {
            Some(link) => (link, Vec::new()),
            None => (self.address.url(values)?, self.query.fill(values)?),
        };
        let mut headers = self.headers.fill(values)?;
        let mut in_body: Vec<(&str, &Value)> = Vec::new();
        for (place, value) in set {
            match place {
                InjectInto::Query(name) if has_link => {
                    let query = pairs::put_raw(url.query(), name, &text_to_set(name, value)?);
                    url.set_query(Some(&query));
                }
                InjectInto::Query(name) => pairs::put(&mut query, name, text_to_set(name, value)?),
                InjectInto::Header(HeaderNameSetting(name)) => {
                    let text = text_to_set(name.as_str(), value)?;
                    headers.insert(name.clone(), header_value(name, &text)?);
                }
                InjectInto::Body(name) => in_body.push((name, value)),
            }
        }
        if !has_link {
            url.set_query(pairs::query(&query).as_deref());
        }
        let mut request = Request::new(self.method.clone(), url);
        if let Some((body, content_type)) = self.body.fill(values, &in_body)? {
            let content_type = HeaderValue::from_static(content_type);
            headers.entry(CONTENT_TYPE).or_insert(content_type);
            *request.body_mut() = Some(body.into());
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Method and URL for messages: without user and query, and with placeholders in place of values of rows.
    pub(super) fn shown(&self, url: &Url) -> String {
        format!("{} {}", self.method, self.address.shown(url))
    }

    /// Method and path as they are written, for messages about all pages.
    pub(super) fn named(&self) -> String {
        format!("{} {}", self.method, self.address.named())
    }
}
