//! The HTTP client of object stores: certificates, proxy and redirects as everywhere in hrsink, and errors without URLs.

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::StatusCode;

use super::explain::NoIdentity;
use crate::http::settings::Proxy;
use crate::http::transport::{Failure, TransportConfig, read_limited};
use crate::storage::service_error::{ServiceError, transport_error};

const MAX_ERROR_BODY: usize = 16 << 10;

/// Limit of the time to connect to the identity service of a machine.
const IDENTITY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Connector {
    pub(super) transport: TransportConfig,
    pub(super) key: &'static str,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Set by the crate only for the identity service of a machine, which has no TLS.
        let is_identity = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let (mut transport, key) = (self.transport.clone(), self.key);
        if is_identity {
            transport.proxy = Proxy::Direct;
            transport.connect_timeout = IDENTITY_TIMEOUT;
        }
        let client = transport.client().map_err(|error| object_store::Error::Generic {
            store: "HTTP",
            source: Box::new(error),
        })?;
        Ok(HttpClient::new(Service {
            client,
            key,
            is_identity,
        }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    key: &'static str,
    is_identity: bool,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url: Result<url::Url, _> = parts.uri.to_string().parse();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let (host, key) = (url.host_str().unwrap_or_default().to_owned(), self.key);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| match self.is_identity {
            // A retry would not help.
            true => HttpError::new(HttpErrorKind::Unknown, NoIdentity),
            false => http_error(error, &host, key),
        })?;
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error() || status.is_redirection())
            || status == StatusCode::NOT_MODIFIED
        {
            let response: hyper::Response<reqwest::Body> = response.into();
            let failed = move |error| http_error(error, &host, key);
            return Ok(response.map(|body| HttpResponseBody::new(body.map_err(failed))));
        }
        let mut headers = response.headers().clone();
        let (body, _) = read_limited(response, MAX_ERROR_BODY).await;
        // The crate puts the complete body into its error message.
        let error = ServiceError::new(status, host, &headers, &body);
        headers.remove(reqwest::header::CONTENT_LENGTH);
        let mut answer = hyper::Response::new(HttpResponseBody::from(error.to_string()));
        *answer.headers_mut() = headers;
        // A redirect names the region of the bucket; the crate would not report it.
        *answer.status_mut() = match status.is_redirection() {
            true => StatusCode::BAD_REQUEST,
            false => status,
        };
        Ok(answer)
    }
}

fn http_error(error: reqwest::Error, host: &str, key: &str) -> HttpError {
    let failure = Failure::of(error);
    let kind = match &failure {
        Failure::NotSent { .. } => HttpErrorKind::Connect,
        Failure::Unknown { timeout: true, .. } => HttpErrorKind::Timeout,
        Failure::Unknown { .. } => HttpErrorKind::Interrupted,
        Failure::Certificate { .. } | Failure::Invalid(_) | Failure::Answer(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, transport_error(&failure, host, key))
}
