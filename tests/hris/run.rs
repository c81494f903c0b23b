//! Runs the cases of a system's facts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::Value;
use test_server::certificates::{self, Authority};
use test_server::{Reply, Request, Server, Tls};

use crate::rows::{Row, accepted, assert_rows, expected, is_now};
use crate::scenario::{Answer, Route, Run, Scenario};

/// The routes of the current run, and how often each was requested.
#[derive(Default)]
struct Table {
    routes: BTreeMap<String, Route>,
    counts: BTreeMap<String, usize>,
    unexpected: Vec<String>,
}

impl Table {
    fn answer(&mut self, request: &Request) -> Option<Answer> {
        let line = format!("{} {}", request.method, request.path);
        let Some((name, route)) = self.routes.iter().find(|(pattern, _)| matches(pattern, &line)) else {
            self.unexpected.push(line);
            return None;
        };
        let count = self.counts.entry(name.clone()).or_default();
        *count += 1;
        if let Some(body) = &route.body
            && request.json() != *body
        {
            self.unexpected.push(format!("{line} {}", request.text()));
            return None;
        }
        if !is_authorized(route, request) {
            return Some(route.otherwise.clone());
        }
        let answer = route.before.get(*count - 1).unwrap_or(&route.answer);
        Some(answer.clone())
    }
}

/// Whether a request line matches: `<now>` and `<now-24h>` stand for a time.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((before, rest)) = pattern.split_once("<now") else {
        return pattern == line;
    };
    let (ago, after) = rest.split_once('>').unwrap();
    let ago = match ago.strip_prefix('-') {
        None => SignedDuration::ZERO,
        Some(ago) => ago.parse().unwrap(),
    };
    let Some(rest) = line.strip_prefix(before) else {
        return false;
    };
    let time = rest.split('&').next().unwrap();
    is_now(time, ago) && matches(after, &rest[time.len()..])
}

fn is_authorized(route: &Route, request: &Request) -> bool {
    let when = &route.when;
    let mut headers = when.headers.iter();
    let headers = headers.all(|(name, value)| request.header(name) == Some(value));
    let json = when.json.as_ref().is_none_or(|json| request.json() == *json);
    let mut fields: BTreeMap<String, String> = request.form().into_iter().collect();
    let assertion = when.assertion.is_empty()
        || fields.remove("assertion").is_some_and(|assertion| {
            let xml = String::from_utf8(STANDARD.decode(assertion).unwrap()).unwrap();
            let host = request.header("host").unwrap();
            let url = format!("http://{host}");
            let mut parts = when.assertion.iter();
            parts.all(|part| xml.contains(&part.replace("$URL", &url)))
        });
    let form = when.form.as_ref().is_none_or(|form| fields == *form);
    headers && json && assertion && form
}

fn reply(answer: &Answer) -> Reply {
    let mut reply = Reply::new(if answer.status == 0 { 200 } else { answer.status });
    if let Some(json) = &answer.json {
        reply = reply.json(json);
    }
    if let Some(text) = &answer.text {
        reply = reply.body(text.as_str());
    }
    for (name, value) in &answer.headers {
        reply = match value.as_str() {
            // Rounded up: a reset before the next second is over at once.
            "<epoch>" => reply.header(name, &(jiff::Timestamp::now().as_second() + 1).to_string()),
            value => reply.header(name, value),
        };
    }
    reply
}

/// One case: a folder, two servers with the same routes, and the environment.
struct Fixture {
    folder: tempfile::TempDir,
    table: Arc<Mutex<Table>>,
    env: BTreeMap<String, String>,
    server: Server,
    mutual_tls: Server,
    names: BTreeMap<&'static str, String>,
}

