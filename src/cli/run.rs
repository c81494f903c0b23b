//! `hrsink run`: runs a pipeline once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use super::failure::{show_error, show_failures};
use super::output::{self, Format, OutputArg};
use super::progress::Progress;
use super::signals::{Signal, Signals};
use super::{Ended, block_on, logging, summary};
use crate::config::{Guard, PipelineConfig};
use crate::disk::{create_private_folder, folder_of, with_suffix};
use crate::error::{Error, Result};
use crate::pipeline::{self, ExitCode, Observer, RejectsTarget, RunOptions, RunReport};
use crate::secret::SecretFiles;

/// Run a pipeline once
///
/// Reads the sources, maps the rows and delivers them. Rows that cannot be delivered are rejected with a reason; the others
/// are delivered. The exit code shows whether to run again later (75) or to alert a person (2, 3, 4, 5); `hrsink --help`
/// lists all codes.
///
/// Ctrl-C or SIGTERM stops the run gracefully: reading stops, uploads in flight can finish within the grace period, and the
/// report is written. A second signal stops it at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink run hr.yaml
  hrsink run hr.yaml --dry-run
  hrsink run hr.yaml --report report.json --log-format json
  hrsink run hr.yaml --dry-run --record support")]
pub(super) struct Args {
    /// Pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Ignore this guard for this run, such as `max_rows`; can be repeated. Recorded in the ledger
    #[arg(long, value_enum, value_name = "GUARD")]
    allow: Vec<Guard>,
    /// Store the responses of HR systems in this folder, for a support case: one file per page, with values masked to their
    /// form (`xxxx@xxxxxxx.xxx`, `9999-99-99`). Key names stay; review the files before you share them
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    how: RunArgs,
}

/// The options of `run` and `upload`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Do everything except sending
    #[arg(long)]
    dry_run: bool,
    /// Maximum number of rows to read from each source
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Write the run report to this file, as JSON, whatever the result
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Write rejected rows to this file (NDJSON) instead of a new file in `rejects.path`
    #[arg(long, value_name = "PATH")]
    rejects: Option<PathBuf>,
    /// Time for uploads in flight to finish after an interrupt, such as 30s or 2m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Do not show the progress line
    #[arg(long)]
    no_progress: bool,
    #[command(flatten)]
    output: OutputArg,
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

fn prepare_recording(folder: &Path) -> Result<()> {
    let shown = folder.display();
    create_private_folder(folder).map_err(|error| {
        let message = format!("cannot create the folder `{shown}` for recorded responses");
        Error::config(message).with_source(error)
    })?;
    let what = format!(
        "responses are recorded in `{shown}` with values masked; review the files before you share them"
    );
    if logging::is_json() {
        tracing::warn!("{what}");
    } else {
        output::note(&output::warning(&what));
    }
    Ok(())
}

/// Runs `config` and prints the result. The settings of `how` override `options`.
pub(super) fn run(config: &PipelineConfig, how: &RunArgs, options: RunOptions) -> Ended {
    let stdout_is_taken = config.sinks.iter().find(|sink| sink.config.uses_stdout());
    if let Some(sink) = stdout_is_taken
        && how.output.format == Format::Json
    {
        let name = &sink.name;
        let message = format!("the rows of the sink `{name}` and the run report both use standard output");
        let error = Error::config(message).with_hint("write the report to a file: `--report PATH`");
        return Err(error.into());
    }
    if let Some(path) = &how.report {
        check_folder(path)?;
    }
    let options = RunOptions {
        dry_run: how.dry_run,
        limit: how.limit,
        rejects: match &how.rejects {
            Some(path) => RejectsTarget::File(path.clone()),
            None => RejectsTarget::Folder,
        },
        grace: how.grace,
        ..options
    };
    // Rows and a progress line would overwrite each other.
    let progress =
        output::stderr_is_terminal() && !how.no_progress && !logging::is_json() && stdout_is_taken.is_none();
    let (report, exit_code) = block_on(until_stopped(config, options, progress))??;
    let Some(report) = report else {
        let what =
            "stopped at once: uploads in flight may or may not have been accepted, and no report was written";
        output::note(&output::warning(what));
        return Ok(exit_code);
    };
    let written = how.report.as_deref().map(|path| write_report(path, &report));
    let printed = if stdout_is_taken.is_some() {
        output::note(&summary::text(&report));
        Ok(())
    } else {
        how.output.print(&report, || summary::text(&report))
    };
    let printed = printed.and(written.unwrap_or(Ok(())));
    show_failures(&report);
    match printed {
        // The run's exit code says more than a failure to print its report.
        Err(error) if exit_code != ExitCode::Delivered as u8 => {
            show_error(&error);
            Ok(exit_code)
        }
        printed => printed.map(|()| exit_code).map_err(Into::into),
    }
}

/// Runs to the end, or until a second signal, which stops the run without a report. Also returns the exit code.
async fn until_stopped(
    config: &PipelineConfig,
    options: RunOptions,
    progress: bool,
) -> Result<(Option<RunReport>, u8)> {
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
                let exit_code = report.exit_code;
                return Ok((Some(report), exit_code));
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
                Some(_) => return Ok((None, signal.exit_code())),
            },
            _ = redraw.tick(), if progress.is_some() => {
                if let Some(progress) = &progress {
                    progress.show();
                }
            }
        }
    }
}

fn check_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    let shown = folder.display();
    let problem = if path.is_dir() {
        format!("`--report` is a folder: `{}`", path.display())
    } else if !folder.is_dir() {
        format!("the folder `{shown}` for the run report does not exist")
    } else {
        return Ok(());
    };
    Err(Error::config(problem))
}

/// Replaces the report atomically, so that readers never see a partial one.
fn write_report(path: &Path, report: &RunReport) -> Result<()> {
    let part = with_suffix(path, &format!(".{}.part", report.run_id));
    // Devices, pipes and links are written in place.
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
