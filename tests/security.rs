//! Security of runs: file permissions, TLS, redirects, hostile input and services.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

#[cfg(unix)]
use std::path::Path;

use hrsink::error::ErrorKind;
use hrsink::pipeline::{Observer, RejectsTarget, RunOptions, RunReport};
use serde_json::json;
#[cfg(unix)]
use support::program::{ended, hrsink};
use support::{Pipeline, emulator, failure};
use test_server::certificates::Authority;
use test_server::{Reply, Server, Step, Tls};

// Secret files

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn rejects_secret_files_readable_by_others_unless_allowed() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 2);
    // Two sinks with one secret cause one warning.
    let mut second = support::sink(&emulator.url(), support::JOB, "resignations");
    second["job_id"] = json!("0f8fad5b-d9cb-469f-a165-70867728950e");
    pipeline.file["sinks"]["second"] = second;
    pipeline.load().unwrap();
    let secret = pipeline.path("secret");
    set_mode(&secret, 0o644);
    let close = format!("chmod 600 {}", secret.display());
    let program = |args: &[&str], insecure: Option<&str>| {
        let mut command = hrsink(&pipeline.path("."), args);
        for name in ["HRSINK_CLIENT_SECRET", "HRSINK_INSECURE_SECRET_FILES"] {
            command.env_remove(name);
        }
        command.envs(insecure.map(|value| ("HRSINK_INSECURE_SECRET_FILES", value)));
        ended(&command.output().unwrap())
    };
    let file = pipeline.path("pipeline.json");
    let file = file.to_str().unwrap();
    let run = ["run", file];

    let (code, _, errors) = program(&run, None);
    assert!(
        errors.contains(&close) && errors.contains("(mode 0644)"),
        "{errors}"
    );
    assert!(code == 2 && !errors.contains(support::SECRET), "{errors}");
    let (code, shown, _) = program(&["check", file], None);
    assert!(code == 2 && shown.contains(&close), "{shown}");
    let ids = [
        "--tenant-id",
        support::TENANT,
        "--app-id",
        support::CLIENT,
        "--job-id",
        support::JOB,
    ];
    let input = ["--client-secret-file", secret.to_str().unwrap(), "export.csv"];
    let (code, _, errors) = program(&[&["upload"], &ids[..], &input].concat(), None);
    assert!(code == 2 && errors.contains(&close), "{code} {errors}");
    assert!(emulator.accepted_rows().unwrap().is_empty());
    assert_eq!(emulator.status().tokens_issued, 0);

    // Nothing is read where no secret is needed.
    assert_eq!(program(&["validate", file], None).0, 0);

    let flag = [&run[..], &["--insecure-secret-files"]].concat();
    for (args, variable) in [(&flag[..], None), (&run, Some("1"))] {
        let (code, _, errors) = program(args, variable);
        assert_eq!((code, errors.matches(&close).count()), (0, 1), "{errors}");
    }
    for off in ["0", "false"] {
        assert_eq!(program(&run, Some(off)).0, 2, "{off}");
    }
    assert_eq!(program(&["validate", file], Some("maybe")).0, 2);

    set_mode(&secret, 0o400);
    let (code, _, errors) = program(&run, None);
    assert!(code == 0 && !errors.contains("chmod"), "{errors}");
}

// TLS

/// A TLS server with this certificate and key.
fn https((certificate, key): (String, String), only_tls12: bool, steps: Vec<Step>) -> Server {
    let tls = Tls {
        certificate,
        key,
        only_tls12,
        ..Tls::default()
    };
    Server::builder().tls(tls).script(steps)
}

fn assert_not_trusted(report: &RunReport, server: &Server, what: &str) {
    let error = failure(report, 5);
    let message = &error.message;
    assert!(
        message.contains("certificate is not trusted"),
        "{what}: {message}"
    );
    assert_eq!(report.rows.not_sent, 3, "{what}");
    assert!(server.requests().is_empty(), "{what}");
}

