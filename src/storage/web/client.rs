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
use crate::http::retry::{AttemptError, GaveUp, RetrySettings, Verdict};
use crate::http::retry_after::parse_retry_after;
use crate::http::transport::{Failure, read_limited};
use crate::secret::{Secret, SecretRef};
use crate::storage::Context;
use crate::storage::location::RemoteLocation;
use crate::storage::service_error::{ServiceError, is_transient, transport_error};

/// Upper bound of an error body.
const MAX_ERROR_BODY: usize = 4 << 10;

/// A client of one server.
#[derive(Clone)]
pub(super) struct WebClient {
    client: reqwest::Client,
    origin: Url,
    headers: HeaderMap,
    /// The query of every URL: a signed link has its credentials there.
    query: Option<Secret>,
    retry: RetrySettings,
    cancel: CancellationToken,
}

impl fmt::Debug for WebClient {
    /// Without headers and query, which contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebClient")
            .field("origin", &self.origin.as_str())
            .finish_non_exhaustive()
    }
}

/// Why a request failed.
pub(super) enum WebError {
    Transport(Failure),
    Response {
        error: ServiceError,
        retry_after: Option<Duration>,
        /// The origin that a redirect leads to.
        redirect: Option<String>,
    },
    /// The response ended too early.
    Truncated(String),
    /// Retrying does not help.
    Permanent(Error),
}

impl From<Error> for WebError {
    fn from(error: Error) -> Self {
        Self::Permanent(error)
    }
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(failure) => failure.fmt(f),
            Self::Response { error, .. } => f.write_str(&error.text()),
            Self::Truncated(message) => f.write_str(message),
            Self::Permanent(error) => error.fmt(f),
        }
    }
}

impl AttemptError for WebError {
    fn is_unknown(&self) -> bool {
        false
    }
}

impl WebError {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Response { error, .. } => Some(error.status()),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Transport(failure) if failure.is_transient() => Verdict::Retry { after: None },
            Self::Response {
                error, retry_after, ..
            } if is_transient(error.status()) => Verdict::Retry { after: *retry_after },
            Self::Truncated(_) => Verdict::Retry { after: None },
            _ => Verdict::Stop,
        }
    }

    pub(super) fn into_error(self) -> Error {
        let (error, redirect) = match self {
            Self::Permanent(error) => return error,
            Self::Truncated(message) => return Error::new(ErrorKind::Transient, message),
            Self::Transport(failure) => {
                let (kind, hints) = transport_error(&failure, "the server", "https");
                let error = Error::new(kind, failure.to_string());
                return hints.into_iter().fold(error, Error::with_hint);
            }
            Self::Response { error, redirect, .. } => (error, redirect),
        };
        let status = error.status();
        let (kind, hint) = match status.as_u16() {
            401 | 403 | 407 => (
                ErrorKind::Refused,
                "check `https.auth` and `https.headers`; a signed link may have expired".to_owned(),
            ),
            404 | 410 => (
                ErrorKind::Input,
                "the file existed when it was listed: it was moved or deleted since".to_owned(),
            ),
            300..=399 => {
                let target = redirect.map(|origin| format!(" to {origin}")).unwrap_or_default();
                let hint = format!(
                    "redirects are not followed, so that credentials never reach another server: set `path` to the \
                     target of this redirect{target}"
                );
                (ErrorKind::Config, hint)
            }
            _ if is_transient(status) => return Error::new(ErrorKind::Transient, error.text()),
            _ => return Error::new(ErrorKind::Refused, error.text()),
        };
        Error::new(kind, error.text()).with_hint(hint)
    }
}

impl WebClient {
    /// # Errors
    /// A secret cannot be read or is not valid in a header, or the client cannot be set up.
    pub(super) fn new(settings: &HttpsConfig, location: &RemoteLocation, cx: &Context) -> Result<Self> {
        let read = |secret: &SecretRef| secret.read(&cx.base, &cx.secret_files);
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
                add(AUTHORIZATION, format!("Bearer {}", read(token)?.expose()))?;
            }
            Some(WebAuth::Basic { username, password }) => {
                let credentials = format!("{username}:{}", read(password)?.expose());
                add(
                    AUTHORIZATION,
                    format!("Basic {}", BASE64_STANDARD.encode(credentials)),
                )?;
            }
            None => {}
        }
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| Error::config(format!("`{name}` is not a valid header name")))?;
            add(name, read(value)?.expose().to_owned())?;
        }
        let query = match &settings.query {
            Some(secret) => Some(Secret::new(read(secret)?.expose().trim_start_matches('?'))),
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
        let mut url = self
            .origin
            .join(path)
            .map_err(|error| invalid().with_source(error))?;
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

    /// Sends a request once.
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
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| WebError::Transport(Failure::of(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| HeaderValue::to_str(value).ok())
        };
        let retry_after = text(RETRY_AFTER).and_then(|wait| parse_retry_after(wait, SystemTime::now()));
        let redirect = text(LOCATION)
            .and_then(|target| self.origin.join(target).ok())
            .map(|target| target.origin().ascii_serialization());
        let host = self.origin.host_str().unwrap_or_default().to_owned();
        let (body, _) = read_limited(response, MAX_ERROR_BODY).await;
        Err(WebError::Response {
            error: ServiceError::new(status, host, &headers, &body),
            retry_after,
            redirect,
        })
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

    /// Retries transient failures.
    pub(super) async fn retry<T, F>(&self, path: &str, attempt: impl Fn() -> F) -> Result<T, WebError>
    where
        F: Future<Output = Result<T, WebError>>,
    {
        let url = self.display_url(path);
        let result = self
            .retry
            .run(&self.cancel, (None, &url), attempt, WebError::verdict);
        match result.await {
            Ok((value, _)) => Ok(value),
            Err(GaveUp {
                last: Some(error), ..
            }) => Err(error),
            Err(GaveUp { last: None, .. }) => Err(Error::interrupted().into()),
        }
    }
}
