//! Refused uploads.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::ext::ReasonPhrase;

/// The header with the reason of a refusal. The real service has no such header: its refusals are opaque.
pub(super) const REASON_HEADER: &str = "x-emulator-reason";

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) phrase: Option<ReasonPhrase>,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            phrase: None,
            reason: reason.into(),
        }
    }

    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn internal(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::info!(status = self.status.as_u16(), reason = %self.reason, "upload refused");
        let mut response = self.status.into_response();
        if let Ok(reason) = HeaderValue::from_str(&self.reason) {
            response.headers_mut().insert(REASON_HEADER, reason);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(phrase) = self.phrase {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}
