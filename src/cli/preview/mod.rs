//! `hrsink preview`: shows what would be sent, without sending it.
//!
//! The pipeline runs with a collecting sink on every transform, and on every source that is connected to a sink
//! directly, until each has enough rows. Checkpoints are never completed, so sources do not change anything. With `--source`,
//! only that source runs; its [columns] are described and a mapping is [suggested](suggest).

mod collect;
mod columns;
mod dates;
mod names;
mod show;
mod suggest;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::Ended;
use super::failure::show_failures;
use super::output;
use super::signals::until_signal;
use crate::component::Rejects;
use crate::config::{GuardsConfig, PipelineConfig, Wired};
use crate::pipeline::{self, Observer, RejectsTarget, RunOptions};
use crate::secret::SecretFiles;
use collect::Collected;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Ndjson,
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    let max_rows = usize::try_from(args.rows).unwrap_or(usize::MAX);
    let mut config = match &args.source {
        Some(source) => PipelineConfig::load_source(&args.file, source)?,
        None => PipelineConfig::load(&args.file)?,
    };
    let (names, max) = match &args.source {
        Some(source) => (vec![source.clone()], max_rows.max(MAX_SAMPLE)),
        None => (shown(&config), max_rows),
    };
    let collected = collect(&mut config, names, max_rows, max);
    let rejects = Rejects::in_memory(max_rows, args.show_personal_data);
    let options = RunOptions {
        dry_run: true,
        partial: true,
        enough: Some(args.rows.into()),
        // After a saved position there may be nothing to show.
        from_start: args.source.is_some(),
        rejects: RejectsTarget::Collector(rejects.clone()),
        secret_files,
        ..RunOptions::default()
    };
    let observer = Observer::default();
    let report = match until_signal(pipeline::run(&config, options, &observer))? {
        Ok(report) => report,
        Err(exit_code) => return Ok(exit_code),
    };
    let open = args.show_personal_data;
    let mut text = match args.output {
        Format::Table => show::tables(&collected, &rejects, &report, max_rows, open)?,
        Format::Ndjson => show::lines(&collected, &rejects, max_rows, open)?,
    };
    if let Some(source) = &args.source {
        let chunks = collected.iter().flat_map(|one| one.chunks().clone());
        let columns = columns::describe(&chunks.collect::<Vec<_>>())?;
        let suggested = suggest::suggest(source, &columns);
        match args.output {
            Format::Table => {
                text.push_str(&columns::table(&columns, open));
                text.push_str(&suggest::text(&suggested, &columns));
            }
            Format::Ndjson => {
                text.push_str(&columns::lines(source, &columns, open));
                text.push_str(&suggest::lines(&suggested, &columns));
            }
        }
    }
    output::print(&text)?;
    let enough = collected.iter().all(Collected::is_full);
    output::note(&show::rows_read(&report, enough));
    // The run is interrupted when there are enough rows.
    let kinds = show_failures(&report);
    let last = kinds.last();
    Ok(last.map_or(0, |kind| pipeline::ExitCode::from(*kind) as u8))
}

/// The components that send rows to a sink or transform them.
fn shown(config: &PipelineConfig) -> Vec<String> {
    let direct: BTreeSet<&String> = config.sinks.iter().flat_map(|sink| &sink.inputs).collect();
    let sources = config.sources.iter().map(|source| &source.name);
    let transforms = config.transforms.iter().map(|transform| &transform.name);
    let shown = sources.filter(|name| direct.contains(name)).chain(transforms);
    shown.cloned().collect()
}

/// Replaces the sinks by one for each of the components `names`, which keeps `max` of its rows.
fn collect(config: &mut PipelineConfig, names: Vec<String>, enough: usize, max: usize) -> Vec<Collected> {
    let missing = Arc::new(names.len().into());
    let collected = names.into_iter().map(|name| Collected {
        name: name.into(),
        enough,
        max,
        missing: Arc::clone(&missing),
        kept: Arc::default(),
    });
    let collected: Vec<Collected> = collected.collect();
    let sinks = collected.iter().map(|collected| Wired {
        name: format!("preview of {}", collected.name),
        inputs: vec![collected.name.to_string()],
        config: Box::new(collected.clone()) as _,
        guards: GuardsConfig::default(),
    });
    config.sinks = sinks.collect();
    // Only the first rows are read, so guards do not apply.
    config.guards = GuardsConfig::default();
    collected
}
