//! How fast files are read from a web server, beside curl that downloads the same file from the same server in the same
//! run, and how much of a Parquet file is fetched when few of its columns are used.
//!
//! ```text
//! cargo bench --bench stores                      512 MiB of CSV, 3 runs each in turn; 3 of 40 columns of Parquet
//! HRSINK_BENCH_MIB=2048 HRSINK_BENCH_RUNS=1 cargo bench --bench stores
//! ```
//!
//! Needs `curl`, and GNU `time` for the peak memory. Read the ratio: absolute times are the machine's.

#![allow(clippy::print_stdout, reason = "its result is what it prints")]
#![allow(clippy::disallowed_methods, reason = "the server ends with the program")]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// Rows with a remark that nobody uses, so that reading is more of the work than mapping.
fn csv(bytes: usize) -> Bytes {
    let remark = "handed over; ".repeat(60);
    let mut csv = String::with_capacity(bytes + 1_000);
    csv.push_str("upn,remark,resigned,last_day\n");
    let mut row = 0;
    while csv.len() < bytes {
        row += 1;
        let _ = writeln!(csv, "emp.{row}@contoso.com,{remark},2026-03-02,2026-04-01");
    }
    csv.into()
}

/// `more` columns beside the three that are used, in row groups of 100,000 rows.
fn parquet(rows: usize, more: usize) -> Bytes {
    let text = |number: usize| -> ArrayRef {
        let texts =
            (0..rows).map(|row| format!("{:x}", (row * 40 + number).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let mut columns: Vec<(String, ArrayRef)> = (0..more)
        .map(|number| (format!("other{number}"), text(number)))
        .collect();
    let mails = (0..rows).map(|row| format!("emp.{row}@contoso.com"));
    columns.insert(
        more / 3,
        ("upn".into(), Arc::new(StringArray::from_iter_values(mails))),
    );
    let days = |first: i32| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values(
            (0..rows).map(|row| first + (row % 365) as i32),
        ))
    };
    columns.insert(more / 2, ("resigned".into(), days(20_500)));
    columns.push(("last_day".into(), days(20_530)));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100_000))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

#[derive(Clone)]
struct Served {
    csv: Bytes,
    parquet: Bytes,
    sent: Arc<AtomicU64>,
}

async fn answer(State(served): State<Served>, request: Request) -> Response<Body> {
    let file = match request.uri().path() {
        "/a.csv" => &served.csv,
        _ => &served.parquet,
    };
    let range = request.headers().get("range").and_then(|range| {
        let (start, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let last: usize = last.parse().ok()?;
        Some((start.parse::<usize>().ok()?, file.len().min(last + 1)))
    });
    let response = Response::builder().header("etag", "\"1\"");
    if request.method() == "HEAD" {
        let response = response.header("content-length", file.len());
        return response.body(Body::empty()).unwrap();
    }
    let (response, part) = match range {
        Some((start, end)) => {
            let range = format!("bytes {start}-{}/{}", end - 1, file.len());
            (
                response.status(206).header("content-range", range),
                file.slice(start..end),
            )
        }
        None => (response, file.clone()),
    };
    served.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
    response.body(Body::from(part)).unwrap()
}

/// Time and peak memory in MiB of a command.
fn timed(mut command: Command) -> (Duration, Option<u64>) {
    let begun = Instant::now();
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let took = begun.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let peak = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("peak KiB ")?.parse::<u64>().ok());
    (took, peak.map(|kib| kib >> 10))
}

fn hrsink(folder: &Path, url: &str) -> Command {
    let pipeline = format!(
        "sources: {{export: {{type: file, path: \"{url}\", select: {{incremental: false}}}}}}\n\
         transforms: {{rows: {{type: hr_schema, inputs: [export], scenario: employee_resignation, where: upn = 'nobody', \
         dates: {{timezone: UTC}}, fields: {{EmailAddress: upn, ResignationDate: resigned, LastWorkingDate: last_day}}}}}}\n\
         sinks: {{out: {{type: file, inputs: [rows], path: out.csv}}}}\n"
    );
    std::fs::write(folder.join("pipeline.yaml"), pipeline).unwrap();
    let program = env!("CARGO_BIN_EXE_hrsink");
    let mut command = if Path::new("/usr/bin/time").exists() {
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "peak KiB %M", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(["run", "pipeline.yaml"]).current_dir(folder);
    command
}

fn main() {
    // Asked for a list of tests, as `cargo nextest` does, there is none.
    if std::env::args().any(|arg| arg == "--list" || arg == "--test") {
        return;
    }
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (mib, runs) = (number("HRSINK_BENCH_MIB", 512), number("HRSINK_BENCH_RUNS", 3));
    let served = Served {
        csv: csv(mib << 20),
        parquet: parquet(400_000, 37),
        sent: Arc::default(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(served.clone());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();

    let (mut ours, mut curls, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", &format!("{url}/a.csv")]);
        curls.push(timed(curl).0);
        let (took, memory) = timed(hrsink(folder.path(), &format!("{url}/a.csv")));
        ours.push(took);
        peak = peak.max(memory.unwrap_or_default());
    }
    ours.sort();
    curls.sort();
    let (ours, curl) = (ours[runs / 2].as_secs_f64(), curls[runs / 2].as_secs_f64());
    let size = served.csv.len() as f64 / f64::from(1 << 20);
    println!(
        "{size:.0} MiB of CSV over HTTP: {ours:.2} s, {:.0} MiB/s; peak memory {peak} MiB",
        size / ours
    );
    println!(
        "curl, without looking at it: {curl:.2} s, {:.0} MiB/s",
        size / curl
    );

    served.sent.store(0, Ordering::Relaxed);
    let (took, memory) = timed(hrsink(folder.path(), &format!("{url}/a.parquet")));
    let (sent, size) = (served.sent.load(Ordering::Relaxed), served.parquet.len() as u64);
    println!(
        "3 of 40 columns of a Parquet file of {:.0} MiB: {:.1} % of its bytes fetched, {:.2} s, peak memory {} MiB",
        size as f64 / f64::from(1 << 20),
        100.0 * sent as f64 / size as f64,
        took.as_secs_f64(),
        memory.unwrap_or_default()
    );
}
