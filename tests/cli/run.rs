//! `run`: outcomes, exit codes, streams.

use super::*;

#[test]
fn run_reports_the_outcome_of_every_row() {
    let folder = Folder::examples();
    let files = ["--report", "report.json", "--rejects", "rejects.ndjson"];
    let output = folder.run(&[&["run", "quickstart.yaml"][..], &files].concat());
    snapshot!(printed(&output), @r#"
    exit code 0
    --- stdout
    Upload successful: 30 rows
      read                40
      filtered             5  removed by `where` or a query
      rejected             5  not sent; see the reasons below
      accepted            30
    1 batch, 2.21 KiB, [TIME]

    Rejected rows by field and reason
      EmailAddress     missing       1
      EmailAddress     invalid_upn   1
      LastWorkingDate  missing       1
      LastWorkingDate  invalid_date  1
      ResignationDate  invalid_date  1

    Files
      rejected rows and reasons                                rejects.ndjson
      purview: rows the emulator accepted, and its import log  .hrsink/emulator
    run [RUN]
    "#);
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["conserved"], true);
    let rejected = std::fs::read_to_string(folder.path().join("rejects.ndjson")).unwrap();
    assert_eq!(rejected.lines().count() as u64, report["rows"]["rejected"]);
    assert!(
        !folder.path().join(".hrsink/rejects").exists(),
        "the rejects are where they were asked for"
    );
}