impl Fixture {
    fn new(scenario: &Scenario) -> Self {
        let table: Arc<Mutex<Table>> = Arc::default();
        let handler = || {
            let table = Arc::clone(&table);
            move |request: Request| {
                let answer = table.lock().unwrap().answer(&request);
                async move { answer.map_or(Reply::new(404), |answer| reply(&answer)) }
            }
        };
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let (certificate, key) = servers.server("localhost");
        let tls = Tls {
            certificate,
            key,
            client_ca: Some(clients.pem()),
            ..Tls::default()
        };
        let server = Server::handler(handler());
        let mutual_tls = Server::builder().tls(tls).handler(handler());
        let (client, key) = clients.client("hrsink");
        let (foreign, foreign_key) = Authority::new("others").client("hrsink");
        // One PEM with its line breaks, one as secret stores keep it.
        let escaped = |pem: &str| pem.replace('\n', "\\n");
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, servers.pem()).unwrap();
        let names = BTreeMap::from([
            ("$URL", server.url()),
            ("$TLS_URL", mutual_tls.url()),
            ("$CA_FILE", ca.to_str().unwrap().to_owned()),
            ("$CLIENT_CERTIFICATE", client),
            ("$CLIENT_KEY", escaped(&key)),
            ("$FOREIGN_CERTIFICATE", foreign),
            ("$FOREIGN_KEY", escaped(&foreign_key)),
            ("$RSA_KEY", escaped(&certificates::rsa_pem())),
        ]);
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples/hris");
        let mut example = std::fs::read_to_string(examples.join(&scenario.pipeline)).unwrap();
        if !example.contains("    retry:") {
            let quick = "{max_attempts: 3, initial_backoff: 1ms, max_backoff: 5ms}";
            example = example.replace("type: rest\n", &format!("type: rest\n    retry: {quick}\n"));
        }
        std::fs::write(folder.path().join(&scenario.pipeline), example).unwrap();
        let mut fixture = Self {
            folder,
            table,
            env: BTreeMap::from([("HRSINK_CLOUD".to_owned(), "emulator".to_owned())]),
            server,
            mutual_tls,
            names,
        };
        fixture.env = fixture.with(&scenario.env);
        fixture
    }

    /// The environment with these variables over it.
    fn with(&self, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        for (name, value) in more {
            // Longer names first: `$TLS_URL` holds no `$URL`, but `$CLIENT_KEY` and others share beginnings.
            let names = self.names.iter().rev();
            let value = names.fold(value.clone(), |value, (name, text)| value.replace(name, text));
            env.insert(name.clone(), value);
        }
        env
    }

    fn run(&self, scenario: &Scenario, run: &Run, delivered: &mut Vec<Row>) {
        *self.table.lock().unwrap() = Table {
            routes: scenario.routes(run),
            ..Table::default()
        };
        let report = self.folder.path().join("report.json");
        let _ = std::fs::remove_file(&report);
        let output = Command::new(env!("CARGO_BIN_EXE_hrsink"))
            .args(["run", &scenario.pipeline, "--report", "report.json"])
            .current_dir(self.folder.path())
            .env_remove("HRSINK_LOG")
            .envs(self.with(&run.env))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report = std::fs::read_to_string(report).unwrap_or_default();
        assert_eq!(output.status.code(), Some(run.code), "{stderr}\n{report}");
        for text in &run.stderr {
            assert!(stderr.contains(text), "{text} is not in {stderr}");
        }
        for secret in run.env.values() {
            let shown = stderr.contains(secret) || report.contains(secret);
            assert!(!shown, "shows {secret}");
        }
        delivered.extend(expected(scenario, &run.rows));
        delivered.sort();
        assert_rows(&accepted(self.folder.path()), delivered);
        if let Some(rejects) = &run.rejects {
            let report: Value = serde_json::from_str(&report).unwrap();
            let reasons = report["rejects"]["by_reason"].as_array().unwrap().iter();
            let found = reasons.map(|reason| {
                let text = |name: &str| reason[name].as_str().unwrap().to_owned();
                (text("field"), text("code"), reason["rows"].as_u64().unwrap())
            });
            assert_eq!(&found.collect::<Vec<_>>(), rejects, "{report:#}");
        }
        self.check_requests(run, &stderr);
    }

    /// Every request has a route. A successful run requests each route as often as it has answers, a failed one at most
    /// so often.
    fn check_requests(&self, run: &Run, stderr: &str) {
        let table = self.table.lock().unwrap();
        assert_eq!(table.unexpected, [] as [String; 0], "{stderr}");
        for (line, route) in &table.routes {
            let count = table.counts.get(line).copied().unwrap_or_default();
            let (least, most) = route.expected();
            let least = if run.code == 0 { least } else { 0 };
            assert!(
                (least..=most).contains(&count),
                "{line}: {count} requests\n{stderr}"
            );
        }
    }
}

/// Plays all cases of a system; the output of a failed test ends with the name of the case.
#[expect(clippy::print_stderr, reason = "it names the case that failed")]
pub(crate) fn all_cases(system: &str) {
    let scenario = Scenario::load(system);
    for (name, runs) in &scenario.cases {
        eprintln!("{system}: {name}");
        let fixture = Fixture::new(&scenario);
        let mut delivered = Vec::new();
        for run in runs {
            fixture.run(&scenario, run, &mut delivered);
        }
        fixture.server.finish();
        fixture.mutual_tls.finish();
    }
}
