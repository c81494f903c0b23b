//! Remembered tables, from run to run: what is kept, when it is replaced, and that it stays secret.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::{Pipeline, failure};
use hrsink::config::LoadError;
use hrsink::pipeline::{Observer, RunOptions, RunReport};
use serde_json::{Value, json};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A directory whose rows are remembered. `out/now.csv` is what a run read of it, `out/previous.csv` what was
/// remembered before.
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
            "remember": {
                "key": ["id"],
                "columns": ["id", "upn", "level"],
                "required": ["upn"],
                "encryption_key": {"file": "key"},
            },
        }},
        "transforms": {
            // Nobody but the memory wants the other columns of the directory.
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
    pipeline.write("users.csv", users);
    std::fs::create_dir(pipeline.path("out")).unwrap();
    pipeline
}

fn remember(pipeline: &mut Pipeline) -> &mut Value {
    &mut pipeline.file["sources"]["directory"]["remember"]
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

/// Runs it well, and gives what was remembered before.
async fn run(pipeline: &Pipeline) -> Vec<String> {
    run_well(pipeline).await;
    previous(pipeline)
}

/// Runs it well.
async fn run_well(pipeline: &Pipeline) -> RunReport {
    std::fs::remove_file(pipeline.path("out/previous.csv")).ok();
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    report
}

/// Everything in the folder of the remembered rows.
fn stored(pipeline: &Pipeline) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(pipeline.path(".hrsink/remembered")) else {
        return Vec::new();
    };
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// The one file there is.
fn the_file(pipeline: &Pipeline) -> PathBuf {
    let mut files = stored(pipeline);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Runs with these options, and asserts that what is remembered stays, to the byte.
async fn leaves_it(pipeline: &Pipeline, options: RunOptions, exit_code: u8) -> RunReport {
    let before = std::fs::read(the_file(pipeline)).unwrap();
    let report = pipeline.run_with(options, &Observer::default()).await;
    assert_eq!(report.exit_code, exit_code, "{report:#?}");
    assert_eq!(std::fs::read(the_file(pipeline)).unwrap(), before);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_sees_the_last_good_rows_of_the_runs_before_it() {
    let pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n2,b@contoso.com,L5\n");
    let report = run_well(&pipeline).await;
    assert_eq!(previous(&pipeline), [""; 0], "the first run remembers nothing");
    assert!(
        report
            .components
            .iter()
            .any(|component| component.name == "directory.previous"),
        "{report:#?}"
    );
    let output = report
        .outputs
        .iter()
        .find(|output| output.component == "directory")
        .unwrap();
    assert_eq!(output.what, "rows remembered for the next run: 2, encrypted");
    assert_eq!(output.path, the_file(&pipeline));

    // One has a new level, one lost the address when it left, one is new.
    pipeline.write(
        "users.csv",
        "id,upn,level\n1,a@contoso.com,L3\n2, ,L5\n3,c@contoso.com,\n",
    );
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4", "2 b@contoso.com L5"]);
    // One is gone; the address that was blanked is still there.
    pipeline.write("users.csv", "id,upn,level\n2,,\n3,c@contoso.com,L1\n");
    assert_eq!(
        run(&pipeline).await,
        ["1 a@contoso.com L3", "2 b@contoso.com L5", "3 c@contoso.com"]
    );
    let report = run_well(&pipeline).await;
    assert_eq!(
        previous(&pipeline),
        ["1 a@contoso.com L3", "2 b@contoso.com L5", "3 c@contoso.com L1"]
    );
    let source = report
        .components
        .iter()
        .find(|component| component.name == "directory.previous");
    assert_eq!(source.unwrap().rows.read, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_key_is_not_kept_and_of_two_the_first_good_one_is() {
    let pipeline = directory(
        "id,upn,level\n,nobody@contoso.com,L1\n\" \",blank@contoso.com,L1\n1,,L9\n1,first@contoso.com,L1\n1,second@contoso.com,L2\n",
    );
    run(&pipeline).await;
    assert_eq!(run(&pipeline).await, ["1 first@contoso.com L1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_required_is_by_default_every_kept_column_but_the_key() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n2,b@contoso.com,\n");
    remember(&mut pipeline)
        .as_object_mut()
        .unwrap()
        .remove("required");
    run(&pipeline).await;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_has_not_come_for_too_long_is_forgotten() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    remember(&mut pipeline)["ttl"] = json!("1us");
    run(&pipeline).await;
    pipeline.write("users.csv", "id,upn,level\n2,b@contoso.com,L4\n");
    assert_eq!(run(&pipeline).await, [""; 0], "a microsecond is over");
    // It has gone from the file too.
    remember(&mut pipeline)["ttl"] = json!("1d");
    assert_eq!(run(&pipeline).await, ["2 b@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_did_not_deliver_everything_leaves_what_is_remembered() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    run(&pipeline).await;
    pipeline.write(
        "users.csv",
        "id,upn,level\n1,a@contoso.com,L3\n2,b@contoso.com,L3\n",
    );

    let dry = RunOptions {
        dry_run: true,
        ..RunOptions::default()
    };
    leaves_it(&pipeline, dry, 0).await;
    let limited = RunOptions {
        limit: Some(1),
        ..RunOptions::default()
    };
    leaves_it(&pipeline, limited, 0).await;
    let cancelled = RunOptions::default();
    cancelled.cancel.cancel();
    leaves_it(&pipeline, cancelled, 130).await;

    let whole = pipeline.file.clone();
    // A source beside it breaks off.
    pipeline.file["sources"]["broken"] = json!({"type": "file", "path": "broken.csv"});
    pipeline.file["transforms"]["now"]["inputs"] = json!(["directory", "broken"]);
    pipeline.write("broken.csv", "");
    leaves_it(&pipeline, RunOptions::default(), 2).await;
    // A guard stops it.
    pipeline.file = whole.clone();
    pipeline.file["guards"] = json!({"max_rows": 1});
    leaves_it(&pipeline, RunOptions::default(), 4).await;
    // More rows are put aside than allowed.
    pipeline.file = whole.clone();
    pipeline.file["transforms"]["now"]["fields"]["EmailAddress"] =
        json!("case when id = '2' then 'x' else 'x@contoso.com' end");
    leaves_it(&pipeline, RunOptions::default(), 3).await;

    // So the difference is still there for the run that goes well, and then no more.
    pipeline.file = whole;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L3", "2 b@contoso.com L3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_failures_leave_it_and_the_next_run_finds_the_same() {
    let emulator = common::emulator("503=1").await;
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    run(&pipeline).await;
    pipeline.write("users.csv", "id,upn,level\n1,a@contoso.com,L3\n");
    let to_file = pipeline.file["sinks"]["now_out"].clone();
    pipeline.file["sinks"]["now_out"] = common::sink(&emulator.url(), common::JOB, "now");
    pipeline.write("secret", common::SECRET);
    leaves_it(&pipeline, RunOptions::default(), 75).await;
    pipeline.file["sinks"]["now_out"] = to_file;
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_gone_after_the_next_run() {
    let pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    run(&pipeline).await;
    let mut left = the_file(&pipeline).into_os_string();
    left.push(".new");
    std::fs::write(&left, "half a file").unwrap();
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    assert!(!Path::new(&left).exists());
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_may_change_from_run_to_run_and_all_is_text() {
    let mut pipeline = directory("");
    pipeline.file["sources"]["directory"]["path"] = json!("users.ndjson");
    pipeline.write(
        "users.ndjson",
        "{\"id\": 7, \"upn\": \"a@contoso.com\", \"level\": 4}\n",
    );
    pipeline.file["transforms"]["now"]["fields"]["Remarks"] = json!("cast(id as varchar)");
    run(&pipeline).await;
    pipeline.file["sources"]["directory"]["path"] = json!("users.csv");
    pipeline.write("users.csv", "id,upn,level\n7,,5\n8,b@contoso.com,5\n");
    assert_eq!(run(&pipeline).await, ["7 a@contoso.com 4"]);
    assert_eq!(run(&pipeline).await, ["7 a@contoso.com 4", "8 b@contoso.com 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_may_be_added_and_taken_out() {
    let mut pipeline = directory("id,upn,level,unit\n1,a@contoso.com,L4,planted-unit\n");
    run(&pipeline).await;
    remember(&mut pipeline)["columns"] = json!(["unit", "id", "upn"]);
    pipeline.file["transforms"]["before"]["fields"]["Rating"] = json!("unit");
    pipeline.write("users.csv", "id,upn,level,unit\n2,b@contoso.com,L4,north\n");
    assert_eq!(
        run(&pipeline).await,
        ["1 a@contoso.com"],
        "what was not kept is empty"
    );
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com", "2 b@contoso.com north"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_come_back_whole() {
    let rows = 30_000;
    let mut users = "id,upn,level\n".to_owned();
    for n in 0..rows {
        users.push_str(&format!("{n},user{n}@contoso.com,L{}\n", n % 9));
    }
    let pipeline = directory(&users);
    run(&pipeline).await;
    pipeline.write("users.csv", "id,upn,level\n17,new@contoso.com,L0\n");
    run(&pipeline).await;
    let kept = run(&pipeline).await;
    assert_eq!(kept.len(), rows);
    assert!(kept.contains(&"17 new@contoso.com L0".to_owned()));
    assert!(kept.contains(&"29999 user29999@contoso.com L2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_there_to_be_read_without_the_key() {
    let pipeline = directory("id,upn,level\nplanted-1,planted.2@contoso.com,planted-3\n");
    run(&pipeline).await;
    assert_eq!(
        run(&pipeline).await,
        ["planted-1 planted.2@contoso.com planted-3"]
    );
    let mut folders = vec![pipeline.path(".hrsink")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for planted in [
                &b"planted"[..],
                b"contoso",
                b"upn",
                KEY.as_bytes(),
                b"0123456789abcdef0123456789abcdef",
            ] {
                assert!(
                    !bytes.windows(planted.len()).any(|window| window == planted),
                    "{} holds {}",
                    path.display(),
                    String::from_utf8_lossy(planted)
                );
            }
        }
    }
    assert!(files >= 2, "the ledger and the rows");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&the_file(&pipeline)), 0o600);
        assert_eq!(mode(&pipeline.path(".hrsink/remembered")), 0o700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_an_error_until_the_old_one_is_named() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    run(&pipeline).await;
    pipeline.write("old", KEY);
    pipeline.write("key", OTHER_KEY);
    let report = leaves_it(&pipeline, RunOptions::default(), 2).await;
    let error = failure(&report, 2);
    assert_eq!(error.component.as_deref(), Some("directory.previous"));
    assert!(error.message.contains("encrypted with another key"), "{error:?}");
    assert!(error.hints.concat().contains("old_encryption_key"), "{error:?}");
    assert_eq!(report.rows.read, 0, "nothing was begun");

    remember(&mut pipeline)["old_encryption_key"] = json!({"file": "old"});
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
    remember(&mut pipeline)
        .as_object_mut()
        .unwrap()
        .remove("old_encryption_key");
    assert_eq!(run(&pipeline).await, ["1 a@contoso.com L4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_or_none_stops_the_run_and_is_not_shown() {
    let pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    pipeline.write("key", "planted-password");
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(
        error.hints.concat().contains("openssl rand -base64 32"),
        "{error:?}"
    );
    assert!(!format!("{report:?}").contains("planted"), "{report:#?}");
    std::fs::remove_file(pipeline.path("key")).unwrap();
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("secret file"), "{report:#?}");
    assert_eq!(stored(&pipeline), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_an_error_before_any_row_goes_anywhere() {
    let mut users = "id,upn,level\n".to_owned();
    for n in 0..20_000 {
        users.push_str(&format!("{n},user{n}@contoso.com,L1\n"));
    }
    let pipeline = directory(&users);
    run(&pipeline).await;
    let file = the_file(&pipeline);
    let whole = std::fs::read(&file).unwrap();
    for (what, at) in [
        ("first bytes", 3),
        ("header", 30),
        ("rows", 200),
        ("late rows", whole.len() - 40),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        std::fs::remove_file(pipeline.path("out/previous.csv")).ok();
        let report = leaves_it(&pipeline, RunOptions::default(), 2).await;
        assert_eq!(report.rows.read, 0, "{what}");
        let error = failure(&report, 2);
        assert!(error.hints.concat().contains("backup"), "{what}: {error:?}");
        assert!(!pipeline.path("out/previous.csv").exists(), "{what}");
    }
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let report = leaves_it(&pipeline, RunOptions::default(), 2).await;
    assert!(
        failure(&report, 2).message.contains("its end is missing"),
        "{report:#?}"
    );
    std::fs::write(&file, whole).unwrap();
    assert_eq!(run(&pipeline).await.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_another_source_is_not_taken_for_this_one() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    run(&pipeline).await;
    let mine = the_file(&pipeline);
    // The same under another name.
    let text = pipeline.file.to_string();
    pipeline.file = serde_json::from_str(&text.replace("directory", "people")).unwrap();
    assert_eq!(run(&pipeline).await, [""; 0], "another source begins anew");
    let other = stored(&pipeline).into_iter().find(|path| *path != mine).unwrap();
    std::fs::rename(mine, &other).unwrap();
    let report = leaves_it(&pipeline, RunOptions::default(), 2).await;
    assert!(
        failure(&report, 2).message.contains("another pipeline or source"),
        "{report:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_column_is_an_error_with_its_neighbour_in_a_dry_run_too() {
    let mut pipeline = directory("id,upn,level\n1,a@contoso.com,L4\n");
    remember(&mut pipeline)["columns"] = json!(["id", "upn", "levle"]);
    pipeline.file["transforms"]["before"]["fields"]["Rating"] = json!("levle");
    for dry_run in [true, false] {
        let options = RunOptions {
            dry_run,
            ..RunOptions::default()
        };
        let report = pipeline.run_with(options, &Observer::default()).await;
        let error = failure(&report, 2);
        assert_eq!(error.component.as_deref(), Some("directory"));
        assert!(error.message.contains("has no column `levle`"), "{error:?}");
        assert!(error.hints[0].contains("`level`"), "{error:?}");
        assert_eq!(stored(&pipeline), Vec::<PathBuf>::new());
        assert!(
            !pipeline.path("out/now.csv").exists(),
            "a sink took a failure for the end of the rows"
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
fn what_is_remembered_must_be_used_and_what_is_used_remembered() {
    let whole = directory("");
    assert_eq!(problems(&whole), [""; 0]);

    let mut unused = directory("");
    unused.file["transforms"]["before"]["inputs"] = json!(["directory"]);
    assert_eq!(
        problems(&unused),
        [
            "sources.directory.remember: nothing takes what is remembered: no component has `directory.previous` among its \
          `inputs` (name `directory.previous` among the `inputs` of a component, or take `remember` out)"
        ]
    );

    let mut nothing = directory("");
    nothing.file["sources"]["directory"]
        .as_object_mut()
        .unwrap()
        .remove("remember");
    let found = problems(&nothing);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("transforms.before.inputs[0]: nothing is remembered of the source `directory` (give `directory` a `remember` block"),
        "{found:?}"
    );

    let mut transform = directory("");
    transform.file["sinks"]["before_out"]["inputs"] = json!(["before", "now.previous"]);
    let found = problems(&transform);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("`now` is a transform, and only rows of sources are remembered")),
        "{found:?}"
    );

    let mut taken = directory("");
    taken.file["sources"]["directory.previous"] = json!({"type": "file", "path": "x.csv"});
    let found = problems(&taken);
    assert_eq!(
        found,
        [
            "sources.directory.previous: `directory.previous` is the name of what is remembered of the source `directory` \
          (give this component another name)"
        ]
    );

    // One problem of the block brings no other with it.
    let mut misspelt = directory("");
    remember(&mut misspelt)["tll"] = json!("1d");
    assert_eq!(
        problems(&misspelt),
        ["sources.directory.remember.tll: unknown key `tll` (did you mean `ttl`?)"]
    );

    let mut elsewhere = directory("");
    elsewhere.file["transforms"]["now"]["remember"] = json!({});
    let found = problems(&elsewhere);
    assert!(
        found[0].starts_with("transforms.now.remember: unknown key `remember`"),
        "{found:?}"
    );
}

#[test]
fn the_schema_for_editors_knows_it_on_sources_alone() {
    let schema = hrsink::config::schema::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut pipeline = directory("");
    assert!(validator.is_valid(&pipeline.file));
    remember(&mut pipeline)["tll"] = json!("1d");
    assert!(!validator.is_valid(&pipeline.file));
    let mut elsewhere = directory("");
    elsewhere.file["sinks"]["now_out"]["remember"] =
        elsewhere.file["sources"]["directory"]["remember"].clone();
    assert!(!validator.is_valid(&elsewhere.file));
}
