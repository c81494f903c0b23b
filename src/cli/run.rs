//! `hrsink run`: one run of a pipeline, with an exit code a scheduler can trust.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use super::failure::show_report;
use super::output::{self, Format, WARN};
use super::progress::Progress;
use super::signals::{Signal, Signals};
use super::{Ended, block_on, logging, summary};
use crate::component::Rejects;
use crate::config::{Guard, PipelineConfig};
use crate::disk::create_private_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, ExitCode, Observer, RunOptions, RunReport};
use crate::secret::SecretFiles;

/// Run a pipeline once
///
/// Reads the sources, maps the rows and delivers them. Rows that cannot be delivered are put aside with a reason,
/// and the others go on. The exit code tells a scheduler whether to try again later (75) or to call a person (2, 3,
/// 4, 5); `hrsink --help` lists them all.
///
/// Ctrl-C or SIGTERM stops the run gently: reading ends at once, uploads in flight have the grace period to finish,
/// the report is written. A second one stops it at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink run hr.yaml
  hrsink run hr.yaml --dry-run
  hrsink run hr.yaml --report report.json --log-format json
  hrsink run hr.yaml --dry-run --record support")]
pub(super) struct Args {
    /// The pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Let this run through although it breaks this guard, such as `max_rows`; may be given several times. Written into
    /// the ledger
    #[arg(long, value_enum, value_name = "GUARD")]
    allow: Vec<Guard>,
    /// Store what HR systems answer under this folder, for a support case: a file a page, with values masked. Of a text
    /// only its form stays (`xxxx@xxxxxxx.xxx`, `9999-99-99`), of a URL and of headers what tells of paging and limits;
    /// the names of keys stay. Off unless asked for; look through the files before you pass them on
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// What `run` and `upload` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Do everything but send: batches are cut, nothing leaves this machine
    #[arg(long)]
    dry_run: bool,
    /// Read at most so many rows of each source
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Also write the run report to this file, as JSON, whatever happens
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Write rejected rows to this file (NDJSON) instead of a new one in the folder `rejects.path`; made with the
    /// first of them
    #[arg(long, value_name = "PATH")]
    rejects: Option<PathBuf>,
    /// How long uploads in flight may take after an interrupt, such as 30s or 2m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Show no progress line; without a terminal there is none anyway
    #[arg(long)]
    no_progress: bool,
    /// Print what the run did for a person (text) or as the run report (json)
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    output: Format,
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    let config = PipelineConfig::load(&args.file)?;
    if let Some(folder) = &args.record {
        prepare_recording(folder)?;
    }
    let options = RunOptions {
        record: args.record.clone(),
        allow: args.allow.iter().copied().collect(),
        secret_files,
        ..RunOptions::default()
    };
    run(&config, &args.how, options)
}

/// A folder that cannot be written to is better known before anything is read.
fn prepare_recording(folder: &Path) -> Result<()> {
    create_private_folder(folder).map_err(|error| {
        Error::config(format!(
            "cannot make the folder `{}` for recorded pages",
            folder.display()
        ))
        .with_source(error)
    })?;
    let what = format!(
        "what HR systems answer is recorded under `{}`, with values masked; look through it before you pass it on",
        folder.display()
    );
    if logging::is_json() {
        tracing::warn!("{what}");
    } else {
        output::note(&format!("{WARN}warning:{WARN:#} {what}\n"));
    }
    Ok(())
}

