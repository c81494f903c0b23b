//! Prints errors: the message, its causes, then hints.

use std::fmt::Write as _;

use super::logging;
use super::output::{self, BAD, HINT, hint};
use crate::component::Problem;
use crate::config::LoadError;
use crate::error::{Error, ErrorKind};
use crate::pipeline::{ExitCode, RunReport};
use crate::table::visible;

pub(super) type Failure = LoadError;

pub(super) fn exit_code(failure: &Failure) -> u8 {
    match failure {
        LoadError::Unreadable(error) => ExitCode::from(error.kind()) as u8,
        LoadError::Problems { .. } => ExitCode::Config as u8,
    }
}

/// Prints it to standard error, as log lines with `--log-format json`.
pub(super) fn show(failure: &Failure) {
    match failure {
        LoadError::Unreadable(error) => show_error(error),
        LoadError::Problems { problems, .. } if logging::is_json() => {
            for problem in problems {
                tracing::error!(path = problem.path, hint = problem.hint, "{}", problem.message);
            }
        }
        LoadError::Problems { problems, .. } => {
            let message = one_line(&failure.to_string());
            output::note(&format!("{BAD}error:{BAD:#} {message}\n{}", list(problems)));
        }
    }
}

pub(super) fn show_error(error: &Error) {
    let hints: Vec<&str> = error.hints().collect();
    if logging::is_json() {
        tracing::error!(kind = ?error.kind(), hints = ?hints, "{}", error.chain());
    } else {
        output::note(&text(None, &error.links().collect::<Vec<_>>(), hints));
    }
}

/// Prints the failures of a run to standard error, and gives their kinds. A JSON log already contains them; the summary
/// says that a run was interrupted.
pub(super) fn show_failures(report: &RunReport) -> Vec<ErrorKind> {
    let failures = report.error.iter().chain(&report.further_errors);
    let failures = failures.filter(|error| error.kind != ErrorKind::Interrupted);
    let show = |error: &crate::pipeline::ErrorReport| {
        if !logging::is_json() {
            let hints = error.hints.iter().map(String::as_str);
            output::note(&text(error.component.as_deref(), error.chain(), hints));
        }
        error.kind
    };
    failures.map(show).collect()
}

fn text<'h>(component: Option<&str>, chain: &[String], hints: impl IntoIterator<Item = &'h str>) -> String {
    let mut text = format!("{BAD}error:{BAD:#} ");
    if let Some(component) = component {
        let _ = write!(text, "{}: ", one_line(component));
    }
    let chain: Vec<String> = chain.iter().map(|link| one_line(link)).collect();
    let _ = writeln!(text, "{}", chain.join("\n  caused by: "));
    text.extend(hints.into_iter().map(hint));
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
