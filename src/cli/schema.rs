//! `hrsink schema`: the JSON Schema of a pipeline file.

use super::{Ended, output};

/// Print the JSON Schema of a pipeline file
///
/// An editor that knows it completes keys, shows what they mean and marks mistakes while you type. For the YAML
/// extension of VS Code, begin the pipeline file with
///
///   # yaml-language-server: $schema=./hrsink.schema.json
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "Example:\n  hrsink schema > hrsink.schema.json"
)]
pub(super) struct Args {}

pub(super) fn execute() -> Ended {
    output::print_json(&crate::config::schema::schema())?;
    Ok(0)
}