#[tokio::test]
async fn trusts_a_private_authority_only_with_its_file() {
    let ours = Authority::new("ours");
    for only_tls12 in [false, true] {
        let steps = vec![token(), Reply::new(200).into(), Reply::new(200).into()];
        let server = https(ours.server("localhost"), only_tls12, steps);
        let mut pipeline = Pipeline::new(&server.url(), 3);
        pipeline.write("ca.pem", &ours.pem());
        assert_not_trusted(&pipeline.run().await, &server, "not configured");

        pipeline.sink()["tls"]["ca_file"] = json!("ca.pem");
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.accepted), (0, 3), "{report:?}");
        server.finish();
    }
}

#[tokio::test]
async fn a_trusted_authority_does_not_excuse_wrong_certificates() {
    let (ours, another) = (Authority::new("ours"), Authority::new("another"));
    for (what, certificate) in [
        ("of another host", ours.server("in.contoso.com")),
        ("expired", ours.expired_server("localhost")),
        ("of another authority", another.server("localhost")),
    ] {
        let server = https(certificate, false, Vec::new());
        let mut pipeline = Pipeline::new(&server.url(), 3);
        pipeline.write("ca.pem", &ours.pem());
        pipeline.sink()["tls"]["ca_file"] = json!("ca.pem");
        assert_not_trusted(&pipeline.run().await, &server, what);
    }
}

// Redirects

fn token() -> Step {
    let token = json!({"access_token": "t0ken", "token_type": "Bearer", "expires_in": "3599"});
    Reply::ok(token).into()
}

#[tokio::test]
async fn follows_no_redirect_with_secret_token_or_rows() {
    // It fails the test on any request.
    let other = Server::script(Vec::<Step>::new());
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/elsewhere?state=x", other.other_url());
        let away = || Step::from(Reply::new(status).header("location", &location));
        for steps in [vec![away()], vec![token(), away()]] {
            let attempts = steps.len();
            let server = Server::script(steps);
            let report = Pipeline::new(&server.url(), 2).run().await;
            let message = failure(&report, 5).message.clone();
            for shown in [status.to_string(), other.other_url()] {
                assert!(message.contains(&shown), "{message}");
            }
            assert!(!message.contains("elsewhere"), "the host only: {message}");
            assert_eq!(report.rows.accepted, 0);
            // One attempt each: a redirect is not transient.
            assert_eq!(server.finish().len(), attempts, "{status}");
        }
    }
}

// What a run leaves behind

#[cfg(unix)]
#[tokio::test]
async fn creates_private_files_only() {
    let mut pipeline = Pipeline::new("http://127.0.0.1:1", 3);
    pipeline.write(
        "export.csv",
        "upn,resigned,last_day\nada@contoso.com,2026-03-02,2026-04-01\nnobody,never,\n",
    );
    pipeline.file["rejects"] = json!({"max_ratio": 1.0});
    *pipeline.sink() = json!({"type": "m365_hr", "inputs": ["resignations"], "cloud": "emulator"});
    pipeline.file["sinks"]["copy"] =
        json!({"type": "file", "inputs": ["resignations"], "path": ".hrsink/out/sent.csv"});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{:?}", report.error);
    assert!(
        report.rejects.path.is_some() && report.outputs.len() == 2,
        "{report:?}"
    );

    let mut folders = vec![pipeline.path(".hrsink")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    // Rejects, the emulator's log and rows, the copy.
    assert!(files >= 4, "{files} files");
}

#[tokio::test]
async fn removes_old_rejects_files_only() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 1);
    pipeline.file["rejects"] = json!({"path": "rejects", "max_files": 2, "max_age": "30d", "max_ratio": 1.0});
    // Runs of 2024, and what is not of a run.
    let old = [1, 2].map(|number| format!("018d0000-0000-7000-8000-00000000000{number}.ndjson"));
    let others = [
        "018d0000-0000-4000-8000-000000000001.ndjson",
        "018d0000-0000-7000-8000-000000000001.NDJSON",
        "018d0000-0000-7000-8000-000000000001.ndjson.part",
        "018d0000000070008000000000000001.ndjson",
        "leavers.ndjson",
        "notes.txt",
    ];
    std::fs::create_dir(pipeline.path("rejects")).unwrap();
    for name in old.iter().map(String::as_str).chain(others) {
        pipeline.write(&format!("rejects/{name}"), "{}\n");
    }
    let left = |pipeline: &Pipeline| {
        let entries = std::fs::read_dir(pipeline.path("rejects")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<String>>()
    };
    let all = left(&pipeline);

    // A file of one's own choice is nothing to clean up around.
    let options = RunOptions::with(|options| {
        options.rejects = RejectsTarget::File(pipeline.path("rejects/mine.ndjson"));
    });
    pipeline.run_with(options, &Observer::default()).await;
    assert_eq!(left(&pipeline), all);
    pipeline.run().await;
    assert!(left(&pipeline).iter().eq(others));

    // Of the runs since, the newest two beside the last.
    pipeline.write("export.csv", "upn,resigned,last_day\nnobody,never,\n");
    for runs in 1..=5_usize {
        let report = pipeline.run().await;
        assert!(report.rejects.path.unwrap().exists());
        let expected = others.len() + runs.min(3);
        assert_eq!(left(&pipeline).len(), expected, "after {runs} runs");
    }
}

