//! What it costs to remember two million rows: the start of a run that knows them, and looking each of them up.
//!
//! ```text
//! cargo bench --bench ledger
//! ```
//!
//! Read the ratios to what stands beside: a checksum over the same file, and the standard library's set.

#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hrsink::component::BatchOutcome;
use hrsink::ledger::{Intent, Ledger, NewRun, RowHash, RowSet, Settlement};

const BATCHES: u64 = 400;
const ROWS: u64 = 5_000;
const RUNS: usize = 7;

/// As uniform as a keyed hash.
fn row(n: u64) -> RowHash {
    let hash = blake3::hash(&n.to_le_bytes());
    RowHash(u128::from_le_bytes(
        *hash.as_bytes().first_chunk().expect("32 bytes"),
    ))
}

async fn write(path: &Path) {
    let ledger = Ledger::open(path).await.expect("a ledger");
    let run = NewRun {
        id: "a".to_owned(),
        pipeline: "/etc/hr.yaml".to_owned(),
        started: jiff::Timestamp::now(),
        allowed: Vec::new(),
        partial: false,
    };
    ledger.begin_run(run).await.expect("a run");
    for number in 0..BATCHES {
        let intent = Intent {
            run: "a".to_owned(),
            sink: "purview".to_owned(),
            job: "job".to_owned(),
            scenario: "employee_resignation".to_owned(),
            number,
            part: 0,
            bytes: 400_000,
            rows: Arc::new((number * ROWS..(number + 1) * ROWS).map(row).collect()),
            resent: 0,
            header: RowHash(1),
        };
        let settlement = Settlement {
            outcome: BatchOutcome::Accepted,
            attempts: 1,
            unknown_attempts: 0,
            status: Some(200),
            request_ids: Vec::new(),
            duration_ms: 100,
        };
        let batch = ledger.intend(intent).await.expect("it is written");
        ledger.settle(batch, settlement).await.expect("it is written");
    }
}

fn main() {
    // `cargo test --benches` and `cargo nextest` only ask whether it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(write(&path));

    let (mut start, mut checksum) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        start.push(seconds(|| {
            runtime.block_on(async {
                let ledger = Ledger::open(&path).await.expect("a ledger");
                let known = ledger.remembered("job", "employee_resignation", None, "b").await;
                assert_eq!(known.expect("it is whole").accepted.len() as u64, BATCHES * ROWS);
            });
        }));
        checksum.push(seconds(|| {
            black_box(blake3::hash(&std::fs::read(&path).expect("the ledger's file")));
        }));
    }
    let bytes = std::fs::metadata(&path).expect("the ledger's file").len();
    let (start, checksum) = (median(&mut start), median(&mut checksum));
    println!(
        "start with {} rows remembered, {} MB; medians of {RUNS} runs",
        BATCHES * ROWS,
        bytes / 1_000_000
    );
    println!("  checksum of the file        {:7.1} ms", checksum * 1e3);
    println!(
        "  ledger                      {:7.1} ms  {:.1} times that",
        start * 1e3,
        start / checksum
    );

    let rows: Vec<RowHash> = (0..BATCHES * ROWS).map(row).collect();
    let (mut ours, mut theirs, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(seconds(|| {
            let mut set = RowSet::default();
            for chunk in rows.chunks(8_192) {
                new.clear();
                set.insert_all(chunk, &mut new);
            }
            black_box(set.len());
        }));
        theirs.push(seconds(|| {
            let mut set = HashSet::new();
            for row in &rows {
                set.insert(*row);
            }
            black_box(set.len());
        }));
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!("two million new rows");
    println!("  std::collections::HashSet   {:7.1} ms", theirs * 1e3);
    println!(
        "  RowSet                      {:7.1} ms  {:.2} times that",
        ours * 1e3,
        ours / theirs
    );
}

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
