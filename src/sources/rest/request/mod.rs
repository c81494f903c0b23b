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

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use serde_json::Value;
use url::Url;

use self::address::Address;
pub(crate) use self::config::RequestConfig;
use self::config::RequestMethod;
use self::headers::{Headers, header_value};
use self::pairs::{Pairs, text_to_set};
use super::header_name::HeaderNameSetting;
use super::page::InjectInto;
use super::template::{Names, Values};
use crate::component::Problems;
use crate::error::Result;

#[derive(Debug, Clone)]
pub(super) struct RequestPlan {
    method: Method,
    address: Address,
    query: Pairs,
    pub(super) headers: Headers,
    /// Placeholders are in its strings.
    json: Option<Value>,
    form: Option<Pairs>,
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
        if let Some(json) = &config.json {
            body::check_json(json, names, &mut problems.at("json"));
        }
        let form = config.form.as_ref();
        let form = form.map(|form| Pairs::new(form, names, &mut problems.at("form")));
        if config.json.is_some() && form.is_some() {
            problems.add("`json` and `form` are mutually exclusive");
        }
        if config.method == Some(RequestMethod::Get) && config.json.is_some() != config.form.is_some() {
            let (message, hint) = (
                "a GET request has no body",
                "remove `method`, or set it to `POST`",
            );
            problems.at("method").add_with_hint(message, hint);
        }
        (problems.len() == before).then_some(Self {
            method: config.method(),
            address: address?,
            query,
            headers,
            json: config.json.clone(),
            form,
        })
    }

    /// The request for these values; values of secrets are marked as sensitive. `set` is injected. `link` replaces URL and
    /// query: the service gave it for the page.
    pub(super) fn build(
        &self,
        values: &Values,
        set: &[(InjectInto, Value)],
        link: Option<Url>,
    ) -> Result<Request> {
        let mut query = self.query.fill(values)?;
        let mut headers = self.headers.fill(values)?;
        let mut in_body: Vec<(&str, &Value)> = Vec::new();
        for (place, value) in set {
            match place {
                InjectInto::Query(name) => pairs::put(&mut query, name, text_to_set(name, value)?),
                InjectInto::Header(HeaderNameSetting(name)) => {
                    let text = text_to_set(name.as_str(), value)?;
                    headers.insert(name.clone(), header_value(name, &text)?);
                }
                InjectInto::Body(name) => in_body.push((name, value)),
            }
        }
        let url = match link {
            Some(link) => link,
            None => {
                let mut url = self.address.url(values)?;
                url.set_query(pairs::query(&query).as_deref());
                url
            }
        };
        let mut request = Request::new(self.method.clone(), url);
        let body = match (&self.form, &self.json) {
            (Some(form), _) => Some(body::form(form, values, &in_body)?),
            (None, None) if in_body.is_empty() => None,
            (None, json) => Some(body::json(json.as_ref(), values, &in_body)?),
        };
        if let Some((body, content_type)) = body {
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
        let segments = self.address.segments.iter();
        let path: String = segments.map(|segment| format!("/{segment}")).collect();
        format!("{} {path}", self.method)
    }
}
