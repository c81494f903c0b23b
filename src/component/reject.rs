//! Rows put aside: one NDJSON line each, with the reason a person can act on.

mod rotation;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Origin;
use crate::error::{Error, Result};
use rotation::Rotation;

/// Why a row, or one of its fields, was put aside. The names are stable: reports are filtered by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectCode {
    /// A required field has no value.
    Missing,
    /// Not a user principal name or e-mail address.
    InvalidUpn,
    /// Not a date in any of the formats given.
    InvalidDate,
    /// A date outside the plausible range.
    ImplausibleDate,
    /// A local time that daylight saving leaves out, where the setting is to reject it.
    NonexistentTime,
    /// A local time that daylight saving has twice, where the setting is to reject it.
    AmbiguousTime,
    /// A text longer than its field allows.
    TooLong,
    /// A value of a type that the field cannot take.
    WrongType,
    /// An expression that could not be computed for this row.
    ExpressionFailed,
    /// A record with more or fewer values than the header has.
    RaggedRow,
    /// Bytes that are not valid in the file's encoding.
    InvalidEncoding,
    /// A record that is not valid in its format.
    InvalidRecord,
    /// A row that alone is larger than a batch may be.
    TooLarge,
    /// A row that the service refused on its own, found by splitting the batch that it refused.
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

/// One thing that is wrong with a row.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// The HR field, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// The reason.
    pub code: RejectCode,
    /// The reason in words. Never holds a value of the row.
    pub message: Cow<'static, str>,
    /// The offending value; written only with `rejects.include_values: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A row put aside.
#[derive(Debug, Clone, Serialize)]
pub struct Reject {
    /// Where the row came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// Name of the component that put it aside.
    pub component: Arc<str>,
    /// Everything that is wrong with it; at least one.
    pub faults: Vec<Fault>,
}

/// Takes the rejects of a run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rejects(Arc<RejectsInner>);

#[derive(Debug)]
struct RejectsInner {
    include_values: bool,
    rotation: Option<Rotation>,
    state: Mutex<State>,
    measure: Mutex<Option<Measure>>,
}

/// What says whether a run has put aside more than is allowed.
struct Measure(Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measure")
    }
}

#[derive(Debug)]
struct State {
    target: Target,
    by_code: BTreeMap<(String, RejectCode), u64>,
    by_file: BTreeMap<Arc<str>, u64>,
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Target {
    File(PathBuf, Option<BufWriter<File>>),
    Memory(Vec<Reject>, usize),
}

impl Rejects {
    /// Writes NDJSON to `path`, readable by its owner only.
    pub fn to_file(path: PathBuf, include_values: bool) -> Self {
        Self::new(Target::File(path, None), include_values, None)
    }

    /// Writes NDJSON to a file of the run's own in `folder`, readable by its owner only. When it is
    /// [prepared](Self::prepare), files of earlier runs there are removed that are older than `max_age` or beyond the
    /// newest `max_files`: such as were named here and no run still writes to, and nothing else.
    pub(crate) fn to_folder(
        folder: &Path,
        run_id: &str,
        include_values: bool,
        max_files: usize,
        max_age: Duration,
    ) -> Self {
        let path = folder.join(rotation::file_name(run_id));
        let rotation = Rotation { max_files, max_age };
        Self::new(Target::File(path, None), include_values, Some(rotation))
    }

    /// Keeps the first `most` in memory, for a preview.
    pub fn in_memory(most: usize, include_values: bool) -> Self {
        Self::new(Target::Memory(Vec::new(), most), include_values, None)
    }

    fn new(target: Target, include_values: bool, rotation: Option<Rotation>) -> Self {
        let state = State {
            target,
            by_code: BTreeMap::new(),
            by_file: BTreeMap::new(),
            failed: None,
        };
        Self(Arc::new(RejectsInner {
            include_values,
            rotation,
            state: Mutex::new(state),
            measure: Mutex::new(None),
        }))
    }

    /// Whether to fill in [`Fault::value`]. What is filled in against this is taken out again.
    pub fn include_values(&self) -> bool {
        self.0.include_values
    }

    /// Puts a row aside. A failure to write is kept and comes out of [`finish`](Self::finish).
    pub fn add(&self, mut reject: Reject) {
        if !self.0.include_values {
            for fault in &mut reject.faults {
                fault.value = None;
            }
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Summed by the first fault, so that the sums add up to the rows.
        if let Some(fault) = reject.faults.first() {
            let field = fault.field.as_deref().unwrap_or_default().to_owned();
            *state.by_code.entry((field, fault.code)).or_default() += 1;
        }
        *state.by_file.entry(reject.origin.file.clone()).or_default() += 1;
        if state.failed.is_some() {
            return;
        }
        match &mut state.target {
            Target::Memory(kept, most) => {
                if kept.len() < *most {
                    kept.push(reject);
                }
            }
            Target::File(path, open) => {
                if let Err(error) = write(path, open, &reject) {
                    state.failed = Some(error);
                }
            }
        }
    }

    /// Rows put aside so far, by the first fault's field (empty when it is about none) and code.
    pub fn summary(&self) -> Vec<(String, RejectCode, u64)> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums: Vec<_> = state
            .by_code
            .iter()
            .map(|((field, code), rows)| (field.clone(), *code, *rows))
            .collect();
        sums.sort_by_key(|(_, _, rows)| std::cmp::Reverse(*rows));
        sums
    }

