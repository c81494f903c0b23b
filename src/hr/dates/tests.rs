//! The reader as a transform uses it: settings in, columns in, texts and faults out.

use std::sync::Arc;

use arrow::array::Array;
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::datatypes::Int32Type;
use jiff::civil;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DateReader, DateSettings};
use crate::component::RejectCode;
use crate::config::Problems;
use crate::hr::Checked;

fn settings(value: Value) -> DateSettings {
    serde_json::from_value(value).unwrap()
}

fn reader(value: Value) -> DateReader {
    let mut found = Vec::new();
    DateReader::new(&settings(value), &mut Problems::new(&mut found)).unwrap_or_else(|| panic!("{found:?}"))
}

fn new_york(formats: &[&str]) -> DateReader {
    reader(json!({"timezone": "America/New_York", "formats": formats}))
}

fn column(reader: &DateReader, values: impl Array + 'static) -> Checked {
    reader.read(&(Arc::new(values) as ArrayRef), false).unwrap()
}

/// The text, `null`, or the fault as `code: message`.
fn rows(checked: &Checked) -> Vec<String> {
    let mut rows: Vec<String> = checked
        .values
        .iter()
        .map(|value| value.unwrap_or("null").to_owned())
        .collect();
    for fault in &checked.faults {
        assert_eq!(rows[fault.row], "null", "a fault has no value");
        rows[fault.row] = format!("{}: {}", fault.code, fault.message);
    }
    rows
}

fn texts(reader: &DateReader, values: &[&str]) -> Vec<String> {
    rows(&column(reader, StringArray::from(values.to_vec())))
}

fn text(reader: &DateReader, value: &str) -> String {
    texts(reader, &[value]).remove(0)
}

#[test]
fn dates_in_every_form_become_iso_8601_with_offset() {
    let reader = new_york(&[
        "%m/%d/%Y",
        "%m/%d/%Y %I:%M %p",
        "%d-%b-%Y",
        "excel_serial",
        "odata",
    ]);
    for (value, expected) in [
        ("2024-01-15", "2024-01-15T00:00:00-05:00"),
        ("2024-07-15", "2024-07-15T00:00:00-04:00"),
        ("20240115", "2024-01-15T00:00:00-05:00"),
        ("1/15/2024", "2024-01-15T00:00:00-05:00"),
        ("7/4/2024 3:30 pm", "2024-07-04T15:30:00-04:00"),
        ("15-Jan-2024", "2024-01-15T00:00:00-05:00"),
        ("45306", "2024-01-15T00:00:00-05:00"),
        ("45306.75", "2024-01-15T18:00:00-05:00"),
        ("/Date(1705276800000)/", "2024-01-15T00:00:00-05:00"),
        ("/Date(1705276800000+0000)/", "2024-01-15T00:00:00+00:00"),
        ("2024-01-15T09:30:00Z", "2024-01-15T09:30:00+00:00"),
        (
            "2024-01-15T09:30:00.1234567+05:30",
            "2024-01-15T09:30:00.1234567+05:30",
        ),
        ("2024-01-15 09:30:00.100", "2024-01-15T09:30:00.1-05:00"),
        ("\u{A0}2024-01-15\t\u{FEFF}", "2024-01-15T00:00:00-05:00"),
        ("\u{2003}1/15/2024\r\n", "2024-01-15T00:00:00-05:00"),
    ] {
        assert_eq!(text(&reader, value), expected, "{value:?}");
    }
}

#[test]
fn instants_are_shown_in_the_time_zone() {
    let since_1950 = |format| {
        reader(json!({"timezone": "America/New_York", "formats": [format], "earliest": "1950-01-01"}))
    };
    let reader = since_1950("epoch_seconds");
    assert_eq!(text(&reader, "1705312800"), "2024-01-15T05:00:00-05:00");
    assert_eq!(text(&reader, "-1"), "1969-12-31T18:59:59-05:00");
    let reader = since_1950("epoch_milliseconds");
    assert_eq!(text(&reader, "1720000000250"), "2024-07-03T05:46:40.25-04:00");
    assert_eq!(text(&reader, "-1"), "1969-12-31T18:59:59.999-05:00");
    assert_eq!(
        text(&reader, "20240115"),
        "1970-01-01T00:37:20.115-05:00",
        "digits count milliseconds here"
    );
}

