//! The HTTP client of object stores: certificates, proxy and redirects as everywhere in hrsink, and errors without URLs.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::StatusCode;

use super::explain::NoIdentity;
use crate::http::settings::Proxy;
use crate::http::transport::{Failure, TransportConfig, read_limited};
use crate::storage::service_error::ServiceError;

/// Upper bound of an error body.
const MAX_ERROR_BODY: usize = 16 << 10;

/// Limit of the time to connect to the identity service of a machine.
const IDENTITY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Creates the clients.
#[derive(Debug)]
pub(in crate::storage) struct Connector {
    pub(in crate::storage) transport: TransportConfig,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Set by the crate only for the identity service of a machine, which has no TLS.
        let is_identity = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let transport = if is_identity {
            TransportConfig {
                proxy: Proxy::Direct,
                connect_timeout: IDENTITY_TIMEOUT,
                ..self.transport.clone()
            }
        } else {
            self.transport.clone()
        };
        let client = transport.client().map_err(|error| object_store::Error::Generic {
            store: "HTTP",
            source: Box::new(error),
        })?;
        Ok(HttpClient::new(Service { client, is_identity }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    /// For the identity service of the machine.
    is_identity: bool,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url: url::Url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
        let response = self.client.execute(request).await.map_err(|error| {
            let error = http_error(error);
            if self.is_identity {
                // A retry would not help.
                HttpError::new(HttpErrorKind::Unknown, NoIdentity)
            } else {
                error
            }
        })?;
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error() || status.is_redirection())
            || status == StatusCode::NOT_MODIFIED
        {
            let response: hyper::Response<reqwest::Body> = response.into();
            return Ok(response.map(|body| HttpResponseBody::new(Received(Box::pin(body)))));
        }
        // The crate puts the complete body into its error message.
        let mut answer = hyper::Response::new(());
        // A redirect names the region of the bucket; the crate would not report it.
        *answer.status_mut() = if status.is_redirection() {
            StatusCode::BAD_REQUEST
        } else {
            status
        };
        *answer.headers_mut() = response.headers().clone();
        let headers = response.headers().clone();
        let (body, _) = read_limited(response, MAX_ERROR_BODY).await;
        let error = ServiceError::new(status, host, &headers, &body);
        answer.headers_mut().remove(reqwest::header::CONTENT_LENGTH);
        Ok(answer.map(|()| HttpResponseBody::from(error.to_string())))
    }
}

fn http_error(error: reqwest::Error) -> HttpError {
    let failure = Failure::of(error);
    let kind = match &failure {
        Failure::NotSent { .. } => HttpErrorKind::Connect,
        Failure::Unknown { timeout: true, .. } => HttpErrorKind::Timeout,
        Failure::Unknown { .. } => HttpErrorKind::Interrupted,
        Failure::Certificate { .. } | Failure::Invalid(_) | Failure::Answer(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, failure)
}

/// A body with our errors.
#[derive(Debug)]
struct Received(Pin<Box<reqwest::Body>>);

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(http_error)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
