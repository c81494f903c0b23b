//! What is known of files that were read: so that an unchanged one is not read again, one that was overwritten is, and
//! one whose rows are final is moved or removed even if that failed before.
//!
//! It is the source's [position](crate::component::Position), a text in the ledger. It holds names, sizes, times and
//! hashes of files, nothing of what is in them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::select::Rank;
use crate::error::{Error, Result};
use crate::storage::FileInfo;

const VERSION: u32 = 1;

/// How long a file is remembered that is no longer found. A vendor's folder that is emptied and filled again, or a
/// pattern that follows the day, must not make old files new.
const KEPT: SignedDuration = SignedDuration::from_hours(400 * 24);

/// A file that was changed as late as this before it was listed may be changed again with the same time: servers tell
/// seconds, some of them minutes.
const COARSE: SignedDuration = SignedDuration::from_secs(2);

/// The files that are done with, by their place's name for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessedFiles {
    version: u32,
    files: BTreeMap<String, ProcessedFile>,
    /// The newest file that was delivered, where only the newest is taken, by the path or pattern it was found by: names
    /// of different patterns are in no order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<String, Newest>,
}

/// The newest file that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    rank: Rank,
    /// When it was looked for last.
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
    /// BLAKE3 of its bytes, in hexadecimal digits; `None` where not all of them were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// When it was listed last.
    seen: Timestamp,
    /// Whether something is still to be done with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    /// Whether it may be another by now and look the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsure: bool,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStatus {
    /// It was never read, or is another by now.
    New,
    /// Its rows are final.
    Read,
    /// Its rows are final, and it is still to be moved or removed.
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
    /// Reads what was saved.
    ///
    /// # Errors
    /// It was saved by another version of the program.
    pub(super) fn load(saved: Option<&str>) -> Result<Self> {
        let Some(saved) = saved else {
            return Ok(Self::default());
        };
        serde_json::from_str::<Self>(saved)
            .ok()
            .filter(|memory| memory.version == VERSION)
            .ok_or_else(|| {
                Error::config("what the ledger says about files that were read is not from this version of hrsink, or from another kind of source")
                    .with_hint("run it with the version that wrote it, or give the source another name: its files are then read again, and rows that were delivered are left out by the ledger")
            })
    }

    /// What is saved.
    pub(super) fn text(&self) -> String {
        // Strings, numbers and times have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is known of a file as it was found now.
    pub(super) fn knows(&self, found: &FileInfo) -> FileStatus {
        match self.files.get(&found.path) {
            Some(known) if known.is(found) && !known.unsure => {
                if known.pending {
                    FileStatus::Pending
                } else {
                    FileStatus::Read
                }
            }
            _ => FileStatus::New,
        }
    }

    /// The hash of a file of that name as it was read last.
    pub(super) fn hash_of(&self, found: &FileInfo) -> Option<String> {
        self.files.get(&found.path)?.hash.clone()
    }

    /// Notes that all rows of a file are final. `listed`: when it was found; `pending`: something is still to be done.
    pub(super) fn note(&mut self, found: &FileInfo, hash: Option<String>, listed: Timestamp, pending: bool) {
        let late = |modified: Timestamp| modified.checked_add(COARSE).is_ok_and(|until| until > listed);
        let unsure = found.version.is_none() && found.modified.is_none_or(late);
        self.files.insert(
            found.path.clone(),
            ProcessedFile {
                size: found.size,
                modified: found.modified,
                version: found.version.clone(),
                hash,
                seen: listed,
                pending,
                // Whoever has the file moved away does not meet it again; what is to be done must not be forgotten.
                unsure: unsure && !pending,
            },
        );
    }

    /// Notes that a file is gone.
    pub(super) fn forget(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// The newest file that was delivered of those that `path` finds.
    pub(super) fn newest(&self, path: &str) -> Option<&Rank> {
        self.newest.get(path).map(|newest| &newest.rank)
    }

    /// Takes over which newest files were delivered.
    pub(super) fn keep_newest_of(&mut self, later: Self) {
        self.newest.extend(later.newest);
    }

    /// Notes the newest file that was delivered of those that `path` finds.
    pub(super) fn delivered(&mut self, path: &str, rank: Rank, now: Timestamp) {
        self.newest.insert(path.to_owned(), Newest { rank, seen: now });
    }

    /// Notes what was found by `path`, and forgets what has not been for long.
    pub(super) fn saw(&mut self, found: &[FileInfo], path: &str, now: Timestamp) {
        if let Some(newest) = self.newest.get_mut(path) {
            newest.seen = now;
        }
        self.newest
            .retain(|_, newest| newest.seen.checked_add(KEPT).is_ok_and(|until| until > now));
        for file in found {
            if let Some(known) = self.files.get_mut(&file.path) {
                known.seen = now;
            }
        }
        self.files
            .retain(|_, known| known.seen.checked_add(KEPT).is_ok_and(|until| until > now));
    }
}

impl ProcessedFile {
    fn is(&self, found: &FileInfo) -> bool {
        self.size == found.size && self.modified == found.modified && self.version == found.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ProcessedFiles {
        fn is_empty(&self) -> bool {
            self.files.is_empty()
        }
    }

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

    #[test]
    fn a_file_is_known_until_its_size_time_or_version_changes() {
        let mut memory = ProcessedFiles::default();
        let read = file("2026-03-01T00:00:00Z");
        assert_eq!(memory.knows(&read), FileStatus::New);
        memory.note(&read, Some("ab".into()), time("2026-03-01T01:00:00Z"), false);
        let memory = ProcessedFiles::load(Some(&memory.text())).unwrap();
        assert_eq!(memory.knows(&read), FileStatus::Read);
        let others = [
            file("2026-03-01T00:00:01Z"),
            FileInfo {
                size: Some(11),
                ..read.clone()
            },
            FileInfo {
                version: Some("e".into()),
                ..read.clone()
            },
            FileInfo {
                path: "/out/b.csv".into(),
                ..read.clone()
            },
        ];
        for other in others {
            assert_eq!(memory.knows(&other), FileStatus::New, "{other:?}");
        }
        assert_eq!(
            memory.hash_of(&file("2026-04-01T00:00:00Z")).as_deref(),
            Some("ab")
        );
    }

    #[test]
    fn a_file_changed_just_now_may_change_again_within_the_same_second() {
        let mut memory = ProcessedFiles::default();
        let read = file("2026-03-01T00:00:00Z");
        memory.note(&read, None, time("2026-03-01T00:00:01Z"), false);
        assert_eq!(memory.knows(&read), FileStatus::New);
        let marked = FileInfo {
            version: Some("e".into()),
            ..read
        };
        memory.note(&marked, None, time("2026-03-01T00:00:01Z"), false);
        assert_eq!(memory.knows(&marked), FileStatus::Read);
    }

    #[test]
    fn what_is_to_be_done_is_not_forgotten_and_what_is_gone_is_after_a_year() {
        let mut memory = ProcessedFiles::default();
        let read = file("2026-03-01T00:00:00Z");
        memory.note(&read, None, time("2026-03-01T00:00:00Z"), true);
        assert_eq!(memory.knows(&read), FileStatus::Pending);
        memory.saw(&[], "*", time("2027-03-01T00:00:00Z"));
        assert!(!memory.is_empty());
        memory.saw(std::slice::from_ref(&read), "*", time("2027-03-01T00:00:00Z"));
        memory.saw(&[], "*", time("2028-03-01T00:00:00Z"));
        assert!(!memory.is_empty());
        memory.saw(&[], "*", time("2029-03-01T00:00:00Z"));
        assert!(memory.is_empty());
    }

    fn rank(name: &str) -> Rank {
        serde_json::from_value(serde_json::json!({"order": "name", "name": name})).unwrap()
    }

    #[test]
    fn the_newest_is_remembered_for_each_path_until_it_is_not_looked_for_any_more() {
        let mut memory = ProcessedFiles::default();
        memory.delivered("a-*", rank("a-2"), time("2026-03-01T00:00:00Z"));
        memory.delivered("b-*", rank("b-1"), time("2026-03-01T00:00:00Z"));
        let mut memory = ProcessedFiles::load(Some(&memory.text())).unwrap();
        assert_eq!(memory.newest("a-*"), Some(&rank("a-2")));
        assert_eq!(memory.newest("a-1"), None);
        memory.saw(&[], "a-*", time("2027-03-01T00:00:00Z"));
        memory.saw(&[], "a-*", time("2028-03-01T00:00:00Z"));
        assert_eq!(memory.newest("a-*"), Some(&rank("a-2")));
        assert_eq!(memory.newest("b-*"), None);
    }

    #[test]
    fn what_was_delivered_as_the_newest_outlives_what_is_to_be_read_again() {
        let mut later = ProcessedFiles::default();
        later.note(
            &file("2026-03-01T05:00:00Z"),
            None,
            time("2026-03-01T06:00:00Z"),
            true,
        );
        later.delivered("a-*", rank("a-2"), time("2026-03-01T06:00:00Z"));
        let mut memory = ProcessedFiles::default();
        memory.keep_newest_of(ProcessedFiles::load(Some(&later.text())).unwrap());
        assert_eq!(memory.newest("a-*"), Some(&rank("a-2")));
        assert_eq!(memory.knows(&file("2026-03-01T05:00:00Z")), FileStatus::New);
    }

    #[test]
    fn another_sources_position_is_refused() {
        for text in ["7", "{}", r#"{"version":2,"files":{}}"#] {
            assert!(ProcessedFiles::load(Some(text)).is_err(), "{text}");
        }
        assert!(ProcessedFiles::load(None).unwrap().is_empty());
    }
}
