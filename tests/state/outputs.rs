//! Where reports and rejects are to go: pipes and devices stay what they are.

use std::os::unix::fs::FileTypeExt as _;
use std::process::Command;

use super::*;

/// A named pipe whose reader gives what came through it.
fn pipe(path: &Path) -> std::thread::JoinHandle<String> {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let path = path.to_owned();
    std::thread::spawn(move || std::fs::read_to_string(path).unwrap())
}

/// A device of one's own, as `/dev/null` and `/dev/full` are; `None`, and a note, where this user may not make one.
fn device(path: &Path, minor: &str) -> Option<()> {
    let made = Command::new("mknod")
        .arg("-m")
        .arg("666")
        .arg(path)
        .args(["c", "1", minor])
        .output();
    let made = made.is_ok_and(|output| output.status.success());
    // Where devices are not allowed, it can be made and not be opened.
    if made && std::fs::File::open(path).is_ok() {
        return Some(());
    }
    println!("skipped: no device can be made here");
    None
}

fn is_device(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .unwrap()
        .file_type()
        .is_char_device()
}

#[test]
fn writes_the_report_to_a_pipe() {
    let fixture = Fixture::new(4);
    fixture.delivers(4);
    let path = fixture.path().join("pipe");
    let reader = pipe(&path);
    fixture.ends(0, &["run", FILE, "--report", "pipe"]);
    assert!(
        std::fs::metadata(&path).unwrap().file_type().is_fifo(),
        "a file has taken its place"
    );
    let report: Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(report["rows"]["skipped"], 4);
}

#[test]
fn writes_the_report_to_devices_and_links() {
    let fixture = Fixture::new(4);
    fixture.delivers(4);
    let link = fixture.path().join("link");
    std::os::unix::fs::symlink("report.json", &link).unwrap();
    fixture.ends(0, &["run", FILE, "--report", "link"]);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fixture.report()["rows"]["skipped"], 4);
    let null = fixture.path().join("null");
    if device(&null, "3").is_some() {
        fixture.ends(0, &["run", FILE, "--report", "null"]);
        assert!(is_device(&null));
    }
}

#[test]
fn fails_the_run_but_not_the_delivery_without_space_for_the_report() {
    let fixture = Fixture::new(4);
    let full = fixture.path().join("full");
    if device(&full, "7").is_none() {
        return;
    }
    std::fs::write(fixture.path().join(FILE), fixture.pipeline.to_string()).unwrap();
    let said = fixture.ends(1, &["run", FILE, "--report", "full"]);
    assert!(
        said.contains("cannot write the run report `full`") && said.contains("No space left"),
        "{said}"
    );
    assert!(said.contains("Upload successful: 4 rows"), "{said}");
    assert!(is_device(&full));
    let mut left = std::fs::read_dir(fixture.path()).unwrap().flatten();
    assert!(left.all(|entry| !entry.file_name().to_string_lossy().contains(".part")));
    fixture.delivers(0);
}
