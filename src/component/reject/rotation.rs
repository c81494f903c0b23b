//! Removes the rejects files of earlier runs, and nothing else: they may hold personal data, so they must not pile up.
//!
//! A file is one of ours if its whole name is that of a time-ordered UUID as we write it, with `.ndjson`; its age is
//! the time in that UUID, which copying does not change. A file that a run still writes to is locked by it, or
//! on Windows not shared, and stays.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::disk::lock_file::remove_unless_in_use;

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    /// Files of earlier runs, at most.
    pub(super) max_files: usize,
    /// Time since their runs began, at most.
    pub(super) max_age: Duration,
}

const EXTENSION: &str = ".ndjson";

/// The name of a run's file.
pub(super) fn file_name(run_id: &str) -> String {
    format!("{run_id}{EXTENSION}")
}

impl Rotation {
    /// Removes what is not to be kept from the folder of the run's own file. What cannot be removed is told of in the
    /// log: the rows of this run matter more.
    pub(super) fn remove_old(&self, own: &Path) {
        let Some(folder) = own.parent() else {
            return;
        };
        let old = match self.old(folder, own, SystemTime::now()) {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot look for old rejects files");
                return;
            }
        };
        let mut removed = 0_u64;
        let mut failed: Vec<(PathBuf, io::Error)> = Vec::new();
        for path in old {
            match remove_unless_in_use(&path) {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(error) => failed.push((path, error)),
            }
        }
        if removed > 0 {
            tracing::info!(folder = %folder.display(), files = removed, "removed old rejects files");
        }
        if let Some((first, error)) = failed.first() {
            tracing::warn!(
                files = failed.len(),
                first = %first.display(),
                %error,
                "cannot remove old rejects files, which may hold personal data"
            );
        }
    }

    /// The files to remove.
    fn old(&self, folder: &Path, own: &Path, now: SystemTime) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(id) else {
                continue;
            };
            // A link of that name is not ours.
            if Some(&*name) != own.file_name() && entry.file_type()?.is_file() {
                files.push((id, entry.path()));
            }
        }
        // The newest first: these UUIDs are in the order of their times.
        files.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        Ok(files
            .into_iter()
            .enumerate()
            .filter(|(place, (id, _))| *place >= self.max_files || age(*id, now) > self.max_age)
            .map(|(_, (_, path))| path)
            .collect())
    }
}

/// The run's id in a name that is exactly one of [`file_name`].
fn id(name: &str) -> Option<Uuid> {
    let text = name.strip_suffix(EXTENSION)?;
    let id = Uuid::try_parse(text).ok()?;
    // There are other ways to write one.
    let ours = id.get_version() == Some(uuid::Version::SortRand) && id.hyphenated().to_string() == text;
    ours.then_some(id)
}