#[test]
fn rejects_retention_of_nothing() {
    let mut pipeline = Pipeline::new("http://127.0.0.1:1", 0);
    pipeline.file["rejects"] = json!({"max_files": 0, "max_age": "0s"});
    let error = hrsink::error::Error::from(pipeline.load().unwrap_err()).chain();
    assert!(
        error.contains("rejects.max_files: number out of range")
            && error.contains("rejects.max_age: duration out of range"),
        "{error}"
    );
}

// Input

#[cfg(unix)]
#[tokio::test]
async fn ignores_links_out_of_the_input_folder() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 2);
    for folder in ["in", "private"] {
        std::fs::create_dir(pipeline.path(folder)).unwrap();
    }
    std::fs::rename(pipeline.path("export.csv"), pipeline.path("in/export.csv")).unwrap();
    pipeline.write(
        "private/salaries.csv",
        "upn,resigned,last_day\nada@contoso.com,2026-03-02,2026-04-01\n",
    );
    pipeline.file["sources"]["export"]["path"] = json!("in/*.csv");
    std::os::unix::fs::symlink("../private/salaries.csv", pipeline.path("in/more.csv")).unwrap();
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert_eq!((error.kind, report.rows.read), (ErrorKind::Input, 0));
    for shown in ["in/more.csv", "private/salaries.csv"] {
        assert!(error.message.contains(shown), "{}", error.message);
    }
    assert_eq!(emulator.status().tokens_issued, 0);

    // Named by the user, it is meant.
    pipeline.file["sources"]["export"]["path"] = json!("in/more.csv");
    assert_eq!(pipeline.run().await.rows.accepted, 1);
}

#[tokio::test]
async fn stops_at_a_decompression_bomb() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 0);
    // Of 1 KiB each, 64 MiB in all.
    let rows = format!("{},,\n", "x".repeat(1021)).repeat(1 << 10);
    let pack = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
    let packed = [pack(b"upn,resigned,last_day\n"), pack(rows.as_bytes()).repeat(64)].concat();
    assert!(packed.len() < 100_000, "{}", packed.len());
    std::fs::write(pipeline.path("export.csv.zst"), packed).unwrap();
    pipeline.file["sources"]["export"]["path"] = json!("export.csv.zst");
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert_eq!(error.kind, ErrorKind::Input);
    for shown in ["export.csv.zst", "max_compression_ratio"] {
        assert!(error.message.contains(shown), "{}", error.message);
    }
    // Of 64 Ki.
    assert!(report.rows.read < 20 << 10, "{} rows", report.rows.read);
}
