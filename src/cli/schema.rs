//! `hrsink schema`: the JSON Schema of a pipeline file, or of a run report.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;

use super::{Ended, output};
use crate::pipeline::RunReport;

/// Print the JSON Schema of a pipeline file, or of a run report
///
/// Editors use the first to complete keys, show their descriptions and mark mistakes. For the YAML extension of VS Code,
/// start the pipeline file with
///
///   # yaml-language-server: $schema=./hrsink.schema.json
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "Examples:\n  hrsink schema > hrsink.schema.json\n  hrsink schema report"
)]
pub(super) struct Args {
    /// What to describe: pipeline (a pipeline file) or report (the output of `hrsink run --report`)
    #[arg(value_enum, default_value = "pipeline", hide_possible_values = true)]
    of: Document,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Document {
    Pipeline,
    Report,
}

pub(super) fn execute(args: &Args) -> Ended {
    match args.of {
        Document::Pipeline => output::print_json(&crate::config::schema())?,
        Document::Report => {
            let settings = SchemaSettings::draft2020_12().for_serialize();
            output::print_json(&settings.into_generator().into_root_schema_for::<RunReport>())?;
        }
    }
    Ok(0)
}
