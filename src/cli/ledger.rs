//! `hrsink ledger`: inspects and maintains the ledger.

mod actions;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::failure::one_line;
use super::ledger_path::{LedgerPath, open_read_only};
use super::output::{self, BAD, GOOD, HEAD, OutputArg, count, grid, hint, local};
use super::{Ended, block_on};
use crate::error::Error;
use crate::ledger::history::RunFilter;
use crate::ledger::maintenance::{JobStats, Stats};

/// Inspect and maintain the ledger
///
/// The ledger is an SQLite file (`state.path`, by default `.hrsink/state.db` beside the pipeline file) with a key file beside
/// it. It contains the history of runs and batches, and a keyed hash of each row that a job has accepted, so that the next
/// run can skip it. It contains no rows. Back up the ledger and its key together, while no run is in progress.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Stats(StatsArgs),
    Verify(VerifyArgs),
    Export(ExportArgs),
    Resolve(ResolveArgs),
    Forget(ForgetArgs),
    Rewind(RewindArgs),
    Prune(PruneArgs),
}

/// Show the contents of the ledger
///
/// Shows its size and, for each job and scenario, the number of accepted rows, the time of the last one, and unresolved
/// batches of unknown outcome.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  hrsink ledger stats hr.yaml")]
struct StatsArgs {
    #[command(flatten)]
    ledger: LedgerPath,
    #[command(flatten)]
    output: OutputArg,
}

/// Check the ledger for damage
///
/// Runs SQLite's checks and verifies the checksum of every batch and the key. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  hrsink ledger verify hr.yaml

Exit codes: 0 no damage; 1 damaged, with a list of problems; 2 the ledger does not exist or cannot be read; 75 locked by
another program.")]
struct VerifyArgs {
    #[command(flatten)]
    ledger: LedgerPath,
}

/// Print the history as NDJSON, for other tools
///
/// One run per line with its batches, newest first. Contains no rows and no hashes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  hrsink ledger export hr.yaml | jq -c 'select(.exit_code != 0)'")]
struct ExportArgs {
    #[command(flatten)]
    ledger: LedgerPath,
    /// Number of runs to print, newest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
}

/// Resolve a batch of unknown outcome
///
/// If an upload got no answer, look it up in the connector's log in the Purview portal (`RecordsSaved`) and record the
/// result: with `accepted`, the batch's rows count as delivered; with `not-accepted`, they count as never sent, and the
/// next run sends those that are still in the input.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink history hr.yaml --batches
  hrsink ledger resolve hr.yaml --run 0198b3c2-7d41 --batch 3 --as accepted
  hrsink ledger resolve hr.yaml --run 0198b3c2-7d41 --batch 3.2 --as not-accepted")]
struct ResolveArgs {
    #[command(flatten)]
    ledger: LedgerPath,
    /// The run's ID, or its first characters
    #[arg(long, value_name = "ID")]
    run: String,
    /// The batch's number, with its part if it has one
    #[arg(long, value_name = "N[.PART]", value_parser = actions::batch_label)]
    batch: actions::Label,
    /// The sink, if the run has more than one
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// The outcome
    #[arg(long = "as", value_enum, value_name = "OUTCOME")]
    outcome: actions::ResolvedOutcome,
}

/// Forget what a job has accepted, so that all rows are sent again
///
/// Use it after a connector job or its data was deleted and created again. The next run sends every row of its input to the
/// job. Batches of unknown outcome do not change.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink ledger stats hr.yaml
  hrsink ledger forget hr.yaml --job b8be4a7d --yes
  hrsink ledger forget hr.yaml --job b8be4a7d --scenario performance_review --yes")]
struct ForgetArgs {
    #[command(flatten)]
    ledger: LedgerPath,
    /// The job's ID, or a unique part of the job as `hrsink ledger stats` shows it
    #[arg(long, value_name = "JOB")]
    job: String,
    /// Only this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Forget the rows; without it, only show what would be forgotten
    #[arg(long)]
    yes: bool,
}

/// Read sources from the start again
///
/// Deletes the saved position of incremental sources, for example after you fix a mapping. The next run reads everything
/// again; rows that the job has accepted unchanged are skipped.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink ledger rewind hr.yaml
  hrsink ledger rewind hr.yaml --source workers")]
