//! Requests to a web server, retried after transient failures.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{HttpsConfig, WebAuth};
use crate::error::{Error, ErrorKind, Result};
use crate::http::retry::{AttemptError, RetrySettings, Verdict};
use crate::http::retry_after::parse_retry_after;
use crate::http::transport::{Failure, read_limited};
use crate::secret::Secret;
use crate::storage::Context;
use crate::storage::location::RemoteLocation;
use crate::storage::service_error::{ServiceError, is_transient, transport_error};

const MAX_ERROR_BODY: usize = 4 << 10;

#[derive(Debug, Clone)]
pub(super) struct WebClient {
    client: reqwest::Client,
    origin: Url,
    /// Those with credentials are marked as sensitive.
    headers: HeaderMap,
    /// The query of every URL: a signed link has its credentials there.
    query: Option<Secret>,
    retry: RetrySettings,
    cancel: CancellationToken,
}

pub(super) struct WebError {
    pub(super) error: Error,
    pub(super) status: Option<StatusCode>,
    verdict: Verdict,
}

impl From<Error> for WebError {
    /// An error that a retry does not solve.
    fn from(error: Error) -> Self {
        Self::new(error, Verdict::Stop)
    }
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl AttemptError for WebError {}

impl WebError {
    fn new(error: Error, verdict: Verdict) -> Self {
        let status = None;
        Self {
            error,
            status,
            verdict,
        }
    }

    fn transport(failure: &Failure, host: &str) -> Self {
        let verdict = match failure.is_transient() {
            true => Verdict::Retry { after: None },
            false => Verdict::Stop,
        };
        Self::new(transport_error(failure, host, "https"), verdict)
    }

    pub(super) fn truncated(message: String) -> Self {
        let verdict = Verdict::Retry { after: None };
        Self::new(Error::new(ErrorKind::Transient, message), verdict)
    }

    /// `redirect` is the origin that a redirect leads to.
    fn response(response: &ServiceError, retry_after: Option<Duration>, redirect: Option<String>) -> Self {
        let status = response.status();
        let error = |kind| Error::new(kind, response.text());
        let verdict = match is_transient(status) {
            true => Verdict::Retry { after: retry_after },
            false => Verdict::Stop,
        };
        let error = match status.as_u16() {
            _ if is_transient(status) => error(ErrorKind::Transient),
            401 | 403 | 407 => error(ErrorKind::Refused)
                .with_hint("check `https.auth` and `https.headers`; a signed link may have expired"),
            404 | 410 => error(ErrorKind::Input)
                .with_hint("the file existed when it was listed: it was moved or deleted since"),
            300..=399 => {
                let target = redirect.map(|origin| format!(" to {origin}")).unwrap_or_default();
                let hint = format!(
                    "redirects are not followed, so that credentials never reach another server: set `path` to the \
                     target of this redirect{target}"
                );
                error(ErrorKind::Config).with_hint(hint)
            }
            _ => error(ErrorKind::Refused),
        };
        Self {
            error,
            status: Some(status),
            verdict,
        }
    }
}

pub(super) fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

impl WebClient {
    pub(super) fn new(settings: &HttpsConfig, location: &RemoteLocation, cx: &Context) -> Result<Self> {
        let origin = location.origin();
        let origin = Url::parse(&origin)
            .map_err(|error| Error::config(format!("`{origin}` is not a URL")).with_source(error))?;
        let mut headers = HeaderMap::new();
        // Byte ranges refer to the stored file.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut add = |name: HeaderName, value: String| -> Result<()> {
            let mut header = HeaderValue::try_from(value).map_err(|_| {
                Error::config(format!(
                    "the secret for the header `{name}` contains invalid characters"
                ))
                .with_hint("look for line breaks and other invisible characters")
            })?;
            header.set_sensitive(true);
            headers.insert(name, header);
            Ok(())
        };
        match &settings.auth {
            Some(WebAuth::Bearer { token }) => {
                add(AUTHORIZATION, format!("Bearer {}", cx.read(token)?.expose()))?;
            }
            Some(WebAuth::Basic { username, password }) => {
                let credentials = format!("{username}:{}", cx.read(password)?.expose());
                let credentials = BASE64_STANDARD.encode(credentials);
                add(AUTHORIZATION, format!("Basic {credentials}"))?;
            }
            None => {}
        }
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| Error::config(format!("`{name}` is not a valid header name")))?;
            add(name, cx.read(value)?.expose().to_owned())?;
        }
        let query = match &settings.query {
            Some(secret) => Some(Secret::new(cx.read(secret)?.expose().trim_start_matches('?'))),
            None => None,
        };
        let mut config = settings.transport.client_config(cx)?;
        config.tls = origin.scheme() == "https";
        Ok(Self {
            client: config.client()?,
            origin,
            headers,
            query,
            retry: settings.transport.retry,
            cancel: cx.cancel.clone(),
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let invalid = || Error::config(format!("`{path}` is not a path on {}", self.origin));
        let url = self.origin.join(path);
        let mut url = url.map_err(|error| invalid().with_source(error))?;
        // `//elsewhere` is another server.
        if url.origin() != self.origin.origin() {
            return Err(invalid());
        }
        url.set_query(self.query.as_ref().map(Secret::expose));
        Ok(url)
    }

    /// The URL for messages, without its query.
    pub(super) fn display_url(&self, path: &str) -> String {
        format!("{}{path}", self.origin.as_str().trim_end_matches('/'))
    }

    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Response, WebError> {
        let mut request = reqwest::Request::new(method.clone(), self.url(path)?);
        request.headers_mut().clone_from(&self.headers);
        if let Some(range) = range {
            let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            if let Ok(range) = HeaderValue::try_from(range) {
                request.headers_mut().insert(RANGE, range);
            }
        }
        let host = self.origin.host_str().unwrap_or_default();
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| WebError::transport(&Failure::of(error), host))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let retry_after = header_text(&headers, RETRY_AFTER);
        let retry_after = retry_after.and_then(|wait| parse_retry_after(wait, SystemTime::now()));
        let redirect = header_text(&headers, LOCATION)
            .and_then(|target| self.origin.join(target).ok())
            .map(|target| target.origin().ascii_serialization());
        let (body, _) = read_limited(response, MAX_ERROR_BODY).await;
        let error = ServiceError::new(status, host.to_owned(), &headers, &body);
        Err(WebError::response(&error, retry_after, redirect))
    }

    /// Sends a request, again after transient failures.
    pub(super) async fn request(
        &self,
        method: &Method,
        path: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Response, WebError> {
        self.retry(path, || self.send(method, path, range)).await
    }

    pub(super) async fn retry<T, F>(&self, path: &str, attempt: impl Fn() -> F) -> Result<T, WebError>
    where
        F: Future<Output = Result<T, WebError>>,
    {
        let url = self.display_url(path);
        let verdict = |error: &WebError| error.verdict;
        match self
            .retry
            .run(&self.cancel, (None, &url), attempt, verdict, rand::random)
            .await
        {
            Ok((value, _)) => Ok(value),
            Err(gave_up) => Err(gave_up.last.unwrap_or_else(|| Error::interrupted().into())),
        }
    }
}
