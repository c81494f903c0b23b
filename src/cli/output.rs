//! The one place that writes to the terminal: data on standard output, everything else on standard error.
//!
//! `anstream` strips colors where they are not wanted (no terminal, `NO_COLOR`, `--color never`). A closed standard output
//! (`| head`) ends the output, not the program.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use indicatif::HumanCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::failure::one_line;
use super::progress;
use crate::error::{Error, Result};
use crate::table::{self, Table};

pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const HINT: Style = AnsiColor::Cyan.on_default();
pub(super) const HEAD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
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

impl OutputArg {
    pub(super) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            Format::Json => print_json(value),
            Format::Text => print(&text()),
        }
    }
}

pub(super) fn set_color(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

pub(super) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes `text` to standard output; that the reader closed it is not an error.
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

pub(super) fn hint(text: &str) -> String {
    format!("{HINT}hint:{HINT:#} {}\n", one_line(text))
}

pub(super) fn warning(text: &str) -> String {
    format!("{WARN}warning:{WARN:#} {text}\n")
}

/// A heading and an indented list under it.
pub(super) fn list<R, T>(heading: &str, rows: impl IntoIterator<Item = R>, width: Option<u16>) -> String
where
    R: IntoIterator<Item = T>,
    T: AsRef<str>,
{
    let mut table = Table::plain();
    rows.into_iter().for_each(|row| table.push(row));
    format!("{HEAD}{heading}{HEAD:#}\n{}", table.render(width))
}

/// A framed table; the columns in `numbers` are right-aligned.
pub(super) fn grid(header: &[&str], mut lines: Vec<Vec<String>>, numbers: Range<usize>) -> String {
    for column in numbers {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
        for cell in lines.iter_mut().filter_map(|line| line.get_mut(column)) {
            *cell = format!("{cell:>widest$}");
        }
    }
    let mut table = Table::framed(header);
    lines.into_iter().for_each(|line| table.push(line));
    table.render(table::width())
}

/// `time` in this machine's time zone, with its offset.
pub(super) fn local(time: Timestamp) -> String {
    let time = time.to_zoned(TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// `150 ms`, `1.5 s`, `2m 3s`
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => humantime::format_duration(std::time::Duration::from_secs(ms / 1_000)).to_string(),
    }
}

/// The number of a batch, with its part if it has one: `3`, `3.2`.
pub(super) fn batch_label(number: u64, part: u32) -> String {
    match part {
        0 => number.to_string(),
        part => format!("{number}.{part}"),
    }
}

/// `1 row`, `1,234 rows`
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(n), if n == 1 { one } else { many })
}