/// The time since the run began; none for one that will begin only, after a clock was set back.
fn age(id: Uuid, now: SystemTime) -> Duration {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |time| time.to_unix());
    let began = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    now.duration_since(began).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::{NoContext, Timestamp};

    use super::super::{Fault, Origin, Reject, RejectCode, Rejects};
    use super::*;

    const DAY: u64 = 86_400;

    /// The name of the file of a run that began so many days ago.
    fn named(days: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let began = now.as_secs() - days * DAY;
        file_name(&Uuid::new_v7(Timestamp::from_unix(NoContext, began, 0)).to_string())
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn begin(folder: &Path, max_files: usize, max_age_days: u64) -> Rejects {
        let id = Uuid::now_v7().to_string();
        let max_age = Duration::from_secs(max_age_days * DAY);
        let rejects = Rejects::to_folder(folder, &id, false, max_files, max_age);
        rejects.prepare().unwrap();
        rejects
    }

    fn reject() -> Reject {
        Reject {
            origin: Origin {
                file: "a.csv".into(),
                row: 1,
                line: None,
            },
            component: "export".into(),
            faults: vec![Fault {
                field: None,
                code: RejectCode::Refused,
                message: "the service refused it".into(),
                value: None,
            }],
        }
    }

    #[test]
    fn the_newest_files_within_the_age_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<String> = [1, 2, 3, 40, 91, 200].into_iter().map(named).collect();
        let write = || {
            for name in &files {
                std::fs::write(folder.path().join(name), "{}").unwrap();
            }
        };
        for (max_files, max_age, kept) in [
            (100, 90, 4),
            (3, 90, 3),
            (100, 2, 1),
            (1, 1000, 1),
            (100, 1000, 6),
        ] {
            write();
            let run = begin(folder.path(), max_files, max_age);
            let mut left = names(folder.path());
            assert_eq!(
                left.len(),
                kept + 1,
                "its own is there: {max_files} files, {max_age} days"
            );
            run.finish().unwrap();
            left = names(folder.path());
            assert_eq!(
                left,
                files[..kept].iter().cloned().collect(),
                "{max_files} files, {max_age} days"
            );
        }
    }

    #[test]
    fn a_run_without_rejects_does_not_push_out_the_last_ones() {
        let folder = tempfile::tempdir().unwrap();
        let first = begin(folder.path(), 1, 90);
        first.add(reject());
        let path = first.finish().unwrap().unwrap();
        drop(first);
        for _ in 0..3 {
            begin(folder.path(), 1, 90).finish().unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn what_another_run_writes_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let long = begin(folder.path(), 1, 90);
        let others: Vec<Rejects> = (0..3).map(|_| begin(folder.path(), 1, 90)).collect();
        for run in others.iter().chain([&long]) {
            run.add(reject());
            let path = run.finish().unwrap().unwrap();
            assert!(path.exists());
        }
        drop((others, long));
        begin(folder.path(), 1, 90).finish().unwrap();
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn a_file_given_by_name_brings_no_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let old = named(1000);
        std::fs::write(folder.path().join(&old), "").unwrap();
        let rejects = Rejects::to_file(folder.path().join(named(0)), false);
        rejects.prepare().unwrap();
        rejects.finish().unwrap();
        assert_eq!(names(folder.path()), BTreeSet::from([old]));
    }

    #[test]
    fn what_is_no_file_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder_name = named(500);
        std::fs::create_dir(folder.path().join(&folder_name)).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        let mut expected = BTreeSet::from([folder_name]);
        #[cfg(unix)]
        {
            let link = named(600);
            std::os::unix::fs::symlink(elsewhere.path(), folder.path().join(&link)).unwrap();
            expected.insert(link);
        }
        begin(folder.path(), 1, 1).finish().unwrap();
        assert_eq!(names(folder.path()), std::mem::take(&mut expected));
        assert!(elsewhere.path().exists());
    }

    /// Any time-ordered UUID.
    fn ours() -> impl Strategy<Value = Uuid> {
        any::<u128>()
            .prop_map(|bits| Uuid::from_u128(bits & !(0xf << 76) & !(0x3 << 62) | 0x7 << 76 | 0x2 << 62))
    }

    /// Names that look like ours and are not, and any others.
    fn foreign() -> impl Strategy<Value = String> {
        prop_oneof![
            ours().prop_map(|id| id.hyphenated().to_string()),
            ours().prop_map(|id| format!("{id}.ndjson.part")),
            ours().prop_map(|id| format!("{id}.json")),
            ours().prop_map(|id| format!("{id}.NDJSON")),
            ours().prop_map(|id| format!("x{id}.ndjson")),
            ours().prop_map(|id| format!("{}.ndjson", id.simple())),
            ours().prop_map(|id| format!("{}.ndjson", id.braced())),
            ours().prop_map(|id| format!("{}X.ndjson", id.hyphenated())),
            any::<[u8; 16]>().prop_map(|bytes| {
                let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
                format!("{id}.ndjson")
            }),
            "_[a-zA-Z0-9_.-]{0,40}x",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_that_was_not_named_here_is_removed(
            foreign in prop::collection::btree_set(foreign(), 0..8),
            days in prop::collection::vec(0_u64..400, 0..8),
            max_files in 1_usize..6,
            max_age in 1_u64..400,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let ours: BTreeSet<String> = days.iter().map(|days| named(*days)).collect();
            for name in foreign.iter().chain(&ours) {
                std::fs::write(folder.path().join(name), "x").unwrap();
            }
            begin(folder.path(), max_files, max_age).finish().unwrap();
            let left = names(folder.path());
            prop_assert!(left.is_superset(&foreign), "{foreign:?} {left:?}");
            let kept: Vec<&String> = ours.intersection(&left).collect();
            let young = days.iter().filter(|days| **days < max_age).count();
            prop_assert_eq!(kept.len(), young.min(max_files));
            // Those kept are the newest.
            prop_assert!(kept.into_iter().eq(ours.iter().rev().take(young.min(max_files)).rev()));
        }
    }
}
