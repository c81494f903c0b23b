//! The source `rest`: memory for a body of 2 GB, and throughput beside Python's dlt `rest_api` on the same pages in the
//! same run.
//!
//! ```text
//! cargo bench --bench rest
//! HRSINK_BENCH_RUNS=3 cargo bench --bench rest
//! ```
//!
//! Needs GNU `time` and `python3` with `venv`; installs dlt into `~/.cache/hrsink-bench`. Fails above 100 MB, or below
//! 5 times the throughput of dlt. Compare ratios, not times: those depend on the machine.

#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt;

const PAGES: usize = 200;
const ROWS: usize = 1_000;
const BODY_BYTES: usize = 2_000_000_000;
const MAX_MEMORY_MB: u64 = 100;
const MIN_RATIO: f64 = 5.0;

/// Rows such as an HR system has them, a little over 150 bytes each.
fn rows(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 180);
    for id in first..first + count {
        let separator = if id == first { "" } else { "," };
        let (month, day, level) = (id % 12 + 1, id % 28 + 1, id % 9);
        let _ = write!(
            text,
            "{separator}{{\"id\":\"{id}\",\"email\":\"emp.{id}@contoso.com\",\"status\":\"Terminated\",\
             \"resigned\":\"2026-{month:02}-{day:02}\",\"last_day\":\"2026-{month:02}-28\",\
             \"department\":\"Research\",\"level\":{level}}}"
        );
    }
    text
}

type Pages = Arc<Vec<Bytes>>;

async fn page(
    State(pages): State<Pages>,
    Query(query): Query<std::collections::HashMap<String, usize>>,
) -> ([(&'static str, &'static str); 1], Bytes) {
    let body = query.get("page").and_then(|page| pages.get(page.wrapping_sub(1)));
    let empty = Bytes::from_static(b"{\"data\":[]}");
    (
        [("content-type", "application/json")],
        body.cloned().unwrap_or(empty),
    )
}

/// One body of [`BODY_BYTES`], generated while it is sent.
async fn large() -> Body {
    let block = Bytes::from(format!("{},", rows(0, ROWS)));
    let blocks = futures::stream::repeat(block.clone()).take(BODY_BYTES / block.len());
    let start = futures::stream::iter([Bytes::from_static(b"{\"data\":[")]);
    let end = futures::stream::iter([Bytes::from(format!("{}]}}", rows(0, 1)))]);
    Body::from_stream(start.chain(blocks).chain(end).map(Ok::<_, std::io::Error>))
}

fn main() {
    // `cargo test --benches` and `cargo nextest` only check that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runs = std::env::var("HRSINK_BENCH_RUNS").map_or(5, |runs| runs.parse().expect("a number of runs"));
    let pages: Pages = Arc::new(
        (0..PAGES)
            .map(|page| Bytes::from(format!("{{\"data\":[{}]}}", rows(page * ROWS, ROWS))))
            .collect(),
    );
    let bytes: usize = pages.iter().map(Bytes::len).sum();
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
        .route("/rows", get(page))
        .route("/large", get(large))
        .with_state(pages);
    runtime.spawn(async move { axum::serve(listener, app).await });

    let folder = tempfile::tempdir().expect("a folder");
    let paged = "pagination: {type: page}";
    let declared = "columns: {email: text, resigned: text, last_day: text}";
    for (name, path, settings) in [
        ("declared.yaml", "rows", format!("{paged}\n    {declared}")),
        ("inferred.yaml", "rows", paged.to_owned()),
        ("large.yaml", "large", declared.to_owned()),
    ] {
        write(folder.path(), name, &pipeline(&url, path, &settings));
    }
    write(folder.path(), "dlt_rows.py", DLT);
    let python = dlt();

    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..runs {
        let mut command = Command::new(&python);
        command.args(["dlt_rows.py", &url]);
        times[0].push(seconds(command.current_dir(folder.path())));
        for (index, file) in ["declared.yaml", "inferred.yaml"].into_iter().enumerate() {
            times[index + 1].push(hrsink(folder.path(), file).0);
        }
    }
    println!(
        "{} rows on {PAGES} pages, {} MB; medians of {runs} runs",
        PAGES * ROWS,
        bytes / 1_000_000
    );
    let medians = times.map(median);
    let mut slowest = f64::INFINITY;
    println!("dlt rest_api, to a CSV file   {:.3} s", medians[0]);
    for (name, time) in [("columns declared", medians[1]), ("columns inferred", medians[2])] {
        let ratio = medians[0] / time;
        slowest = slowest.min(ratio);
        println!("hrsink, {name}      {time:.3} s   {ratio:.1} times the throughput of dlt");
    }
    let (time, memory) = hrsink(folder.path(), "large.yaml");
    println!(
        "one body of {} MB: {time:.1} s, {:.0} MB/s, peak memory {memory} MB",
        BODY_BYTES / 1_000_000,
        BODY_BYTES as f64 / 1e6 / time
    );
    assert!(memory <= MAX_MEMORY_MB, "more than {MAX_MEMORY_MB} MB");
    assert!(
        slowest >= MIN_RATIO,
        "less than {MIN_RATIO} times the throughput of dlt"
    );
}

/// Seconds and peak memory in MB of a run.
fn hrsink(folder: &Path, file: &str) -> (f64, u64) {
    let mut command = Command::new("/usr/bin/time");
    command.args([
        "-f",
        "%M",
        "-o",
        "memory",
        env!("CARGO_BIN_EXE_hrsink"),
        "run",
        file,
    ]);
    let time = seconds(command.current_dir(folder));
    let memory = std::fs::read_to_string(folder.join("memory")).expect("the output of GNU time");
    (time, memory.trim().parse::<u64>().expect("kilobytes") / 1_000)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file can be written");
}

fn seconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
    start.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The Python of an environment with dlt.
fn dlt() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let folder = cache.join("hrsink-bench").join("dlt");
    let python = folder.join("bin").join("python");
    if !python.exists() {
        seconds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        seconds(Command::new(&python).args(["-m", "pip", "install", "--quiet", "dlt>=1,<2"]));
    }
    python
}

/// Reads the pages with dlt, without its normalization and load steps.
const DLT: &str = r#"
import csv, sys
from dlt.sources.rest_api import rest_api_source

paginator = {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None}
source = rest_api_source({
    "client": {"base_url": sys.argv[1], "paginator": paginator},
    "resources": [{"name": "rows", "endpoint": {"path": "rows", "data_selector": "data"}}],
})
with open("dlt.csv", "w", newline="") as file:
    out = csv.writer(file)
    for row in source.resources["rows"]:
        out.writerow([row["email"], row["resigned"], row["last_day"]])
"#;

fn pipeline(url: &str, path: &str, settings: &str) -> String {
    format!(
        "sources:
  api:
    type: rest
    base_url: {url}
    request: {{path: {path}}}
    records: {{path: $.data}}
    {settings}
transforms:
  leavers:
    type: hr_schema
    inputs: [api]
    scenario: employee_resignation
    dates: {{timezone: UTC}}
    fields: {{EmailAddress: email, ResignationDate: resigned, LastWorkingDate: last_day}}
sinks:
  out: {{type: file, inputs: [leavers], path: out.csv}}
"
    )
}