/// Runs `config` and tells how it went. What `how` says is set in `options` here.
pub(super) fn run(config: &PipelineConfig, how: &How, options: RunOptions) -> Ended {
    let stdout_is_taken = config.sinks.iter().find(|sink| sink.config.uses_stdout());
    if let Some(sink) = stdout_is_taken
        && how.output == Format::Json
    {
        let problem = format!(
            "the rows of the sink `{}` and the run report would both go to standard output",
            sink.name
        );
        return Err(Error::config(problem)
            .with_hint("write the report to a file: `--report PATH`")
            .into());
    }
    if let Some(path) = &how.report {
        check_folder(path)?;
    }
    let options = RunOptions {
        dry_run: how.dry_run,
        limit: how.limit,
        rejects: how
            .rejects
            .clone()
            .map(|path| Rejects::to_file(path, config.rejects.include_values)),
        grace: how.grace,
        ..options
    };
    // Rows and a progress line on one terminal would be drawn over each other.
    let progress =
        output::stderr_is_terminal() && !how.no_progress && !logging::is_json() && stdout_is_taken.is_none();
    let ended = block_on(until_stopped(config, options, progress))??;
    let Some(report) = ended.report else {
        let what =
            "stopped at once: what was in flight may or may not have been taken, and there is no run report";
        output::note(&format!("{WARN}warning:{WARN:#} {what}\n"));
        return Ok(ended.exit_code);
    };
    let told = tell(&report, how, stdout_is_taken.is_some());
    // That it was interrupted stands in the summary's first line.
    let failures = report.error.iter().chain(&report.further_errors);
    failures
        .filter(|error| error.kind != ErrorKind::Interrupted)
        .for_each(show_report);
    match told {
        // What became of the rows says more than what became of the report.
        Err(error) if ended.exit_code != ExitCode::Delivered as u8 => {
            super::failure::show_error(&error);
            Ok(ended.exit_code)
        }
        told => told.map(|()| ended.exit_code).map_err(Into::into),
    }
}

/// Writes the report to its file and the summary to its stream.
fn tell(report: &RunReport, how: &How, stdout_is_taken: bool) -> Result<()> {
    let written = how
        .report
        .as_deref()
        .map_or(Ok(()), |path| write_report(path, report));
    match how.output {
        Format::Json => output::print_json(report)?,
        Format::Text if stdout_is_taken => output::note(&summary::text(report)),
        Format::Text => output::print(&summary::text(report))?,
    }
    written
}

/// How a run ended.
struct EndedRun {
    /// Its report; none if it was stopped at once.
    report: Option<RunReport>,
    exit_code: u8,
}

/// Runs to the end, or to the second signal.
async fn until_stopped(config: &PipelineConfig, options: RunOptions, progress: bool) -> Result<EndedRun> {
    let mut signals = Signals::listen()?;
    let cancel = options.cancel.clone();
    let grace = options.grace;
    let observer = Observer::default();
    let progress = progress.then(|| Progress::start(observer.clone()));
    let mut redraw = tokio::time::interval(Duration::from_millis(100));
    let mut run = pin!(pipeline::run(config, options, &observer));
    let mut first: Option<Signal> = None;
    loop {
        tokio::select! {
            mut report = &mut run => {
                if let Some(signal) = first
                    && report.exit_code == ExitCode::Interrupted as u8
                {
                    report.exit_code = signal.exit_code();
                }
                return Ok(EndedRun { exit_code: report.exit_code, report: Some(report) });
            }
            signal = signals.next() => match first {
                None => {
                    first = Some(signal);
                    cancel.cancel();
                    tracing::info!(?signal, "stopping");
                    if !logging::is_json() {
                        output::note(&format!(
                            "Stopping; uploads in flight have {} to finish. Once more stops at once.\n",
                            humantime::format_duration(grace)
                        ));
                    }
                }
                Some(_) => return Ok(EndedRun { report: None, exit_code: signal.exit_code() }),
            },
            _ = redraw.tick(), if progress.is_some() => {
                if let Some(progress) = &progress {
                    progress.show();
                }
            }
        }
    }
}

/// A report that cannot be written is better known before rows are sent.
fn check_folder(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(Error::config(format!(
            "`--report` names a folder: `{}`",
            path.display()
        )));
    }
    if !folder.is_dir() {
        return Err(Error::config(format!(
            "there is no folder `{}` for the run report",
            folder.display()
        )));
    }
    Ok(())
}

/// Whoever watches the file sees the old report or the new one, never half of one.
fn write_report(path: &Path, report: &RunReport) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", report.run_id));
    let part = PathBuf::from(part);
    // A device, a pipe or a link stays what it is, and what it leads to is written to.
    let in_place = std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file());
    let write = || -> std::io::Result<()> {
        let target = if in_place { path } else { &part };
        let mut file = std::io::BufWriter::new(std::fs::File::create(target)?);
        serde_json::to_writer_pretty(&mut file, report)?;
        file.write_all(b"\n")?;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        if in_place {
            return Ok(());
        }
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|error| {
        // It may not have been made.
        let _ = std::fs::remove_file(&part);
        Error::unexpected(format!("cannot write the run report `{}`", path.display())).with_source(error)
    })
}
