//! Disks that are full or may not be written to.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use super::*;

/// A small disk of its own, in memory.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, and a note, where this user may not mount one.
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path());
        match command.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                println!("skipped: no disk can be mounted here");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn change(&self, options: &str) {
        let mut command = Command::new("mount");
        command
            .args(["-o", &format!("remount,{options}")])
            .arg(self.path());
        assert!(command.status().unwrap().success());
    }

    /// Fills it up to the last `free` bytes.
    fn fill(&self, free: u64) {
        let path = self.path().join("filler");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let piece = [7; 4096];
        while file.write_all(&piece).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(free)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A fixture whose ledger is on `disk`.
fn on(disk: &Disk, rows: usize) -> Fixture {
    let mut fixture = Fixture::new(rows);
    fixture.keep_at(&disk.path().join("state/state.db"));
    fixture
}

#[test]
fn reports_a_full_disk_before_the_first_row() {
    let Some(disk) = Disk::new("size=4m,mode=700") else {
        return;
    };
    let mut fixture = on(&disk, 10);
    for free in [0, 4 << 10, 16 << 10] {
        disk.fill(free);
        fixture.refuses(75, &["the ledger", "free some disk space"]);
        disk.make_room();
    }
    fixture.delivers(10);
    fixture.grow(4);
    disk.fill(0);
    fixture.refuses(75, &["the ledger", "free some disk space"]);
    disk.make_room();
    fixture.delivers(4);
    fixture.check_ledger();
}

#[test]
fn loses_nothing_when_the_disk_fills_up() {
    let Some(disk) = Disk::new("size=4m,mode=700") else {
        return;
    };
    let mut fixture = on(&disk, 0);
    fixture.delivers(0);
    fixture.pipeline["sinks"]["purview"]["max_concurrent"] = json!(1);
    fixture.grow(190);
    // By the end of the run's id, the number and the part: what each run said of its batches.
    let mut said: BTreeMap<(String, u64), String> = BTreeMap::new();
    let mut unknown = 0;
    let mut runs = 0;
    for free in (24..160).step_by(4).map(|pages| pages * 1024).chain([u64::MAX]) {
        if free < u64::MAX {
            disk.fill(free);
        }
        let (code, out, error) = fixture.run();
        runs += 1;
        let report = fixture.report();
        assert_eq!(report["conserved"], true, "{report:#}");
        let run = report["run_id"].as_str().unwrap();
        for batch in report["batches"].as_array().unwrap() {
            let name = (run[run.len() - 8..].to_owned(), batch["number"].as_u64().unwrap());
            let outcome = batch["outcome"].as_str().unwrap();
            unknown += u64::from(outcome == "unknown");
            said.insert(name, outcome.to_owned());
        }
        reports_resent_rows(&report);
        if free < u64::MAX {
            disk.make_room();
        }
        if code == 0 {
            break;
        }
        assert_eq!(code, 75, "{out}{error}");
        assert!(
            error.contains("the ledger `") && error.contains("free some disk space"),
            "{error}"
        );
        fixture.check_ledger();
    }
    assert!(unknown > 0, "no upload was taken that could not be written down");
    assert_eq!(
        fixture.arrived().into_keys().collect::<BTreeSet<_>>(),
        fixture.expected()
    );
    // Rows that came more than once were in batches that were said to be unknown, but for the last.
    let mut times: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for import in fixture.service.imports() {
        let mut parts = import.file.trim_end_matches(".csv").rsplit('-');
        let number = parts.next().unwrap().parse().unwrap();
        let outcome = &said[&(parts.next().unwrap().to_owned(), number)];
        for (_, values) in import.rows {
            let outcomes = times.entry(values["EmailAddress"].to_string()).or_default();
            outcomes.push(outcome.clone());
        }
    }
    let twice = times.values().filter(|outcomes| outcomes.len() > 1).count();
    for (row, outcomes) in times {
        let (last, before) = outcomes.split_last().unwrap();
        assert_eq!(last, "accepted", "{row}: {outcomes:?}");
        assert!(
            before.iter().all(|outcome| outcome == "unknown"),
            "{row}: {outcomes:?}"
        );
    }
    println!("{runs} runs on a full disk: {unknown} batches unknown, {twice} rows twice, all said");
    fixture.grow(2);
    let (code, _, error) = fixture.run();
    assert_eq!(
        (code, &fixture.report()["rows"]["accepted"]),
        (0, &json!(2)),
        "{error}"
    );
    fixture.check_ledger();
}

/// The rows that the batches sent again are those that earlier runs are reported for.
#[track_caller]
fn reports_resent_rows(report: &Value) {
    let sum = |list: &Value| -> u64 {
        let each = list.as_array().into_iter().flatten();
        each.filter(|batch| batch["outcome"] != "not_sent" && batch["outcome"] != "refused")
            .map(|batch| batch["resent_rows"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        sum(&report["batches"]),
        sum(&report["earlier_unknown"]),
        "{report:#}"
    );
}

#[test]
fn sends_nothing_when_the_spool_does_not_fit() {
    let Some(disk) = Disk::new("size=8m,mode=700") else {
        return;
    };
    let mut fixture = on(&disk, 0);
    // 46 MB: the spool keeps 32 MiB in memory.
    let level = "x".repeat(12_000);
    let mut csv = "upn,day,level\n".to_owned();
    for row in 1..=4_000 {
        csv.push_str(&format!("{},2026-04-01T00:00:00Z,{level}\n", email(row)));
    }
    std::fs::write(fixture.path().join("export.csv"), csv).unwrap();
    let transform = &mut fixture.pipeline["transforms"]["rows"];
    transform["scenario"] = json!("job_level_change");
    transform["fields"] = json!({"EmailAddress": "upn", "EffectiveDate": "day", "OldLevel": "level"});
    fixture.pipeline["sinks"]["purview"]["batch"]["max_rows"] = json!(100);
    fixture.pipeline["guards"] = json!({"max_rows": 10_000});
    fixture.rows = 4_000;
    fixture.refuses(75, &["no space left in `"]);
    disk.change("size=80m");
    fixture.delivers(4_000);
    let left = std::fs::read_dir(disk.path().join("state")).unwrap().count();
    assert_eq!(left, 3, "ledger, key and locks");
}

#[test]
fn reports_a_read_only_disk_before_the_first_row() {
    let Some(disk) = Disk::new("size=4m,mode=700") else {
        return;
    };
    let mut fixture = on(&disk, 10);
    disk.change("ro");
    fixture.refuses(2, &["cannot create the ledger's folder", "have write permission"]);
    disk.change("rw");
    fixture.delivers(10);
    fixture.grow(2);
    disk.change("ro");
    fixture.refuses(2, &["the ledger", "have write permission"]);
    disk.change("rw");
    fixture.delivers(2);
    fixture.check_ledger();
}

#[test]
fn reports_an_impossible_folder_before_the_first_row() {
    let mut fixture = Fixture::new(10);
    let file = fixture.path().join("file");
    std::fs::write(&file, "").unwrap();
    fixture.keep_at(&file.join("state.db"));
    fixture.refuses(2, &["cannot create the ledger's folder", "check `state.path`"]);
    std::fs::remove_file(&file).unwrap();
    fixture.delivers(10);
    fixture.keep_at(&file);
    fixture.refuses(2, &["is not a file", "check `state.path`"]);
}
