//! The one place that writes to the terminal: data on standard output, everything else on standard error.
//!
//! Colours are written as they are and taken out by `anstream` where they are not wanted (no terminal, `NO_COLOR`,
//! `--color never`). A reader of standard output that has gone away (`| head`) ends the output, not the program.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use indicatif::HumanCount;
use serde::Serialize;

use super::progress;
use crate::error::{Error, Result};

/// What went wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What needs a look.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// What went well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Advice.
pub(super) const HINT: Style = AnsiColor::Cyan.on_default();
/// A heading.
pub(super) const HEAD: Style = Style::new().bold();
/// What matters less.
pub(super) const DIM: Style = Style::new().dimmed();

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For a person
    Text,
    /// For a program
    Json,
}

/// Decides about colours for the rest of the program.
pub(super) fn set_color(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Whether standard error takes colours.
pub(super) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Whether standard error is a terminal, on which a line can be drawn over.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes `text` as it is to standard output.
///
/// # Errors
/// It cannot be written, for another reason than that nobody reads it.
pub(super) fn print(text: &str) -> Result<()> {
    let write = || {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    match progress::aside(write) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::unexpected("cannot write to standard output").with_source(error))
        }
        _ => Ok(()),
    }
}

/// Writes `value` as indented JSON with a line end to standard output.
///
/// # Errors
/// As for [`print`].
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::unexpected("cannot write the result as JSON").with_source(error))?;
    text.push('\n');
    print(&text)
}

/// Writes `text` as it is to standard error. That it cannot be written can be told to nobody.
pub(super) fn note(text: &str) {
    let _ = progress::aside(|| anstream::stderr().lock().write_all(text.as_bytes()));
}

/// `1 row`, `1,234 rows`
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(n), if n == 1 { one } else { many })
}
