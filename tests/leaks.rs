//! No secret and no value of a row leaves the program: marked words are in all of them, and all output is searched.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use hrsink::pipeline::RunReport;
use serde_json::{Value, json};
use support::{Pipeline, emulator};
use test_server::{Reply, Server, Step};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Part of every marked word, case-insensitive, and of nothing else here.
const MARK: &str = "planted";
const SECRET: &str = "planted~Secret+1/=";
const SECRET_IN_A_FORM: &str = "planted%7ESecret%2B1%2F%3D";
const TOKEN: &str = "planted-token-2";
const EMAIL: &str = "planted.3@contoso.com";
const REMARKS: &str = "Planted4 said 'Planted5', see PLANTED-6";

/// The log at the most detailed level.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged() -> String {
    String::from_utf8_lossy(&LOG.get().unwrap().0.lock().unwrap()).into_owned()
}

/// Collects the log of this program, of all threads.
fn collect_log() {
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    });
}

/// One test at a time, each with an empty log: the log is of the process, and what one test may show (the name of a
/// planted host) another may not.
async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = TURN.lock().await;
    collect_log();
    LOG.get().unwrap().0.lock().unwrap().clear();
    turn
}

#[track_caller]
fn is_clean(what: &str, text: &str) {
    for (number, line) in text.lines().enumerate() {
        assert!(
            !line.to_lowercase().contains(MARK),
            "{what}, line {}: {line}",
            number + 1
        );
    }
}

/// Searches all output of a run.
#[track_caller]
fn search(pipeline: &Pipeline, report: &RunReport) {
    is_clean("the report", &serde_json::to_string_pretty(report).unwrap());
    is_clean("the report's Debug", &format!("{report:#?}"));
    is_clean("the settings' Debug", &format!("{:#?}", pipeline.load().unwrap()));
    if let Some(path) = &report.rejects.path {
        is_clean("the rejects", &std::fs::read_to_string(path).unwrap());
    }
    let log = logged();
    let is_collected = log.contains("run started") && log.contains(&report.run_id);
    assert!(is_collected, "the log is collected");
    is_clean("the log", &log);
}

/// Two reviews with marked words.
fn reviews(url: &str) -> Pipeline {
    collect_log();
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.write("secret", &format!("{SECRET}\n"));
    let quoted = REMARKS.replace('"', "\"\"");
    pipeline.write(
        "export.csv",
        &format!("upn,day,rating,comment\n{EMAIL},2026-03-02,Planted7,\"{quoted}\"\n{EMAIL},2026-03-03,3,\n"),
    );
    pipeline.file["transforms"]["resignations"] = json!({
        "type": "hr_schema",
        "inputs": ["export"],
        "scenario": "performance_review",
        "dates": {"timezone": "UTC"},
        "fields": {"EmailAddress": "upn", "EffectiveDate": "day", "Rating": "rating", "Remarks": "comment"},
    });
    pipeline.sink()["retry"]["max_attempts"] = json!(2);
    pipeline
}

fn token() -> Step {
    Reply::new(200)
        .json(&json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": "3599"}))
        .into()
}

/// Responses of a careless service or a debugging proxy: everything that was sent.
fn echoes() -> [String; 4] {
    [
        format!("row 1 is wrong: '{EMAIL}' (rating=Planted7), {REMARKS}; sent with Bearer {TOKEN}"),
        json!({"error": {"code": "BadRow", "row": {"upn": EMAIL, "comment": REMARKS}, "auth": TOKEN}})
            .to_string(),
        format!("<html><head><title>Blocked: {EMAIL} {TOKEN}</title></head><body>{REMARKS}</body></html>"),
        format!("UPN,Remarks\r\n{EMAIL},\"{}\"\r\n", REMARKS.replace('"', "\"\"")),
    ]
}

#[tokio::test]
async fn hides_rows_and_secrets_of_a_successful_run() {
    let _turn = turn().await;
    let emulator = emulator("latency=1ms").await;
    let mut pipeline = reviews(&emulator.url());
    pipeline.file["sinks"]["file"] = json!({"type": "file", "inputs": ["resignations"], "path": "out.csv"});
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 4));
    search(&pipeline, &report);
    assert!(
        logged().contains("batch finished"),
        "debug messages are collected too"
    );
    // The marked words arrived.
    let rows = emulator.accepted_rows().unwrap();
    assert_eq!(rows[0].get("EmailAddress"), Some(EMAIL));
    let copy = std::fs::read_to_string(pipeline.path("out.csv")).unwrap();
    assert!(copy.contains("Planted4"), "{copy}");
}

