//! `hrsink preview`: shows what would be sent, without sending it.
//!
//! The pipeline runs with a [collecting](collect) sink on every transform, and on every source that is connected to a sink
//! directly, until each has enough rows. Checkpoints are never completed, so sources do not change anything. With `--source`,
//! only that source runs; its [columns](columns) are described and a mapping is [suggested](suggest).

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
use crate::pipeline::{self, Observer, RejectsTarget, RunOptions};
use crate::secret::SecretFiles;
use collect::{Collect, Collected, LimitedSource};

/// Rows of a source from which its columns are described.
const MAX_SAMPLE: usize = 1000;

/// Show what would be sent, without sending it
///
/// Reads the sources until each transform has produced enough rows, and shows them with rejects and reasons. Personal data is
/// masked: an address keeps its first character and domain, other text its form (`Xxxxx 99`); dates of the HR schema are
/// shown. Nothing leaves this machine, and sources do not change.
///
/// With `--source`, shows the first records of that source, its columns with their types, and a suggested `transforms:`
/// block. The rest of the file may be invalid or missing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink preview hr.yaml
  hrsink preview hr.yaml --rows 3 --show-personal-data
  hrsink preview hr.yaml --output ndjson
  hrsink preview hr.yaml --source hr_export

Exit code 0 even if rows were rejected.")]
pub(super) struct Args {
    /// Pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show only this source and suggest a mapping of its columns
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Number of rows of each transform or of the source, and of rejects, to show
    #[arg(long, value_name = "ROWS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows: u32,
    /// Do not mask values
    #[arg(long)]
    show_personal_data: bool,
    /// Output format: table, or ndjson with one JSON object per line
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    output: Format,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for each transform
    Table,
    /// One JSON object per line
    Ndjson,
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    let max_rows = usize::try_from(args.rows).unwrap_or(usize::MAX);
    let (config, collected) = match &args.source {
        Some(source) => with_collector_of(PipelineConfig::load_source(&args.file, source)?, source, max_rows),
        None => with_collectors(PipelineConfig::load(&args.file)?, max_rows),
    };
    let rejects = Rejects::in_memory(max_rows, args.show_personal_data);
    let options = RunOptions {
        dry_run: true,
        partial: true,
        rejects: RejectsTarget::Collector(rejects.clone()),
        secret_files,
        ..RunOptions::default()
    };
    let observer = Observer::default();
    let ended = block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            report = pipeline::run(&config, options, &observer) => Ok(Ok(report)),
            signal = signals.next() => Ok::<_, Error>(Err(signal)),
        }
    })??;
    let report = match ended {
        Ok(report) => report,
        Err(signal) => return Ok(signal.exit_code()),
    };
    let open = args.show_personal_data;
    let mut text = match args.output {
        Format::Table => show::tables(&collected, &rejects, &report, max_rows, open)?,
        Format::Ndjson => show::lines(&collected, &rejects, max_rows, open)?,
    };
    if let Some(source) = &args.source {
        let chunks = collected
            .iter()
            .flat_map(|one| one.chunks().clone())
            .collect::<Vec<_>>();
        let columns = columns::describe(&chunks)?;
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
    output::note(&show::rows_read(&report, enough));
    // The run is interrupted when there are enough rows.
    let failures = report.error.iter().chain(&report.further_errors);
    let mut exit_code = 0;
    for error in failures.filter(|error| error.kind != ErrorKind::Interrupted) {
        show_report(error);
        exit_code = pipeline::ExitCode::from(error.kind) as u8;
    }
    Ok(exit_code)
}

/// The pipeline with its sinks replaced.
fn with_collectors(mut config: PipelineConfig, max_rows: usize) -> (PipelineConfig, Vec<Collected>) {
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
        .map(|name| Collected::new(name, max_rows, max_rows))
        .collect();
    limit_sources(&mut config, max_rows, false);
    collecting(config, collected)
}

/// One source of the pipeline, with a sink that keeps more rows than are shown.
fn with_collector_of(
    mut config: PipelineConfig,
    source: &str,
    max_rows: usize,
) -> (PipelineConfig, Vec<Collected>) {
    limit_sources(&mut config, max_rows, true);
    collecting(
        config,
        vec![Collected::new(source.to_owned(), max_rows, MAX_SAMPLE)],
    )
}

/// Limits the sources to the rows that are needed.
fn limit_sources(config: &mut PipelineConfig, max_rows: usize, from_start: bool) {
    config.sources = std::mem::take(&mut config.sources)
        .into_iter()
        .map(|source| Wired {
            name: source.name,
            inputs: source.inputs,
            config: Box::new(LimitedSource {
                config: source.config,
                from_start,
                enough: max_rows as u64,
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
            name: format!("preview of {}", collected.name()),
            inputs: vec![collected.name().to_owned()],
            config: Box::new(Collect::new(collected.clone(), Arc::clone(&missing))) as _,
            guards: GuardsConfig::default(),
        })
        .collect();
    // Only the first rows are read, so guards do not apply.
    config.guards = GuardsConfig::default();
    (config, collected)
}