    /// Has `too_many` asked whether the run has put aside more rows than it may.
    pub(crate) fn measure_by(&self, too_many: impl Fn() -> bool + Send + Sync + 'static) {
        *self.0.measure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Measure(Arc::new(too_many)));
    }

    /// Whether more rows were put aside so far, of those that were to be sent, than the run may.
    pub(crate) fn too_many(&self) -> bool {
        let measure = self.0.measure.lock().unwrap_or_else(PoisonError::into_inner);
        let too_many = measure.as_ref().map(|measure| measure.0.clone());
        drop(measure);
        too_many.is_some_and(|too_many| too_many())
    }

    /// Rows put aside so far of the file of this name, those of its members included if it is an archive (`name/member`).
    pub(crate) fn rows_of(&self, file: &str) -> u64 {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let from_file = (Bound::Included(file), Bound::Unbounded);
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
        match &self.0.state.lock().unwrap_or_else(PoisonError::into_inner).target {
            Target::Memory(kept, _) => kept.clone(),
            Target::File(..) => Vec::new(),
        }
    }

    /// Makes the file, so that a place that cannot be written to is known before any row is sent. An older file of that
    /// name is emptied. Old files in the folder of the pipeline file's `rejects.path` are removed; those that cannot
    /// be are told of in the log.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn prepare(&self) -> Result<()> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Target::File(path, open) = &mut state.target else {
            return Ok(());
        };
        match create(path) {
            Ok(file) => {
                *open = Some(file);
                if let Some(rotation) = &self.0.rotation {
                    rotation.remove_old(path);
                }
                Ok(())
            }
            Err(error) => Err(Error::config(format!("cannot make the rejects file `{}`", path.display()))
                .with_source(error)
                .with_hint("rows that cannot be sent would be lost without it: give a folder that can be written to, in `rejects.path` or with `--rejects`")),
        }
    }

    /// Writes out what is buffered so far.
    ///
    /// # Errors
    /// The file could not be written, now or earlier.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = state
            .failed
            .as_ref()
            .map(|error| io::Error::new(error.kind(), error.to_string()));
        let Target::File(path, open) = &mut state.target else {
            return Ok(());
        };
        let result = match (failed, open) {
            (Some(error), _) => Err(error),
            (None, Some(file)) => file.flush().and_then(|()| {
                let file = file.get_ref();
                // A pipe has no disk.
                if file.metadata()?.is_file() {
                    file.sync_data()
                } else {
                    Ok(())
                }
            }),
            (None, None) => Ok(()),
        };
        result.map_err(|error| {
            Error::unexpected(format!("cannot write the rejects file `{}`", path.display()))
                .with_source(error)
        })
    }

    /// Writes out what is buffered. The path of the file; a file without rejects is taken away.
    ///
    /// # Errors
    /// The file could not be written, now or earlier.
    pub fn finish(&self) -> Result<Option<PathBuf>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = state.failed.take();
        let empty = state.by_code.is_empty();
        let Target::File(path, open) = &mut state.target else {
            return Ok(None);
        };
        let result = match (failed, open.take()) {
            (Some(error), _) => Err(error),
            (None, Some(file)) if empty => {
                // `/dev/null` and pipes are not ours to take away.
                let is_file = file.get_ref().metadata().is_ok_and(|metadata| metadata.is_file());
                drop(file);
                if is_file {
                    std::fs::remove_file(&*path).map(|()| None)
                } else {
                    Ok(None)
                }
            }
            (None, Some(mut file)) => file.flush().map(|()| Some(path.clone())),
            (None, None) => Ok(None),
        };
        result.map_err(|error| {
            Error::unexpected(format!("cannot write the rejects file `{}`", path.display()))
                .with_source(error)
        })
    }
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        crate::disk::create_private_folder(folder)?;
    }
    let file = crate::disk::lock_file::create_in_use(path)?;
    Ok(BufWriter::new(file))
}

fn write(path: &Path, open: &mut Option<BufWriter<File>>, reject: &Reject) -> io::Result<()> {
    let file = match open {
        Some(file) => file,
        None => open.insert(create(path)?),
    };
    serde_json::to_writer(&mut *file, reject)?;
    file.write_all(b"\n")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_written_to_and_stays() {
        let rejects = Rejects::to_file("/dev/null".into(), false);
        rejects.prepare().unwrap();
        assert_eq!(rejects.finish().unwrap(), None);
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn rows_are_counted_by_their_file_with_the_members_of_an_archive() {
        let rejects = Rejects::in_memory(0, false);
        for file in [
            "a.zip/x.csv",
            "a.zip/y.csv",
            "a.zip",
            "a.zip2",
            "a.zi",
            "a.zip.pgp/x.csv",
        ] {
            rejects.add(Reject {
                origin: Origin {
                    file: file.into(),
                    row: 1,
                    line: None,
                },
                component: "out".into(),
                faults: Vec::new(),
            });
        }
        assert_eq!(rejects.rows_of("a.zip"), 3);
        assert_eq!(rejects.rows_of("a.zip.pgp"), 1);
        assert_eq!(rejects.rows_of("b.zip"), 0);
    }
}
