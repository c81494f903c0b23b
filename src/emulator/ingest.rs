//! The ingestion endpoint: checks an upload, reads its CSV and saves the rows.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::ext::ReasonPhrase;
use uuid::Uuid;

use super::config::{Job, guid};
use super::refusal::Refusal;
use super::state::Shared;
use super::table;

/// Reads a body of any size to its end, so that the client gets the response instead of a connection error.
/// `None`: it was larger than `max`, and was discarded.
pub(super) async fn read_body(body: Body, max: u64) -> Result<Option<Bytes>, axum::Error> {
    // Reserves the content length, up to the size of a usual upload.
    let expected = body.size_hint().lower().min(max).min(8 * 1024 * 1024);
    let mut content = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    let mut stream = body.into_data_stream();
    let mut length = 0_u64;
    while let Some(part) = stream.next().await {
        let part = part?;
        length += part.len() as u64;
        if length > max {
            content = BytesMut::new();
        } else {
            content.extend_from_slice(&part);
        }
    }
    Ok((length <= max).then(|| content.freeze()))
}

pub(super) async fn import(shared: &Shared, parts: Parts, body: Option<Bytes>) -> Result<(), Refusal> {
    let client_id = authenticate(shared, &parts)?;
    let (job_id, job) = job(shared, &parts, client_id)?;
    let Some(body) = body else {
        let reason = format!("the body is larger than {} bytes", shared.config.max_body.get());
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
    };
    let (file, content) = file_part(parts, body).await?;
    let table = table::read(&content, job.as_deref(), shared.config.max_rows.get())?;
    let import = shared.store.add(job_id, file, table).map_err(|error| {
        tracing::error!(%error, "cannot save the rows of an upload");
        Refusal::internal("the emulator cannot write to its data folder")
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
        .ok_or_else(|| unauthorized("the `Authorization` header is missing"))?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthorized("the `Authorization` header has no bearer token"))?;
    shared
        .state()
        .tokens
        .authorize(token, &shared.config.resources)
        .map_err(unauthorized)
}

/// The job in the query; without settings in open mode.
fn job(shared: &Shared, parts: &Parts, client_id: Option<Uuid>) -> Result<(Uuid, Option<Arc<Job>>), Refusal> {
    let query: HashMap<String, String> = form(parts.uri.query().unwrap_or_default().as_bytes());
    let text = query
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("jobid"))
        .map(|(_, value)| value.as_str())
        .ok_or_else(|| Refusal::malformed("the query has no `jobid`"))?;
    let job_id = guid(text).ok_or_else(|| Refusal::malformed("the `jobid` is not a GUID"))?;
    if shared.jobs.is_empty() {
        return Ok((job_id, None));
    }
    let job = shared
        .jobs
        .get(&job_id)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "the job does not exist"))?;
    if job.client_id.is_some() && job.client_id != client_id {
        return Err(Refusal {
            // The only explanation observed from the real service; it is in the status line only.
            phrase: Some(ReasonPhrase::from_static(
                b"jobId and corresponding appId do not match",
            )),
            ..Refusal::new(StatusCode::FORBIDDEN, "the job belongs to another app")
        });
    }
    Ok((job_id, Some(job.clone())))
}

/// The file name and content of the only part of the body.
async fn file_part(parts: Parts, body: Bytes) -> Result<(String, Bytes), Refusal> {
    let request = Request::from_parts(parts, Body::from(body));
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| Refusal::malformed("the body is not `multipart/form-data` with a boundary"))?;
    let broken = |_| Refusal::malformed("the multipart body is malformed");
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

/// Decodes a query or form. The first value of a repeated name applies.
pub(super) fn form(encoded: &[u8]) -> HashMap<String, String> {
    let mut form = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        form.entry(name.into_owned())
            .or_insert_with(|| value.into_owned());
    }
    form
}
