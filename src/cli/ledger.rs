//! `hrsink ledger`: looks after the ledger.

mod actions;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::failure::Failure;
use super::history::{grid, ledger_of, local};
use super::output::{self, BAD, Format, GOOD, HEAD, HINT, WARN, count};
use super::{Ended, block_on};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::ledger::history::RunFilter;
use crate::ledger::maintenance::Stats;

/// Inspect and maintain the ledger
///
/// The ledger is one SQLite file (`state.path`, by default `.hrsink/state.db` beside the pipeline file), with its key
/// beside it. It holds the history of runs and batches, and of each row that a job accepted a keyed hash, by which the
/// next run knows what it need not send again; never the row. Back up the file and its key together, while no run is
/// under way.
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

/// Which ledger.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The pipeline file (YAML, TOML or JSON) that names the ledger
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The ledger itself, instead of a pipeline file
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
}

/// Show what the ledger holds
///
/// Its size, and for each job and scenario: how many rows it has accepted, when the last of them was accepted, and the
/// batches of unknown outcome that nobody has resolved.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  hrsink ledger stats hr.yaml")]
struct StatsArgs {
    #[command(flatten)]
    place: Place,
    /// Print for a person (text) or for a program (json)
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    output: Format,
}

/// Check that the ledger is whole
///
/// Reads all of it: SQLite's own checks, the checksum of every batch's rows, and whether the key is the ledger's. Changes
/// nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  hrsink ledger verify hr.yaml

Exit codes: 0 it is whole; 1 it is damaged, and each problem is named; 2 there is no ledger, or this hrsink or user may
not read it; 75 another program keeps it locked.")]
struct VerifyArgs {
    #[command(flatten)]
    place: Place,
}

/// Print the history as NDJSON, for other tools
///
/// One run a line, newest first, with its batches. Neither rows nor their hashes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  hrsink ledger export hr.yaml | jq -c 'select(.exit_code != 0)'")]
struct ExportArgs {
    #[command(flatten)]
    place: Place,
    /// Print at most so many runs, the newest
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
    place: Place,
    /// The run's id, or the start of it
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
    outcome: actions::Known,
}

/// Forget what a job has accepted, so that all of it is sent again
///
/// For a connector job that was deleted and made anew, or whose data was. The next run sends every row of its input to
/// the job. Batches of unknown outcome stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink ledger stats hr.yaml
  hrsink ledger forget hr.yaml --job b8be4a7d --yes
  hrsink ledger forget hr.yaml --job b8be4a7d --scenario performance_review --yes")]
struct ForgetArgs {
    #[command(flatten)]
    place: Place,
    /// The job: its id, or any part of what `hrsink ledger stats` shows that no other job has
    #[arg(long, value_name = "JOB")]
    job: String,
    /// Only this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Do it; without this, it is only said what would be done
    #[arg(long)]
    yes: bool,
}

/// Have sources read from their beginning again
///
/// A source with a position (files that are not read again, an incremental API) goes on where the last run was. After
/// mending a mapping, say, what went by before is to be read again: this drops the position. Rows that the job has
/// accepted unchanged are not sent again.
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
/// Deletes the records of runs that ended before, and of their batches. The rows they delivered still
/// count as accepted; with `--rows`, those last accepted before are forgotten too and are sent again if the input still
/// has them. Runs with an unresolved batch and the last complete run of each sink, which guards compare with, are kept.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink ledger prune hr.yaml --older-than 1y --dry-run
  hrsink ledger prune hr.yaml --older-than 400d --rows")]
struct PruneArgs {
    #[command(flatten)]
    place: Place,
    /// How old history must be to go, such as 90d or 1y
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// Also forget rows that were last accepted before
    #[arg(long)]
    rows: bool,
    /// Only say what would be deleted
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

impl Place {
    fn path(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(path) => Ok(path.clone()),
            None => ledger_of(self.file.as_deref()),
        }
    }

    /// For looking only.
    async fn look(path: &std::path::Path) -> Result<Ledger, Error> {
        Ledger::open_read_only(path).await?.ok_or_else(|| {
            Error::config(format!("there is no ledger `{}`", path.display()))
                .with_hint("the first run makes it")
        })
    }

    /// For changes; it is not made if there is none.
    async fn open(path: &std::path::Path) -> Result<Ledger, Error> {
        drop(Self::look(path).await?);
        Ledger::open(path).await
    }
}

