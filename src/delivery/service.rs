//! What a sink provides: a service that takes payloads, and encoders that make them.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Error;
use crate::format::encode::CsvEncoder;

#[async_trait]
pub(crate) trait SinkService: Send + Sync + 'static {
    async fn upload(&self, upload: Upload) -> Answer;
}

#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// Number of the batch in this run, from 1.
    pub(crate) number: u64,
    /// Number of the part in the order of sending, from 1, of a batch that was split; 0 for a complete batch.
    pub(crate) part: u32,
    pub(crate) label: &'static str,
    pub(crate) payload: Bytes,
}

/// What the service did with the rows of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Refused for the size of the payload: a smaller one may be accepted.
    TooLarge,
    /// Refused for its content: other rows may be accepted.
    ContentRejected,
    /// Not delivered for a cause that may pass: the next batch is tried.
    Transient,
    /// Refused for a cause that stays; without a [status](Answer::status), before the rows were sent.
    PermanentlyRefused,
    /// No answer after the service may have accepted the rows.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) attempts: u32,
    /// Requests before the last that got no answer although the service may have received the payload.
    pub(crate) unknown_attempts: u32,
    pub(crate) status: Option<u16>,
    pub(crate) request_ids: Vec<String>,
    /// Body of the last answer, without secrets and values.
    pub(crate) body: Option<String>,
    pub(crate) error: Option<Error>,
    /// The service requested a longer wait than the retry limits allow: send nothing more.
    pub(crate) stop: bool,
}

impl Answer {
    pub(crate) fn without_request(verdict: Verdict, error: Option<Error>) -> Self {
        Self {
            verdict,
            attempts: 0,
            unknown_attempts: 0,
            status: None,
            request_ids: Vec::new(),
            body: None,
            error,
            stop: false,
        }
    }
}

pub(crate) type EncoderFactory = Arc<dyn Fn(&Schema) -> CsvEncoder + Send + Sync>;
