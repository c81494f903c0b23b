//! `hrsink validate`: checks without network, secrets or input.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{BAD, GOOD, OutputArg, count, warning};
use super::{Ended, failure};
use crate::component::Problem;
use crate::config::advice::advice;
use crate::config::{LoadError, PipelineConfig};
use crate::pipeline::ExitCode;

/// Check pipeline files without network, secrets or input
///
/// Prints all problems of all files, each with the path of its key. Reads the environment variables that `${NAME}` refers to,
/// and no other file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink validate hr.yaml
  hrsink validate pipelines/*.yaml --output json

Exit code 2 if any file has a problem.")]
pub(super) struct Args {
    /// Pipeline files (YAML, TOML or JSON)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Serialize)]
struct Checked<'f> {
    file: &'f Path,
    valid: bool,
    problems: Vec<Problem>,
    /// Valid settings that are probably a mistake.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Ended {
    let checked: Vec<Checked<'_>> = args.files.iter().map(|file| check(file)).collect();
    args.output.print(&checked, || text(&checked))?;
    let valid = checked.iter().all(|file| file.valid);
    Ok(if valid { 0 } else { ExitCode::Config as u8 })
}

fn check(file: &Path) -> Checked<'_> {
    let mut warnings = Vec::new();
    let problems = match PipelineConfig::load(file) {
        Ok(config) => {
            warnings = advice(&config);
            Vec::new()
        }
        Err(LoadError::Problems { problems, .. }) => problems,
        Err(LoadError::Unreadable(error)) => vec![Problem {
            path: String::new(),
            message: error.chain(),
            hint: error.hints().next().map(str::to_owned),
        }],
    };
    Checked {
        file,
        valid: problems.is_empty(),
        problems,
        warnings,
    }
}

fn text(checked: &[Checked<'_>]) -> String {
    let mut text = String::new();
    for file in checked {
        let (style, result) = match file.problems.len() {
            0 => (GOOD, "valid".to_owned()),
            problems => (BAD, count(problems as u64, "problem", "problems")),
        };
        let _ = writeln!(text, "{}: {style}{result}{style:#}", file.file.display());
        text.push_str(&failure::list(&file.problems));
        for text_of_warning in &file.warnings {
            let _ = write!(text, "  {}", warning(text_of_warning));
        }
    }
    text
}
