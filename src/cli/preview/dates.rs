//! Which formats a column's dates are in, by reading its values as a run would.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use super::columns::Column;
use crate::component::Problems;
use crate::hr::dates::DateSettings;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DateFormats {
    /// The formats beside ISO 8601 that read every value; several if day and month cannot be distinguished.
    pub(super) formats: Vec<&'static str>,
    /// Values that mean "no date". They come from a fixed list, so they are not personal data.
    pub(super) null_values: Vec<&'static str>,
}

/// The formats of a column; `None` if its values are not dates.
pub(super) fn detect(column: &Column) -> Option<DateFormats> {
    let mut found = DateFormats::default();
    match &column.data_type {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => return Some(found),
        _ if column.is_text() => {}
        _ => return None,
    }
    let mut values: Vec<&str> = Vec::new();
    for value in column.values.iter().map(|value| value.trim()) {
        let mut no_dates = include_str!("data/no_dates.txt").lines();
        match no_dates.find(|known| known.eq_ignore_ascii_case(value)) {
            Some(known) if !found.null_values.contains(&known) => found.null_values.push(known),
            Some(_) => {}
            None => values.push(value),
        }
    }
    values.sort_unstable();
    values.dedup();
    if values.is_empty() || reads(None, &values) {
        return Some(found);
    }
    let formats = include_str!("data/date_formats.txt").lines();
    found.formats = formats.filter(|format| reads(Some(format), &values)).collect();
    (!found.formats.is_empty()).then_some(found)
}

/// Whether every value is a date in ISO 8601 or `format`.
fn reads(format: Option<&str>, values: &[&str]) -> bool {
    let settings = serde_json::json!({"formats": Vec::from_iter(format), "timezone": "UTC"});
    let Ok(settings) = serde_json::from_value::<DateSettings>(settings) else {
        return false;
    };
    let Some(reader) = settings.reader(&mut Problems::new(&mut Vec::new())) else {
        return false;
    };
    let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    reader
        .read(&values, false)
        .is_ok_and(|checked| checked.faults.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_formats_and_null_values() {
        for (values, formats, null_values) in [
            ("2026-05-31|2026-06-01T10:00:00Z", Some(""), ""),
            ("05/31/2026|06/01/2026", Some("%m/%d/%Y"), ""),
            ("31/05/2026|01/06/2026", Some("%d/%m/%Y"), ""),
            ("01/06/2026", Some("%m/%d/%Y|%d/%m/%Y"), ""),
            ("31-May-2026", Some("%d-%b-%Y"), ""),
            ("/Date(1780185600000)/", Some("odata"), ""),
            (
                "05/31/2026|12/31/9999|N/A|n/a",
                Some("%m/%d/%Y"),
                "12/31/9999|n/a",
            ),
            ("31/05/2026|06/01/2026|06/30/2026", None, ""),
            ("Sales", None, ""),
        ] {
            let found = detect(&Column {
                names: vec!["d".to_owned()],
                path: "d".to_owned(),
                data_type: DataType::Utf8,
                rows: 1,
                values: values.split('|').map(str::to_owned).collect(),
            });
            let found = found.map(|found| (found.formats.join("|"), found.null_values.join("|")));
            let expected = formats.map(|formats| (formats.to_owned(), null_values.to_owned()));
            assert_eq!(found, expected, "{values}");
        }
    }
}
