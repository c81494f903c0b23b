//! The names of a CSV file's columns.

use std::collections::HashSet;

use super::Dialect;
use super::records::{Cells, Next, Records};
use crate::component::Part;
use crate::error::{Error, Result};
use crate::format::text::NOT_UTF8_HINT;
use crate::format::{Collector, ReadResult};

/// Skips the lines before the header and reads it. Returns a name for each column of the file, and whether the record that
/// was read is the first row.
pub(super) fn read(
    records: &mut Records,
    dialect: &Dialect<'_>,
    out: &Collector,
) -> ReadResult<(Vec<String>, bool)> {
    let (name, options) = (&out.name, dialect.options);
    for skipped in 0..options.skip_first {
        if !records.skip_line()? {
            let configured = options.skip_first;
            let message = format!(
                "`{name}` ends after {skipped} lines; `skip_first` skips {configured} before the header"
            );
            return Err(Error::input(message).into());
        }
        if skipped % 8192 == 8191 {
            out.check_stopped()?;
        }
    }
    let mut delimiter = dialect.delimiter;
    let mut found = has_record(records)?;
    if found && let Some(named) = separator_line(records.cells(), delimiter) {
        if options.delimiter.is_some() && named != delimiter {
            tracing::warn!(
                file = %name, set = %shown(delimiter), used = %shown(named),
                "the `sep=` line of the file overrides the configured delimiter"
            );
        }
        delimiter = named;
        records.set_delimiter(delimiter);
        found = has_record(records)?;
    }
    Ok(match (&options.columns, options.header) {
        // A file with configured names is complete without a line in it.
        (Some(names), None | Some(false)) => (names.clone(), found),
        _ if !found => {
            return Err(
                Error::input(format!("`{name}` is empty: there is not even a header"))
                    .with_hint("check the export that writes it: it may have failed, or not have finished")
                    .with_hint(
                        "if the file has no header by design, name its columns with `columns` in `format`",
                    )
                    .into(),
            );
        }
        (Some(names), Some(true)) => {
            let (found, expected) = (records.cells().len(), names.len());
            if found != expected {
                let message =
                    format!("the header of `{name}` has {found} columns, `columns` names {expected}");
                return Err(Error::input(message)
                    .with_hint("make `columns` match the file, or remove it to use the names in the file")
                    .into());
            }
            (names.clone(), false)
        }
        (None, Some(false)) => {
            let numbers = 1..=records.cells().len();
            (numbers.map(|number| format!("column_{number}")).collect(), true)
        }
        (None, _) => (from_header(records.cells(), delimiter, out)?, false),
    })
}

fn has_record(records: &mut Records) -> Result<bool> {
    match records.next()? {
        Next::Record => Ok(true),
        Next::End => Ok(false),
        Next::Unclosed => Err(records.unclosed()),
    }
}

/// The delimiter that Excel's line `sep=;` names; the line was read with `current`.
fn separator_line(cells: Cells<'_>, current: u8) -> Option<u8> {
    let key = cells.get(0).get(..4)?;
    if !key.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    match (cells.len(), &cells.get(0)[4..]) {
        (1, &[delimiter]) if delimiter.is_ascii() && delimiter != b'"' => Some(delimiter),
        (2, []) if cells.get(1).is_empty() => Some(current),
        _ => None,
    }
}

fn from_header(cells: Cells<'_>, delimiter: u8, out: &Collector) -> Result<Vec<String>> {
    let file = &out.name;
    if cells.bytes.contains(&0) {
        // The zero byte of a Latin letter comes second in little endian and first in big endian.
        let encoding = if cells.bytes.first() == Some(&0) {
            "utf-16be"
        } else {
            "utf-16le"
        };
        return Err(
            Error::input(format!("the header of `{file}` contains zero bytes")).with_hint(format!(
                "the file looks like UTF-16 without a byte order mark: set `encoding: {encoding}` in `format`"
            )),
        );
    }
    let mut names = Vec::with_capacity(cells.len());
    for index in 0..cells.len() {
        let name = std::str::from_utf8(cells.get(index)).map_err(|error| {
            Error::input(format!("the header of `{file}` is not valid UTF-8"))
                .with_source(error)
                .with_hint(NOT_UTF8_HINT)
        })?;
        names.push(
            name.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
                .to_owned(),
        );
    }
    if let [only] = names.as_slice() {
        let other = [b';', b'\t', b'|', b',']
            .into_iter()
            .find(|&other| other != delimiter && only.as_bytes().contains(&other));
        if let Some(other) = other {
            tracing::warn!(
                file = %file, delimiter = %shown(delimiter), found = %shown(other),
                "the header is a single column that contains another separator: check `delimiter` in `format`"
            );
        }
    }
    let renamed = make_unique(&mut names);
    if !renamed.is_empty() {
        let shown = if Part::shown_names(&names).is_empty() {
            &[]
        } else {
            renamed.as_slice()
        };
        tracing::warn!(
            file = %file, columns = renamed.len(), names = ?shown,
            "columns without a unique name were renamed"
        );
    }
    Ok(names)
}

/// Makes the names unique; returns the changed ones.
fn make_unique(names: &mut [String]) -> Vec<String> {
    // Names that occur in the file are not used for other columns.
    let own: HashSet<String> = names.iter().cloned().collect();
    let mut taken: HashSet<String> = HashSet::with_capacity(names.len());
    let mut renamed = Vec::new();
    for (index, name) in names.iter_mut().enumerate() {
        let first = match name.as_str() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        let others = (2_u64..).map(|number| format!("{first}_{number}"));
        let is_free = |new: &String| !taken.contains(new) && (new == name || !own.contains(new));
        let unique = std::iter::once(first.clone()).chain(others).find(is_free);
        let unique = unique.unwrap_or_default();
        taken.insert(unique.clone());
        if *name != unique {
            renamed.push(unique.clone());
            *name = unique;
        }
    }
    renamed
}

fn shown(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tab".to_owned(),
        other => char::from(other).to_string(),
    }
}
