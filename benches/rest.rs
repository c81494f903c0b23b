//! How fast the source `rest` is, beside curl that downloads the same pages on one connection in the same run, and
//! whether a rate that is allowed is used.
//!
//! ```text
//! cargo bench --bench rest                     1,000 pages of 1,000 rows, 7 runs each in turn; 400 children at 100/s
//! HRSINK_BENCH_RUNS=3 cargo bench --bench rest
//! ```
//!
//! Needs `curl`, and GNU `time` for the peak memory. Read the medians and the ratio: absolute times are the machine's.

#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path as Segment, Query, State};
use axum::routing::get;
use bytes::Bytes;

const PAGES: usize = 1_000;
const ROWS: usize = 1_000;
const CHILDREN: usize = 400;
const RATE: usize = 100;

/// The body of a page: rows such as an HR system has them, a little over 150 bytes each.
fn page(number: usize) -> Bytes {
    let mut body = String::with_capacity(ROWS * 180);
    body.push_str("{\"data\":[");
    for row in 0..ROWS {
        let id = number * ROWS + row;
        if row > 0 {
            body.push(',');
        }
        let (month, day) = (id % 12 + 1, id % 28 + 1);
        let _ = write!(
            body,
            "{{\"id\":\"{id}\",\"email\":\"emp.{id}@contoso.com\",\"status\":\"Terminated\",\"resigned\":\"2026-{month:02}-{day:02}\",\"last_day\":\"2026-{month:02}-28\",\"department\":\"Research\",\"level\":{}}}",
            id % 9
        );
    }
    body.push_str("]}");
    body.into()
}

#[derive(Clone)]
struct Served {
    pages: Arc<Vec<Bytes>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

async fn rows(
    State(served): State<Served>,
    Query(query): Query<std::collections::HashMap<String, String>>,
) -> ([(&'static str, &'static str); 1], Bytes) {
    let page = query.get("page").and_then(|page| page.parse::<usize>().ok());
    let body = page.and_then(|page| served.pages.get(page.wrapping_sub(1)));
    let none = || Bytes::from_static(b"{\"data\":[]}");
    (
        [("content-type", "application/json")],
        body.cloned().unwrap_or_else(none),
    )
}

async fn child(
    State(served): State<Served>,
    Segment(id): Segment<usize>,
) -> ([(&'static str, &'static str); 1], String) {
    served.asked.lock().expect("no panic").push(Instant::now());
    let body = format!(
        "{{\"id\":\"{id}\",\"email\":\"emp.{id}@contoso.com\",\"resigned\":\"2026-01-02\",\"last_day\":\"2026-02-03\"}}"
    );
    ([("content-type", "application/json")], body)
}

fn main() {
    // `cargo test --benches` and `cargo nextest` only ask whether it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runs = std::env::var("HRSINK_BENCH_RUNS").map_or(7, |runs| runs.parse().expect("a number of runs"));
    let served = Served {
        pages: Arc::new((0..PAGES).map(page).collect()),
        asked: Arc::default(),
    };
    let bytes: usize = served.pages.iter().map(Bytes::len).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = Router::new()
        .route("/rows", get(rows))
        .route("/child/{id}", get(child))
        .with_state(served.clone());
    runtime.spawn(async move { axum::serve(listener, app).await });

    let folder = tempfile::tempdir().expect("a folder");
    let declared = "columns: {email: text, status: text, resigned: text, last_day: text}";
    write(folder.path(), "declared.yaml", &pages(&url, declared));
    write(folder.path(), "learnt.yaml", &pages(&url, ""));
    write(folder.path(), "children.yaml", &children(&url));

    let mut curl = Vec::new();
    let mut ours = [Vec::new(), Vec::new()];
    let mut memory = [0, 0];
    for _ in 0..runs {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-o",
            "/dev/null",
            &format!("{url}/rows?page=[1-{}]", PAGES + 1),
        ]);
        curl.push(seconds(&mut command));
        for (index, file) in ["declared.yaml", "learnt.yaml"].into_iter().enumerate() {
            let mut command = Command::new("/usr/bin/time");
            command
                .args([
                    "-f",
                    "%M",
                    "-o",
                    "memory",
                    env!("CARGO_BIN_EXE_hrsink"),
                    "run",
                    file,
                ])
                .current_dir(folder.path());
            ours[index].push(seconds(&mut command));
            let peak = std::fs::read_to_string(folder.path().join("memory")).expect("GNU time's output");
            memory[index] = memory[index].max(peak.trim().parse::<u64>().expect("kilobytes"));
        }
    }
    let download = median(&mut curl);
    println!(
        "{} rows on {PAGES} pages, {} MB; medians of {runs} runs",
        PAGES * ROWS,
        bytes / 1_000_000
    );
    println!("curl, one connection        {download:.3} s");
    for (index, name) in ["columns declared", "columns learnt"].into_iter().enumerate() {
        let time = median(&mut ours[index]);
        println!(
            "hrsink, {name:<17}   {time:.3} s   {:.2} times curl   peak {} MB",
            time / download,
            memory[index] / 1_000
        );
    }

    let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
    command.args(["run", "children.yaml"]).current_dir(folder.path());
    let time = seconds(&mut command);
    let asked = served.asked.lock().expect("no panic").clone();
    let most = (0..asked.len())
        .map(|first| {
            asked[first..]
                .iter()
                .take_while(|at| **at - asked[first] < Duration::from_secs(1))
                .count()
        })
        .max()
        .unwrap_or_default();
    let span = asked
        .last()
        .zip(asked.first())
        .map_or(0.0, |(last, first)| (*last - *first).as_secs_f64());
    println!(
        "{} children at {RATE}/s: {time:.2} s in all, {:.0} a second from the first to the last, at most {most} in any second",
        asked.len(),
        (asked.len() - 1) as f64 / span
    );
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file can be written");
}

fn seconds(command: &mut Command) -> f64 {
    let began = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
    began.elapsed().as_secs_f64()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const REST: &str = "
transforms:
  leavers:
    type: hr_schema
    inputs: [api]
    scenario: employee_resignation
    dates: {timezone: UTC}
    fields: {EmailAddress: email, ResignationDate: resigned, LastWorkingDate: last_day}
sinks:
  out: {type: file, inputs: [leavers], path: out.csv}
";

fn pages(url: &str, columns: &str) -> String {
    format!(
        "sources:
  api:
    type: rest
    base_url: {url}
    request: {{path: rows}}
    pagination: {{type: page, param: {{query: page}}, start: 1}}
    records: {{path: \"$.data[*]\"}}
    {columns}{REST}"
    )
}

fn children(url: &str) -> String {
    let ids: Vec<String> = (0..CHILDREN).map(|id| id.to_string()).collect();
    format!(
        "sources:
  api:
    type: rest
    base_url: {url}
    request: {{path: \"child/{{id}}\"}}
    for_each: {{values: {{id: [{}]}}, max_concurrent: 8}}
    rate_limit: {{limits: [{RATE}/s]}}{REST}",
        ids.join(", ")
    )
}