#[test]
fn a_fixed_offset_is_a_time_zone_too() {
    let reader = reader(json!({"timezone": "+02:00", "default_time": "17:30"}));
    assert_eq!(text(&reader, "2024-01-15"), "2024-01-15T17:30:00+02:00");
    assert_eq!(text(&reader, "2024-07-15T08:00"), "2024-07-15T08:00:00+02:00");
}

#[test]
fn values_that_mean_none_are_null_in_whatever_form() {
    let reader = reader(json!({
        "timezone": "America/New_York",
        "formats": ["%m/%d/%Y", "odata"],
        "null_values": ["0000-00-00", " 9999-12-31 ", "01/01/1970", "N/A", "Ohne Kündigung"],
    }));
    for value in [
        "0000-00-00",
        "9999-12-31",
        "12/31/9999",
        "9999-12-31T23:59:59",
        "9999-12-31T00:00:00Z",
        "/Date(253402214400000)/",
        "/Date(253402214400000+0000)/",
        "1970-01-01",
        "1/1/1970",
        " n/a ",
        "",
        "\u{A0}",
        "ohne KÜNDIGUNG",
    ] {
        assert_eq!(text(&reader, value), "null", "{value:?}");
    }
    let required = reader
        .read(&(Arc::new(StringArray::from(vec!["n/a", " "])) as ArrayRef), true)
        .unwrap();
    assert!(
        required
            .faults
            .iter()
            .all(|fault| fault.code == RejectCode::Missing)
    );
    assert!(
        required.faults[0].message.contains("null_values")
            && !required.faults[1].message.contains("null_values")
    );

    let days = Date32Array::from(vec![2_932_896, 0, 19_737]);
    assert_eq!(
        rows(&column(&reader, days)),
        ["null", "null", "2024-01-15T00:00:00-05:00"]
    );
    let instants = TimestampSecondArray::from(vec![253_402_214_400]).with_timezone("UTC");
    assert_eq!(rows(&column(&reader, instants)), ["null"]);
}

#[test]
fn a_null_value_that_counts_is_no_day() {
    let reader = reader(json!({
        "timezone": "UTC", "formats": ["epoch_seconds"], "null_values": ["0", "-1"], "earliest": "1950-01-01",
    }));
    assert_eq!(
        texts(&reader, &["0", "-1", "1"]),
        ["null", "null", "1970-01-01T00:00:01+00:00"]
    );
    let numbers = Int64Array::from(vec![0, -1, 1]);
    assert_eq!(
        rows(&column(&reader, numbers)),
        ["null", "null", "1970-01-01T00:00:01+00:00"]
    );
}

#[test]
fn what_is_no_date_is_told_without_the_value() {
    let reader = new_york(&["%m/%d/%Y", "%d-%b-%Y"]);
    for (value, expected) in [
        (
            "marker",
            "invalid_date: is no date as ISO 8601 or `%m/%d/%Y` or `%d-%b-%Y`",
        ),
        ("15/01/2024", "but would be a date as `%d/%m/%Y`"),
        (
            "1/15/24",
            "but would be a date as `%m/%d/%y`, which needs `century_pivot`",
        ),
        ("2024-15-01", "but would be a date as `%Y-%d-%m`"),
        ("45306", "is a bare number: `excel_serial`"),
        ("02/30/2024", "invalid_date"),
        ("0000-00-00", "invalid_date"),
        ("1900-01-01", "implausible_date: is before 1980-01-01"),
        ("12/31/9999", "implausible_date: is after 2100-01-01"),
    ] {
        let row = text(&reader, value);
        assert!(row.contains(expected), "{value}: {row}");
        assert!(!row.contains(value), "{row}");
    }
}

