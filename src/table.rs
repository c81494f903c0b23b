//! Tables for the terminal.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{ContentArrangement, Table, presets};

/// The rows of `batches`, which have the same columns, as a table no wider than the terminal.
pub(crate) fn render(batches: &[RecordBatch]) -> String {
    let Some(first) = batches.first() else {
        return String::new();
    };
    let header: Vec<String> = first
        .schema_ref()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).ok())
            .collect();
        for row in 0..batch.num_rows() {
            let cell = |column: &Option<ArrayFormatter<'_>>| {
                column
                    .as_ref()
                    .map(|column| column.value(row).to_string())
                    .unwrap_or_default()
            };
            rows.push(columns.iter().map(cell).collect());
        }
    }
    plain(&header, rows)
}

/// A table of texts, no wider than the terminal.
pub(crate) fn plain(header: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size() {
        table.set_width(width);
    }
    table.set_header(header).add_rows(rows);
    table.to_string()
}
