//! Takes JSON records out of an answer's body while it streams by.
//!
//! ```text
//! bytes ─▶ walk: along the path, past all else ─▶ text of a record ─▶ row: key, list inside, added columns ─▶ take
//!             └─▶ probes: single values, wherever they stand
//! ```
//!
//! Only what a path leads through is looked at byte by byte; the rest, the records' insides included, is passed over
//! for its quotes and brackets, which must match. A record that lies in one piece of the body is given on without being
//! copied. What is kept in memory is one record, and the body as a whole only for paths with filters, slices or `..`.
//!
//! Whatever is wrong around the records is an error of the body. What is wrong inside one is left to the stage that
//! decodes it and puts it aside: it gets the text as it came.

mod config;
mod error;
mod plan;
mod query;
mod row;
mod scan;
mod sniff;
mod walk;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use ahash::{AHasher, RandomState};
use serde_json::Value;

use super::json_path::{ExtractedValues, SinglePath, ValuePaths};
use config::BodyFormat;
pub(super) use config::Missing;
pub use config::RecordsConfig;
pub(super) use error::BodyError;
pub(super) use plan::Limits;
use plan::Plan;
use row::{Rows, Take};
use walk::Walk;

/// The same for all bodies, so that digests can be compared. It sees every byte, so it is a quick one: nobody gains by
/// making two pages look alike.
const DIGESTS: RandomState = RandomState::with_seeds(1, 2, 3, 4);

/// How records are taken out of bodies.
#[derive(Debug, Clone)]
pub(super) struct Extractor(Arc<Plan>);

impl Extractor {
    /// For settings without [problems](RecordsConfig::validate).
    pub(super) fn new(config: &RecordsConfig, probes: &ValuePaths, limits: Limits) -> Self {
        Self(Arc::new(Plan::new(config, probes, limits)))
    }

    /// Where each record's list is, if records are exploded, and what it means that there is none.
    pub(super) fn explodes(&self) -> Option<(String, Missing)> {
        let config = &self.0.config;
        let explode = config.explode.as_ref()?;
        Some((explode.path.0.to_string(), config.missing))
    }

    /// The columns to pick, in the order of their bits in [`Finished::picked`].
    pub(super) fn picks(&self) -> impl Iterator<Item = (&String, &SinglePath)> {
        self.0.config.columns.iter()
    }

    /// Begins a body. `extra` are columns that every row gets. One that a record has as well must hold the same there.
    pub(super) fn start(&self, extra: &[(Arc<str>, Value)]) -> Extraction {
        Extraction {
            walk: Walk::new(&self.0),
            output: Output {
                rows: Rows::new(&self.0.config, extra),
                records: 0,
                written: 0,
                digest: DIGESTS.build_hasher(),
                last: None,
            },
            whole: Vec::new(),
            plan: self.0.clone(),
        }
    }
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Extraction {
    plan: Arc<Plan>,
    walk: Walk,
    output: Output,
    /// The body, or its line, for a path that needs it all.
    whole: Vec<u8>,
}

/// What was taken so far.
#[derive(Debug)]
struct Output {
    rows: Rows,
    records: u64,
    written: u64,
    digest: AHasher,
    last: Option<Vec<u8>>,
}

/// What a body gave.
#[derive(Debug)]
pub(super) struct Finished {
    /// Records, before they were exploded.
    pub(super) records: u64,
    /// Rows given to `take`.
    pub(super) rows: u64,
    /// Records in which there was no list to explode, not even an empty one. If these are all that there are, its
    /// path may be misspelt.
    pub(super) without_list: u64,
    /// What the probes found; on several lines of NDJSON, the last.
    pub(super) values: ExtractedValues,
    /// Two bodies with the same records have the same, two others practically never, within one run.
    pub(super) digest: u64,
    /// Bits of the first 64 columns to pick for which there was anything in a row, null included.
    pub(super) picked: u64,
    last: Option<Vec<u8>>,
}

impl Extraction {
    /// Takes the next bytes of the body. Each row that they complete goes to `take` as the text of a JSON object: in
    /// one piece, with white space inside it as it came, line breaks included.
    ///
    /// # Errors
    /// What is wrong with the body, and what `take` gives. There is no going on then.
    pub(super) fn feed<E: From<BodyError>>(&mut self, bytes: &[u8], take: Take<'_, E>) -> Result<(), E> {
        if self.plan.config.format == BodyFormat::Json {
            return self.piece(bytes, take);
        }
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            self.piece(line, take)?;
            self.walk.end_line(&self.plan)?;
            self.query(take)?;
            rest = after;
        }
        self.piece(rest, take)
    }

