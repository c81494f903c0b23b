//! Builds requests from settings and values.
//!
//! ```text
//! RequestConfig ─check─▶ RequestPlan ─secrets─▶ build(values, page) ─▶ Built: method, URL, headers, body
//! ```
//!
//! A value is encoded for its position or rejected, so that it can change neither the host, nor the shape of the path,
//! nor the set of parameters. Knows no network; errors do not repeat values.

mod address;
mod body;
mod config;
mod encode;
mod headers;
mod pairs;
#[cfg(test)]
mod tests;

use std::path::Path;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use self::address::Address;
pub(super) use self::body::Body;
use self::body::{BodyPlan, Node};
pub(crate) use self::config::{RequestConfig, RequestMethod};
use self::headers::Headers;
use self::pairs::{Pairs, text_to_set};
use super::page::{InjectInto, PageRequest};
use super::template::{Names, Values};
use crate::component::Problems;
use crate::error::{Error, Result};
use crate::secret::SecretFiles;

/// A checked request with placeholders.
#[derive(Debug, Clone)]
pub(super) struct RequestPlan {
    method: Method,
    address: Address,
    query: Pairs,
    headers: Headers,
    body: BodyPlan,
}

/// A request to send.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Includes the body's content type; secrets are marked as sensitive.
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Body>,
}

impl From<Built> for reqwest::Request {
    fn from(built: Built) -> Self {
        let mut request = Self::new(built.method, built.url);
        *request.headers_mut() = built.headers;
        *request.body_mut() = built.body.map(|body| body.bytes.into());
        request
    }
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
            (Some(json), None) => BodyPlan::Json(Node::new(json, names, &mut problems.at("json"))),
            (None, Some(form)) => BodyPlan::Form(Pairs::new(form, names, &mut problems.at("form"))),
            (Some(_), Some(_)) => {
                problems.add("`json` and `form` are mutually exclusive");
                BodyPlan::None
            }
        };
        let has_body = body != BodyPlan::None;
        let method = match config.method {
            Some(RequestMethod::Get) if has_body => {
                problems.at("method").add_with_hint(
                    "a GET request has no body",
                    "remove `method`, or set it to `POST`",
                );
                Method::GET
            }
            Some(RequestMethod::Get) => Method::GET,
            Some(RequestMethod::Post) => Method::POST,
            None if has_body => Method::POST,
            None => Method::GET,
        };
        (problems.len() == before).then_some(Self {
            method,
            address: address?,
            query,
            headers,
            body,
        })
    }

    /// Reports a position that the pagination cannot inject values into; `problems` is at it.
    pub(super) fn check_place(&self, place: &InjectInto, problems: &mut Problems<'_>) {
        match place {
            InjectInto::Query(name) if name.is_empty() => problems.add("a parameter name must not be empty"),
            InjectInto::Query(_) => {}
            InjectInto::Header(name) => {
                headers::parse_name(name, problems);
            }
            InjectInto::Body(name) => {
                if self.method == Method::GET {
                    problems.add_with_hint(
                        "a GET request has no body to inject the value into",
                        "use `query` or `header`, or set `method: POST`",
                    );
                }
                if name.split('.').any(str::is_empty) {
                    problems.add("expected names joined by dots, such as `page.cursor`");
                }
            }
        }
    }

    /// Reads the secrets of the headers; paths are relative to `base`.
    ///
    /// # Errors
    /// A secret cannot be read, or is not allowed in a header.
    pub(super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        self.headers.read_secrets(base, files)
    }

    /// The request for these values and this page.
    ///
    /// # Errors
    /// A value that is not allowed in its position, or a link to the next page that cannot be followed.
    pub(super) fn build(&self, values: &Values, ask: &PageRequest) -> Result<Built> {
        let mut url = match &ask.url {
            Some(link) => self.next(link, values)?,
            None => {
                let mut url = self.address.url(values)?;
                let mut pairs = self.query.fill(values)?;
                for (place, value) in &ask.set {
                    if let InjectInto::Query(name) = place {
                        pairs::put(&mut pairs, name, text_to_set(name, value)?);
                    }
                }
                url.set_query(pairs::query(&pairs).as_deref());
                url
            }
        };
        let mut headers = self.headers.fill(values)?;
        let mut in_body: Vec<(&str, &Value)> = Vec::new();
        for (place, value) in &ask.set {
            match place {
                InjectInto::Query(name) if ask.url.is_some() => {
                    let query = pairs::put_raw(url.query(), name, &text_to_set(name, value)?);
                    url.set_query(Some(&query));
                }
                InjectInto::Query(_) => {}
                InjectInto::Header(name) => headers::put(&mut headers, name, &text_to_set(name, value)?)?,
                InjectInto::Body(name) => in_body.push((name, value)),
            }
        }
        if !in_body.is_empty() && self.method == Method::GET {
            return Err(Error::config("a GET request has no body to inject a value into"));
        }
        let body = self.body.fill(values, &in_body)?;
        if let Some(body) = &body
            && !headers.contains_key(CONTENT_TYPE)
        {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        }
        Ok(Built {
            method: self.method.clone(),
            url,
            headers,
            body,
        })
    }

    /// Method and URL for messages: without user and query, and with placeholders in place of values of rows.
    pub(super) fn shown(&self, url: &Url) -> String {
        format!("{} {}", self.method, self.address.shown(url))
    }

    /// Method and path as they are written, for messages about all pages.
    pub(super) fn named(&self) -> String {
        format!("{} {}", self.method, self.address.named())
    }

    /// The URL of a link to the next page, relative to the request's URL. Allowed hosts are checked elsewhere.
    fn next(&self, link: &str, values: &Values) -> Result<Url> {
        let wrong = |why: &str| {
            Error::input(format!("the link to the next page {why}"))
                .with_hint("check the path in `pagination` that the link is read from")
        };
        let url = match Url::parse(link) {
            Ok(url) => url,
            Err(url::ParseError::RelativeUrlWithoutBase) => self
                .address
                .url(values)?
                .join(link)
                .map_err(|error| wrong("is not a valid URL").with_source(error))?,
            Err(error) => return Err(wrong("is not a valid URL").with_source(error)),
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && address::is_loopback(&url)) {
            return Err(wrong("does not start with `https://`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("contains a user name or a password"));
        }
        Ok(url)
    }
}
