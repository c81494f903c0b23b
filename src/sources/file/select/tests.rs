//! Choosing among files on the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::storage::local::Local;

fn all() -> Selection {
    Selection {
        take: Take::All,
        read_again: ReadAgain::Changed,
        order: Order::Name,
        trigger: None,
        settle: QuietPeriod {
            wait: Duration::ZERO,
            margin: Duration::ZERO,
        },
        max_files: 10,
        max_file_bytes: None,
        if_missing: IfNone::Error,
        if_nothing_new: IfNone::Error,
    }
}

fn write(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, name).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
    }
}

async fn chosen(folder: &Path, wanted: &FilePattern, choice: &Selection) -> Result<Vec<String>> {
    let place = Local::new(Arc::new(folder.to_owned()));
    let chosen = choose(&place, wanted, choice, &mut ProcessedFiles::default()).await?;
    if let Some(error) = chosen.refused {
        return Err(error);
    }
    Ok(chosen.files.iter().map(|file| file.name.to_string()).collect())
}

#[tokio::test]
async fn nothing_there_shows_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &["exports/terminations-2026.txt", "exports/other.bin"],
    );
    let missing = |path: &'static str| {
        let folder = folder.path();
        async move {
            chosen(folder, &FilePattern::plain(path), &all())
                .await
                .unwrap_err()
        }
    };
    let error = missing("exports/terminations-*.csv").await;
    let message = error.to_string();
    assert!(
        message.contains("exports/terminations-*.csv") && message.contains(&*folder.path().to_string_lossy()),
        "{message}"
    );
    let hints: Vec<&str> = error.hints().collect();
    assert!(
        hints[0].contains("2 files") && hints[0].contains("`terminations-2026.txt`"),
        "{hints:?}"
    );
    let error = missing("nowhere/a.csv").await;
    assert!(error.hints().next().unwrap().contains("nowhere"), "{error:?}");
    let error = missing("exports").await;
    assert!(
        error.hints().next().unwrap().contains("exports/*.csv"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_newest_is_the_one_of_the_last_date_not_of_the_last_name() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &["a-12312025.csv", "a-01022026.csv", "a-02012025.csv"],
    );
    let zone = jiff::tz::TimeZone::UTC;
    let wanted = FilePattern::new(
        "a-{any_date:%m%d%Y}.csv",
        Timestamp::now(),
        &zone,
        SignedDuration::ZERO,
    )
    .unwrap();
    let mut choice = Selection {
        order: Order::Date,
        ..all()
    };
    let found = chosen(folder.path(), &wanted, &choice).await.unwrap();
    assert_eq!(found, ["a-02012025.csv", "a-12312025.csv", "a-01022026.csv"]);
    choice.take = Take::Newest;
    assert_eq!(
        chosen(folder.path(), &wanted, &choice).await.unwrap(),
        ["a-01022026.csv"]
    );
    choice.order = Order::Name;
    assert_eq!(
        chosen(folder.path(), &wanted, &choice).await.unwrap(),
        ["a-12312025.csv"]
    );
}

#[tokio::test]
async fn files_wait_for_their_trigger_which_is_no_data() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["a.csv", "a.csv.done", "b.csv", "c.csv.part"]);
    let mut choice = Selection {
        trigger: Some("{name}.done".into()),
        ..all()
    };
    assert_eq!(
        chosen(folder.path(), &FilePattern::plain("*"), &choice)
            .await
            .unwrap(),
        ["a.csv"]
    );
    choice.trigger = Some("{stem}.ok".into());
    let error = chosen(folder.path(), &FilePattern::plain("*.csv"), &choice)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nothing new"), "{error}");
}

#[tokio::test]
async fn limits_are_kept_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["a.csv", "b.csv", "long name.csv"]);
    let mut choice = Selection {
        max_files: 2,
        ..all()
    };
    let error = chosen(folder.path(), &FilePattern::plain("*.csv"), &choice)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`max_files` is 2"), "{error}");
    choice.max_files = 3;
    choice.max_file_bytes = Some(10);
    let error = chosen(folder.path(), &FilePattern::plain("*.csv"), &choice)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`long name.csv`"), "{error}");
    choice.max_file_bytes = Some(13);
    assert_eq!(
        chosen(folder.path(), &FilePattern::plain("*.csv"), &choice)
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_file_that_grows_is_left_alone_and_one_that_stays_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["old.csv"]);
    for name in ["grows.csv", "fresh.csv"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let choice = Selection {
        settle: QuietPeriod {
            wait: Duration::from_millis(300),
            margin: Duration::ZERO,
        },
        ..all()
    };
    let (done, writer) = (
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
        folder.path().join("grows.csv"),
    );
    let stop = done.clone();
    let writing = std::thread::spawn(move || {
        use std::io::Write as _;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let mut file = std::fs::File::options().append(true).open(&writer).unwrap();
            file.write_all(b"more\n").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let found = chosen(folder.path(), &FilePattern::plain("*.csv"), &choice).await;
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    writing.join().unwrap();
    assert_eq!(found.unwrap(), ["fresh.csv", "old.csv"]);
}

#[tokio::test]
async fn a_time_in_the_future_is_looked_at_again_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["a.csv"]);
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path().join("a.csv"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    let choice = Selection {
        settle: QuietPeriod {
            wait: Duration::from_millis(1),
            margin: Duration::ZERO,
        },
        ..all()
    };
    assert_eq!(
        chosen(folder.path(), &FilePattern::plain("*.csv"), &choice)
            .await
            .unwrap(),
        ["a.csv"]
    );
}

#[tokio::test]
async fn files_are_in_order_by_the_time_of_their_last_change() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["a.csv", "b.csv", "c.csv"]);
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path().join("b.csv"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    let mut choice = Selection {
        order: Order::Time,
        ..all()
    };
    let wanted = FilePattern::plain("*.csv");
    let found = chosen(folder.path(), &wanted, &choice).await.unwrap();
    assert_eq!(found[0], "b.csv");
    assert_eq!(found.len(), 3);
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    choice.take = Take::Newest;
    assert_eq!(chosen(folder.path(), &wanted, &choice).await.unwrap(), ["b.csv"]);
}

#[tokio::test]
async fn a_time_that_is_not_old_enough_for_a_clock_that_may_be_off_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["a.csv"]);
    let path = folder.path().join("a.csv");
    let age = |seconds| {
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    };
    age(300);
    let place = Local::new(Arc::new(folder.path().to_owned()));
    let wanted = FilePattern::plain("*.csv");
    let found = place.list(&wanted).await.unwrap();
    // It grows, and the clock of its times lags.
    std::fs::write(&path, "more than before").unwrap();
    age(300);
    for (margin, believed) in [(0, true), (600, false)] {
        let settle = QuietPeriod {
            wait: Duration::from_millis(1),
            margin: Duration::from_secs(margin),
        };
        let settled = quiet_period::without_unfinished(&place, settle, found.clone(), Timestamp::now())
            .await
            .unwrap();
        assert_eq!(settled.len() == 1, believed, "{margin}");
    }
}
