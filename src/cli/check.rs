//! `hrsink check`: checks connectivity, credentials and permissions.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::Ended;
use super::failure::one_line;
use super::output::{BAD, GOOD, HEAD, OutputArg, WARN, hint};
use super::signals::until_signal;
use crate::component::{CheckState, CheckStep};
use crate::config::PipelineConfig;
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
    let checked = match until_signal(check(&config, &options))? {
        Ok(checked) => checked,
        Err(exit_code) => return Ok(exit_code),
    };
    args.output.print(&checked, || text(&checked))?;
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
    let mut found = [ExitCode::Delivered; 3];
    for step in checked.iter().flat_map(|component| &component.steps) {
        match step.state {
            CheckState::Fails if step.name == CheckStep::SETTINGS => found[0] = ExitCode::Config,
            CheckState::Fails => found[1] = ExitCode::Refused,
            CheckState::Transient => found[2] = ExitCode::Transient,
            CheckState::Works | CheckState::Unsure => {}
        }
    }
    let worst = found.into_iter().find(|code| *code != ExitCode::Delivered);
    worst.unwrap_or(ExitCode::Delivered) as u8
}

fn text(checked: &[Checked<'_>]) -> String {
    let mut text = String::new();
    for Checked { component, steps } in checked {
        let (Component::Source(name) | Component::Sink(name)) = component;
        let _ = writeln!(text, "{HEAD}{name}{HEAD:#}");
        if steps.is_empty() {
            text.push_str("  nothing to check: this sink uses no service\n");
        }
        let widths = steps.iter().map(|step| step.name.chars().count());
        let widest = widths.max().unwrap_or_default();
        for step in steps {
            let (style, word) = match step.state {
                CheckState::Works => (GOOD, "ok"),
                CheckState::Unsure => (WARN, "unsure"),
                CheckState::Transient => (BAD, "later"),
                CheckState::Fails => (BAD, "fails"),
            };
            let (name, detail) = (&step.name, one_line(&step.detail));
            let _ = writeln!(text, "  {style}{word:<6}{style:#}  {name:<widest$}  {detail}");
            for text_of_hint in &step.hints {
                let _ = write!(text, "  {:6}  {:widest$}  {}", "", "", hint(text_of_hint));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_failures_outweigh_transient_ones() {
        use CheckState::{Fails, Transient, Unsure, Works};
        for (states, code) in [
            (&[][..], 0),
            (&[Works, Unsure], 0),
            (&[Transient, Works], 75),
            (&[Transient, Fails], 5),
        ] {
            let steps = states.iter().map(|state| CheckStep {
                name: "token".into(),
                state: *state,
                detail: "d".into(),
                hints: Vec::new(),
            });
            let (component, steps) = (Component::Sink("purview"), steps.collect());
            assert_eq!(exit_code(&[Checked { component, steps }]), code, "{states:?}");
        }
    }
}