#[test]
fn formats_are_tried_in_order_and_never_by_plausibility() {
    assert_eq!(
        text(&new_york(&["%d/%m/%Y", "%m/%d/%Y"]), "03/04/2024"),
        "2024-04-03T00:00:00-04:00"
    );
    assert_eq!(
        text(&new_york(&["%m/%d/%Y", "%d/%m/%Y"]), "03/04/2024"),
        "2024-03-04T00:00:00-05:00"
    );
    assert_eq!(
        text(&new_york(&["%m/%d/%Y", "%d/%m/%Y"]), "25/04/2024"),
        "2024-04-25T00:00:00-04:00"
    );
    // Numbers' names overlap, and only their plausible dates count.
    let numbers = new_york(&["excel_serial", "epoch_seconds", "epoch_milliseconds"]);
    assert_eq!(
        texts(&numbers, &["45306", "1705312800", "1705312800000"]),
        [
            "2024-01-15T00:00:00-05:00",
            "2024-01-15T05:00:00-05:00",
            "2024-01-15T05:00:00-05:00"
        ]
    );
    assert!(text(&new_york(&["excel_serial"]), "2").starts_with("implausible_date"));
    // A number in the wrong unit is no date of 1970.
    assert!(text(&new_york(&["epoch_milliseconds"]), "1705312800").starts_with("implausible_date"));
    assert!(text(&new_york(&["epoch_seconds"]), "45306").starts_with("implausible_date"));
}

#[test]
fn without_iso_8601_only_the_formats_count() {
    let reader = reader(json!({"timezone": "UTC", "iso8601": false, "formats": ["%Y-%d-%m"]}));
    assert_eq!(text(&reader, "2024-02-01"), "2024-01-02T00:00:00+00:00");
    assert!(text(&reader, "2024-01-15").contains("would be a date as `%Y-%m-%d`"));
}

#[test]
fn clocks_that_change() {
    let at = |zone: &str, extra: Value, value: &str| {
        let mut settings = json!({"timezone": zone});
        settings
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        text(&reader(settings), value)
    };
    let gap = "2024-03-10T02:30:00";
    assert_eq!(
        at("America/New_York", json!({}), gap),
        "2024-03-10T03:30:00-04:00"
    );
    assert_eq!(
        at("America/New_York", json!({"on_gap": "earlier"}), gap),
        "2024-03-10T01:30:00-05:00"
    );
    assert!(at("America/New_York", json!({"on_gap": "reject"}), gap).starts_with("nonexistent_time"));
    let overlap = "2024-10-27T02:30:00";
    assert_eq!(
        at("Europe/Berlin", json!({}), overlap),
        "2024-10-27T02:30:00+02:00"
    );
    assert_eq!(
        at("Europe/Berlin", json!({"on_overlap": "later"}), overlap),
        "2024-10-27T02:30:00+01:00"
    );
    assert!(at("Europe/Berlin", json!({"on_overlap": "reject"}), overlap).starts_with("ambiguous_time"));
    assert_eq!(
        at(
            "Europe/Berlin",
            json!({"on_overlap": "reject"}),
            "2024-10-27T02:30:00+01:00"
        ),
        "2024-10-27T02:30:00+01:00"
    );
    assert_eq!(
        at("America/Santiago", json!({}), "2024-09-08"),
        "2024-09-08T01:00:00-03:00"
    );
}

