//! The files that were processed: an unchanged one is not read again, an overwritten one is, and one that is still to be
//! moved or deleted is, even if that failed before.
//!
//! It is saved as the source's [position](crate::component::Position): names, sizes, times and hashes, no content.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::select::Rank;
use crate::error::{Error, Result};
use crate::storage::FileInfo;

const VERSION: u32 = 1;

/// How long a file is kept that is no longer found: a folder that is emptied and filled again, or a pattern that follows
/// the day, must not make old files new.
const RETENTION: SignedDuration = SignedDuration::from_hours(400 * 24);

/// A file modified within this time before it was listed may be modified again with the same time.
const TIME_PRECISION: SignedDuration = SignedDuration::from_secs(2);

/// Processed files, by their path in the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessedFiles {
    version: u32,
    files: BTreeMap<String, ProcessedFile>,
    /// With `select.newest`, the newest delivered file by the glob that found it: ranks of different globs are not
    /// comparable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<String, Newest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    rank: Rank,
    seen: Timestamp,
}

/// A file all of whose rows are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessedFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// BLAKE3 of its bytes in hexadecimal; `None` if not all of them were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    seen: Timestamp,
    /// Still to be moved or deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    /// May have changed although it looks the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStatus {
    /// It was not read, or has changed.
    New,
    Read,
    /// Its rows are final, and it is still to be moved or deleted.
    Pending,
}

impl Default for ProcessedFiles {
    fn default() -> Self {
        Self {
            version: VERSION,
            files: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }
}

impl ProcessedFiles {
    pub(super) fn load(saved: Option<&str>) -> Result<Self> {
        let Some(saved) = saved else {
            return Ok(Self::default());
        };
        serde_json::from_str::<Self>(saved)
            .ok()
            .filter(|state| state.version == VERSION)
            .ok_or_else(|| {
                Error::config(
                    "the processed files in the ledger are from another version of hrsink, or another kind of source",
                )
                .with_hint(
                    "use the version that wrote them, or rename the source: its files are then read again, and the ledger \
                     skips delivered rows",
                )
            })
    }

    pub(super) fn to_text(&self) -> String {
        // Strings, numbers and times have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn status(&self, file: &FileInfo) -> FileStatus {
        match self.files.get(&file.path) {
            Some(known) if known.matches(file) && known.pending => FileStatus::Pending,
            Some(known) if known.matches(file) => FileStatus::Read,
            _ => FileStatus::New,
        }
    }

    pub(super) fn hash_of(&self, file: &FileInfo) -> Option<String> {
        self.files.get(&file.path)?.hash.clone()
    }

