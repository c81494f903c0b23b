//! Prints collected rows and rejects.

use std::fmt::Write as _;

use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use super::super::output::{DIM, HEAD, count};
use super::collect::Collected;
use crate::component::{Chunk, Origin, Reject, Rejects, RowKind};
use crate::error::{Error, Result};
use crate::hr::{FieldKind, Scenario};
use crate::mask;
use crate::pipeline::RunReport;
use crate::table::{self, Table};

/// A table of up to `max_rows` rows for each component, and one for the rejects.
pub(super) fn tables(
    collected: &[Collected],
    rejects: &Rejects,
    report: &RunReport,
    max_rows: usize,
    open: bool,
) -> Result<String> {
    let mut text = String::new();
    for component in collected {
        let chunks = first(&component.chunks(), max_rows);
        let about = about(chunks.first(), removed(report, &component.name));
        let _ = writeln!(text, "{HEAD}{}{HEAD:#}{about}", component.name);
        // Files can have different columns; each change starts a new table.
        for same in chunks.chunk_by(|a, b| a.batch.schema_ref().fields() == b.batch.schema_ref().fields()) {
            if same.iter().all(|chunk| chunk.num_rows() == 0) {
                continue;
            }
            let names = columns(&same[0]).map(str::to_owned);
            let mut table = Table::framed(std::iter::once("origin".to_owned()).chain(names));
            for chunk in same {
                for (row, cells) in rows(chunk, open)?.into_iter().enumerate() {
                    let cells = cells.into_iter().map(Option::unwrap_or_default);
                    table.push(std::iter::once(origin_text(&chunk.origins.at(row))).chain(cells));
                }
            }
            text.push_str(&table.render(table::width()));
        }
        if chunks.iter().all(|chunk| chunk.num_rows() == 0) {
            text.push_str("  no rows\n");
        }
        text.push('\n');
    }
    let kept = rejects.kept();
    if kept.is_empty() {
        return Ok(text);
    }
    let shown = match report.rows.rejected {
        all if all > kept.len() as u64 => format!(" ({} of {})", kept.len(), HumanCount(all)),
        _ => String::new(),
    };
    let _ = writeln!(text, "{HEAD}rejected{HEAD:#}{shown}");
    let several = kept.iter().any(|reject| reject.component != kept[0].component);
    let mut header = vec!["origin"];
    header.extend(several.then_some("by"));
    header.extend(["field", "reason", "description"]);
    header.extend(open.then_some("value"));
    let mut table = Table::framed(header);
    for Reject {
        origin,
        component,
        faults,
    } in &kept
    {
        for fault in faults {
            let mut cells = vec![origin_text(origin)];
            cells.extend(several.then(|| component.to_string()));
            cells.push(fault.field.as_deref().unwrap_or_default().to_owned());
            cells.push(fault.code.as_str().to_owned());
            cells.push(fault.message.to_string());
            cells.extend(open.then(|| fault.value.clone().unwrap_or_default()));
            table.push(cells);
        }
    }
    text.push_str(&table.render(table::width()));
    Ok(text)
}

/// One JSON object per line: `{"component": …, "origin": …, "row": …}`, then `{"rejected": …}`.
pub(super) fn lines(
    collected: &[Collected],
    rejects: &Rejects,
    max_rows: usize,
    open: bool,
) -> Result<String> {
    let mut text = String::new();
    for component in collected {
        for chunk in &first(&component.chunks(), max_rows) {
            let names: Vec<&str> = columns(chunk).collect();
            for (row, cells) in rows(chunk, open)?.into_iter().enumerate() {
                let cells = names.iter().zip(cells);
                let cells = cells.map(|(name, cell)| ((*name).to_owned(), cell.into()));
                let cells: Map<String, Value> = cells.collect();
                let line =
                    json!({"component": &*component.name, "origin": chunk.origins.at(row), "row": cells});
                let _ = writeln!(text, "{line}");
            }
        }
    }
    for reject in rejects.kept() {
        let _ = writeln!(text, "{}", json!({"rejected": reject}));
    }
    Ok(text)
}

fn first(chunks: &[Chunk], max_rows: usize) -> Vec<Chunk> {
    let mut left = max_rows;
    let mut first = Vec::new();
    for chunk in chunks {
        let rows = chunk.num_rows().min(left);
        if rows > 0 || first.is_empty() {
            first.push(chunk.slice(0, rows));
        }
        left -= rows;
    }
    first
}

/// How many rows were read, for standard error.
pub(super) fn rows_read(report: &RunReport, enough: bool) -> String {
    let all = if enough { "" } else { " (the complete input)" };
    let rows = count(report.rows.read, "row", "rows");
    format!("{DIM}Read {rows}{all}; nothing was sent{DIM:#}\n")
}

fn removed(report: &RunReport, component: &str) -> Vec<String> {
    let mut components = report.components.iter();
    let reported = components.find(|reported| reported.name == component);
    let rows = reported.map(|reported| reported.rows);
    let counts = rows.map(|rows| [(rows.filtered, "filtered"), (rows.rejected, "rejected")]);
    let counts = counts.into_iter().flatten().filter(|(count, _)| *count > 0);
    let text = |(count, what)| format!("{} {what}", HumanCount(count));
    counts.map(text).collect()
}

/// ` (employee resignation; 5 filtered)`
fn about(chunk: Option<&Chunk>, removed: Vec<String>) -> String {
    let kind = chunk.map(|chunk| match chunk.kind {
        RowKind::Schema(id) => Scenario::from_id(id)
            .map_or(id, |scenario| scenario.facts().title)
            .to_owned(),
        RowKind::Records => "records".to_owned(),
    });
    let parts: Vec<String> = kind.into_iter().chain(removed).collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join("; "))
    }
}

fn columns(chunk: &Chunk) -> impl Iterator<Item = &str> {
    let fields = chunk.batch.schema_ref().fields();
    fields.iter().map(|field| field.name().as_str())
}

/// `terminations.csv:12`: the line, or the row in formats without lines.
fn origin_text(origin: &Origin) -> String {
    let name = origin.file.rsplit(['/', '\\']).next().unwrap_or_default();
    format!("{name}:{}", origin.line.unwrap_or(origin.row))
}

fn rows(chunk: &Chunk, open: bool) -> Result<Vec<Vec<Option<String>>>> {
    let mut rows = table::cells(&chunk.batch)
        .map_err(|error| Error::unexpected("cannot show rows of this type").with_source(error))?;
    if open {
        return Ok(rows);
    }
    let masks: Vec<fn(&str) -> String> = columns(chunk).map(|name| mask_for(chunk.kind, name)).collect();
    for row in &mut rows {
        for (cell, mask) in row.iter_mut().zip(&masks) {
            if let Some(value) = cell {
                *value = mask(value);
            }
        }
    }
    Ok(rows)
}

/// Dates of the HR schema are shown. Columns of records are all masked: any of them could be a birthday.
fn mask_for(kind: RowKind, column: &str) -> fn(&str) -> String {
    let field = match kind {
        RowKind::Schema(id) => Scenario::from_id(id).and_then(|scenario| scenario.field(column)),
        RowKind::Records => None,
    };
    match field.map(|field| field.kind) {
        Some(FieldKind::DateTime) => str::to_owned,
        Some(FieldKind::Upn) => mask::upn,
        Some(FieldKind::Text { .. }) => mask::form,
        None => mask::upn,
    }
}
