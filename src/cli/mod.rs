//! The program: reads the command line, calls a command, tells what went wrong, gives the exit code.
//!
//! One file a command. A command prints its data through `output` to standard output and returns either its exit
//! code or a `Failure`, which is told in one place. Nothing starts a runtime or an engine before
//! it is needed, so that `--help` and `--version` are there at once.

mod check;
mod emulator;
mod failure;
mod history;
mod ledger;
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

use crate::error::Error;
use crate::secret::SecretFiles;
use failure::Failure;

/// Brings HR records into Microsoft 365's HR connector.
///
/// A pipeline file says where the records are, how their columns become the fields of Microsoft's HR schema, and
/// which connector job they go to. `hrsink` checks it, shows what would be sent, and sends it.
#[derive(Debug, Parser)]
#[command(
    name = "hrsink",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "See `hrsink --help` for the usual order of commands and the exit codes.",
    after_long_help = AFTER_HELP,
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The usual order:
  hrsink validate hr.yaml            is the file right?          (no network, no secrets)
  hrsink preview hr.yaml             what would be sent?         (reads the input)
  hrsink check hr.yaml               would Microsoft take it?    (sends no rows)
  hrsink run hr.yaml --dry-run       everything but sending
  hrsink run hr.yaml                 the run, by hand or by a scheduler
  hrsink history hr.yaml             what past runs did

Exit codes:
    0  delivered, or nothing to do
    1  an unexpected failure; please report it
    2  the command line, the pipeline file or the input is wrong
    3  delivered, but more rows were rejected than `rejects.max_ratio` allows
    4  a guard stopped the run before anything was sent, or a batch of unknown outcome is held
    5  refused by the service: credentials, consent, job; no retry will help
   75  not everything was delivered (or another run is under way); the next run sends the rest
  130  interrupted (Ctrl-C); 143 terminated (SIGTERM)";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// When to use colours: auto, always or never; `NO_COLOR` is respected
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    color: output::Color,
    /// The least severe log lines on standard error: error, warn, info, debug or trace [default: warn; with
    /// `--log-format json`: info]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LEVEL",
        env = "HRSINK_LOG",
        hide_env_values = true,
        hide_possible_values = true
    )]
    log_level: Option<logging::Level>,
    /// The form of log lines: text or json (one object a line, errors included)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: logging::LogFormat,
    /// Take secret files that others than their owner have rights to, with a warning
    #[arg(
        long,
        global = true,
        env = "HRSINK_INSECURE_SECRET_FILES",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    insecure_secret_files: bool,
}

impl Global {
    fn secret_files(&self) -> SecretFiles {
        if self.insecure_secret_files {
            SecretFiles::any()
        } else {
            SecretFiles::default()
        }
    }
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
            // Help, version or wrong usage; clap knows where it belongs. Whether anybody reads it is their business.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    output::set_color(cli.global.color);
    let always_info = matches!(cli.command, Command::Emulator(_));
    logging::start(cli.global.log_level, cli.global.log_format, always_info);
    let secret_files = cli.global.secret_files();
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
        failure.show();
        failure.exit_code()
    }))
}

/// What a command comes to: the program's exit code, or a failure that is to be told first.
type Ended = Result<u8, Failure>;

/// Runs `work` to its end on a runtime of several threads, and does not wait for threads that still read.
fn block_on<F: Future>(work: F) -> crate::error::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::unexpected("cannot start the threads of the program").with_source(error))?;
    let output = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(output)
}