fn stats(args: &StatsArgs) -> Ended {
    #[derive(Serialize)]
    struct Told<'s> {
        ledger: &'s std::path::Path,
        #[serde(flatten)]
        stats: &'s Stats,
    }

    let path = args.place.path()?;
    let stats = block_on(async { Place::look(&path).await?.stats().await })??;
    match args.output {
        Format::Json => output::print_json(&Told {
            ledger: &path,
            stats: &stats,
        })?,
        Format::Text => output::print(&stats_text(&path, &stats))?,
    }
    Ok(0)
}

fn stats_text(path: &std::path::Path, stats: &Stats) -> String {
    let mut text = format!(
        "{HEAD}{}{HEAD:#}\n  {}, {}",
        path.display(),
        HumanBytes(stats.bytes),
        count(stats.runs, "run", "runs")
    );
    if let Some(oldest) = stats.oldest {
        let _ = write!(text, " since {}", local(oldest));
    }
    text.push('\n');
    if stats.jobs.is_empty() {
        text.push_str("  nothing was sent yet\n");
    } else {
        jobs(&mut text, stats);
    }
    if !stats.sources.is_empty() {
        let lines = stats
            .sources
            .iter()
            .map(|source| {
                vec![
                    source.source.clone(),
                    source.pipeline.clone(),
                    local(source.saved),
                ]
            })
            .collect();
        let _ = writeln!(text, "\n{HEAD}Sources that go on where they were{HEAD:#}");
        text.push_str(&grid(&["source", "pipeline", "since"], lines, 0..0));
    }
    text
}

fn jobs(text: &mut String, stats: &Stats) {
    let lines = stats
        .jobs
        .iter()
        .map(|job| {
            vec![
                job.job.clone(),
                job.scenario.clone(),
                HumanCount(job.accepted_rows).to_string(),
                HumanCount(job.batches).to_string(),
                job.last_accepted.map(local).unwrap_or_default(),
                match job.open_unknown {
                    0 => String::new(),
                    batches => format!(
                        "{} ({})",
                        count(batches, "batch", "batches"),
                        count(job.unknown_rows, "row", "rows")
                    ),
                },
            ]
        })
        .collect();
    let header = [
        "job",
        "scenario",
        "accepted rows",
        "batches",
        "last accepted",
        "unknown",
    ];
    text.push_str(&grid(&header, lines, 2..4));
    if stats.jobs.iter().any(|job| job.open_unknown > 0) {
        let _ = writeln!(
            text,
            "{HINT}hint:{HINT:#} `hrsink history FILE --batches` names the unknown ones, `hrsink ledger resolve` decides \
             about them"
        );
    }
}

fn verify(args: &VerifyArgs) -> Ended {
    let path = args.place.path()?;
    if !path.exists() {
        // Says what is missing.
        block_on(Place::look(&path))??;
    }
    let (problems, hints) = match block_on(async { Place::look(&path).await?.verify().await })? {
        Ok(problems) => (problems, Vec::new()),
        // What could not be looked at may be whole.
        Err(error) if !error.is_damage() => return Err(error.into()),
        Err(error) => {
            let hints = error.hints().map(str::to_owned).collect();
            (vec![error.chain()], hints)
        }
    };
    let name = path.display();
    if problems.is_empty() {
        output::print(&format!("{name}: {GOOD}whole{GOOD:#}\n"))?;
        return Ok(0);
    }
    let mut text = format!(
        "{name}: {BAD}{}{BAD:#}\n",
        count(problems.len() as u64, "problem", "problems")
    );
    for problem in problems {
        let _ = writeln!(text, "  {}", super::failure::one_line(&problem));
    }
    if hints.is_empty() {
        let _ = writeln!(
            text,
            "{HINT}hint:{HINT:#} restore the ledger and its key together from a backup"
        );
    }
    for hint in hints {
        let _ = writeln!(text, "{HINT}hint:{HINT:#} {hint}");
    }
    output::print(&text)?;
    Ok(1)
}

fn export(args: &ExportArgs) -> Ended {
    let path = args.place.path()?;
    let which = RunFilter {
        limit: args.runs,
        batches: true,
        ..RunFilter::default()
    };
    let runs = block_on(async { Place::look(&path).await?.runs(which).await })??;
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

/// A line of advice.
fn hint(text: &str) -> String {
    format!("{HINT}hint:{HINT:#} {text}\n")
}

/// A line that stands out.
fn warning(text: &str) -> String {
    format!("{WARN}{text}{WARN:#}\n")
}