struct RewindArgs {
    /// The pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Delete old history
///
/// Deletes older runs and their batches. Their rows still count as accepted; with `--rows`, rows that were last accepted
/// before are forgotten too, and are sent again if the input still contains them. Runs with an unresolved batch, and the
/// last complete run of each sink (the baseline of guards), are kept.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink ledger prune hr.yaml --older-than 1y --dry-run
  hrsink ledger prune hr.yaml --older-than 400d --rows")]
struct PruneArgs {
    #[command(flatten)]
    ledger: LedgerPath,
    /// Minimum age of the history to delete, such as 90d or 1y
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// Also forget rows that were last accepted before
    #[arg(long)]
    rows: bool,
    /// Only show what would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn execute(args: &Args) -> Ended {
    match &args.command {
        Command::Stats(args) => stats(args),
        Command::Verify(args) => verify(args),
        Command::Export(args) => export(args),
        Command::Resolve(args) => actions::resolve(args),
        Command::Forget(args) => actions::forget(args),
        Command::Rewind(args) => actions::rewind(args),
        Command::Prune(args) => actions::prune(args),
    }
}

fn stats(args: &StatsArgs) -> Ended {
    #[derive(Serialize)]
    struct LedgerStats<'s> {
        ledger: &'s Path,
        #[serde(flatten)]
        stats: &'s Stats,
    }

    let path = args.ledger.path()?;
    let stats = block_on(async { open_read_only(&path).await?.stats().await })??;
    let (ledger, stats) = (&*path, &stats);
    args.output
        .print(&LedgerStats { ledger, stats }, || stats_text(ledger, stats))?;
    Ok(0)
}

fn stats_text(path: &Path, stats: &Stats) -> String {
    let (path, bytes) = (path.display(), HumanBytes(stats.bytes));
    let runs = count(stats.runs, "run", "runs");
    let mut text = format!("{HEAD}{path}{HEAD:#}\n  {bytes}, {runs}");
    if let Some(oldest) = stats.oldest {
        let _ = write!(text, " since {}", local(oldest));
    }
    text.push('\n');
    if stats.jobs.is_empty() {
        text.push_str("  nothing has been sent yet\n");
    } else {
        text += &jobs(stats);
    }
    if !stats.sources.is_empty() {
        let mut lines = Vec::new();
        for source in &stats.sources {
            let (name, pipeline) = (source.source.clone(), source.pipeline.clone());
            lines.push(vec![name, pipeline, local(source.saved)]);
        }
        let _ = writeln!(text, "\n{HEAD}Saved positions{HEAD:#}");
        text += &grid(&["source", "pipeline", "since"], lines, 0..0);
    }
    text
}

const JOBS_HEADER: &str = "job|scenario|accepted rows|batches|last accepted|unknown";

fn jobs(stats: &Stats) -> String {
    let line = |job: &JobStats| {
        let unknown = match count(job.open_unknown, "batch", "batches") {
            _ if job.open_unknown == 0 => String::new(),
            batches => format!("{batches} ({})", count(job.unknown_rows, "row", "rows")),
        };
        vec![
            job.job.clone(),
            job.scenario.clone(),
            HumanCount(job.accepted_rows).to_string(),
            HumanCount(job.batches).to_string(),
            job.last_accepted.map(local).unwrap_or_default(),
            unknown,
        ]
    };
    let lines = stats.jobs.iter().map(line).collect();
    let header: Vec<&str> = JOBS_HEADER.split('|').collect();
    let mut text = grid(&header, lines, 2..4);
    if stats.jobs.iter().any(|job| job.open_unknown > 0) {
        text += &hint(
            "`hrsink history FILE --batches` lists unknown batches, `hrsink ledger resolve` resolves them",
        );
    }
    text
}

fn verify(args: &VerifyArgs) -> Ended {
    let path = args.ledger.path()?;
    let (problems, hints) = match block_on(async { open_read_only(&path).await?.verify().await })? {
        Ok(problems) => {
            let hint = "restore the ledger and its key together from a backup";
            (problems, vec![hint.to_owned()])
        }
        // A ledger that cannot be read is not necessarily damaged.
        Err(error) if !error.is_damage() => return Err(error.into()),
        Err(error) => (vec![error.chain()], error.hints().map(str::to_owned).collect()),
    };
    let name = path.display();
    if problems.is_empty() {
        output::print(&format!("{name}: {GOOD}no damage{GOOD:#}\n"))?;
        return Ok(0);
    }
    let found = count(problems.len() as u64, "problem", "problems");
    let mut text = format!("{name}: {BAD}{found}{BAD:#}\n");
    for problem in problems {
        let _ = writeln!(text, "  {}", one_line(&problem));
    }
    text.extend(hints.iter().map(|text| hint(text)));
    output::print(&text)?;
    Ok(1)
}

fn export(args: &ExportArgs) -> Ended {
    let path = args.ledger.path()?;
    let which = RunFilter {
        limit: args.runs,
        batches: true,
        ..RunFilter::default()
    };
    let runs = block_on(async { open_read_only(&path).await?.runs(which).await })??;
    let mut text = String::new();
    for run in runs {
        let line = serde_json::to_string(&run)
            .map_err(|error| Error::unexpected("cannot write a run as JSON").with_source(error))?;
        text.push_str(&line);
        text.push('\n');
    }
    output::print(&text)?;
    Ok(0)
}
