//! Tables for the terminal: aligned, and with control characters made visible, because cells hold text from outside.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, ContentArrangement, Table as Comfy, presets};

#[derive(Debug)]
pub(crate) struct Table {
    inner: Comfy,
    framed: bool,
}

impl Table {
    /// With a header and lines: for data.
    pub(crate) fn framed<T: AsRef<str>>(header: impl IntoIterator<Item = T>) -> Self {
        let mut table = Comfy::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_header(header.into_iter().map(|name| Cell::new(visible(name.as_ref()))));
        Self {
            inner: table,
            framed: true,
        }
    }

    /// The rows of `batches`, which have the same columns.
    pub(crate) fn of(batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let schema = batches.first().map(RecordBatch::schema);
        let mut table = Self::framed(
            schema
                .iter()
                .flat_map(|schema| schema.fields())
                .map(|field| field.name()),
        );
        for batch in batches {
            for row in cells(batch)? {
                table.push(row.iter().map(|cell| cell.as_deref().unwrap_or_default()));
            }
        }
        Ok(table)
    }

    /// Indented, without header and lines: for lists.
    pub(crate) fn plain() -> Self {
        let mut table = Comfy::new();
        table.load_preset(presets::NOTHING);
        Self {
            inner: table,
            framed: false,
        }
    }

    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| Cell::new(visible(cell.as_ref())));
        self.inner.add_row(cells);
    }

    /// The text of the table; empty if there are no rows. Cells wrap at `width`; `None`: never.
    pub(crate) fn render(mut self, width: Option<u16>) -> String {
        if self.inner.is_empty() {
            return String::new();
        }
        if let Some(width) = width {
            self.inner
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        if !self.framed {
            for column in self.inner.column_iter_mut() {
                column.set_padding((2, 0));
            }
        }
        let mut text = self.inner.trim_fmt();
        text.push('\n');
        text
    }
}

pub(crate) fn width() -> Option<u16> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0)
}

/// The cells of `batch` as text, row by row; a cell without a value is `None`.
pub(crate) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ArrowError> {
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<_, _>>()?;
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .zip(batch.columns())
                .map(|(formatter, column)| {
                    if column.is_null(row) {
                        Ok(None)
                    } else {
                        formatter.value(row).try_to_string().map(Some)
                    }
                })
                .collect()
        })
        .collect()
}

/// `text` with control characters, and those that change the direction of text, made visible.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    #[test]
    fn escapes_aligns_and_wraps() {
        let mut table = Table::framed(["na\u{1b}[2Jme"]);
        table.push(["a\nb\u{1b}]0;x\u{7}\u{202e}"]);
        let text = table.render(None);
        let hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(
            !text.contains(hidden) && text.contains(r"a\nb\u{1b}]0;x"),
            "{text:?}"
        );

        let mut table = Table::framed(["one", "two"]);
        table.push([
            "a long text of many words that does not fit",
            "another of that kind",
        ]);
        let text = table.render(Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");

        let mut table = Table::plain();
        table.push(["a", "first"]);
        table.push(["longer", "second"]);
        assert_eq!(table.render(None), "  a       first\n  longer  second\n");
    }

    #[test]
    fn distinguishes_null_from_empty() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None]));
        let number: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(7)]));
        let batch = RecordBatch::try_from_iter([("t", text), ("n", number)]).unwrap();
        let expected = [[Some(String::new()), None], [None, Some("7".to_owned())]];
        assert_eq!(cells(&batch).unwrap(), expected);
    }
}