    /// The body has ended.
    ///
    /// # Errors
    /// As those of [`feed`](Self::feed); that it is cut off, that it is empty, that the path leads nowhere.
    pub(super) fn finish<E: From<BodyError>>(mut self, take: Take<'_, E>) -> Result<Finished, E> {
        let lines = self.plan.config.format == BodyFormat::Ndjson;
        let values = self.walk.finish(&self.plan, lines)?;
        self.query(take)?;
        let Output {
            rows,
            records,
            written,
            digest,
            last,
        } = self.output;
        Ok(Finished {
            records,
            rows: written,
            without_list: rows.without_list,
            picked: rows.picked,
            values: ExtractedValues::new(values),
            digest: digest.finish(),
            last,
        })
    }

    fn piece<E: From<BodyError>>(&mut self, piece: &[u8], take: Take<'_, E>) -> Result<(), E> {
        let mut at = 0;
        while let Some(bounds) = self.walk.advance(&self.plan, piece, &mut at)? {
            let (record, key) = self.walk.record(piece, bounds);
            self.output.record(&self.plan, record, key, bounds.0, take)?;
        }
        if self.plan.whole {
            let most = self.plan.limits.max_buffered;
            if self.whole.len() + piece.len() > most {
                return Err(BodyError::TooLarge {
                    what: format!("{}, which `{}` needs,", error::WHOLE, self.plan.path()).into(),
                    at: self.walk.base() - self.whole.len() as u64,
                    most: most as u64,
                }
                .into());
            }
            self.whole.extend_from_slice(piece);
        }
        self.walk.end_piece(&self.plan, piece)?;
        Ok(())
    }

    /// Takes the records out of what was kept.
    fn query<E: From<BodyError>>(&mut self, take: Take<'_, E>) -> Result<(), E> {
        let plan = &self.plan;
        let base = self.walk.base() - self.whole.len() as u64;
        let document = self.whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.whole);
        if !plan.whole || document.trim_ascii().is_empty() {
            self.whole.clear();
            return Ok(());
        }
        let base = base + (self.whole.len() - document.len()) as u64;
        for text in query::texts(document, base, &plan.config.path.query)? {
            match text.as_bytes().first() {
                Some(b'[') => {
                    let elements: Vec<&serde_json::value::RawValue> =
                        serde_json::from_str(text).unwrap_or_default();
                    for element in elements {
                        self.output
                            .record(plan, element.get().as_bytes(), &[], base, take)?;
                    }
                }
                Some(b'n') | None => {}
                Some(_) => self.output.record(plan, text.as_bytes(), &[], base, take)?,
            }
        }
        self.whole.clear();
        Ok(())
    }
}

impl Output {
    #[inline]
    fn record<E: From<BodyError>>(
        &mut self,
        plan: &Plan,
        record: &[u8],
        key: &[u8],
        at: u64,
        take: Take<'_, E>,
    ) -> Result<(), E> {
        self.records += 1;
        self.digest.write(key);
        self.digest.write(record);
        self.digest.write_u8(0xff);
        if plan.limits.keep_last {
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(record);
        }
        self.written += self.rows.write(&plan.config, record, key, at, take)?;
        Ok(())
    }
}

impl Finished {
    /// The last record, if there is one. Needs [`Limits::keep_last`].
    ///
    /// # Errors
    /// It is not valid JSON.
    pub(super) fn last_record(&self) -> Result<Option<Value>, BodyError> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        serde_json::from_slice(last)
            .map(Some)
            .map_err(|_| BodyError::Structure {
                at: 0,
                what: "the last record is not valid JSON".into(),
            })
    }
}

#[cfg(test)]
mod tests;
