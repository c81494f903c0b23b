//! What a sink provides: a service that takes payloads, and an encoder that makes them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
pub(crate) use crate::format::encode::EncodedRows;

/// Sends payloads, retries, and classifies the answer.
#[async_trait]
pub(crate) trait SinkService: Send + Sync + 'static {
    async fn upload(&self, upload: Upload) -> Answer;
}

/// A payload to send.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// Number of the batch in this run, from 1.
    pub(crate) number: u64,
    /// Number of the part in the order of sending, from 1, of a batch that was split; 0 for a complete batch.
    pub(crate) part: u32,
    /// Label of the [partition](super::Partition).
    pub(crate) label: &'static str,
    /// The header row and the rows.
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
    /// Refused for another reason.
    Refused,
    /// Not delivered. If the error is transient, the next batch is tried.
    NotSent,
    /// No answer after the service may have accepted the rows.
    Unknown,
}

/// The classified answer to an [`Upload`].
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Requests sent.
    pub(crate) attempts: u32,
    /// Requests before the last that got no answer although the service may have received the payload.
    pub(crate) unknown_attempts: u32,
    /// Status of the last answer, for the report.
    pub(crate) status: Option<u16>,
    /// Ids for support cases.
    pub(crate) request_ids: Vec<String>,
    /// Body of the last answer, without secrets and values.
    pub(crate) body: Option<String>,
    /// Why the rows were not accepted.
    pub(crate) error: Option<Error>,
    /// The service asked to wait longer than the retry limits allow: send nothing more.
    pub(crate) stop: bool,
}

impl Answer {
    /// Without any request.
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

/// Encodes rows of one schema.
pub(crate) trait Encoder: Send + Sync {
    /// The start of every payload, such as the header row.
    fn header(&self) -> Vec<u8>;

    fn encode(&self, rows: &RecordBatch) -> Result<EncodedRows>;
}

/// Creates the encoder for a schema.
pub(crate) type EncoderFactory = Arc<dyn Fn(&Schema) -> Box<dyn Encoder> + Send + Sync>;
