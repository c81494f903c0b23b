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

#[test]
fn a_report_goes_through_a_pipe() {
    let stand = Stand::new(4);
    stand.delivers(4);
    let path = stand.path().join("pipe");
    let reader = pipe(&path);
    let (code, said, error) = program::run(stand.path(), &["run", FILE, "--report", "pipe"]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(
        std::fs::metadata(&path).unwrap().file_type().is_fifo(),
        "a file has taken its place"
    );
    let report: Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(report["rows"]["skipped"], 4);
}

#[test]
fn a_report_goes_to_a_device_and_through_a_link() {
    let stand = Stand::new(4);
    stand.delivers(4);
    let link = stand.path().join("link");
    std::os::unix::fs::symlink("report.json", &link).unwrap();
    let (code, said, error) = program::run(stand.path(), &["run", FILE, "--report", "link"]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(stand.report()["rows"]["skipped"], 4);
    let null = stand.path().join("null");
    if device(&null, "3").is_some() {
        let (code, said, error) = program::run(stand.path(), &["run", FILE, "--report", "null"]);
        assert_eq!(code, 0, "{said}{error}");
        assert!(
            std::fs::symlink_metadata(&null)
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }
}

#[test]
fn a_report_that_finds_no_room_fails_the_run_and_not_the_delivery() {
    let stand = Stand::new(4);
    let full = stand.path().join("full");
    if device(&full, "7").is_none() {
        return;
    }
    std::fs::write(stand.path().join(FILE), stand.pipeline.to_string()).unwrap();
    let (code, said, error) = program::run(stand.path(), &["run", FILE, "--report", "full"]);
    assert_eq!(code, 1, "{said}{error}");
    assert!(
        error.contains("cannot write the run report `full`") && error.contains("No space left"),
        "{error}"
    );
    assert!(said.contains("Upload successful: 4 rows"), "{said}");
    assert!(
        std::fs::symlink_metadata(&full)
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let left = std::fs::read_dir(stand.path()).unwrap().flatten();
    assert!(
        left.map(|entry| entry.file_name())
            .all(|name| !name.to_string_lossy().contains(".part"))
    );
    stand.delivers(0);
}
