//! Stores what services answered, for a support case, with personal data masked.
//!
//! One file a page, in a folder of the run's own, for its owner only. What a page is like stays: the names of keys,
//! the order and nesting of values, and the form of each (`9999-99-99`, `xxxx@xxxxxxx.xxx`). No text, number, token or
//! id of an answer is written; `true`, `false` and `null` are.

mod json;
mod request;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use url::Url;

use crate::component::{Exchange, ExchangeRecorder, Outputs};
use crate::disk::{create_private, create_private_folder};
use crate::error::{Error, Result};
use crate::mask;

/// Pages to store in a run; more are only counted.
const MOST_PAGES: u64 = 1000;
/// Bytes to store in a run.
const MOST_BYTES: u64 = 256 << 20;
/// Bytes of a page that are looked at.
const MOST_OF_A_PAGE: usize = 1 << 20;
/// Characters of a body that is no JSON.
const MOST_OF_OTHER: usize = 200;

/// Stores what services answered, for a support case, with personal data masked. Off unless asked for. Cheap to
/// clone; the clones count together.
#[derive(Clone)]
pub(super) struct PageRecorder(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pages: u64,
    bytes: u64,
    sources: BTreeMap<String, Pages>,
}

/// How many pages of a source.
#[derive(Default, Clone, Copy)]
struct Pages {
    stored: u64,
    left_out: u64,
}

impl fmt::Debug for PageRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRecorder")
            .field("folder", &self.0.folder)
            .finish_non_exhaustive()
    }
}

impl PageRecorder {
    /// One that stores pages in `folder`, which is made with the first of them.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            folder,
            state: Mutex::default(),
        }))
    }

    /// Where the pages are.
    fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Tells where the pages are.
    pub(super) fn report(&self, outputs: &Outputs) {
        for (source, pages) in &self.state().sources {
            let mut what = match pages.stored {
                1 => "1 recorded page, masked".to_owned(),
                many => format!("{many} recorded pages, masked"),
            };
            if pages.left_out > 0 {
                what.push_str(&format!("; {} more were not stored", pages.left_out));
            }
            tracing::info!(source, folder = %self.folder().display(), "{what}");
            outputs.add(source, what, self.folder());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExchangeRecorder for PageRecorder {
    fn page(&self, exchange: &Exchange<'_>) -> Result<()> {
        let number = {
            let mut state = self.state();
            let full = state.pages >= MOST_PAGES || state.bytes >= MOST_BYTES;
            let pages = state.sources.entry(exchange.source.to_owned()).or_default();
            if full {
                pages.left_out += 1;
                return Ok(());
            }
            pages.stored += 1;
            state.pages += 1;
            state.pages
        };
        let text = page(exchange)
            .map_err(|error| Error::unexpected("cannot write a recorded page as JSON").with_source(error))?;
        self.state().bytes += text.len() as u64;
        let path = self
            .folder()
            .join(format!("{}-{number:06}.json", file_name(exchange.source)));
        let write = || {
            create_private_folder(self.folder())?;
            create_private(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| {
            Error::unexpected(format!("cannot store a recorded page in `{}`", path.display()))
                .with_source(error)
        })
    }
}

/// A source's name as the beginning of a file's name.
fn file_name(source: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    source.chars().take(60).map(plain).collect()
}

/// What a file holds.
#[derive(Serialize)]
struct Page<'a> {
    hrsink_version: &'static str,
    source: &'a str,
    method: &'a str,
    url: String,
    status: u16,
    headers: Value,
    body_bytes: usize,
    body_complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_cut_at: Option<usize>,
    body_is_json: bool,
    /// As it came, if it is JSON: numbers of any length keep it.
    body: Box<RawValue>,
}

/// The file's text.
fn page(exchange: &Exchange<'_>) -> serde_json::Result<String> {
    let looked_at = &exchange.body[..exchange.body.len().min(MOST_OF_A_PAGE)];
    let text = String::from_utf8_lossy(looked_at);
    let text = text.trim_start_matches('\u{feff}').trim();
    let declared = exchange
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| String::from_utf8_lossy(kind.as_bytes()).contains("json"));
    let is_json = declared || text.starts_with(['{', '[']);
    let body = if is_json {
        let masked = json::mask(text);
        // Of a page that was cut, or is no JSON after all, the form of its text.
        match serde_json::from_str::<IgnoredAny>(&masked) {
            Ok(_) => RawValue::from_string(masked)?,
            Err(_) => to_raw_value(&masked)?,
        }
    } else {
        to_raw_value(&mask::strict_form(text, MOST_OF_OTHER))?
    };
    let mut page = serde_json::to_string_pretty(&Page {
        hrsink_version: env!("CARGO_PKG_VERSION"),
        source: exchange.source,
        method: exchange.method,
        url: request::url(exchange.url),
        status: exchange.status,
        headers: request::headers(exchange.headers),
        body_bytes: exchange.body.len(),
        body_complete: exchange.complete,
        body_cut_at: (looked_at.len() < exchange.body.len()).then_some(looked_at.len()),
        body_is_json: is_json,
        body,
    })?;
    page.push('\n');
    Ok(page)
}

#[cfg(test)]
mod tests;