    /// Notes that all rows of a file are final. `pending`: it is still to be moved or deleted.
    pub(super) fn insert(
        &mut self,
        file: &FileInfo,
        hash: Option<String>,
        listed_at: Timestamp,
        pending: bool,
    ) {
        let recent = |modified: Timestamp| {
            let until = modified.checked_add(TIME_PRECISION);
            until.is_ok_and(|until| until > listed_at)
        };
        let unsure = file.version.is_none() && file.modified.is_none_or(recent);
        let processed = ProcessedFile {
            size: file.size,
            modified: file.modified,
            version: file.version.clone(),
            hash,
            seen: listed_at,
            pending,
            // A pending file is not forgotten; once it is moved it is not met again.
            unsure: unsure && !pending,
        };
        self.files.insert(file.path.clone(), processed);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    pub(super) fn newest(&self, glob: &str) -> Option<&Rank> {
        self.newest.get(glob).map(|newest| &newest.rank)
    }

    pub(super) fn set_newest(&mut self, glob: &str, rank: Rank, now: Timestamp) {
        self.newest.insert(glob.to_owned(), Newest { rank, seen: now });
    }

    /// Takes over the newest delivered files of a later state.
    pub(super) fn keep_newest_of(&mut self, later: Self) {
        self.newest.extend(later.newest);
    }

    /// Notes which files were listed for `glob`, and forgets files and globs that are out of use.
    pub(super) fn seen(&mut self, files: &[FileInfo], glob: &str, now: Timestamp) {
        if let Some(newest) = self.newest.get_mut(glob) {
            newest.seen = now;
        }
        for file in files {
            if let Some(known) = self.files.get_mut(&file.path) {
                known.seen = now;
            }
        }
        let is_kept = |seen: Timestamp| seen.checked_add(RETENTION).is_ok_and(|until| until > now);
        self.newest.retain(|_, newest| is_kept(newest.seen));
        self.files.retain(|_, known| is_kept(known.seen));
    }
}

impl ProcessedFile {
    fn matches(&self, file: &FileInfo) -> bool {
        !self.unsure
            && self.size == file.size
            && self.modified == file.modified
            && self.version == file.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn file(modified: &str) -> FileInfo {
        FileInfo {
            name: "a.csv".into(),
            path: "/out/a.csv".into(),
            size: Some(10),
            modified: Some(time(modified)),
            version: None,
        }
    }

    fn rank(name: &str) -> Rank {
        serde_json::from_value(serde_json::json!({"order": "name", "name": name})).unwrap()
    }

    #[test]
    fn a_file_is_read_until_its_size_time_or_version_changes() {
        let mut state = ProcessedFiles::default();
        let read = file("2026-03-01T00:00:00Z");
        assert_eq!(state.status(&read), FileStatus::New);
        state.insert(&read, Some("ab".into()), time("2026-03-01T01:00:00Z"), false);
        let mut state = ProcessedFiles::load(Some(&state.to_text())).unwrap();
        assert_eq!(state.status(&read), FileStatus::Read);
        assert_eq!(state.hash_of(&read).as_deref(), Some("ab"));
        let (mut grown, mut versioned) = (read.clone(), read.clone());
        (grown.size, versioned.version) = (Some(11), Some("e".into()));
        for other in [&file("2026-03-01T00:00:01Z"), &grown, &versioned] {
            assert_eq!(state.status(other), FileStatus::New, "{other:?}");
        }
        // Modified just before it was listed, it may be modified again with the same time, unless it has a version.
        for (file, status) in [(&read, FileStatus::New), (&versioned, FileStatus::Read)] {
            state.insert(file, None, time("2026-03-01T00:00:01Z"), false);
            assert_eq!(state.status(file), status);
        }
    }

    #[test]
    fn files_and_newest_ranks_are_forgotten_after_400_days_without_use() {
        let mut state = ProcessedFiles::default();
        let read = file("2026-03-01T00:00:00Z");
        state.insert(&read, None, time("2026-03-01T00:00:00Z"), true);
        state.set_newest("a-*", rank("a-2"), time("2026-03-01T00:00:00Z"));
        state.set_newest("b-*", rank("b-1"), time("2026-03-01T00:00:00Z"));
        let mut state = ProcessedFiles::load(Some(&state.to_text())).unwrap();
        let mut rewound = ProcessedFiles::default();
        rewound.keep_newest_of(state.clone());
        let actual = (rewound.newest("a-*"), rewound.status(&read));
        assert_eq!(actual, (Some(&rank("a-2")), FileStatus::New));
        state.seen(std::slice::from_ref(&read), "a-*", time("2027-03-01T00:00:00Z"));
        state.seen(&[], "a-*", time("2028-03-01T00:00:00Z"));
        assert_eq!(state.status(&read), FileStatus::Pending);
        assert_eq!(state.newest("a-*"), Some(&rank("a-2")));
        assert_eq!((state.newest("a-1"), state.newest("b-*")), (None, None));
        state.seen(&[], "c-*", time("2030-03-01T00:00:00Z"));
        assert_eq!(state, ProcessedFiles::default());
    }

    #[test]
    fn rejects_the_position_of_another_source_or_version() {
        for text in ["7", "{}", r#"{"version":2,"files":{}}"#] {
            assert!(ProcessedFiles::load(Some(text)).is_err(), "{text}");
        }
        assert_eq!(ProcessedFiles::load(None).unwrap(), ProcessedFiles::default());
    }
}