#[tokio::test]
async fn hides_rows_echoed_in_a_success() {
    let _turn = turn().await;
    for echo in echoes() {
        let page = echo.starts_with("<html>");
        let server = Server::script([token(), Reply::new(200).body(echo).into()]);
        let pipeline = reviews(&server.url());
        let report = pipeline.run().await;
        assert_eq!(report.exit_code, if page { 5 } else { 0 });
        search(&pipeline, &report);
        let requests = server.finish();
        assert!(requests[0].text().contains(SECRET_IN_A_FORM));
        assert!(requests[1].text().contains(EMAIL));
    }
}

#[tokio::test]
async fn hides_rows_and_token_echoed_in_a_refusal() {
    let _turn = turn().await;
    for status in [400, 401, 403, 404, 407, 408, 409, 413, 429, 500, 502, 503] {
        for echo in echoes() {
            let reply = || -> Step {
                Reply::new(status)
                    .reason(&format!("No {EMAIL} {TOKEN}"))
                    .header("request-id", &format!("{EMAIL} {TOKEN}"))
                    .header("www-authenticate", &format!("Bearer error=\"{TOKEN} {EMAIL}\""))
                    .header("x-ms-diagnostics", &format!("2000001;reason=\"{EMAIL} {TOKEN}\""))
                    .body(echo.as_str())
                    .into()
            };
            let steps = match status {
                401 => vec![token(), reply(), token(), reply()],
                // Of 413: the two rows, and the first of them alone.
                408 | 413 | 429 | 500 | 502 | 503 => vec![token(), reply(), reply()],
                _ => vec![token(), reply()],
            };
            let server = Server::script(steps);
            let pipeline = reviews(&server.url());
            let report = pipeline.run().await;
            assert!(matches!(report.exit_code, 5 | 75), "{status}: {report:?}");
            let message = &report.error.as_ref().unwrap().message;
            for shown in [&*status.to_string(), "characters not shown"] {
                assert!(message.contains(shown), "{message}");
            }
            search(&pipeline, &report);
            server.finish();
        }
    }
}

#[tokio::test]
async fn hides_rows_and_token_of_aborted_uploads() {
    let _turn = turn().await;
    let redirect = Reply::new(302).header("location", &format!("https://{MARK}.example/{TOKEN}?upn={EMAIL}"));
    let garbage = Step::Garbage(format!("{EMAIL} {TOKEN}\r\n\r\n").into_bytes());
    let truncated = Reply::new(400).body(format!("{EMAIL} and more")).truncate(12);
    let ends = [
        (vec![Step::CloseAfterBody, Step::CloseAfterBody], 75),
        (vec![Step::CloseBeforeBody, Step::CloseBeforeBody], 75),
        (vec![garbage; 2], 75),
        (vec![truncated], 5),
    ];
    for (steps, exit_code) in ends {
        let server = Server::script(std::iter::once(token()).chain(steps));
        let pipeline = reviews(&server.url());
        let report = pipeline.run().await;
        assert_eq!(report.exit_code, exit_code);
        search(&pipeline, &report);
        server.finish();
    }
    // The host of a redirect is shown; the rest of its address is not.
    let server = Server::script([token(), redirect.into()]);
    let pipeline = reviews(&server.url());
    let report = serde_json::to_string(&pipeline.run().await).unwrap();
    assert!(report.contains(&format!("https://{MARK}.example")), "{report}");
    is_clean("the report", &report.replace(&format!("{MARK}.example"), ""));
    is_clean("the log", &logged().replace(&format!("{MARK}.example"), ""));
}

#[tokio::test]
async fn hides_the_secret_echoed_by_the_token_endpoint() {
    let _turn = turn().await;
    let described = format!(
        "AADSTS7000215: Invalid client secret provided: {SECRET} (client_secret={SECRET_IN_A_FORM}&x). Trace ID: 1"
    );
    let refused =
        json!({"error": "invalid_client", "error_description": described, "error_codes": [7_000_215]});
    let body = |status: u16, body: String| Reply::new(status).body(body);
    let replies = [
        (
            Reply::new(401).json(&refused).reason(&format!("Not {SECRET}")),
            "AADSTS7000215",
        ),
        (
            body(
                400,
                format!("<html><title>{SECRET}</title>{SECRET_IN_A_FORM}</html>"),
            ),
            "400",
        ),
        (body(400, format!("client_secret={SECRET_IN_A_FORM}")), "400"),
        (
            body(200, format!("{{\"access_token\": \"{TOKEN} two\"}}")),
            "not allowed in a header",
        ),
        (
            body(200, json!({"access_token": {"is": TOKEN}}).to_string()),
            "that is not a string",
        ),
        (
            body(200, format!("<html><title>{SECRET}</title></html>")),
            "is a web page",
        ),
    ];
    for (reply, shown) in replies {
        let server = Server::script([reply]);
        let pipeline = reviews(&server.url());
        let report = pipeline.run().await;
        assert_eq!(report.exit_code, 5);
        let message = &report.error.as_ref().unwrap().message;
        assert!(message.contains(shown), "{message}");
        search(&pipeline, &report);
        server.finish();
    }
}

