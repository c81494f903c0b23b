//! The one place that writes to the terminal: data on standard output, everything else on standard error.
//!
//! `anstream` strips colors where they are not wanted (no terminal, `NO_COLOR`, `--color never`). A closed standard output
//! (`| head`) ends the output, not the program.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use indicatif::HumanCount;
use serde::Serialize;

use super::progress;
use crate::error::{Error, Result};

/// Errors.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Success.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Hints.
pub(super) const HINT: Style = AnsiColor::Cyan.on_default();
/// Headings.
pub(super) const HEAD: Style = Style::new().bold();
/// Less important text.
pub(super) const DIM: Style = Style::new().dimmed();

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Output format of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// The `--output` option of the commands that print text or JSON.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArg {
    /// Output format: text for people, json for programs
    #[arg(
        long = "output",
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub(super) format: Format,
}

/// Sets when the program uses colors.
pub(super) fn set_color(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Whether standard error accepts colors.
pub(super) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Whether standard error is a terminal.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes `text` to standard output.
///
/// # Errors
/// Writing fails, except because the reader closed the stream.
pub(super) fn print(text: &str) -> Result<()> {
    let write = || {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    match progress::suspended(write) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::unexpected("cannot write to standard output").with_source(error))
        }
        _ => Ok(()),
    }
}

/// Writes `value` as indented JSON to standard output.
///
/// # Errors
/// As for [`print`].
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::unexpected("cannot write the result as JSON").with_source(error))?;
    text.push('\n');
    print(&text)
}

/// Writes `text` to standard error; a failure cannot be reported anywhere.
pub(super) fn note(text: &str) {
    let _ = progress::suspended(|| anstream::stderr().lock().write_all(text.as_bytes()));
}

/// `150 ms`, `1.5 s`, `2m 3s`
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => humantime::format_duration(std::time::Duration::from_secs(ms / 1_000)).to_string(),
    }
}

/// `1 row`, `1,234 rows`
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(n), if n == 1 { one } else { many })
}
