//! Rejected rows, each with a reason that a person can act on.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::Serialize;

use super::{Counts, Origin};
use crate::error::{Error, Result};

/// Why a row or one of its fields was rejected. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectCode {
    /// A required field has no value.
    Missing,
    /// Not a user principal name or e-mail address.
    InvalidUpn,
    /// A date in none of the configured formats.
    InvalidDate,
    /// A date outside the plausible range.
    ImplausibleDate,
    /// A local time skipped by daylight saving, with the setting to reject it.
    NonexistentTime,
    /// A local time that occurs twice because of daylight saving, with the setting to reject it.
    AmbiguousTime,
    /// A text longer than its field allows.
    TooLong,
    /// A value of the wrong type.
    WrongType,
    /// An expression that failed for this row.
    ExpressionFailed,
    /// A record with more or fewer values than the header.
    RaggedRow,
    /// Bytes that are invalid in the file's encoding.
    InvalidEncoding,
    /// A record that is invalid in its format.
    InvalidRecord,
    /// A row larger than a batch may be.
    TooLarge,
    /// A row that the service refused, found by splitting a batch.
    Refused,
}

impl RejectCode {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::InvalidUpn => "invalid_upn",
            Self::InvalidDate => "invalid_date",
            Self::ImplausibleDate => "implausible_date",
            Self::NonexistentTime => "nonexistent_time",
            Self::AmbiguousTime => "ambiguous_time",
            Self::TooLong => "too_long",
            Self::WrongType => "wrong_type",
            Self::ExpressionFailed => "expression_failed",
            Self::RaggedRow => "ragged_row",
            Self::InvalidEncoding => "invalid_encoding",
            Self::InvalidRecord => "invalid_record",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something wrong with a row.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// The HR field, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// The reason.
    pub code: RejectCode,
    /// The reason in words. Never holds a value of the row.
    pub message: Cow<'static, str>,
    /// The value; written only with `rejects.include_values: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A rejected row.
#[derive(Debug, Clone, Serialize)]
pub struct Reject {
    /// The origin of the row.
    #[serde(flatten)]
    pub origin: Origin,
    /// Name of the component that rejected it.
    pub component: Arc<str>,
    /// Everything wrong with it; at least one.
    pub faults: Vec<Fault>,
}

/// Writes rejects as they are found.
pub trait RejectWriter: fmt::Debug + Send {
    /// Writes one.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, reject: &Reject) -> Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// It cannot be written.
    fn flush(&mut self) -> Result<()>;
}

/// Collects the rejects of a run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rejects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    include_values: bool,
    state: Mutex<State>,
    /// The counters of all components, and the allowed ratio.
    limit: OnceLock<(Vec<Counts>, f64)>,
}

#[derive(Debug)]
struct State {
    target: Target,
    by_code: BTreeMap<(String, RejectCode), u64>,
    by_file: BTreeMap<Arc<str>, u64>,
}

#[derive(Debug)]
enum Target {
    Writer(Box<dyn RejectWriter>),
    Memory(Vec<Reject>, usize),
    /// Writing failed; nothing more is written.
    Failed(Error),
}

impl Rejects {
    /// Rejects that `writer` writes.
    pub fn to_writer(writer: Box<dyn RejectWriter>, include_values: bool) -> Self {
        Self::new(Target::Writer(writer), include_values)
    }

    /// Rejects of which the first `max` are kept in memory.
    pub fn in_memory(max: usize, include_values: bool) -> Self {
        Self::new(Target::Memory(Vec::new(), max), include_values)
    }

    fn new(target: Target, include_values: bool) -> Self {
        let (by_code, by_file) = (BTreeMap::new(), BTreeMap::new());
        Self(Arc::new(Inner {
            include_values,
            state: Mutex::new(State {
                target,
                by_code,
                by_file,
            }),
            limit: OnceLock::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to set [`Fault::value`]. Values are removed otherwise.
    pub fn include_values(&self) -> bool {
        self.0.include_values
    }

    /// Adds a reject. If it cannot be written, [`flush`](Self::flush) returns the error.
    pub fn add(&self, mut reject: Reject) {
        if !self.0.include_values {
            for fault in &mut reject.faults {
                fault.value = None;
            }
        }
        let mut state = self.state();
        // By the first fault only, so that the sums add up to the rows.
        if let Some(fault) = reject.faults.first() {
            let field = fault.field.as_deref().unwrap_or_default().to_owned();
            *state.by_code.entry((field, fault.code)).or_default() += 1;
        }
        *state.by_file.entry(reject.origin.file.clone()).or_default() += 1;
        match &mut state.target {
            Target::Memory(kept, max) if kept.len() < *max => kept.push(reject),
            Target::Memory(..) | Target::Failed(_) => {}
            Target::Writer(writer) => {
                if let Err(error) = writer.write(&reject) {
                    state.target = Target::Failed(error);
                }
            }
        }
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// It could not be written, now or earlier.
    pub fn flush(&self) -> Result<()> {
        match &mut self.state().target {
            Target::Memory(..) => Ok(()),
            Target::Writer(writer) => writer.flush(),
            Target::Failed(error) => Err(error.copy()),
        }
    }

    /// Rejected rows so far by the field of their first fault (empty if it is about none) and code, most first.
    pub fn summary(&self) -> Vec<(String, RejectCode, u64)> {
        let state = self.state();
        let sums = state.by_code.iter();
        let mut sums: Vec<_> = sums
            .map(|((field, code), rows)| (field.clone(), *code, *rows))
            .collect();
        sums.sort_by_key(|(_, _, rows)| Reverse(*rows));
        sums
    }

    /// Limits the ratio of rejects to the rows that `all` components of the run were to send. The first call counts.
    pub(crate) fn set_limit(&self, all: Vec<Counts>, max_ratio: f64) {
        let _ = self.0.limit.set((all, max_ratio));
    }

    /// Whether more rows were rejected so far than the run allows.
    pub fn exceed_limit(&self) -> bool {
        let limit = self.0.limit.get();
        limit.is_some_and(|(all, max_ratio)| Counts::sum(all).reject_ratio() > *max_ratio)
    }

    /// Rejected rows of the file of this name so far, including members if it is an archive (`name/member`).
    pub fn rows_of(&self, file: &str) -> u64 {
        let from_file = (Bound::Included(file), Bound::Unbounded);
        let state = self.state();
        state
            .by_file
            .range::<str, _>(from_file)
            .map_while(|(name, rows)| Some((name.strip_prefix(file)?, rows)))
            .filter(|(member, _)| member.is_empty() || member.starts_with('/'))
            .map(|(_, rows)| rows)
            .sum()
    }

    /// The rejects kept in memory.
    pub fn kept(&self) -> Vec<Reject> {
        match &self.state().target {
            Target::Memory(kept, _) => kept.clone(),
            Target::Writer(_) | Target::Failed(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rows_by_file_including_members_of_archives() {
        let rejects = Rejects::in_memory(0, false);
        let files = [
            "a.zip/x.csv",
            "a.zip/y.csv",
            "a.zip",
            "a.zip2",
            "a.zi",
            "a.zip.pgp/x.csv",
        ];
        for file in files {
            let origin = Origin {
                file: file.into(),
                row: 1,
                line: None,
            };
            rejects.add(Reject {
                origin,
                component: "out".into(),
                faults: Vec::new(),
            });
        }
        for (file, rows) in [("a.zip", 3), ("a.zip.pgp", 1), ("b.zip", 0)] {
            assert_eq!(rejects.rows_of(file), rows);
        }
    }
}
