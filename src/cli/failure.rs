//! Prints errors: the message, its causes, then hints.

use std::fmt::Write as _;

use super::logging;
use super::output::{self, BAD, HINT};
use crate::component::Problem;
use crate::config::LoadError;
use crate::error::Error;
use crate::pipeline::{ErrorReport, ExitCode};
use crate::table::visible;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// An error.
    Error(Error),
    /// A pipeline file with problems.
    Load(LoadError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => Self::Error(error),
            problems @ LoadError::Problems { .. } => Self::Load(problems),
        }
    }
}

impl Failure {
    /// The program's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(error) => ExitCode::from(error.kind()) as u8,
            Self::Load(_) => ExitCode::Config as u8,
        }
    }

    /// Prints it to standard error, as log lines with `--log-format json`.
    pub(super) fn show(&self) {
        match self {
            Self::Error(error) => show_error(error),
            Self::Load(error) => {
                let problems = match error {
                    LoadError::Problems { problems, .. } => problems.as_slice(),
                    LoadError::Unreadable(_) => &[],
                };
                if logging::is_json() {
                    for problem in problems {
                        tracing::error!(path = problem.path, hint = problem.hint, "{}", problem.message);
                    }
                } else {
                    let list = list(problems);
                    output::note(&format!(
                        "{BAD}error:{BAD:#} {}\n{list}",
                        one_line(&error.to_string())
                    ));
                }
            }
        }
    }
}

/// Prints an error to standard error.
pub(super) fn show_error(error: &Error) {
    if logging::is_json() {
        let hints: Vec<&str> = error.hints().collect();
        tracing::error!(kind = ?error.kind(), hints = ?hints, "{}", error.chain());
        return;
    }
    let chain: Vec<String> = error.links().collect();
    output::note(&text(None, &chain, error.hints()));
}

/// Prints a run's error to standard error; a JSON log already contains it.
pub(super) fn show_report(error: &ErrorReport) {
    if logging::is_json() {
        return;
    }
    output::note(&text(
        error.component.as_deref(),
        error.chain(),
        error.hints.iter().map(String::as_str),
    ));
}

fn text<'h>(component: Option<&str>, chain: &[String], hints: impl IntoIterator<Item = &'h str>) -> String {
    let mut text = format!("{BAD}error:{BAD:#} ");
    if let Some(component) = component {
        let _ = write!(text, "{}: ", one_line(component));
    }
    for (depth, link) in chain.iter().enumerate() {
        if depth > 0 {
            text.push_str("  caused by: ");
        }
        text.push_str(&one_line(link));
        text.push('\n');
    }
    for hint in hints {
        let _ = writeln!(text, "{HINT}hint:{HINT:#} {}", one_line(hint));
    }
    text
}

/// Problems of a file, one per line, each followed by its hint.
pub(super) fn list(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "  {}", one_line(&problem.to_string()));
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "    {HINT}hint:{HINT:#} {}", one_line(hint));
        }
    }
    text
}

/// `text` on one line, without terminal control characters: it may come from a server or library.
pub(super) fn one_line(text: &str) -> String {
    let joined = text.lines().map(str::trim).filter(|line| !line.is_empty());
    visible(&joined.collect::<Vec<_>>().join(" ")).into_owned()
}
