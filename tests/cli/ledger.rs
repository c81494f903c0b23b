//! `history` and `ledger`.

use super::*;

const PIPELINE: &str = "quickstart.yaml";

/// A folder in which the quickstart has run twice.
fn ran_twice() -> Folder {
    let folder = Folder::examples();
    for _ in 0..2 {
        assert_eq!(code(&folder.run(&["run", PIPELINE])), 0);
    }
    folder
}

fn run(folder: &Folder, args: &[&str]) -> (i32, String, String) {
    let output = folder.run(args);
    let stream = |bytes| text(bytes).to_owned();
    (code(&output), stream(&output.stdout), stream(&output.stderr))
}

fn history_of(folder: &Folder, pipeline: &str) -> serde_json::Value {
    let (code, stdout, _) = run(folder, &["history", pipeline, "--batches", "--output", "json"]);
    assert_eq!(code, 0);
    serde_json::from_str(&stdout).unwrap()
}

fn history(folder: &Folder) -> serde_json::Value {
    history_of(folder, PIPELINE)
}

/// As if no answer had come to the first batch.
fn lose_the_answer(folder: &Folder) {
    rusqlite::Connection::open(folder.path().join(".hrsink/state.db"))
        .unwrap()
        .execute("UPDATE batch SET outcome = 'unknown'", ())
        .unwrap();
}

#[test]
fn history_lists_runs_and_batches() {
    Folder::examples().says(&["history", PIPELINE], 0, &["\nNo runs yet: the ledger"]);
    let folder = ran_twice();
    let printed = history(&folder);
    let runs = printed["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(
        (&runs[0]["rows"]["skipped"], &runs[0]["batch_count"]),
        (&30.into(), &0.into())
    );
    assert_eq!(
        (&runs[1]["rows"]["accepted"], &runs[1]["exit_code"]),
        (&30.into(), &0.into())
    );
    assert_eq!(runs[1]["batches"][0]["outcome"], "accepted");
    let (_, table, _) = run(&folder, &["history", PIPELINE]);
    let first = table.lines().nth(3).unwrap_or_default();
    assert!(
        first.contains("delivered (0)") && first.contains(" 30 "),
        "{table}"
    );
    assert!(
        !table.contains("refused"),
        "a counter that is zero everywhere is left out"
    );
    let id = runs[1]["run"].as_str().unwrap();
    let words = [id, "employee_resignation"];
    folder.says(&["history", PIPELINE, "--run", &id[..14]], 0, &words);
    folder.says(
        &["history", PIPELINE, "--run", "nobody"],
        2,
        &["no run has an ID"],
    );
}

#[test]
fn shows_verifies_and_exports_the_ledger() {
    let folder = ran_twice();
    let (_, stats, _) = run(&folder, &["ledger", "stats", PIPELINE, "--output", "json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(
        (&stats["runs"], &stats["jobs"][0]["accepted_rows"]),
        (&2.into(), &30.into())
    );
    let (code, stdout, _) = run(&folder, &["ledger", "verify", "--state", ".hrsink/state.db"]);
    assert_eq!((code, &*stdout), (0, ".hrsink/state.db: no damage\n"));
    let (_, lines, _) = run(&folder, &["ledger", "export", PIPELINE]);
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["batches"].as_array().unwrap().len(), 1);
    std::fs::write(folder.path().join(".hrsink/state.db.key"), "lost").unwrap();
    folder.says(
        &["ledger", "verify", PIPELINE],
        1,
        &["1 problem", "invalid ledger key"],
    );
    // A ledger that cannot be read is not reported as damaged.
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    let words = ["exit code 2\n--- stderr", "is not a file", "`state.path`"];
    folder.says(&["ledger", "verify", "--state", "folder.db"], 2, &words);
    let words = ["the ledger `none.db` does not exist"];
    folder.says(&["ledger", "stats", "--state", "none.db"], 2, &words);
    assert!(!folder.path().join("none.db").exists());
}

#[test]
fn sends_forgotten_rows_again() {
    let folder = ran_twice();
    let forget = ["ledger", "forget", PIPELINE, "--job", "emulator"];
    folder.says(&forget, 2, &["this forgets 30 rows in 1 batch", "--yes"]);
    folder.run(&["run", PIPELINE]);
    assert_eq!(history(&folder)["runs"][0]["rows"]["skipped"], 30);
    folder.says(&[&forget[..], &["--yes"]].concat(), 0, &["\nForgotten: 30 rows"]);
    folder.run(&["run", PIPELINE]);
    assert_eq!(history(&folder)["runs"][0]["rows"]["accepted"], 30);
}

#[test]
fn resolves_batches_of_unknown_outcome() {
    for (outcome, skipped, accepted) in [("accepted", 30, 0), ("not-accepted", 0, 30)] {
        let folder = Folder::examples();
        folder.run(&["run", PIPELINE]);
        lose_the_answer(&folder);
        let words = ["unknown: open", "1 batch has an unknown outcome"];
        folder.says(&["history", PIPELINE, "--batches"], 0, &words);
        let id = history(&folder)["runs"][0]["run"].as_str().unwrap().to_owned();
        let resolve = [
            "ledger", "resolve", PIPELINE, "--run", &id, "--batch", "1", "--as", outcome,
        ];
        folder.says(&resolve, 0, &["\nBatch 1 of the sink `purview`"]);
        folder.says(&resolve, 2, &["is already resolved"]);
        folder.run(&["run", PIPELINE]);
        let rows = &history(&folder)["runs"][0]["rows"];
        assert_eq!(
            (&rows["skipped"], &rows["accepted"]),
            (&skipped.into(), &accepted.into())
        );
    }
}

