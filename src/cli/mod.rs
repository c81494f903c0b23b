//! The program: parses the command line, runs a command, prints errors, returns the exit code.
//!
//! One file per command. A command prints its data through `output` and returns its exit code or a `Failure`. Runtimes and
//! engines start only when a command needs them.

mod check;
mod emulator;
mod failure;
mod history;
mod ledger;
mod ledger_path;
mod list;
mod logging;
mod output;
mod preview;
mod progress;
mod run;
mod scenarios;
mod schema;
mod signals;
mod summary;
mod upload;
mod validate;

use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::error::Error;
use crate::secret::SecretFiles;
use failure::Failure;

/// Uploads HR records to Microsoft 365's HR connector.
///
/// A pipeline file defines the sources, the mapping of their columns to Microsoft's HR schema, and the connector job. `hrsink`
/// validates it, previews the mapped rows, and uploads them.
#[derive(Debug, Parser)]
#[command(
    name = "hrsink",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "See `hrsink --help` for the typical order of commands and the exit codes.",
    after_long_help = AFTER_HELP,
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Typical order:
  hrsink validate hr.yaml            check the file (no network, no secrets)
  hrsink preview hr.yaml             show the mapped rows (reads the input)
  hrsink check hr.yaml               check connectivity and credentials (sends no rows)
  hrsink run hr.yaml --dry-run       do everything except sending
  hrsink run hr.yaml                 run the pipeline
  hrsink history hr.yaml             show past runs

Exit codes:
    0  delivered, or nothing to do
    1  unexpected failure; please report it
    2  the command line, the pipeline file or the input is wrong
    3  delivered, but more rows were rejected than `rejects.max_ratio` allows
    4  a guard stopped the run before anything was sent, or a batch of unknown outcome is held
    5  refused by the service (credentials, consent, job); retrying does not help
   75  not everything was delivered, or another run is in progress; the next run sends the rest
  130  interrupted (Ctrl-C); 143 terminated (SIGTERM)";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// When to use colors: auto, always or never; `NO_COLOR` is respected
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    color: output::Color,
    /// Minimum severity of log lines: error, warn, info, debug or trace [default: warn; with `--log-format json`:
    /// info]
    #[arg(
        long,
        global = true,
        value_parser = logging::level_parser(),
        value_name = "LEVEL",
        env = "HRSINK_LOG",
        hide_env_values = true,
        hide_possible_values = true
    )]
    log_level: Option<LevelFilter>,
    /// Format of log lines: text or json (one object per line, errors included)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: logging::LogFormat,
    /// Accept secret files that other users can read, with a warning
    #[arg(
        long,
        global = true,
        env = "HRSINK_INSECURE_SECRET_FILES",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    insecure_secret_files: bool,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Command {
    Validate(validate::Args),
    Preview(preview::Args),
    Check(check::Args),
    Run(run::Args),
    Upload(upload::Args),
    History(history::Args),
    Ledger(ledger::Args),
    Emulator(emulator::Args),
    List(list::Args),
    Scenarios(scenarios::Args),
    Schema(schema::Args),
}

/// Runs the program and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help, version or wrong usage; a failure to print it cannot be reported.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    output::set_color(cli.global.color);
    let always_info = matches!(cli.command, Command::Emulator(_));
    logging::start(cli.global.log_level, cli.global.log_format, always_info);
    let secret_files = match cli.global.insecure_secret_files {
        true => SecretFiles::any(),
        false => SecretFiles::default(),
    };
    let ended = match cli.command {
        Command::Validate(args) => validate::execute(&args),
        Command::Preview(args) => preview::execute(&args, secret_files),
        Command::Check(args) => check::execute(&args, secret_files),
        Command::Run(args) => run::execute(&args, secret_files),
        Command::Upload(args) => upload::execute(&args, secret_files),
        Command::History(args) => history::execute(&args),
        Command::Ledger(args) => ledger::execute(&args),
        Command::Emulator(args) => emulator::execute(args),
        Command::List(args) => list::execute(&args),
        Command::Scenarios(args) => scenarios::execute(&args),
        Command::Schema(args) => schema::execute(&args),
    };
    ExitCode::from(ended.unwrap_or_else(|failure| {
        failure::show(&failure);
        failure::exit_code(&failure)
    }))
}

/// The result of a command: the program's exit code, or an error to print first.
type Ended = Result<u8, Failure>;

/// Runs `work` on a multi-threaded runtime, without waiting for blocked threads at the end.
fn block_on<F: Future>(work: F) -> crate::error::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::unexpected("cannot start the threads of the program").with_source(error))?;
    let output = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(output)
}
