//! Snapshots from run to run: what is kept, when it is replaced, and that it stays secret.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use hrsink::config::LoadError;
use hrsink::pipeline::{Observer, RunOptions, RunReport};
use serde_json::{Value, json};
use support::{Pipeline, failure};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const ONE: &str = "1,a@contoso.com,L4";

/// A source with a snapshot. `out/now.csv` has the rows of the run, `out/previous.csv` those of the snapshot.
fn directory(users: &str) -> Pipeline {
    let mut pipeline = Pipeline::new("http://unused", 0);
    let review = |input: &str, fields: Value| {
        json!({
            "type": "hr_schema", "inputs": [input], "scenario": "performance_review",
            "dates": {"timezone": "UTC"}, "fields": fields,
        })
    };
    let file = |input: &str, name: &str| json!({"type": "file", "inputs": [input], "path": format!("out/{name}.csv")});
    pipeline.file = json!({
        "sources": {"directory": {
            "type": "file",
            "path": "users.csv",
            "snapshot": {
                "key": ["id"],
                "columns": ["id", "upn", "level"],
                "required": ["upn"],
                "encryption_key": {"file": "key"},
            },
        }},
        "transforms": {
            // The other columns of the directory are read for the snapshot only.
            "now": review("directory", json!({
                "EmailAddress": "'someone@contoso.com'", "EffectiveDate": "'2026-01-01'", "Remarks": "id",
            })),
            "before": review("directory.previous", json!({
                "EmailAddress": "upn", "EffectiveDate": "last_seen", "Remarks": "id", "Rating": "level",
            })),
        },
        "sinks": {"now_out": file("now", "now"), "before_out": file("before", "previous")},
    });
    pipeline.write("key", KEY);
    set_users(&pipeline, users);
    std::fs::create_dir(pipeline.path("out")).unwrap();
    pipeline
}

/// Writes the source's file: rows of `id,upn,level`.
fn set_users(pipeline: &Pipeline, rows: &str) {
    pipeline.write("users.csv", &format!("id,upn,level\n{rows}\n"));
}

/// So many rows of the source.
fn many(rows: usize) -> String {
    let rows = (0..rows).map(|n| format!("{n},user{n}@contoso.com,L{}\n", n % 9));
    rows.collect()
}

fn snapshot(pipeline: &mut Pipeline) -> &mut Value {
    &mut pipeline.file["sources"]["directory"]["snapshot"]
}

fn unset(pipeline: &mut Pipeline, key: &str) {
    snapshot(pipeline).as_object_mut().unwrap().remove(key);
}

/// The rows of `directory.previous` in the last run: `id upn level`.
fn previous(pipeline: &Pipeline) -> Vec<String> {
    let Ok(mut reader) = csv::Reader::from_path(pipeline.path("out/previous.csv")) else {
        return Vec::new();
    };
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    let columns = [place("Remarks"), place("EmailAddress"), place("Rating")];
    let mut rows: Vec<String> = reader
        .records()
        .map(|row| {
            let row = row.unwrap();
            columns.map(|column| &row[column]).join(" ").trim_end().to_owned()
        })
        .collect();
    rows.sort();
    rows
}

/// Runs the pipeline and returns the rows of the snapshot before it.
async fn run(pipeline: &Pipeline) -> Vec<String> {
    succeeds(pipeline).await;
    previous(pipeline)
}

async fn succeeds(pipeline: &Pipeline) -> RunReport {
    std::fs::remove_file(pipeline.path("out/previous.csv")).ok();
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    report
}

/// The files in the folder of the snapshots.
fn stored(pipeline: &Pipeline) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(pipeline.path(".hrsink/snapshots")) else {
        return Vec::new();
    };
    folder.map(|entry| entry.unwrap().path()).collect()
}

