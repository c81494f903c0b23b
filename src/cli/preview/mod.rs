//! `hrsink preview`: what would be sent, without sending it.
//!
//! The pipeline runs with its sinks taken off and a [collecting](collect) sink on every transform, and on every
//! source that a sink takes rows from directly. It stops once each of them has enough rows. No checkpoint is
//! confirmed, so that sources leave everything as it was.
//!
//! With `--source` there is a collecting sink on that source alone, whatever the rest of the file is like; what came
//! is described [column by column](columns), and a mapping to the HR schema is [suggested](suggest).

mod collect;
mod columns;
mod show;
mod suggest;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::failure::show_report;
use super::output;
use super::signals::Signals;
use super::{Ended, block_on};
use crate::component::Rejects;
use crate::config::{GuardsConfig, PipelineConfig, Wired};
use crate::error::{Error, ErrorKind};
use crate::pipeline::{self, Observer, RunOptions};
use crate::secret::SecretFiles;
use collect::{Collect, Collected, Looked};

/// Rows of a source to look at for its columns, if they come with those that are shown.
const LOOKED_AT: usize = 1000;

/// Show what would be sent, without sending it
///
/// Reads the sources until each transform has given enough rows, and shows them as a table, with the rows that were
/// rejected and why. Personal data is masked: of an address its first character and its domain are shown, of other
/// text its form (`Xxxxx 99`); dates of the HR schema stay. Nothing leaves this machine, and sources are left as
/// they were.
///
/// With `--source`, shows the first records of that source, its columns with their types, and a `transforms:` block to
/// begin with: the likeliest column for each HR field. The rest of the file may be wrong or not there yet.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink preview hr.yaml
  hrsink preview hr.yaml --rows 3 --show-personal-data
  hrsink preview hr.yaml --output ndjson
  hrsink preview hr.yaml --source hr_export

Exit code 0 even if rows were rejected.")]
pub(super) struct Args {
    /// The pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Look at this source alone, and suggest a mapping of its columns
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// How many rows of each transform, or of the source, and how many rejects, to show
    #[arg(long, value_name = "ROWS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows: u32,
    /// Show values as they are
    #[arg(long)]
    show_personal_data: bool,
    /// Print tables (table) or a JSON object a line (ndjson)
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    output: Format,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for each transform
    Table,
    /// A JSON object a line
    Ndjson,
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    let most = usize::try_from(args.rows).unwrap_or(usize::MAX);
    let (config, collected) = match &args.source {
        Some(source) => with_collector_of(PipelineConfig::load_source(&args.file, source)?, source, most),
        None => with_collectors(PipelineConfig::load(&args.file)?, most),
    };
    let rejects = Rejects::in_memory(most, args.show_personal_data);
    let options = RunOptions {
        dry_run: true,
        partial: true,
        rejects: Some(rejects.clone()),
        secret_files,
        ..RunOptions::default()
    };
    let observer = Observer::default();
    let ended = block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            report = pipeline::run(&config, options, &observer) => Ok(Ok(report)),
            // There is nothing to save.
            signal = signals.next() => Ok::<_, Error>(Err(signal)),
        }
    })??;
    let report = match ended {
        Ok(report) => report,
        Err(signal) => return Ok(signal.exit_code()),
    };
    let open = args.show_personal_data;
    let mut text = match args.output {
        Format::Table => show::tables(&collected, &rejects, &report, most, open)?,
        Format::Ndjson => show::lines(&collected, &rejects, most, open)?,
    };
    if let Some(source) = &args.source {
        let chunks = collected
            .iter()
            .flat_map(|one| one.chunks().clone())
            .collect::<Vec<_>>();
        let columns = columns::found(&chunks)?;
        let suggested = suggest::suggest(source, &columns);
        match args.output {
            Format::Table => {
                text.push_str(&columns::table(&columns, open));
                text.push_str(&suggest::text(&suggested, &columns));
            }
            Format::Ndjson => {
                text.push_str(&columns::lines(source, &columns, open));
                text.push_str(&suggest::lines(&suggested));
            }
        }
    }
    output::print(&text)?;
    let enough = collected.iter().all(Collected::is_full);
    output::note(&show::looked_at(&report, enough));
    // Having enough rows ends the run by an interrupt, too.
    let failures = report.error.iter().chain(&report.further_errors);
    let mut exit_code = 0;
    for error in failures.filter(|error| error.kind != ErrorKind::Interrupted) {
        show_report(error);
        exit_code = pipeline::ExitCode::from(error.kind) as u8;
    }
    Ok(exit_code)
}

/// The pipeline with its sinks replaced.
fn with_collectors(mut config: PipelineConfig, most: usize) -> (PipelineConfig, Vec<Collected>) {
    let direct: BTreeSet<&String> = config.sinks.iter().flat_map(|sink| &sink.inputs).collect();
    let sources = config
        .sources
        .iter()
        .map(|source| &source.name)
        .filter(|name| direct.contains(name));
    let transforms = config.transforms.iter().map(|transform| &transform.name);
    let names: Vec<String> = sources.chain(transforms).cloned().collect();
    let collected: Vec<Collected> = names
        .into_iter()
        .map(|name| Collected::new(name, most, most))
        .collect();
    look_at(&mut config, most, false);
    collecting(config, collected)
}

/// The one source of the pipeline, with a sink that keeps more of it than is shown: what came along is looked at too.
fn with_collector_of(
    mut config: PipelineConfig,
    source: &str,
    most: usize,
) -> (PipelineConfig, Vec<Collected>) {
    look_at(&mut config, most, true);
    collecting(config, vec![Collected::new(source.to_owned(), most, LOOKED_AT)])
}

/// Tells the sources how many rows are enough.
fn look_at(config: &mut PipelineConfig, most: usize, from_the_start: bool) {
    config.sources = std::mem::take(&mut config.sources)
        .into_iter()
        .map(|source| Wired {
            name: source.name,
            inputs: source.inputs,
            config: Box::new(Looked {
                config: source.config,
                from_the_start,
                enough: most as u64,
            }) as _,
            guards: source.guards,
        })
        .collect();
}

fn collecting(mut config: PipelineConfig, collected: Vec<Collected>) -> (PipelineConfig, Vec<Collected>) {
    let missing = Arc::new(collected.len().into());
    config.sinks = collected
        .iter()
        .map(|collected| Wired {
            // Components of a pipeline have names of their own.
            name: format!("preview of {}", collected.name()),
            inputs: vec![collected.name().to_owned()],
            config: Box::new(Collect::new(collected.clone(), Arc::clone(&missing))) as _,
            guards: GuardsConfig::default(),
        })
        .collect();
    // Nothing is sent, and only the first rows are read: there is nothing to guard.
    config.guards = GuardsConfig::default();
    (config, collected)
}
