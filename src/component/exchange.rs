//! Exchanges with services, to be stored for a support case.

use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use url::Url;

use crate::error::Result;

/// Stores exchanges with personal data masked. Present in a run with `--record`.
pub trait ExchangeRecorder: fmt::Debug + Send + Sync {
    /// Stores an exchange. Blocks for some milliseconds with a large body.
    ///
    /// # Errors
    /// It cannot be written.
    fn page(&self, exchange: &Exchange<'_>) -> Result<()>;
}

/// The recorder of a run.
pub type Recorder = Arc<dyn ExchangeRecorder>;

/// A request and its response.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Method of the request.
    pub method: &'a str,
    /// URL of the request. Stored without credentials and fragment, and with most values masked.
    pub url: &'a Url,
    /// Status of the response.
    pub status: u16,
    /// Headers of the response.
    pub headers: &'a HeaderMap,
    /// Body of the response, decompressed, or its first bytes.
    pub body: &'a [u8],
    /// Whether `body` is complete.
    pub complete: bool,
}

/// Without URL, headers and body.
impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("source", &self.source)
            .field("method", &self.method)
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
