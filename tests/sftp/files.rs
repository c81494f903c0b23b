//! File selection and post-processing.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::digest::of_lines;
use crate::pipeline::{Pipeline, age, serving};
use crate::sshd::{Account, Settings, Sshd};
use crate::{needs_root, needs_sshd};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_names_in_any_script() {
    needs_sshd!();
    let sshd = Sshd::start();
    for name in [
        "Austritte März.csv",
        "Austritte Übersicht 離職.csv",
        ".Austritte.csv",
        "Austritte.txt",
    ] {
        sshd.write(name, format!("line\n{name}\n"));
    }
    sshd.write("in [old]/a b.csv", "line\nx\n");
    let mut pipeline = Pipeline::new(&sshd, "Austritte*.csv");
    let expected = of_lines("line\nAustritte März.csv\nAustritte Übersicht 離職.csv\n");
    assert_eq!(pipeline.read().await, expected);
    for path in ["in [[]old]/a b.csv", "in [old]/a b.csv", "**/a*.csv"] {
        pipeline.source["path"] = json!(sshd.address(path));
        assert_eq!(pipeline.rows().await, 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_links_once_and_skips_folders_and_pipes() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("out/2026-02.csv", "line\n2\n");
    sshd.write("out/2026-03.csv", "line\n3\n");
    sshd.write("elsewhere/a.csv", "line\nelsewhere\n");
    let out = sshd.path("files/out");
    symlink("2026-03.csv", out.join("latest.csv")).unwrap();
    symlink("../elsewhere", out.join("folder")).unwrap();
    symlink("..", out.join("loop")).unwrap();
    std::fs::create_dir(out.join("sub.csv")).unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    assert!(mkfifo.arg(out.join("pipe.csv")).status().unwrap().success());
    let mut pipeline = Pipeline::new(&sshd, "out/*.csv");
    assert_eq!(pipeline.read().await, of_lines("line\n2\n3\n"));
    for (pattern, expected) in [
        ("out/l*.csv", "line\n3\n"),
        ("out/latest.csv", "line\n3\n"),
        // Links to folders are followed by name and by wildcards, not by `**`.
        ("out/folder/*.csv", "line\nelsewhere\n"),
        ("out/f*/a.csv", "line\nelsewhere\n"),
        ("out/**/*.csv", "line\n2\n3\n"),
    ] {
        pipeline.source["path"] = json!(sshd.address(pattern));
        assert_eq!(pipeline.read().await, of_lines(expected), "{pattern}");
    }
    symlink("gone", out.join("broken.csv")).unwrap();
    pipeline.source["path"] = json!(sshd.address("out/*.csv"));
    // A link to the newest file, which was moved away.
    assert_eq!(pipeline.read().await, of_lines("line\n2\n3\n"));
    std::fs::remove_file(out.join("broken.csv")).unwrap();
    pipeline.source["format"] = json!("csv");
    for (path, said) in [("out", "is a folder"), ("out/pipe.csv", "is a pipe")] {
        pipeline.source["path"] = json!(sshd.address(path));
        pipeline.fails(2, &[said]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_two_thousand_files_in_order() {
    needs_sshd!();
    let sshd = Sshd::start();
    let mut all = "line\n".to_owned();
    for number in 0..2_000 {
        sshd.write(&format!("leavers-{number:04}.csv"), format!("line\n{number}\n"));
        all.push_str(&format!("{number}\n"));
    }
    let pipeline = Pipeline::new(&sshd, "leavers-*.csv");
    assert_eq!(pipeline.read().await, of_lines(&all));
    // Over one connection, beside the one that waits for the server to start.
    assert_eq!(sshd.count("Connection from"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_missing_permissions() {
    needs_root!("folders that an account may not write to");
    let sshd = Sshd::start();
    let account = Account::make();
    let closed = sshd.write("closed.csv", "line\na\n");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).unwrap();
    sshd.write("open.csv", "line\na\n");
    let mut pipeline = Pipeline::new(&sshd, "closed.csv");
    pipeline.sftp()["username"] = json!(account.name);
    let user = format!("as `{}`", account.name);
    let said = ["cannot read `", "closed.csv`", &user, "ermission denied"];
    pipeline.fails(5, &said).await;
    // The rows are delivered; the file stays.
    pipeline.source["path"] = json!(sshd.address("open.csv"));
    pipeline.source["on_success"] = json!({"move": "archive/{name}"});
    assert_eq!(pipeline.rows().await, 1);
    assert!(sshd.path("files/open.csv").exists());
    let folder = sshd.path("files");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    pipeline.source["path"] = json!(sshd.address("*.csv"));
    pipeline.fails(5, &["cannot list `", "ermission denied"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_in_a_chroot() {
    needs_root!("accounts that are shut into a folder");
    let account = Account::make();
    // The folder and all above must belong to root, unlike temporary folders.
    let removed = Removed(format!("/var/lib/{}", account.name).into());
    let home = &removed.0;
    std::fs::create_dir(home).unwrap();
    std::fs::set_permissions(home, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(home.join("out")).unwrap();
    std::fs::write(home.join("out/a.csv"), "line\na\n").unwrap();
    account.owns(&home.join("out"));
    let sshd = Sshd::with(&Settings {
        lines: format!(
            "ChrootDirectory {}\nForceCommand internal-sftp -d /out\n",
            home.display()
        ),
        ..Settings::default()
    });
    let mut pipeline = Pipeline::new(&sshd, "");
    pipeline.sftp()["username"] = json!(account.name);
    for path in ["/out/*.csv", "/~/*.csv", "/~/a.csv"] {
        pipeline.source["path"] = json!(format!("sftp://127.0.0.1:{}{path}", sshd.port));
        assert_eq!(pipeline.rows().await, 1, "{path}");
    }
    // The account owns only the folder of the login.
    pipeline.source["on_success"] = json!({"move": "read/{name}"});
    assert_eq!(pipeline.rows().await, 1);
    assert!(home.join("out/read/a.csv").exists());
}

struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_only_changed_files_again() {
    let Some((sshd, mut pipeline)) = serving("a.csv", "line\na\n") else {
        return;
    };
    // A file that was changed just now may change again within the same second.
    age(&sshd.path("files/a.csv"));
    pipeline.source["select"]["incremental"] = json!(true);
    assert_eq!(pipeline.rows().await, 1);
    assert_eq!(pipeline.rows().await, 0);
    sshd.write("a.csv", "line\na\nb\n");
    assert_eq!(pipeline.rows().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_parquet_in_ranges() {
    let local = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config-examples/data/terminations.parquet"
    );
    let Some((_sshd, pipeline)) = serving("a.parquet", std::fs::read(local).unwrap()) else {
        return;
    };
    let read = pipeline.read().await;
    assert!(read.rows > 0);
    let mut on_disk = Pipeline::at(local);
    for key in ["sftp", "select"] {
        on_disk.source.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(read, on_disk.read().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skips_growing_files_if_the_clock_of_the_server_lags() {
    needs_sshd!();
    let sshd = Sshd::start();
    let lagging = |path: &Path| {
        let file = File::options().append(true).open(path).unwrap();
        // By minutes, and whole ones.
        let minutes = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs((minutes - 5) * 60);
        file.set_modified(then).unwrap();
    };
    lagging(&sshd.write("done.csv", "line\na\n"));
    let grows = sshd.write("grows.csv", "line\nb\n");
    lagging(&grows);
    let mut pipeline = Pipeline::new(&sshd, "*.csv");
    pipeline.source["select"]["quiet_period"] = json!("500ms");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let mut file = File::options().append(true).open(&grows).unwrap();
                file.write_all(b"b\n").unwrap();
                lagging(&grows);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let ran = pipeline.run().await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(ran.good(), of_lines("line\na\n"));
    // Nobody writes any more.
    pipeline.source["path"] = json!(sshd.address("grows.csv"));
    assert!(pipeline.rows().await > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_marker_which_goes_where_its_file_goes() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("out/a.csv", "line\na\n");
    sshd.write("out/b.csv", "line\nb\n");
    sshd.write("out/a.ok", "");
    let mut pipeline = Pipeline::new(&sshd, "out/*");
    for (key, value) in [
        ("format", json!("csv")),
        ("select", json!({"marker": "{stem}.ok", "quiet_period": "0s"})),
        ("on_success", json!({"move": "archive/"})),
    ] {
        pipeline.source[key] = value;
    }
    assert_eq!(pipeline.read().await, of_lines("line\na\n"));
    let there = |name: &str| sshd.path("files/out").join(name).exists();
    assert!(there("archive/a.csv") && there("archive/a.ok") && there("b.csv"));
    assert!(!there("a.csv") && !there("a.ok"));
    sshd.write("out/b.ok", "");
    assert_eq!(pipeline.read().await, of_lines("line\nb\n"));
    assert!(there("archive/b.csv") && there("archive/b.ok") && !there("b.ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_failed_moves_in_the_next_run() {
    let Some((sshd, mut pipeline)) = serving("a.csv", "line\na\n") else {
        return;
    };
    // A file where the folder should be.
    let blocked = sshd.write("archive", "");
    pipeline.source["select"]["incremental"] = json!(true);
    pipeline.source["on_success"] = json!({"move": "archive/"});
    let (code, _, told) = pipeline.run_program();
    assert_eq!(code, 0, "{told}");
    let warning = "was delivered, but cannot be moved or deleted";
    assert!(told.contains(warning), "{told}");
    assert!(sshd.path("files/a.csv").exists());
    std::fs::remove_file(blocked).unwrap();
    let (code, report, told) = pipeline.run_program();
    assert_eq!(code, 0, "{told}");
    assert_eq!(report["rows"]["read"], 0, "{report}");
    assert!(sshd.path("files/archive/a.csv").exists());
}
