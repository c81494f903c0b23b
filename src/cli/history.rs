//! `hrsink history`: past runs and their batches.

use std::fmt::Write as _;

use anstyle::Style;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::failure::one_line;
use super::ledger_path::LedgerPath;
use super::output::{
    self, BAD, DIM, GOOD, HEAD, HINT, OutputArg, WARN, batch_label, count, grid, hint, local,
};
use super::{Ended, block_on};
use crate::component::Totals;
use crate::error::Error;
use crate::ledger::history::{BatchRecord, RunFilter, RunRecord, RunState};
use crate::ledger::{Ledger, pipeline_name};

/// Show past runs and their batches
///
/// Reads the ledger of the pipeline (`state.path`): start and result of each run, the outcomes of its rows and, with
/// `--batches`, of its batches. A batch is `unknown` if no response arrived although the service may have accepted it. The
/// next run sends its rows again, or waits for your decision (`delivery.on_unknown`, `hrsink ledger resolve`). The ledger
/// contains no rows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink history hr.yaml
  hrsink history hr.yaml --runs 1 --batches
  hrsink history hr.yaml --run 0198b3c2-7d41 --output json
  hrsink history --state /var/lib/hrsink/state.db      every pipeline that uses this ledger")]
pub(super) struct Args {
    #[command(flatten)]
    ledger: LedgerPath,
    /// Number of runs to show, newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Show only the run with this ID (or its first characters), with its batches
    #[arg(long, value_name = "ID", conflicts_with = "runs")]
    run: Option<String>,
    /// Show the batches of each run
    #[arg(long)]
    batches: bool,
    #[command(flatten)]
    output: OutputArg,
}

pub(super) fn execute(args: &Args) -> Ended {
    let path = args.ledger.path()?;
    let file = &args.ledger.file;
    let which = RunFilter {
        pipeline: file.as_deref().map(pipeline_name),
        run: args.run.clone(),
        limit: args.run.is_none().then_some(args.runs),
        batches: args.batches || args.run.is_some(),
    };
    let runs = block_on(async {
        match Ledger::open_read_only(&path).await? {
            Some(ledger) => ledger.runs(which).await.map(Some),
            None => Ok(None),
        }
    })??;
    if let (Some(prefix), Some(runs)) = (&args.run, &runs) {
        only_one(prefix, runs)?;
    }
    let found = runs.as_deref().unwrap_or_default();
    let text = || match (&runs, path.display()) {
        (None, path) => {
            format!("No runs yet: the ledger `{path}` does not exist; the first run creates it\n")
        }
        _ if found.is_empty() => "No runs yet\n".to_owned(),
        _ => text(args, found),
    };
    args.output.print(&json!({"ledger": path, "runs": found}), text)?;
    Ok(0)
}

fn only_one(prefix: &str, runs: &[RunRecord]) -> Result<(), Error> {
    match runs {
        [_] => Ok(()),
        [] => {
            let error = Error::config(format!("no run has an ID that starts with `{prefix}`"));
            Err(error.with_hint("`hrsink history FILE` shows the IDs"))
        }
        several => {
            let problem = format!("{} runs have an ID that starts with `{prefix}`", several.len());
            Err(Error::config(problem).with_hint("specify more characters of the ID"))
        }
    }
}

fn text(args: &Args, runs: &[RunRecord]) -> String {
    let mut text = if args.batches || args.run.is_some() {
        let parts: Vec<String> = runs.iter().map(with_batches).collect();
        parts.join("\n")
    } else {
        overview(runs, args.ledger.file.is_none())
    };
    let open: u64 = runs.iter().map(|run| run.open_unknown).sum();
    if open > 0 {
        let batches = count(open, "batch has", "batches have");
        let _ = writeln!(
            text,
            "{WARN}{batches} an unknown outcome{WARN:#}: the service may have accepted the rows"
        );
        text +=
            &hint("check the connector's log in the Purview portal, then see `hrsink ledger resolve --help`");
    }
    if args.run.is_none() && runs.len() as u64 == u64::from(args.runs) && args.runs > 1 {
        let runs = HumanCount(runs.len() as u64);
        let _ = writeln!(text, "{DIM}newest {runs} runs; `--runs N` shows more{DIM:#}");
    }
    text
}

