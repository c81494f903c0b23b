//! Which formats a column's dates are in, found out by reading its values as a run would.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use super::super::columns::Column;
use crate::config::Problems;
use crate::hr::dates::{DateReader, DateSettings};

/// Formats to try beside ISO 8601.
const FORMATS: [&str; 27] = [
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m.%d.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "odata",
];

/// Values that HR systems write for "no date".
const NO_DATES: [&str; 18] = [
    "0000-00-00",
    "00/00/0000",
    "0000-00-00 00:00:00",
    "9999-12-31",
    "12/31/9999",
    "31/12/9999",
    "31.12.9999",
    "1900-01-01",
    "01/01/1900",
    "01.01.1900",
    "n/a",
    "#n/a",
    "na",
    "null",
    "none",
    "nil",
    "-",
    "tbd",
];

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dates {
    /// The formats beside ISO 8601 that every value needs; more than one if day and month cannot be told apart.
    pub(super) formats: Vec<&'static str>,
    /// Values that mean "no date". They are no personal data: all are among those known here.
    pub(super) null_values: Vec<&'static str>,
    /// Values that were looked at.
    pub(super) values: usize,
}

impl Dates {
    /// Whether several formats read all values.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.formats.len() > 1
    }
}

/// The dates of a column; `None` if its values are no dates, as far as is known here.
pub(super) fn found(column: &Column) -> Option<Dates> {
    use DataType as T;
    let mut dates = Dates {
        values: column.values.len(),
        ..Dates::default()
    };
    match &column.data_type {
        T::Date32 | T::Date64 | T::Timestamp(..) => return Some(dates),
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Dictionary(..) | T::Null => {}
        _ => return None,
    }
    let mut left: Vec<&str> = Vec::new();
    for value in &column.values {
        let value = value.trim();
        match NO_DATES.iter().find(|known| known.eq_ignore_ascii_case(value)) {
            Some(known) if !dates.null_values.contains(known) => dates.null_values.push(known),
            Some(_) => {}
            None => left.push(value),
        }
    }
    left.sort_unstable();
    left.dedup();
    if left.is_empty() {
        // Nothing speaks against it.
        return Some(dates);
    }
    if reads(&[], true, &left) {
        return Some(dates);
    }
    dates.formats = FORMATS
        .iter()
        .copied()
        .filter(|format| reads(&[format], true, &left))
        .collect();
    (!dates.formats.is_empty()).then_some(dates)
}

fn reads(formats: &[&str], iso8601: bool, values: &[&str]) -> bool {
    let settings = DateSettings {
        formats: Some(formats.iter().map(|format| (*format).to_owned()).collect()),
        iso8601: Some(iso8601),
        timezone: Some("UTC".to_owned()),
        ..DateSettings::default()
    };
    let Some(reader) = DateReader::new(&settings, &mut Problems::new(&mut Vec::new())) else {
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

    fn dates(values: &[&str]) -> Option<Dates> {
        found(&Column {
            names: vec!["d".to_owned()],
            path: "d".to_owned(),
            data_type: DataType::Utf8,
            rows: values.len(),
            values: values.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn one_format_for_all_values_is_found() {
        for (values, formats) in [
            (&["2026-05-31", "2026-06-01T10:00:00Z"][..], &[][..]),
            (&["05/31/2026", "06/01/2026"], &["%m/%d/%Y"]),
            (&["31/05/2026", "01/06/2026"], &["%d/%m/%Y"]),
            (&["01/06/2026"], &["%m/%d/%Y", "%d/%m/%Y"]),
            (&["31.05.2026"], &["%d.%m.%Y"]),
            (&["31-May-2026"], &["%d-%b-%Y"]),
            (&["/Date(1780185600000)/"], &["odata"]),
        ] {
            assert_eq!(
                dates(values).map(|dates| dates.formats),
                Some(formats.to_vec()),
                "{values:?}"
            );
        }
        assert_eq!(dates(&["31/05/2026", "06/01/2026", "06/30/2026"]), None);
        assert_eq!(dates(&["Sales"]), None);
    }

    #[test]
    fn placeholders_are_told_apart_from_dates() {
        let found = dates(&["05/31/2026", "12/31/9999", "N/A", "n/a"]).unwrap();
        assert_eq!(
            (found.formats, found.null_values),
            (vec!["%m/%d/%Y"], vec!["12/31/9999", "n/a"])
        );
    }
}
