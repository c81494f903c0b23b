//! The ingestion endpoint: what a request must be to be taken.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::ext::ReasonPhrase;
use uuid::Uuid;

use super::config::{Job, is_guid};
use super::server::Shared;
use super::table::{self, Refused};

/// Says why a request was refused. The real service has no such header: its refusals are opaque.
pub(super) const REASON_HEADER: &str = "x-emulator-reason";

/// A request that is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    phrase: Option<ReasonPhrase>,
    reason: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            phrase: None,
            reason: reason.into(),
        }
    }

    fn malformed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
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

/// Reads a body to its end, whatever its size, so that the client gets the answer instead of a broken connection.
/// `None` within: it was larger than `most`, and was not kept.
pub(super) async fn read_body(body: Body, most: u64) -> Result<Option<Bytes>, axum::Error> {
    // A stated length is reserved at once, up to the size of a usual upload.
    let stated = body.size_hint().lower().min(most).min(8 * 1024 * 1024);
    let mut kept = BytesMut::with_capacity(usize::try_from(stated).unwrap_or_default());
    let mut stream = body.into_data_stream();
    let mut length = 0_u64;
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        length += piece.len() as u64;
        if length > most {
            kept = BytesMut::new();
        } else {
            kept.extend_from_slice(&piece);
        }
    }
    Ok((length <= most).then(|| kept.freeze()))
}

/// Takes an upload: all checks, then the import.
pub(super) async fn take(shared: &Shared, parts: Parts, body: Option<Bytes>) -> Result<(), Refusal> {
    let client_id = authenticate(shared, &parts)?;
    let (job_id, job) = job(shared, &parts, client_id)?;
    let Some(body) = body else {
        let reason = format!("the body is larger than {} bytes", shared.config.max_body);
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
    };
    let (file, content) = file_part(parts, body).await?;
    let table =
        table::read(&content, job.as_deref(), shared.config.max_rows).map_err(|refused| match refused {
            Refused::Malformed(reason) => Refusal::malformed(reason),
            Refused::Ragged(row) => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("row {row} has another number of cells than the header"),
            ),
        })?;
    let import = shared.store.add(job_id, file, table).map_err(|error| {
        tracing::error!(%error, "cannot keep the rows of an upload");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the emulator cannot write its data folder",
        )
    })?;
    tracing::info!(
        import = import.import,
        job_id = %import.job_id,
        rows = import.rows,
        records_saved = import.records_saved,
        messages = import.messages.len(),
        "import done"
    );
    Ok(())
}

fn authenticate(shared: &Shared, parts: &Parts) -> Result<Option<Uuid>, Refusal> {
    let unauthorized = |reason: &str| Refusal::new(StatusCode::UNAUTHORIZED, reason);
    let header = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unauthorized("there is no `Authorization` header"))?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthorized("the `Authorization` header holds no bearer token"))?;
    shared
        .tokens()
        .take(token, &shared.config.resources)
        .map_err(unauthorized)
}

/// The job that the query names; no settings in the open mode.
fn job(shared: &Shared, parts: &Parts, client_id: Option<Uuid>) -> Result<(Uuid, Option<Arc<Job>>), Refusal> {
    let query: HashMap<String, String> = form(parts.uri.query().unwrap_or_default().as_bytes());
    let text = query
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("jobid"))
        .map(|(_, value)| value.as_str())
        .ok_or_else(|| Refusal::malformed("the query has no `jobid`"))?;
    let job_id = is_guid(text)
        .then(|| Uuid::try_parse(text).ok())
        .flatten()
        .ok_or_else(|| Refusal::malformed("the `jobid` is not a GUID"))?;
    if shared.jobs.is_empty() {
        return Ok((job_id, None));
    }
    let job = shared
        .jobs
        .get(&job_id)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such job"))?;
    if job.client_id.is_some() && job.client_id != client_id {
        return Err(Refusal {
            // The one explanation that was seen in the wild, and it stands in the status line alone.
            phrase: Some(ReasonPhrase::from_static(
                b"jobId and corresponding appId do not match",
            )),
            ..Refusal::new(StatusCode::FORBIDDEN, "the job belongs to another app")
        });
    }
    Ok((job_id, Some(job.clone())))
}

/// The name and content of the one part of the body.
async fn file_part(parts: Parts, body: Bytes) -> Result<(String, Bytes), Refusal> {
    let request = Request::from_parts(parts, Body::from(body));
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| Refusal::malformed("the body is not `multipart/form-data` with a boundary"))?;
    let broken = |_| Refusal::malformed("the multipart body is broken");
    let field = multipart
        .next_field()
        .await
        .map_err(broken)?
        .ok_or_else(|| Refusal::malformed("the multipart body has no part"))?;
    if field.name() != Some("file") {
        return Err(Refusal::malformed("the part is not named `file`"));
    }
    let name = field
        .file_name()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refusal::malformed("the part has no file name"))?
        .to_owned();
    let content = field.bytes().await.map_err(broken)?;
    if multipart.next_field().await.map_err(broken)?.is_some() {
        return Err(Refusal::malformed("the multipart body has more than one part"));
    }
    Ok((name, content))
}

/// Decodes a query or form; of a name given twice the first value counts.
pub(super) fn form(encoded: &[u8]) -> HashMap<String, String> {
    let mut form = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        form.entry(name.into_owned())
            .or_insert_with(|| value.into_owned());
    }
    form
}