#[tokio::test]
async fn rejects_show_place_and_reason_without_values() {
    let _turn = turn().await;
    let emulator = emulator("").await;
    let mut pipeline = reviews(&emulator.url());
    pipeline.write(
        "export.csv",
        "upn,day,rating,comment\n\
         planted no address,2026-03-02,1,\n\
         ada@contoso.com,planted-day,1,\n\
         ada@contoso.com,1626-03-02,planted9,\n\
         ada@contoso.com,2026-03-02,planted10,\n\
         ada@contoso.com,2026-03-02,1,planted,planted11\n\
         ada@contoso.com,2026-03-02,1,planted \"quotes\" 12\n",
    );
    let fields = &mut pipeline.file["transforms"]["resignations"]["fields"];
    fields["Rating"] = json!("CAST(CAST(rating AS INT) + 1 AS TEXT)");
    fields["Remarks"] = json!({"expr": "repeat(comment, 20)", "text": {"on_too_long": "reject"}});
    let report = pipeline.run().await;
    assert_eq!(
        (report.exit_code, report.rows.accepted, report.rows.rejected),
        (3, 0, 6)
    );
    search(&pipeline, &report);
    let lines = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let codes = "invalid_upn invalid_date implausible_date expression_failed ragged_row too_long";
    for code in codes.split(' ') {
        assert!(lines.contains(code), "{code} is not in {lines}");
    }

    // If configured, they are in the rejects file, and nowhere else.
    pipeline.file["rejects"] = json!({"include_values": true});
    let mut report = pipeline.run().await;
    let values = std::fs::read_to_string(report.rejects.path.take().unwrap()).unwrap();
    for value in ["planted no address", "planted-day"] {
        assert!(values.contains(value), "{values}");
    }
    search(&pipeline, &report);
}

#[tokio::test]
async fn does_not_repeat_unreadable_input() {
    let _turn = turn().await;
    let emulator = emulator("").await;
    let row = format!("{{\"upn\": \"{EMAIL}\"");
    let inputs = [
        ("export.json", format!("[{row}, \"day\": \"{MARK}\" \"oops\"}}]")),
        ("export.json", format!("[{row}}}, \"{MARK}\", 7]")),
        (
            "export.ndjson",
            format!("{row}\n\"{MARK}\"\n{MARK}\n{{\"upn\": [\"{MARK}\"]}}\n"),
        ),
        ("export.csv", format!("upn,day,rating,comment\n\"{EMAIL}\n{MARK}")),
        ("export.parquet", format!("PAR1{EMAIL}{MARK}PAR1")),
        ("export.csv.gz", format!("{EMAIL}{MARK}")),
    ];
    for (name, content) in inputs {
        let mut pipeline = reviews(&emulator.url());
        pipeline.write(name, &content);
        pipeline.file["sources"]["export"]["path"] = json!(name);
        let fields = &mut pipeline.file["transforms"]["resignations"]["fields"];
        *fields = json!({"EmailAddress": "upn", "EffectiveDate": "'2026-03-02'"});
        let report = pipeline.run().await;
        let found = (report.exit_code, report.rows.rejected);
        assert_ne!(found, (0, 0), "{name} was taken: {content}");
        search(&pipeline, &report);
    }
}

#[test]
fn rejects_a_secret_in_the_pipeline_file_without_repeating_it() {
    collect_log();
    let cases: [(&str, Value); 5] = [
        ("/auth/client_secret", json!(SECRET)),
        ("/auth/client_secret", json!({"value": SECRET})),
        ("/auth/client_secret", json!([SECRET])),
        ("/auth", json!(SECRET)),
        ("/auth/client_id", json!(SECRET)),
    ];
    for (pointer, value) in cases {
        let mut pipeline = reviews("http://127.0.0.1:1");
        *pipeline.sink().pointer_mut(pointer).unwrap() = value;
        let error = pipeline.load().unwrap_err();
        is_clean(pointer, &format!("{error:#?} {error}"));
        let error = hrsink::error::Error::from(error);
        is_clean(pointer, &format!("{error:#?} {}", error.chain()));
    }
    is_clean("the log", &logged());
}