fn the_file(pipeline: &Pipeline) -> PathBuf {
    let mut files = stored(pipeline);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Runs with these options and checks that the snapshot is unchanged.
async fn keeps_it(pipeline: &Pipeline, options: RunOptions, exit_code: u8) -> RunReport {
    let before = std::fs::read(the_file(pipeline)).unwrap();
    let report = pipeline.run_with(options, &Observer::default()).await;
    assert_eq!(report.exit_code, exit_code, "{report:#?}");
    assert_eq!(std::fs::read(the_file(pipeline)).unwrap(), before);
    report
}

/// Runs into an error before the first row, whose message and hints contain `expected`.
async fn refuses(pipeline: &Pipeline, component: &str, expected: &[&str]) {
    std::fs::remove_file(pipeline.path("out/previous.csv")).ok();
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(error.component.as_deref().unwrap().starts_with(component));
    let text = format!("{} {}", error.message, error.hints.concat());
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(report.rows.read, 0);
    assert!(!pipeline.path("out/previous.csv").exists());
    assert!(!format!("{report:?}").contains("planted"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_the_last_valid_rows_of_earlier_runs() {
    let pipeline = directory("1,a@contoso.com,L4\n2,b@contoso.com,L5");
    let report = succeeds(&pipeline).await;
    assert_eq!(previous(&pipeline), [""; 0], "no snapshot in the first run");
    assert_eq!(read_before(&report), 0);
    let mut outputs = report.outputs.iter();
    let output = outputs.find(|output| output.component == "directory").unwrap();
    assert_eq!(output.what, "snapshot for the next run: 2 rows, encrypted");
    assert_eq!(output.path, the_file(&pipeline));

    // 1: new level; 2: left, with the address blanked; 3: new.
    set_users(&pipeline, "1,a@contoso.com,L3\n2, ,L5\n3,c@contoso.com,");
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4", "2 b@contoso.com L5"]);
    // 1 is missing; the blanked address of 2 is still in the snapshot.
    set_users(&pipeline, "2,,\n3,c@contoso.com,L1");
    assert_eq!(
        run(&pipeline).await,
        ["1 a@contoso.com L3", "2 b@contoso.com L5", "3 c@contoso.com"]
    );
    let report = succeeds(&pipeline).await;
    assert_eq!(
        previous(&pipeline),
        ["1 a@contoso.com L3", "2 b@contoso.com L5", "3 c@contoso.com L1"]
    );
    assert_eq!(read_before(&report), 3);
}

/// The rows that the snapshot returned.
fn read_before(report: &RunReport) -> u64 {
    let mut components = report.components.iter();
    let previous = components.find(|component| component.name == "directory.previous");
    previous.unwrap().rows.read
}

#[tokio::test(flavor = "multi_thread")]
async fn skips_rows_without_a_key_and_keeps_the_first_valid_row_of_a_key() {
    let pipeline = directory(
        ",nobody@contoso.com,L1\n\" \",blank@contoso.com,L1\n1,,L9\n1,first@contoso.com,L1\n1,second@contoso.com,L2",
    );
    run(&pipeline).await;
    assert_eq!(run(&pipeline).await, ["1 first@contoso.com L1"]);

    // By default, every column except the key is required.
    let mut pipeline = directory("1,a@contoso.com,L4\n2,b@contoso.com,");
    unset(&mut pipeline, "required");
    run(&pipeline).await;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_rows_after_their_ttl() {
    let mut pipeline = directory(ONE);
    snapshot(&mut pipeline)["ttl"] = json!("1us");
    run(&pipeline).await;
    set_users(&pipeline, "2,b@contoso.com,L4");
    assert_eq!(run(&pipeline).await, [""; 0], "expired");
    // The file does not have it any more.
    snapshot(&mut pipeline)["ttl"] = json!("1d");
    assert_eq!(run(&pipeline).await, ["2 b@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_snapshot_after_a_run_that_did_not_deliver_everything() {
    let mut pipeline = directory(ONE);
    run(&pipeline).await;
    set_users(&pipeline, "1,a@contoso.com,L3\n2,b@contoso.com,L3");

    keeps_it(&pipeline, RunOptions::with(|options| options.dry_run = true), 0).await;
    keeps_it(&pipeline, RunOptions::with(|options| options.limit = Some(1)), 0).await;
    keeps_it(
        &pipeline,
        RunOptions::with(|options| options.cancel.cancel()),
        130,
    )
    .await;

    let complete = pipeline.file.clone();
    // Another source fails.
    pipeline.file["sources"]["broken"] = json!({"type": "file", "path": "broken.csv"});
    pipeline.file["transforms"]["now"]["inputs"] = json!(["directory", "broken"]);
    pipeline.write("broken.csv", "");
    keeps_it(&pipeline, RunOptions::default(), 2).await;
    // A guard stops the run.
    pipeline.file = complete.clone();
    pipeline.file["guards"] = json!({"max_rows": 1});
    keeps_it(&pipeline, RunOptions::default(), 4).await;
    // Too many rejects.
    pipeline.file = complete.clone();
    pipeline.file["transforms"]["now"]["fields"]["EmailAddress"] =
        json!("case when id = '2' then 'x' else 'x@contoso.com' end");
    keeps_it(&pipeline, RunOptions::default(), 3).await;

    // The next successful run still sees the difference, once.
    pipeline.file = complete;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L3", "2 b@contoso.com L3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_snapshot_after_upload_failures() {
    let emulator = support::emulator("503=1").await;
    let mut pipeline = directory(ONE);
    run(&pipeline).await;
    set_users(&pipeline, "1,a@contoso.com,L3");
    let to_file = pipeline.file["sinks"]["now_out"].clone();
    pipeline.file["sinks"]["now_out"] = support::sink(&emulator.url(), support::JOB, "now");
    pipeline.write("secret", support::SECRET);
    keeps_it(&pipeline, RunOptions::default(), 75).await;
    pipeline.file["sinks"]["now_out"] = to_file;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removes_the_unfinished_file_of_a_crashed_run() {
    let pipeline = directory(ONE);
    run(&pipeline).await;
    let mut left = the_file(&pipeline).into_os_string();
    left.push(".new");
    std::fs::write(&left, "half a file").unwrap();
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    assert!(!Path::new(&left).exists());
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_all_columns_as_text_whatever_their_types() {
    let mut pipeline = directory("");
    pipeline.file["sources"]["directory"]["path"] = json!("users.ndjson");
    pipeline.write(
        "users.ndjson",
        "{\"id\": 7, \"upn\": \"a@contoso.com\", \"level\": 4}\n",
    );
    pipeline.file["transforms"]["now"]["fields"]["Remarks"] = json!("cast(id as varchar)");
    run(&pipeline).await;
    pipeline.file["sources"]["directory"]["path"] = json!("users.csv");
    set_users(&pipeline, "7,,5\n8,b@contoso.com,5");
    assert_eq!(run(&pipeline).await, ["7 a@contoso.com 4"]);
    assert_eq!(run(&pipeline).await, ["7 a@contoso.com 4", "8 b@contoso.com 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn allows_columns_to_be_added_and_removed() {
    let mut pipeline = directory("");
    pipeline.write(
        "users.csv",
        "id,upn,level,unit\n1,a@contoso.com,L4,planted-unit\n",
    );
    run(&pipeline).await;
    snapshot(&mut pipeline)["columns"] = json!(["unit", "id", "upn"]);
    pipeline.file["transforms"]["before"]["fields"]["Rating"] = json!("unit");
    pipeline.write("users.csv", "id,upn,level,unit\n2,b@contoso.com,L4,north\n");
    assert_eq!(
        run(&pipeline).await,
        ["1 a@contoso.com"],
        "a column that was not kept is empty"
    );
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com", "2 b@contoso.com north"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_every_row_of_a_large_source() {
    let rows = 30_000;
    let pipeline = directory(&many(rows));
    run(&pipeline).await;
    set_users(&pipeline, "17,new@contoso.com,L0");
    run(&pipeline).await;
    let kept = run(&pipeline).await;
    assert_eq!(kept.len(), rows);
    assert!(kept.contains(&"17 new@contoso.com L0".to_owned()));
    assert!(kept.contains(&"29999 user29999@contoso.com L2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_nothing_readable_without_the_key() {
    let pipeline = directory("planted-1,planted.2@contoso.com,planted-3");
    run(&pipeline).await;
    let planted = ["planted-1 planted.2@contoso.com planted-3"];
    assert_eq!(run(&pipeline).await, planted);
    let folders = [".hrsink", ".hrsink/snapshots"].map(|folder| pipeline.path(folder));
    let entries = folders
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files = 0;
    for path in paths.filter(|path| path.is_file()) {
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        let key = "0123456789abcdef0123456789abcdef";
        for planted in ["planted", "contoso", "upn", KEY, key] {
            let mut windows = bytes.windows(planted.len());
            let found = windows.any(|window| window == planted.as_bytes());
            assert!(!found, "{} holds {planted}", path.display());
        }
    }
    assert!(files >= 2, "the ledger and the snapshot");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&the_file(&pipeline)), 0o600);
        assert_eq!(mode(&pipeline.path(".hrsink/snapshots")), 0o700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_another_key_unless_the_old_one_is_set() {
    let mut pipeline = directory(ONE);
    run(&pipeline).await;
    pipeline.write("old", KEY);
    pipeline.write("key", OTHER_KEY);
    let expected = ["encrypted with another key", "old_encryption_key"];
    refuses(&pipeline, "directory.previous", &expected).await;
    snapshot(&mut pipeline)["old_encryption_key"] = json!({"file": "old"});
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    unset(&mut pipeline, "old_encryption_key");
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_missing_and_invalid_keys_without_showing_them() {
    let pipeline = directory(ONE);
    pipeline.write("key", "planted-password");
    refuses(&pipeline, "directory", &["openssl rand -base64 32"]).await;
    std::fs::remove_file(pipeline.path("key")).unwrap();
    refuses(&pipeline, "directory", &["secret file"]).await;
    assert_eq!(stored(&pipeline), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_a_damaged_file_before_the_first_row() {
    let pipeline = directory(&many(20_000));
    run(&pipeline).await;
    let file = the_file(&pipeline);
    let complete = std::fs::read(&file).unwrap();
    // The magic, the header, rows, and late rows.
    for at in [3, 30, 200, complete.len() - 40] {
        let mut damaged = complete.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        refuses(&pipeline, "directory.previous", &["backup"]).await;
        assert_eq!(std::fs::read(&file).unwrap(), damaged);
    }
    std::fs::write(&file, &complete[..complete.len() - 1]).unwrap();
    refuses(&pipeline, "directory.previous", &["it is truncated"]).await;
    std::fs::write(&file, complete).unwrap();
    assert_eq!(run(&pipeline).await.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_the_file_of_another_source() {
    let mut pipeline = directory(ONE);
    run(&pipeline).await;
    let mine = the_file(&pipeline);
    let text = pipeline.file.to_string();
    pipeline.file = serde_json::from_str(&text.replace("directory", "people")).unwrap();
    assert_eq!(run(&pipeline).await, [""; 0], "another source has none yet");
    let other = stored(&pipeline).into_iter().find(|path| *path != mine).unwrap();
    std::fs::rename(mine, &other).unwrap();
    refuses(&pipeline, "people.previous", &["another pipeline or source"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_a_misspelled_column_with_a_suggestion() {
    let mut pipeline = directory(ONE);
    snapshot(&mut pipeline)["columns"] = json!(["id", "upn", "levle"]);
    pipeline.file["transforms"]["before"]["fields"]["Rating"] = json!("levle");
    for dry_run in [true, false] {
        let options = RunOptions::with(|options| options.dry_run = dry_run);
        let report = pipeline.run_with(options, &Observer::default()).await;
        let error = failure(&report, 2);
        assert_eq!(error.component.as_deref(), Some("directory"));
        assert!(error.message.contains("has no column `levle`"), "{error:?}");
        assert!(error.hints[0].contains("`level`"), "{error:?}");
        assert_eq!(stored(&pipeline), Vec::<PathBuf>::new());
        assert!(
            !pipeline.path("out/now.csv").exists(),
            "a sink mistook the failure for the end of the rows"
        );
    }
}

fn problems(pipeline: &Pipeline) -> Vec<String> {
    match pipeline.load() {
        Ok(_) => Vec::new(),
        Err(LoadError::Problems { problems, .. }) => problems
            .iter()
            .map(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or("-")))
            .collect(),
        Err(error) => panic!("{error:#?}"),
    }
}

#[test]
fn validates_that_snapshots_and_their_inputs_match() {
    assert_eq!(problems(&directory("")), [""; 0]);
    let source = json!({"type": "file", "path": "x.csv"});
    for (path, value, expected) in [
        (
            "transforms/before/inputs",
            json!(["directory"]),
            "sources.directory.snapshot: the snapshot is not used: no component has `directory.previous` in its `inputs` (add \
             `directory.previous` to the `inputs` of a component, or remove `snapshot`)",
        ),
        (
            "sources/directory",
            source.clone(),
            "transforms.before.inputs[0]: the source `directory` keeps no snapshot (add a `snapshot` block to `directory`",
        ),
        (
            "sinks/before_out/inputs",
            json!(["before", "now.previous"]),
            "sinks.before_out.inputs[1]: `now` is a transform, and only sources have snapshots",
        ),
        (
            "sources/directory.previous",
            source,
            "sources.directory.previous: `directory.previous` is reserved for the snapshot of the source `directory` (give \
             this component another name)",
        ),
        (
            "sources/directory/snapshot/tll",
            json!("1d"),
            "sources.directory.snapshot.tll: unknown key `tll` (did you mean `ttl`?)",
        ),
        (
            "transforms/now/snapshot",
            json!({}),
            "transforms.now.snapshot: unknown key `snapshot`",
        ),
    ] {
        let mut pipeline = directory("");
        let setting = path.split('/').fold(&mut pipeline.file, |at, key| &mut at[key]);
        *setting = value;
        let found = problems(&pipeline);
        let mut starts = found.iter().map(|problem| problem.starts_with(expected));
        assert!(starts.any(|starts| starts), "{found:#?}");
    }
}

#[test]
fn the_json_schema_accepts_it_in_sources_only() {
    let schema = hrsink::config::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut pipeline = directory("");
    assert!(validator.is_valid(&pipeline.file));
    snapshot(&mut pipeline)["tll"] = json!("1d");
    assert!(!validator.is_valid(&pipeline.file));
    let mut elsewhere = directory("");
    elsewhere.file["sinks"]["now_out"]["snapshot"] =
        elsewhere.file["sources"]["directory"]["snapshot"].clone();
    assert!(!validator.is_valid(&elsewhere.file));
}
