//! Requests: what a pipeline file says of them, checked, and one request for each set of values and page.
//!
//! ```text
//! RequestConfig ─check─▶ RequestPlan ─secrets─▶ build(values, ask) ─▶ Built: method, URL, headers, body
//! ```
//!
//! Values can change neither the host, nor the shape of the path, nor which parameters there are: each is encoded for
//! the place it stands in, or refused. Nothing here talks to a network, and no error repeats a value.

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
pub use self::config::{HeaderConfig, RequestConfig, RequestMethod};
use self::headers::Headers;
use self::pairs::{Pairs, text_to_set};
use super::page::{InjectInto, PageRequest};
use super::template::{Names, Uses, Values};
use crate::config::Problems;
use crate::error::{Error, Result};
use crate::secret::SecretFiles;

/// A request that was checked, with placeholders. See the [module](self).
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
    /// GET or POST.
    pub(super) method: Method,
    /// The whole URL, with its query.
    pub(super) url: Url,
    /// The headers, the body's content type among them; secrets are marked so that `Debug` does not show them.
    pub(super) headers: HeaderMap,
    /// The body, if any.
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
    /// Checks a request. `problems` points at the block that has the keys `base_url` and `request`; `names` are the
    /// placeholders known there. `None` if there was a problem.
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
                problems.add("a request has one body: `json` or `form`, not both");
                BodyPlan::None
            }
        };
        let has_body = body != BodyPlan::None;
        let method = match config.method {
            Some(RequestMethod::Get) if has_body => {
                problems
                    .at("method")
                    .add_with_hint("a GET request has no body", "leave `method` out, or give POST");
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

    /// The placeholders it uses.
    pub(super) fn uses(&self) -> Uses {
        let mut uses: Uses = self.address.names().cloned().collect();
        self.query.uses(&mut uses);
        self.headers.uses(&mut uses);
        self.body.uses(&mut uses);
        uses
    }

    /// Notes what is wrong with a place that pages are asked with; `problems` points at it.
    pub(super) fn check_place(&self, place: &InjectInto, problems: &mut Problems<'_>) {
        match place {
            InjectInto::Query(name) if name.is_empty() => problems.add("a parameter has no name"),
            InjectInto::Query(_) => {}
            InjectInto::Header(name) => headers::check_name(name, problems),
            InjectInto::Body(name) => {
                if self.method == Method::GET {
                    problems.add_with_hint(
                        "a GET request has no body that the value could go into",
                        "give a place in `query` or `header`, or `method: POST`",
                    );
                }
                if name.split('.').any(str::is_empty) {
                    problems.add("a place in the body is names joined by dots, such as `page.cursor`");
                }
            }
        }
    }

    /// Reads the secrets of the headers; paths are relative to `base`.
    ///
    /// # Errors
    /// One cannot be read, or cannot stand in a header.
    pub(super) fn read_secrets(&mut self, base: &Path, files: &SecretFiles) -> Result<()> {
        self.headers.read_secrets(base, files)
    }

    /// The request for these values and this page.
    ///
    /// # Errors
    /// A value that cannot stand where it should, or a link to the next page that cannot be followed. Placeholders are
    /// named, values are not.
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
            return Err(Error::config(
                "a GET request has no body that a value could go into",
            ));
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

    /// Method and URL for messages: without user and query, and with placeholders where values of rows stand.
    pub(super) fn shown(&self, url: &Url) -> String {
        format!("{} {}", self.method, self.address.shown(url))
    }

    /// Method and path as the user wrote it, for messages about all pages together.
    pub(super) fn named(&self) -> String {
        format!("{} {}", self.method, self.address.named())
    }

    /// The URL of a link to the next page; a relative one counts from the request's own URL. Whose host it may be is
    /// not decided here.
    fn next(&self, link: &str, values: &Values) -> Result<Url> {
        let wrong = |why: &str| {
            Error::input(format!("the service gave a link to the next page that {why}"))
                .with_hint("check the path of `pagination` that the link is read from")
        };
        let url = match Url::parse(link) {
            Ok(url) => url,
            Err(url::ParseError::RelativeUrlWithoutBase) => self
                .address
                .url(values)?
                .join(link)
                .map_err(|error| wrong("is no URL").with_source(error))?,
            Err(error) => return Err(wrong("is no URL").with_source(error)),
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && address::is_loopback(&url)) {
            return Err(wrong("does not begin with `https://`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("has a user name or a password in it"));
        }
        Ok(url)
    }
}
