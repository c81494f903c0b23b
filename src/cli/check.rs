//! `hrsink check`: checks connectivity, credentials and permissions.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::failure::one_line;
use super::output::{self, BAD, Format, GOOD, HEAD, HINT, OutputArg, WARN};
use super::signals::Signals;
use super::{Ended, block_on};
use crate::component::{CheckState, CheckStep};
use crate::config::PipelineConfig;
use crate::error::Error;
use crate::pipeline::{self, ExitCode, RunOptions};
use crate::secret::SecretFiles;

/// Check connectivity, credentials and permissions
///
/// For each file source: is the storage reachable, is the host key known, does the login work, which files match? For each
/// sink: does the secret exist, does Microsoft Entra ID issue a token, is the endpoint reachable, is this machine's clock
/// correct? Prints each result, and what to do about failures. No row is read or sent.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink check hr.yaml
  hrsink check hr.yaml --output json

Exit codes: 0 no failure; 2 the pipeline file is wrong; 5 a failure that needs a change; 75 a
transient failure.")]
pub(super) struct Args {
    /// Pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Serialize)]
struct Checked<'c> {
    #[serde(flatten)]
    component: Component<'c>,
    steps: Vec<CheckStep>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Component<'c> {
    Source(&'c str),
    Sink(&'c str),
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    let config = PipelineConfig::load(&args.file)?;
    let options = RunOptions {
        secret_files,
        ..RunOptions::default()
    };
    let checked = block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            checked = check(&config, &options) => Ok(Ok(checked)),
            signal = signals.next() => Ok::<_, Error>(Err(signal)),
        }
    })??;
    let checked = match checked {
        Ok(checked) => checked,
        Err(signal) => return Ok(signal.exit_code()),
    };
    match args.output.format {
        Format::Json => output::print_json(&checked)?,
        Format::Text => output::print(&text(&checked))?,
    }
    Ok(exit_code(&checked))
}

async fn check<'c>(config: &'c PipelineConfig, options: &RunOptions) -> Vec<Checked<'c>> {
    let mut checked = Vec::new();
    for source in &config.sources {
        let cx = pipeline::source_context(config, &source.name, options);
        let steps = source.config.check(cx).await;
        if !steps.is_empty() {
            checked.push(Checked {
                component: Component::Source(&source.name),
                steps,
            });
        }
    }
    for sink in &config.sinks {
        let cx = pipeline::sink_context(config, &sink.name, &sink.inputs, options);
        checked.push(Checked {
            component: Component::Sink(&sink.name),
            steps: sink.config.check(cx).await,
        });
    }
    checked
}

fn exit_code(checked: &[Checked<'_>]) -> u8 {
    let any = |state| {
        checked
            .iter()
            .flat_map(|sink| &sink.steps)
            .any(|step| step.state == state)
    };
    let settings = checked
        .iter()
        .flat_map(|sink| &sink.steps)
        .any(|step| step.state == CheckState::Fails && step.name == CheckStep::SETTINGS);
    if settings {
        ExitCode::Config as u8
    } else if any(CheckState::Fails) {
        ExitCode::Refused as u8
    } else if any(CheckState::Transient) {
        ExitCode::Transient as u8
    } else {
        ExitCode::Delivered as u8
    }
}

fn text(checked: &[Checked<'_>]) -> String {
    let mut text = String::new();
    for Checked { component, steps } in checked {
        let (Component::Source(name) | Component::Sink(name)) = component;
        let _ = writeln!(text, "{HEAD}{name}{HEAD:#}");
        if steps.is_empty() {
            text.push_str("  nothing to check: this sink uses no service\n");
        }
        let widest = steps
            .iter()
            .map(|step| step.name.chars().count())
            .max()
            .unwrap_or_default();
        for CheckStep {
            name,
            state,
            detail,
            hints,
        } in steps
        {
            let (style, word) = match state {
                CheckState::Works => (GOOD, "ok"),
                CheckState::Unsure => (WARN, "unsure"),
                CheckState::Transient => (BAD, "later"),
                CheckState::Fails => (BAD, "fails"),
            };
            let _ = writeln!(
                text,
                "  {style}{word:<6}{style:#}  {name:<widest$}  {}",
                one_line(detail)
            );
            for hint in hints {
                let _ = writeln!(
                    text,
                    "  {:6}  {:widest$}  {HINT}hint:{HINT:#} {}",
                    "",
                    "",
                    one_line(hint)
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: CheckState) -> Checked<'static> {
        let steps = vec![CheckStep {
            name: "token".into(),
            state,
            detail: "d".into(),
            hints: Vec::new(),
        }];
        Checked {
            component: Component::Sink("purview"),
            steps,
        }
    }

    #[test]
    fn permanent_failures_outweigh_transient_ones() {
        use CheckState::{Fails, Transient, Unsure, Works};
        assert_eq!(exit_code(&[]), 0);
        assert_eq!(exit_code(&[step(Works), step(Unsure)]), 0);
        assert_eq!(exit_code(&[step(Transient), step(Works)]), 75);
        assert_eq!(exit_code(&[step(Transient), step(Fails)]), 5);
    }
}