#[test]
fn prune_deletes_history_and_keeps_rows() {
    let folder = ran_twice();
    rusqlite::Connection::open(folder.path().join(".hrsink/state.db"))
        .unwrap()
        .execute_batch("UPDATE run SET started = started - 864000000, ended = ended - 864000000")
        .unwrap();
    let prune = ["ledger", "prune", PIPELINE, "--older-than", "9d"];
    let (_, stdout, _) = run(&folder, &[&prune[..], &["--dry-run"]].concat());
    assert_eq!(stdout, "Would delete the history of 1 run with 1 batch\n");
    let (_, stdout, _) = run(&folder, &prune);
    assert_eq!(stdout, "Deleted the history of 1 run with 1 batch\n");
    folder.run(&["run", PIPELINE]);
    let printed = history(&folder);
    assert_eq!(printed["runs"].as_array().unwrap().len(), 2);
    assert_eq!(printed["runs"][0]["rows"]["skipped"], 30);
}

/// A pipeline whose source leaves out files that have not changed. `date` is the format of its dates.
fn leaves_out(folder: &Folder, date: &str) {
    let pipeline = serde_json::json!({
        "sources": {"export": {"type": "file", "path": "leavers.csv", "select": {"incremental": true}}},
        "transforms": {"leavers": {
            "type": "hr_schema", "inputs": ["export"], "scenario": "employee_resignation",
            "dates": {"formats": [date], "timezone": "UTC"},
            "fields": {"EmailAddress": "mail", "ResignationDate": "day", "LastWorkingDate": "day"},
        }},
        "sinks": {"purview": {"type": "m365_hr", "inputs": ["leavers"], "cloud": "emulator"}},
    });
    folder.write("p.json", &pipeline.to_string());
}

/// Rows that the last run delivered.
fn accepted(folder: &Folder) -> u64 {
    let history = history_of(folder, "p.json");
    history["runs"][0]["rows"]["accepted"].as_u64().unwrap()
}

const LEAVERS: &str = "mail,day\na@contoso.com,31/01/2026\nb@contoso.com,28/02/2026\n";

#[test]
fn forget_rewinds_incremental_sources() {
    let folder = Folder::empty();
    folder.write("leavers.csv", LEAVERS);
    leaves_out(&folder, "%d/%m/%Y");
    for rows in [2, 0] {
        assert_eq!(code(&folder.run(&["run", "p.json"])), 0);
        assert_eq!(accepted(&folder), rows);
    }
    folder.says(&["ledger", "stats", "p.json"], 0, &["Saved positions", "export"]);
    let forget = ["ledger", "forget", "p.json", "--job", "emulator", "--yes"];
    folder.says(&forget, 0, &["reads 1 source from the start"]);
    assert_eq!(code(&folder.run(&["run", "p.json"])), 0);
    assert_eq!(accepted(&folder), 2);
}

#[test]
fn rewind_reads_again_and_skips_accepted_rows() {
    let folder = Folder::empty();
    folder.write("leavers.csv", LEAVERS);
    leaves_out(&folder, "%d/%m/%Y");
    assert_eq!(code(&folder.run(&["run", "p.json"])), 0);
    let rewind = ["ledger", "rewind", "p.json"];
    let of = |source| [&rewind[..], &["--source", source]].concat();
    folder.says(&of("exports"), 2, &["sources with one: `export`"]);
    folder.says(&of("export"), 0, &["\nRewound: export;"]);
    assert_eq!(code(&folder.run(&["run", "p.json"])), 0);
    assert_eq!(history_of(&folder, "p.json")["runs"][0]["rows"]["skipped"], 2);
    folder.says(&rewind, 0, &[]);
    folder.says(&rewind, 2, &["no source of `p.json` has a saved position"]);
}

/// The mapping was wrong and is fixed.
#[test]
fn reads_the_input_again_after_too_many_rejects() {
    let folder = Folder::empty();
    folder.write("leavers.csv", LEAVERS);
    leaves_out(&folder, "%m/%d/%Y");
    let words = ["the file is kept, and the next run reads it again"];
    folder.says(&["run", "p.json"], 3, &words);
    leaves_out(&folder, "%d/%m/%Y");
    assert_eq!(code(&folder.run(&["run", "p.json"])), 0);
    assert_eq!(accepted(&folder), 2);
}

#[test]
fn opens_a_ledger_without_a_valid_pipeline_file() {
    let folder = ran_twice();
    folder.write("broken.yaml", "sources: {}\n");
    folder.says(&["history", "broken.yaml"], 2, &["--state PATH"]);
    folder.says(&["history", "--state", ".hrsink/state.db"], 0, &[]);
}