type Counter = (&'static str, fn(&Totals) -> u64);

const COUNTERS: [Counter; 8] = [
    ("read", |rows| rows.read),
    ("filtered", |rows| rows.filtered),
    ("rejected", |rows| rows.rejected),
    ("skipped", |rows| rows.skipped),
    ("accepted", |rows| rows.accepted),
    ("refused", |rows| rows.refused),
    ("unknown", |rows| rows.unknown),
    ("not sent", |rows| rows.not_sent),
];

/// One line per run, without counters that are zero in all of them.
fn overview(runs: &[RunRecord], with_pipeline: bool) -> String {
    let totals = || runs.iter().filter_map(|run| run.rows.as_ref());
    let is_shown = |name: &str| ["read", "accepted"].contains(&name);
    let counters = COUNTERS.into_iter();
    let counters = counters.filter(|(name, of)| is_shown(name) || totals().any(|rows| of(rows) > 0));
    let counters: Vec<Counter> = counters.collect();
    let mut header = vec!["started", "took", "result"];
    header.extend(counters.iter().map(|(name, _)| *name));
    header.extend(["batches", "run"]);
    if with_pipeline {
        header.push("pipeline");
    }
    let mut lines: Vec<Vec<String>> = Vec::new();
    for run in runs {
        let mut line = vec![
            local(run.started),
            run.duration_ms.map(output::duration).unwrap_or_default(),
            result(run).1,
        ];
        let rows = run.rows.as_ref();
        let number = |of: fn(&Totals) -> u64| rows.map(|rows| HumanCount(of(rows)).to_string());
        line.extend(counters.iter().map(|(_, of)| number(*of).unwrap_or_default()));
        line.push(HumanCount(run.batch_count).to_string());
        line.push(short(&run.run).to_owned());
        if with_pipeline {
            line.push(run.pipeline.clone());
        }
        lines.push(line);
    }
    grid(&header, lines, 3..counters.len() + 4)
}

const BATCH_HEADER: &str = "sink|scenario|batch|rows|size|tries|status|sent|took|outcome|request IDs";

fn with_batches(run: &RunRecord) -> String {
    let (style, result) = result(run);
    let mut text = format!("{HEAD}{}{HEAD:#}  {style}{result}{style:#}", local(run.started));
    if let Some(ms) = run.duration_ms {
        let _ = write!(text, " after {}", output::duration(ms));
    }
    let _ = writeln!(text, "  {DIM}run {}{DIM:#}", run.run);
    if let Some(error) = &run.error {
        let _ = writeln!(text, "  {}", one_line(error));
    }
    if let Some(rows) = &run.rows {
        let counters = COUNTERS.into_iter();
        let counters = counters.filter(|(name, of)| *name == "read" || of(rows) > 0);
        let sums = counters.map(|(name, of)| format!("{} {name}", HumanCount(of(rows))));
        let _ = writeln!(text, "  rows: {}", sums.collect::<Vec<_>>().join(", "));
    }
    if run.partial {
        text.push_str("  read only a part of its sources\n");
    }
    if !run.allowed.is_empty() {
        let _ = writeln!(text, "  allowed guards: {}", run.allowed.join(", "));
    }
    let batches = run.batches.as_deref().unwrap_or_default();
    if batches.is_empty() {
        text.push_str("  no batches\n");
        return text;
    }
    let line = |batch: &BatchRecord| {
        vec![
            batch.sink.clone(),
            batch.scenario.clone(),
            batch_label(batch.number, batch.part),
            HumanCount(batch.rows).to_string(),
            HumanBytes(batch.bytes).to_string(),
            batch.attempts.map(|n| n.to_string()).unwrap_or_default(),
            batch.status.map(|n| n.to_string()).unwrap_or_default(),
            local(batch.intended),
            batch.duration_ms.map(output::duration).unwrap_or_default(),
            outcome(batch),
            batch.request_ids.join(" "),
        ]
    };
    let header: Vec<&str> = BATCH_HEADER.split('|').collect();
    text + &grid(&header, batches.iter().map(line).collect(), 2..7)
}

fn outcome(batch: &BatchRecord) -> String {
    let outcome = match batch.outcome.as_deref() {
        None => "in progress".to_owned(),
        Some(outcome) => outcome.replace('_', " "),
    };
    let mut text = match &batch.decision {
        None if batch.is_open() => format!("{outcome}: open"),
        None => outcome,
        Some(decision) => {
            let by = match &decision.run {
                Some(run) => format!("by run {}", short(run)),
                None => format!("by hand, {}", local(decision.decided)),
            };
            match &*decision.decision {
                "resent" => format!("{outcome}: rows still in the input were sent again {by}"),
                "forgotten" => format!("{outcome}; rows forgotten {by}"),
                decision => format!("{outcome}: {} {by}", decision.replace('_', " ")),
            }
        }
    };
    if batch.resent > 0 {
        let rows = count(batch.resent, "row", "rows");
        let _ = write!(text, "; {rows} had an unknown outcome before");
    }
    text
}

fn result(run: &RunRecord) -> (Style, String) {
    let code = match (run.state, run.exit_code) {
        (RunState::Running, _) => return (HINT, "running".to_owned()),
        (RunState::Dead, _) | (_, None) => return (BAD, "crashed".to_owned()),
        (RunState::Ended, Some(code)) => code,
    };
    let (style, word) = match code {
        0 => (GOOD, "delivered"),
        2 => (BAD, "invalid settings or input"),
        3 => (BAD, "too many rejects"),
        4 => (WARN, "stopped by a guard or a held batch"),
        5 => (BAD, "refused"),
        75 => (WARN, "incomplete"),
        130 => (WARN, "interrupted"),
        143 => (WARN, "terminated"),
        _ => (BAD, "failed"),
    };
    (style, format!("{word} ({code})"))
}

/// The first part of a run's ID: of a UUID version 7, its time.
fn short(id: &str) -> &str {
    id.get(..13).unwrap_or(id)
}
