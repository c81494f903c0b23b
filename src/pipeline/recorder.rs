//! Stores exchanges with services for a support case, with personal data masked (`--record`).
//!
//! One file for each page, in a folder of the run, for its owner only. Keys, order and nesting are kept, and the form of
//! each value (`9999-99-99`, `xxxx@xxxxxxx.xxx`); no text, number, token or id of a response is written.

mod json;
mod request;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::component::{Exchange, ExchangeRecorder, Outputs};
use crate::disk::{create_private, create_private_folder};
use crate::error::{Error, Result};
use crate::mask;

/// Pages to store in a run; further ones are only counted.
const MAX_PAGES: u64 = 1000;
/// Bytes to store in a run.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes of a page to store.
const MAX_PAGE_BYTES: usize = 1 << 20;
/// Characters to store of a body that is not JSON.
const MAX_OTHER_CHARS: usize = 200;

#[derive(Debug)]
pub(super) struct PageRecorder {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: u64,
    bytes: u64,
    sources: BTreeMap<String, Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    stored: u64,
    left_out: u64,
}

impl PageRecorder {
    /// Stores pages in `folder`, which is created with the first page.
    pub(super) fn new(folder: PathBuf) -> Self {
        let state = Mutex::default();
        Self { folder, state }
    }

    /// Reports the folder and the numbers of pages.
    pub(super) fn report(&self, outputs: &Outputs) {
        for (source, pages) in &self.state().sources {
            let mut what = match pages.stored {
                1 => "1 recorded page, masked".to_owned(),
                many => format!("{many} recorded pages, masked"),
            };
            if pages.left_out > 0 {
                what.push_str(&format!("; {} more were not stored", pages.left_out));
            }
            tracing::info!(source, folder = %self.folder.display(), "{what}");
            outputs.add(source, what, &self.folder);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExchangeRecorder for PageRecorder {
    fn page(&self, exchange: &Exchange<'_>) -> Result<()> {
        let number = {
            let mut state = self.state();
            let full = state.pages >= MAX_PAGES || state.bytes >= MAX_BYTES;
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
        let name = format!("{}-{number:06}.json", file_name(exchange.source));
        let path = self.folder.join(name);
        let write = || {
            create_private_folder(&self.folder)?;
            create_private(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| {
            Error::unexpected(format!("cannot store a recorded page in `{}`", path.display()))
                .with_source(error)
        })
    }
}

/// The name of a source as the start of a file name.
fn file_name(source: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => c,
        _ => '_',
    };
    source.chars().take(60).map(plain).collect()
}

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
    body_truncated_at: Option<usize>,
    body_is_json: bool,
    /// Raw, so that numbers keep their length.
    body: Box<RawValue>,
}

fn page(exchange: &Exchange<'_>) -> serde_json::Result<String> {
    let stored = &exchange.body[..exchange.body.len().min(MAX_PAGE_BYTES)];
    let text = String::from_utf8_lossy(stored);
    let text = text.trim_start_matches('\u{feff}').trim();
    let declared = exchange
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| String::from_utf8_lossy(kind.as_bytes()).contains("json"));
    let is_json = declared || text.starts_with(['{', '[']);
    let body = if is_json {
        let masked = json::mask(text);
        // Truncated or invalid JSON is stored as text.
        match serde_json::from_str::<IgnoredAny>(&masked) {
            Ok(_) => RawValue::from_string(masked)?,
            Err(_) => to_raw_value(&masked)?,
        }
    } else {
        to_raw_value(&mask::strict_form(text, MAX_OTHER_CHARS))?
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
        body_truncated_at: (stored.len() < exchange.body.len()).then_some(stored.len()),
        body_is_json: is_json,
        body,
    })?;
    page.push('\n');
    Ok(page)
}

#[cfg(test)]
mod tests;