#[test]
fn typed_columns_take_no_detour_through_text() {
    let reader = reader(json!({"timezone": "America/New_York", "earliest": "1950-01-01"}));
    let day = 19_737;
    assert_eq!(
        rows(&column(&reader, Date32Array::from(vec![Some(day), None]))),
        ["2024-01-15T00:00:00-05:00", "null"]
    );
    assert!(
        rows(&column(&reader, Date32Array::from(vec![i32::MIN])))[0]
            .starts_with("implausible_date: is before")
    );
    let noon = (i64::from(day) * 24 + 12) * 3600;
    let dates = Date64Array::from(vec![i64::from(day) * 86_400_000, noon * 1000 + 5]);
    assert_eq!(
        rows(&column(&reader, dates)),
        ["2024-01-15T00:00:00-05:00", "2024-01-15T12:00:00.005-05:00"]
    );

    let local = "2024-01-15T12:00:00-05:00";
    assert_eq!(
        rows(&column(&reader, TimestampSecondArray::from(vec![noon]))),
        [local]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampMillisecondArray::from(vec![noon * 1000])
        )),
        [local]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampMicrosecondArray::from(vec![noon * 1_000_000])
        )),
        [local]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampNanosecondArray::from(vec![noon * 1_000_000_000 + 1_234_567_890])
        )),
        ["2024-01-15T12:00:01.2345678-05:00"]
    );
    let instant = "2024-01-15T07:00:00-05:00";
    assert_eq!(
        rows(&column(
            &reader,
            TimestampSecondArray::from(vec![noon]).with_timezone("+09:00")
        )),
        [instant]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampNanosecondArray::from(vec![noon * 1_000_000_000]).with_timezone("UTC")
        )),
        [instant]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampMillisecondArray::from(vec![-1]).with_timezone("UTC")
        )),
        ["1969-12-31T18:59:59.999-05:00"]
    );
    for extreme in [i64::MIN, i64::MAX] {
        let zoned = TimestampSecondArray::from(vec![extreme]).with_timezone("UTC");
        assert!(rows(&column(&reader, zoned))[0].starts_with("implausible_date"));
        assert!(
            rows(&column(&reader, TimestampSecondArray::from(vec![extreme])))[0]
                .starts_with("implausible_date")
        );
    }
}

#[test]
fn a_default_time_is_for_dates_alone() {
    let reader =
        reader(json!({"timezone": "Europe/Berlin", "default_time": "17:00", "formats": ["excel_serial"]}));
    assert_eq!(
        texts(
            &reader,
            &["2024-07-01", "2024-07-01T00:00:00", "45306", "45306.5"]
        ),
        [
            "2024-07-01T17:00:00+02:00",
            "2024-07-01T00:00:00+02:00",
            "2024-01-15T17:00:00+01:00",
            "2024-01-15T12:00:00+01:00"
        ]
    );
    assert_eq!(
        rows(&column(&reader, Date32Array::from(vec![19_737]))),
        ["2024-01-15T17:00:00+01:00"]
    );
    assert_eq!(
        rows(&column(
            &reader,
            TimestampSecondArray::from(vec![19_737 * 86_400])
        )),
        ["2024-01-15T00:00:00+01:00"]
    );
}

