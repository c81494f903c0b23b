//! Selection among local files.

use std::path::Path;
use std::time::SystemTime;

use jiff::tz::TimeZone;

use super::*;
use crate::settings::BoundedInt;
use crate::storage::Local;

fn all() -> Selection {
    Selection {
        settings: SelectSettings {
            max_files: BoundedInt::new(10),
            if_none_new: IfNone::Error,
            ..SelectSettings::default()
        },
        incremental: true,
        order_by: OrderBy::Name,
        marker: None,
        quiet_period: Duration::ZERO,
        clock_margin: Duration::ZERO,
    }
}

fn pattern(path: &str) -> FilePattern {
    FilePattern::new(path, Timestamp::now(), &TimeZone::UTC, SignedDuration::ZERO).unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Files modified an hour ago.
fn folder_of(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, name).unwrap();
        set_modified(&path, ago(3600));
    }
    folder
}

fn local(folder: &Path) -> Local {
    Local {
        base: Arc::new(folder.to_owned()),
    }
}

async fn try_select(folder: &Path, path: &str, selection: &Selection) -> Result<Vec<String>> {
    let mut state = ProcessedFiles::default();
    let selected = selection
        .select(&local(folder), &pattern(path), &mut state)
        .await?;
    match selected.refused {
        Some(error) => Err(error),
        None => Ok(selected.files.iter().map(|file| file.name.to_string()).collect()),
    }
}

async fn selected(folder: &Path, path: &str, selection: &Selection) -> Vec<String> {
    try_select(folder, path, selection).await.unwrap()
}

/// Message and first hint.
async fn refused(folder: &Path, path: &str, selection: &Selection) -> String {
    let error = try_select(folder, path, selection).await.unwrap_err();
    format!("{error}; {}", error.hints().next().unwrap())
}

#[tokio::test]
async fn reports_what_exists_when_no_file_matches() {
    let folder = folder_of(&["exports/terminations-2026.txt", "exports/other.bin"]);
    let shown = folder.path().to_string_lossy();
    for (path, expected) in [
        (
            "exports/terminations-*.csv",
            &[
                "exports/terminations-*.csv",
                &*shown,
                "2 files",
                "`terminations-2026.txt`",
            ][..],
        ),
        ("nowhere/a.csv", &["nowhere"]),
        ("exports", &["exports/*.csv"]),
    ] {
        let refused = refused(folder.path(), path, &all()).await;
        for expected in expected {
            assert!(refused.contains(expected), "{path}: {refused}");
        }
    }
}

#[tokio::test]
async fn orders_files_and_selects_the_newest_in_that_order() {
    let folder = folder_of(&["a-12312025.csv", "a-01022026.csv", "a-02012025.csv"]);
    set_modified(&folder.path().join("a-02012025.csv"), ago(60));
    for (order_by, order) in [
        (
            OrderBy::DateInName,
            ["a-02012025.csv", "a-12312025.csv", "a-01022026.csv"],
        ),
        (
            OrderBy::Name,
            ["a-01022026.csv", "a-02012025.csv", "a-12312025.csv"],
        ),
        (
            OrderBy::Modified,
            ["a-12312025.csv", "a-01022026.csv", "a-02012025.csv"],
        ),
    ] {
        for newest in [false, true] {
            let mut selection = Selection { order_by, ..all() };
            selection.settings.newest = newest;
            let found = selected(folder.path(), "a-{any_date:%m%d%Y}.csv", &selection).await;
            assert_eq!(
                found,
                if newest { &order[2..] } else { &order[..] },
                "{order_by:?}"
            );
        }
    }
}

#[tokio::test]
async fn skips_unfinished_files_and_those_without_a_marker() {
    let folder = folder_of(&["a.csv", "a.csv.done", "b.csv", "c.csv.part"]);
    let marker = |template| Selection {
        marker: Some(NameTemplate::marker(template).unwrap()),
        ..all()
    };
    assert_eq!(
        selected(folder.path(), "*", &marker("{name}.done")).await,
        ["a.csv"]
    );
    let refused = refused(folder.path(), "*.csv", &marker("{stem}.ok")).await;
    assert!(refused.contains("nothing new"), "{refused}");
}

#[tokio::test]
async fn rejects_too_many_files_before_anything_is_read() {
    let folder = folder_of(&["a.csv", "b.csv", "c.csv"]);
    let mut selection = all();
    assert_eq!(selected(folder.path(), "*.csv", &selection).await.len(), 3);
    selection.settings.max_files = BoundedInt::new(2);
    let refused = refused(folder.path(), "*.csv", &selection).await;
    assert!(refused.contains("`select.max_files` (2)"), "{refused}");
}

#[tokio::test]
async fn skips_a_file_that_grows_and_reads_quiet_ones() {
    let folder = folder_of(&["old.csv", "ahead.csv"]);
    for name in ["grows.csv", "recent.csv"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    // A clock that is ahead: the time proves nothing, so the file is checked twice.
    set_modified(
        &folder.path().join("ahead.csv"),
        SystemTime::now() + Duration::from_secs(3600),
    );
    let selection = Selection {
        quiet_period: Duration::from_millis(300),
        ..all()
    };
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let path = folder.path().join("grows.csv");
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        while stopped.recv_timeout(Duration::from_millis(5)).is_err() {
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            file.write_all(b"more\n").unwrap();
        }
    });
    let found = try_select(folder.path(), "*.csv", &selection).await;
    stop.send(()).unwrap();
    writer.join().unwrap();
    assert_eq!(found.unwrap(), ["ahead.csv", "old.csv", "recent.csv"]);
}

#[tokio::test]
async fn trusts_a_time_only_if_it_is_older_than_the_clock_margin() {
    let folder = folder_of(&["a.csv"]);
    let path = folder.path().join("a.csv");
    set_modified(&path, ago(300));
    let storage = local(folder.path());
    let listed = storage.list(&pattern("*.csv")).await.unwrap();
    // It grows, and the clock of its times is behind.
    std::fs::write(&path, "more than before").unwrap();
    set_modified(&path, ago(300));
    for (margin, trusted) in [(0, true), (600, false)] {
        let selection = Selection {
            quiet_period: Duration::from_millis(1),
            clock_margin: Duration::from_secs(margin),
            ..all()
        };
        let kept = selection.quiet(&storage, listed.clone(), Timestamp::now());
        assert_eq!(kept.await.unwrap().len() == 1, trusted, "{margin}");
    }
}
