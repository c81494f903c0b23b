//! Selection among local files.

use std::path::Path;
use std::time::SystemTime;

use jiff::tz::TimeZone;

use super::*;
use crate::settings::BoundedInt;
use crate::storage::Local;

fn all() -> Selection {
    Selection {
        settings: SelectSettings::default(),
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

async fn select(folder: &Path, path: &str, selection: &Selection) -> Result<Vec<String>> {
    let mut state = ProcessedFiles::default();
    let selected = selection
        .select(&local(folder), &pattern(path), &mut state)
        .await?;
    Ok(selected.files.iter().map(|file| file.name.to_string()).collect())
}

#[tokio::test]
async fn orders_files_and_selects_the_newest_in_that_order() {
    let names = ["a-12312025.csv", "a-01022026.csv", "a-02012025.csv"];
    let folder = folder_of(&names);
    set_modified(&folder.path().join(names[2]), ago(60));
    for (order_by, order) in [
        (OrderBy::DateInName, [2, 0, 1]),
        (OrderBy::Name, [1, 2, 0]),
        (OrderBy::Modified, [0, 1, 2]),
    ] {
        let order = order.map(|index| names[index]);
        for (newest, expected) in [(false, &order[..]), (true, &order[2..])] {
            let mut selection = Selection { order_by, ..all() };
            selection.settings.newest = newest;
            let found = select(folder.path(), "a-{any_date:%m%d%Y}.csv", &selection).await;
            assert_eq!(found.unwrap(), expected, "{order_by:?}");
        }
    }
}

#[tokio::test]
async fn skips_unfinished_files_and_rejects_too_many() {
    let folder = folder_of(&["a.csv", "b.csv", "c.csv.part"]);
    let mut selection = all();
    let found = select(folder.path(), "*", &selection).await;
    assert_eq!(found.unwrap(), ["a.csv", "b.csv"]);
    selection.settings.max_files = BoundedInt::new(1);
    let error = select(folder.path(), "*", &selection).await.unwrap_err();
    assert!(error.to_string().contains("`select.max_files` (1)"), "{error}");
}

#[tokio::test]
async fn trusts_a_time_only_if_it_is_in_the_past_by_more_than_the_clock_margin() {
    let folder = folder_of(&["a.csv"]);
    let path = folder.path().join("a.csv");
    let storage = local(folder.path());
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    for (time, margin, trusted) in [(ago(300), 0, true), (ago(300), 600, false), (ahead, 0, false)] {
        std::fs::write(&path, "a").unwrap();
        set_modified(&path, time);
        let listed = storage.list(&pattern("*.csv")).await.unwrap();
        // It grows, and its time stays the same.
        std::fs::write(&path, "more than before").unwrap();
        set_modified(&path, time);
        let selection = Selection {
            quiet_period: Duration::from_millis(1),
            clock_margin: Duration::from_secs(margin),
            ..all()
        };
        let kept = selection.quiet(&storage, listed, Timestamp::now());
        assert_eq!(kept.await.unwrap().len() == 1, trusted, "{margin}");
    }
}