#[test]
fn every_kind_of_text_column() {
    let reader = new_york(&["%m/%d/%Y"]);
    let expected = ["2024-01-15T00:00:00-05:00", "null", "2024-07-04T00:00:00-04:00"];
    let values = vec![Some("1/15/2024"), None, Some("2024-07-04")];
    assert_eq!(
        rows(&column(&reader, LargeStringArray::from(values.clone()))),
        expected
    );
    assert_eq!(
        rows(&column(&reader, StringViewArray::from(values.clone()))),
        expected
    );
    assert_eq!(
        rows(&column(
            &reader,
            values.into_iter().collect::<DictionaryArray<Int32Type>>()
        )),
        expected
    );
    let sliced = StringArray::from(vec!["x", "1/15/2024"]).slice(1, 1);
    assert_eq!(rows(&column(&reader, sliced)), expected[..1]);
    assert_eq!(rows(&column(&reader, NullArray::new(2))), ["null", "null"]);
    let required = reader
        .read(&(Arc::new(NullArray::new(2)) as ArrayRef), true)
        .unwrap();
    assert_eq!(
        required.faults.iter().map(|fault| fault.row).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn numbers_need_a_format_and_other_types_are_refused() {
    let excel = new_york(&["excel_serial", "epoch_milliseconds"]);
    let expected = ["2024-01-15T00:00:00-05:00"];
    assert_eq!(rows(&column(&excel, Int32Array::from(vec![45_306]))), expected);
    assert_eq!(
        rows(&column(&excel, Float64Array::from(vec![45_306.0]))),
        expected
    );
    assert_eq!(
        rows(&column(&excel, UInt64Array::from(vec![1_705_294_800_000]))),
        expected
    );
    let odd = rows(&column(
        &excel,
        Float64Array::from(vec![f64::NAN, f64::INFINITY, -1e300, 60.0]),
    ));
    assert!(odd.iter().all(|row| row.contains("_date: ")), "{odd:?}");
    assert!(rows(&column(&excel, UInt64Array::from(vec![u64::MAX])))[0].starts_with("implausible_date"));

    let plain = new_york(&["%m/%d/%Y"]);
    let wrong = |values: ArrayRef| plain.read(&values, false).unwrap_err();
    let error = wrong(Arc::new(Int64Array::from(vec![45_306])));
    assert_eq!(
        error.to_string(),
        "a column of type Int64 cannot be read as dates"
    );
    assert!(error.hint.contains("excel_serial"));
    let decimal = Decimal128Array::from(vec![45_306])
        .with_precision_and_scale(10, 2)
        .unwrap();
    assert!(
        excel
            .read(&(Arc::new(decimal) as ArrayRef), false)
            .unwrap_err()
            .hint
            .contains("bigint")
    );
    assert!(
        wrong(Arc::new(BooleanArray::from(vec![true])))
            .hint
            .contains("varchar")
    );
}

#[test]
fn threads_share_a_reader() {
    let reader = new_york(&["%m/%d/%Y"]);
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..2000).map(|n| format!("{}/{}/{}", n % 12 + 1, n % 28 + 1, 1980 + n % 120)),
    ));
    let alone = reader.read(&values, true).unwrap();
    let fresh = new_york(&["%m/%d/%Y"]);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| fresh.read(&values, true).unwrap()))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().values, alone.values);
        }
    });
}

#[test]
fn debug_shows_no_rows() {
    let reader = reader(json!({"timezone": "UTC", "null_values": ["marker"]}));
    assert!(!format!("{reader:?}").contains("marker"));
}

proptest! {
    #[test]
    fn what_is_written_by_a_format_is_read_as_the_same_day(
        format in prop::sample::select(["%Y-%m-%d", "%m/%d/%Y", "%d.%m.%Y", "%-d/%-m/%Y", "%d-%b-%Y", "%A, %d %B %Y", "%Y%m%d", "%Y/%j"].as_slice()),
        zone in prop::sample::select(["America/New_York", "Europe/Berlin", "Australia/Sydney", "UTC"].as_slice()),
        days in 3653i32..47_000,
    ) {
        let day = civil::date(1970, 1, 1) + jiff::ToSpan::days(days);
        let reader = reader(json!({"timezone": zone, "formats": [format]}));
        let expected = day.in_tz(zone).unwrap().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        prop_assert_eq!(text(&reader, &day.strftime(format).to_string()), expected);
    }

    #[test]
    fn any_text_is_a_row(value in "\\PC{0,24}|[-0-9/:.TZ+() ]{0,24}") {
        let reader = new_york(&["%m/%d/%Y", "excel_serial", "epoch_seconds", "odata", "%d %B %Y"]);
        let checked = column(&reader, StringArray::from(vec![value.as_str()]));
        if let Some(found) = checked.values.iter().next().unwrap() {
            prop_assert!(found.parse::<jiff::Timestamp>().is_ok(), "{}", found);
        }
    }
}