#[test]
fn dry_run_sends_nothing() {
    let folder = Folder::examples();
    snapshot!(printed(&folder.run(&["run", "quickstart.yaml", "--dry-run", "--limit", "100"])), @r#"
    exit code 0
    --- stdout
    Dry run: nothing was sent; 1 batch would have been
      read                40
      filtered             5  removed by `where` or a query
      rejected             5  not sent; see the reasons below
      not sent            30  would have been sent
    1 batch, 2.21 KiB, [TIME]

    Rejected rows by field and reason
      EmailAddress     missing       1
      EmailAddress     invalid_upn   1
      LastWorkingDate  missing       1
      LastWorkingDate  invalid_date  1
      ResignationDate  invalid_date  1

    Files
      rejected rows and reasons  .hrsink/rejects/[RUN].ndjson
    run [RUN]
    "#);
    assert!(!folder.path().join(".hrsink/emulator").exists());
}

#[test]
fn run_prints_json() {
    let folder = Folder::examples();
    let report = folder.json(&["run", "quickstart.yaml", "--output", "json"]);
    assert_eq!(report["exit_code"], 0);
    assert!(report["rows"]["accepted"].as_u64().unwrap() > 0);
}

#[test]
fn too_many_rejects_exit_with_3() {
    let folder = Folder::examples();
    folder.write_quickstart("strict.yaml", "max_ratio: 0.25", "max_ratio: 0.001");
    let output = folder.run(&["run", "strict.yaml"]);
    assert_eq!(code(&output), 3, "{}", printed(&output));
    let first = text(&output.stdout).lines().next().unwrap();
    snapshot!(first, @r#"30 rows delivered, but 14.3% of the rows were rejected; `rejects.max_ratio` allows 0.1%"#);
}

#[test]
fn missing_file_error_has_hints() {
    let folder = Folder::examples();
    std::fs::remove_file(folder.path().join("data/terminations.csv")).unwrap();
    snapshot!(printed(&folder.run(&["run", "quickstart.yaml"])), @r#"
    exit code 2
    --- stdout
    Failed before any row was read
      read             0
    [TIME]

    Files
      purview: rows the emulator accepted, and its import log  .hrsink/emulator
    run [RUN]
    --- stderr
    error: hr_export: no file `data/terminations.csv` in `./data`
    hint: `./data` contains 6 files; the most similar names are `terminations-utf16.csv`, `terminations.parquet`
    "#);
}

#[test]
fn transient_failure_exits_with_75() {
    let folder = Folder::examples();
    let faulty = "cloud: emulator\n    emulator: {faults: 503=1}\n    retry: {max_attempts: 2, initial_backoff: 1ms, max_backoff: 1ms}";
    folder.write_quickstart("faulty.yaml", "cloud: emulator", faulty);
    let words = ["\nerror: purview: "];
    folder.says(&["run", "faulty.yaml", "--report", "report.json"], 75, &words);
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(report.contains("\"exit_code\": 75"));
}

#[test]
fn unwritable_report_stops_the_run_before_sending() {
    let folder = Folder::examples();
    folder.says(
        &["run", "quickstart.yaml", "--report", "no/such/folder.json"],
        2,
        &[],
    );
    assert!(!folder.path().join(".hrsink").exists());
}

#[test]
fn stdout_contains_only_rows() {
    let folder = Folder::empty();
    folder.write("a.csv", "n,t\n1,x\n2,y\n");
    folder.write(
        "print.yaml",
        "sources: {a: {type: file, path: a.csv}}\nsinks: {out: {type: console, inputs: [a], format: ndjson}}\n",
    );
    snapshot!(printed(&folder.run(&["run", "print.yaml"])), @r#"
    exit code 0
    --- stdout
    {"n":"1","t":"x"}
    {"n":"2","t":"y"}
    --- stderr
    Done: 2 rows
      read                 2
      accepted             2
    [TIME]
    run [RUN]
    "#);
    snapshot!(printed(&folder.run(&["run", "print.yaml", "--output", "json"])), @r#"
    exit code 2
    --- stderr
    error: the rows of the sink `out` and the run report both use standard output
    hint: write the report to a file: `--report PATH`
    "#);
}

#[test]
fn json_log_has_one_object_per_line() {
    let folder = Folder::examples();
    let output = folder.run(&["run", "quickstart.yaml", "--log-format", "json"]);
    let lines = text(&output.stderr).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    assert!(lines.any(|line| line["message"] == "run ended"));
    lines.for_each(drop);

    folder.write("mistakes.yaml", "sources: {}\n");
    let output = folder.run(&["run", "mistakes.yaml", "--log-format", "json"]);
    assert_eq!(code(&output), 2);
    for line in text(&output.stderr).lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(line["level"], "ERROR");
    }
}

#[test]
fn colors_follow_the_environment() {
    let folder = Folder::examples();
    let colored = |command: &mut Command| text(&command.output().unwrap().stdout).contains('\u{1b}');
    assert!(!colored(&mut folder.command(&["list"])), "no terminal");
    assert!(colored(&mut folder.command(&["list", "--color", "always"])));
    let mut never = folder.command(&["list", "--color", "never"]);
    assert!(!colored(never.env("CLICOLOR_FORCE", "1")));
    assert!(!colored(folder.command(&["list"]).env("NO_COLOR", "1")));
}

#[test]
fn closed_stdout_is_not_an_error() {
    let folder = Folder::empty();
    let mut child = folder
        .command(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

#[test]
fn report_matches_its_schema() {
    let folder = Folder::examples();
    let schema = folder.json(&["schema", "report"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    for arguments in [
        &["run", "quickstart.yaml", "--output", "json"][..],
        &["run", "profiles.yaml", "--dry-run", "--output", "json"],
    ] {
        let report = folder.json(arguments);
        let wrong = validator.iter_errors(&report).map(|error| error.to_string());
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
        assert!(report["rows"]["read"].as_u64() > Some(0));
    }
}

#[test]
fn second_run_cannot_write_the_same_file() {
    let folder = Folder::examples();
    let pipeline = std::fs::read_to_string(folder.path().join("quickstart.yaml")).unwrap();
    let (head, _) = pipeline.split_once("sinks:").unwrap();
    folder.write(
        "out.yaml",
        &format!("{head}sinks:\n  out: {{type: file, inputs: [resignations], path: out.csv}}\n"),
    );
    let other = std::fs::File::create(folder.path().join("out.csv.part")).unwrap();
    other.lock().unwrap();
    folder.says(
        &["run", "out.yaml"],
        75,
        &["another run is writing", "out.csv.part"],
    );
    drop(other);
    folder.run(&["run", "out.yaml"]);
    assert!(folder.path().join("out.csv").exists() && !folder.path().join("out.csv.part").exists());
}
