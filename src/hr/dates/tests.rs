//! The reader as a transform uses it: settings in, columns in, texts and faults out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, NullArray,
    StringArray, TimestampSecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DateReader, DateSettings};
use crate::component::{Problem, Problems};

fn settings(value: &Value) -> DateSettings {
    serde_json::from_value(value.clone()).unwrap()
}

fn reader(value: &Value) -> DateReader {
    let mut found = Vec::new();
    let reader = settings(value).reader(&mut Problems::new(&mut found));
    reader.unwrap_or_else(|| panic!("{found:?}"))
}

/// Settings of these formats, separated by ` | `.
fn in_new_york(formats: &str) -> Value {
    let formats: Vec<&str> = formats.split(" | ").filter(|format| !format.is_empty()).collect();
    json!({"timezone": "America/New_York", "formats": formats})
}

/// The text, `null`, or the fault as `code: message`, of each row.
fn rows(reader: &DateReader, values: &ArrayRef, required: bool) -> Vec<String> {
    let checked = reader.read(values, required).unwrap();
    let texts = checked.values.iter();
    let mut rows: Vec<String> = texts.map(|text| text.unwrap_or("null").to_owned()).collect();
    for fault in &checked.faults {
        assert_eq!(rows[fault.row], "null", "a fault has no value");
        rows[fault.row] = format!("{}: {}", fault.code, fault.message);
    }
    rows
}

fn column(reader: &DateReader, values: impl Array + 'static) -> Vec<String> {
    rows(reader, &(Arc::new(values) as ArrayRef), false)
}

fn required(reader: &DateReader, texts: &[&str]) -> Vec<String> {
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    rows(reader, &texts, true)
}

fn text(reader: &DateReader, value: &str) -> String {
    column(reader, StringArray::from(vec![value])).remove(0)
}

/// Checks lines of `value => start of the text or fault`; escapes such as `\u{a0}` are resolved by Rust.
fn check(settings: &Value, cases: &str) {
    let reader = reader(settings);
    for case in cases.lines().filter(|line| !line.trim().is_empty()) {
        let (value, expected) = case.trim_start_matches(' ').split_once(" => ").unwrap();
        let found = text(&reader, value);
        assert!(found.starts_with(expected), "{settings} {case:?}: {found}");
    }
}

#[test]
fn reports_every_problem_at_its_key() {
    let given = json!({"formats": ["%m/%d/%Y", "%d.%m", "%m/%d/%y", "MM/dd/yyyy", "%m/%d/%Y"]});
    let mut found: Vec<Problem> = Vec::new();
    let given = settings(&given);
    assert!(given.reader(&mut Problems::new(&mut found).at("dates")).is_none());
    let hint = found[4].hint.clone().unwrap();
    assert!(hint.contains("timezone: America/New_York"), "{hint}");
    // The other half of a merge may set `century_pivot` and `timezone`.
    given.validate(&mut Problems::new(&mut found).at("dates"));
    let paths = found
        .iter()
        .map(|problem| problem.path.trim_start_matches("dates."));
    let all = "formats[1] formats[2] formats[3] formats[4] timezone";
    let half = "formats[1] formats[3] formats[4]";
    assert_eq!(paths.collect::<Vec<_>>().join(" "), format!("{all} {half}"));
    let base = settings(&json!({"timezone": "UTC", "formats": ["%Y"], "on_gap": "reject"}));
    let merged = settings(&json!({"formats": ["%d"], "on_overlap": "later"})).merged_over(&base);
    let expected = json!({"timezone": "UTC", "formats": ["%d"], "on_gap": "reject", "on_overlap": "later"});
    assert_eq!(merged, settings(&expected));
    for invalid in ["time_zone: UTC", "timezone: EST", "century_pivot: 101"] {
        assert!(serde_saphyr::from_str::<DateSettings>(invalid).is_err());
    }
}

#[test]
fn writes_iso_8601_with_offset() {
    for (settings, cases) in [
        (
            in_new_york("%m/%d/%Y | %m/%d/%Y %I:%M %p | %d-%b-%Y | excel_serial | odata"),
            "2024-01-15 => 2024-01-15T00:00:00-05:00
            2024-07-15 => 2024-07-15T00:00:00-04:00
            20240115 => 2024-01-15T00:00:00-05:00
            1/15/2024 => 2024-01-15T00:00:00-05:00
            7/4/2024 3:30 pm => 2024-07-04T15:30:00-04:00
            15-Jan-2024 => 2024-01-15T00:00:00-05:00
            45306 => 2024-01-15T00:00:00-05:00
            45306.75 => 2024-01-15T18:00:00-05:00
            /Date(1705276800000)/ => 2024-01-15T00:00:00-05:00
            /Date(1705276800000+0000)/ => 2024-01-15T00:00:00+00:00
            /Date(1705276800001)/ => 2024-01-15T00:00:00.001-05:00
            /Date(1705276800000-0430)/ => 2024-01-14T19:30:00-04:30
            /Date(1705276800000+0090)/ => 2024-01-15T01:30:00+01:30
            /Date(-1)/ => implausible_date: is before
            /Date(x)/ => invalid_date
            /Date(1) => invalid_date
            /Date(1+)/ => invalid_date
            /Date(1+99)/ => invalid_date
            /Date(1+9999)/ => invalid_date
            2024-01-15T09:30:00Z => 2024-01-15T09:30:00+00:00
            2024-01-15T09:30:00.1234567+05:30 => 2024-01-15T09:30:00.1234567+05:30
            2024-01-15 09:30:00.100 => 2024-01-15T09:30:00.1-05:00
            2024-01-15 09:30:00.000000099 => 2024-01-15T09:30:00-05:00
            2024-01-15T09:30:05,1234567890123 => 2024-01-15T09:30:05.1234567-05:00
            2024-01-15T09:30:00 +02 => 2024-01-15T09:30:00+02:00
            2024-01-15  09:30:60  -0330 => 2024-01-15T09:30:59-03:30
            20240115T093000.5Z => 2024-01-15T09:30:00.5+00:00
            2024-01-15Z => 2024-01-15T00:00:00+00:00
            \u{a0}2024-01-15\t\u{feff} => 2024-01-15T00:00:00-05:00
            \u{2003}1/15/2024\r => 2024-01-15T00:00:00-05:00
            2 => implausible_date: is before 1980-01-01",
        ),
        (
            json!({
                "timezone": "UTC", "century_pivot": 85,
                "formats": ["%m/%d/%Y", "%d-%b-%Y", "%a %d %b %Y", "%m/%d/%Y %I:%M:%S%p", "%d.%m.%Y%:z",
                    "%d.%m.%y", "%d. %B %y"],
            }),
            "1/5/2024 => 2024-01-05T
            13/01/2024 => invalid_date
            1/5/24 => invalid_date
            1/5/02024 => invalid_date
            15-JAN-2024 => 2024-01-15T
            Tue 15 Jan 2024 => invalid_date
            1/15/2024 3:05:60PM => 2024-01-15T15:05:59
            1.10.2018-07:00 => 2018-10-01T00:00:00-07:00
            1.5.84 => 2084-05-01T
            1.5.85 => 1985-05-01T
            1. May 84 => 2084-05-01T",
        ),
        // Formats are tried in order and before ISO 8601, never by plausibility.
        (
            json!({"timezone": "UTC", "formats": ["%Y-%d-%m"]}),
            "2024-03-04 => 2024-04-03T00:00:00+00:00
            2024-03-04T10:00:00Z => 2024-03-04T10:00:00+00:00",
        ),
        (in_new_york("%d/%m/%Y | %m/%d/%Y"), "03/04/2024 => 2024-04-03T"),
        (
            in_new_york("%m/%d/%Y | %d/%m/%Y"),
            "03/04/2024 => 2024-03-04T\n25/04/2024 => 2024-04-25T",
        ),
        (
            json!({"timezone": "+02:00"}),
            "2024-07-15T08:00 => 2024-07-15T08:00:00+02:00
            2024-07-15T00:00:00 => 2024-07-15T00:00:00+02:00
            2024-07-01-07:00 => 2024-07-01T00:00:00-07:00
            0999-12-31 => invalid_date",
        ),
    ] {
        check(&settings, cases);
    }
}

#[test]
fn takes_the_first_numeric_format_with_a_plausible_date() {
    check(
        &in_new_york("excel_serial | epoch_seconds | epoch_milliseconds"),
        "45306 => 2024-01-15T00:00:00-05:00
            1705312800 => 2024-01-15T05:00:00-05:00
            1705312800000 => 2024-01-15T05:00:00-05:00",
    );
    check(
        &in_new_york("epoch_seconds"),
        "45306 => implausible_date: is before 1980-01-01
            -1.5 => implausible_date: is before 1980-01-01
            999999999999999 => implausible_date: is after 2100-01-01
            1705312800.25 => 2024-01-15T05:00:00.25-05:00
            1e9 => invalid_date
            1. => invalid_date
            --1 => invalid_date
            +1 => invalid_date",
    );
    // Eight digits are a count where a format counts.
    check(
        &in_new_york("epoch_milliseconds"),
        "1705312800 => implausible_date: is before 1980-01-01
            1720000000250 => 2024-07-03T05:46:40.25-04:00
            20240115 => implausible_date: is before 1980-01-01",
    );
}

#[test]
fn refuses_other_forms_than_iso_8601() {
    for value in "2024|2024-01|2024-1-5|2024-W03-1|2024-015|15-01-2024|2024/01/15|2023-02-29|2024-01-15T|\
        2024-01-15T9:30|2024-01-15T24:00|2024-01-15T09:60|2024-01-15T09:30:|2024-01-15T09:30:0|\
        2024-01-15T09:30:00.|2024-01-15T09:30:00x|2024-01-15T09:30+2|2024-01-15T09:30+15:00|\
        2024-01-15T09:30+02:60|20240115 0930|202401150930|0000-00-00|0999-01-01|２０２４-01-15|2024-01-1é|\
        20240115Z|2024-01-15T09:30[Europe/Berlin]|2024-01-15T09:30Z[Europe/Berlin]|+002024-01-15|\
        2024-01-15 09:30 +02 x|15012024|01152024"
        .split('|')
    {
        let found = text(&reader(&in_new_york("")), value);
        assert!(found.starts_with("invalid_date"), "{value}: {found}");
    }
}

#[test]
fn reads_only_the_formats_without_iso_8601() {
    let settings = json!({"timezone": "UTC", "formats": ["%m/%d/%Y"], "iso8601": false});
    check(
        &settings,
        "2024-01-15 => invalid_date: invalid date: expected `%m/%d/%Y`
        1/15/2024 => 2024-01-15T00:00:00+00:00",
    );
    let settings: DateSettings =
        serde_json::from_value(json!({"timezone": "UTC", "iso8601": false})).unwrap();
    let mut found = Vec::new();
    assert!(settings.reader(&mut Problems::new(&mut found)).is_none());
    assert!(found[0].to_string().starts_with("iso8601: "), "{found:?}");
}

#[test]
fn treats_null_values_as_none_in_every_notation() {
    let settings = json!({
        "timezone": "America/New_York", "formats": ["%m/%d/%Y", "odata"],
        "null_values": ["0000-00-00", " 9999-12-31 ", "01/01/1970", "N/A", "Ohne Kündigung"],
    });
    check(
        &settings,
        "0000-00-00 => null
        9999-12-31 => null
        12/31/9999 => null
        9999-12-31T23:59:59 => null
        9999-12-31T00:00:00Z => null
        /Date(253402214400000)/ => null
        /Date(253402214400000+0000)/ => null
        1970-01-01 => null
        1/1/1970 => null
        n/a  => null
        \u{a0} => null
        ohne KÜNDIGUNG => null",
    );
    let reader = reader(&settings);
    let missing = "missing: a required value is missing";
    let by_setting = format!("{missing}: this is one of the `null_values`");
    let rows = required(&reader, &["n/a", " ", "", "9999-12-31"]);
    assert_eq!(rows, [&*by_setting, missing, missing, &*by_setting]);
    let days = Date32Array::from(vec![2_932_896, 0]);
    assert_eq!(column(&reader, days), ["null", "null"]);
    let local = TimestampSecondArray::from(vec![253_402_214_400]);
    assert_eq!(column(&reader, local.clone()), ["null"]);
    assert_eq!(column(&reader, local.with_timezone("UTC")), ["null"]);
    assert!(!format!("{reader:?}").contains("Ohne"));
    // Numbers are compared as numbers.
    let reader = self::reader(&json!({
        "timezone": "UTC", "formats": ["epoch_seconds"], "null_values": ["0", "-1"],
    }));
    let expected = ["null", "null", "2024-01-15T10:00:00+00:00"];
    let texts = StringArray::from(vec!["0", "-1", "1705312800"]);
    assert_eq!(column(&reader, texts), expected);
    let numbers = Int64Array::from(vec![0, -1, 1_705_312_800]);
    assert_eq!(column(&reader, numbers), expected);
}

#[test]
fn explains_faults_without_the_value() {
    let reader = reader(&in_new_york("%m/%d/%Y | %d-%b-%Y"));
    for case in "marker => invalid_date: invalid date: expected ISO 8601, `%m/%d/%Y` or `%d-%b-%Y`
        15/01/2024 => it fits `%d/%m/%Y`
        1/15/24 => it fits `%m/%d/%y`, which could be added to `formats`, with `century_pivot`
        2024-15-01 => it fits `%Y-%d-%m`
        45306 => it is a bare number: add `excel_serial`
        02/30/2024 => invalid_date
        0000-00-00 => invalid_date
        1900-01-01 => implausible_date: is before 1980-01-01
        12/31/9999 => implausible_date: is after 2100-01-01"
        .lines()
    {
        let (value, expected) = case.trim().split_once(" => ").unwrap();
        let row = text(&reader, value);
        assert!(row.contains(expected) && !row.contains(value), "{value}: {row}");
    }
}

#[test]
fn resolves_times_on_dst_changes() {
    for case in "America/New_York on_gap later 2024-03-10T02:30 2024-03-10T03:30:00-04:00
        America/New_York on_gap earlier 2024-03-10T02:30 2024-03-10T01:30:00-05:00
        America/New_York on_gap reject 2024-03-10T02:30 nonexistent_time
        Europe/Berlin on_gap later 2024-03-31T02:00 2024-03-31T03:00:00+02:00
        Europe/Berlin on_gap reject 2024-03-31T03:00 2024-03-31T03:00:00+02:00
        Australia/Sydney on_gap later 2024-10-06T02:15 2024-10-06T03:15:00+11:00
        America/New_York on_overlap earlier 2024-11-03T01:30 2024-11-03T01:30:00-04:00
        America/New_York on_overlap later 2024-11-03T01:30 2024-11-03T01:30:00-05:00
        America/New_York on_overlap reject 2024-11-03T01:30 ambiguous_time
        Europe/Berlin on_overlap later 2024-10-27T02:30 2024-10-27T02:30:00+01:00
        Europe/Berlin on_overlap reject 2024-10-27T02:30+01:00 2024-10-27T02:30:00+01:00
        America/Sao_Paulo on_gap reject 2018-11-04T00:00 nonexistent_time
        America/Sao_Paulo on_gap reject 2018-11-04 2018-11-04T01:00:00-02:00
        America/Santiago on_gap later 2024-09-08 2024-09-08T01:00:00-03:00"
        .lines()
    {
        let parts: Vec<&str> = case.split_whitespace().collect();
        let [zone, key, choice, value, expected] = parts[..] else {
            panic!("{case}")
        };
        let settings = json!({"timezone": zone, key: choice});
        check(&settings, &format!("{value} => {expected}"));
    }
}

#[test]
fn reads_date_and_timestamp_columns() {
    use DataType::{Date32, Date64, Timestamp};
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let reader = reader(&in_new_york(""));
    let (midnight, noon) = ("2024-01-15T00:00:00-05:00", "2024-01-15T12:00:00-05:00");
    let millis = "2024-01-15T12:00:00.005-05:00";
    let nanos = "2024-01-15T12:00:01.2345678-05:00";
    let mut cases = vec![
        ("2024-01-15", Date32, midnight),
        ("2024-01-15", Date64, midnight),
        ("2024-01-15T12:00:00.005", Date64, millis),
        ("2024-01-15T12:00:01.23456789", Timestamp(Nanosecond, None), nanos),
    ];
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        cases.push(("2024-01-15T12:00:00", Timestamp(unit, None), noon));
        let zoned = Timestamp(unit, Some("+09:00".into()));
        cases.push(("2024-01-16T02:00:00+09:00", zoned, noon));
    }
    for (text, data_type, expected) in cases {
        let values = cast(&StringArray::from(vec![text]), &data_type).unwrap();
        assert_eq!(rows(&reader, &values, false), [expected], "{data_type}");
    }
    for zone in [None, Some("UTC".into())] {
        let extremes = Int64Array::from(vec![i64::MIN, i64::MAX]);
        let extremes = cast(&extremes, &Timestamp(Second, zone)).unwrap();
        let found = rows(&reader, &extremes, false);
        for (found, expected) in found.iter().zip(["is before 1980", "is after 2100"]) {
            let holds = found.starts_with(&format!("implausible_date: {expected}"));
            assert!(holds, "{found}");
        }
    }
}

#[test]
fn reads_every_kind_of_text_column() {
    let reader = reader(&in_new_york("%m/%d/%Y"));
    let values = StringArray::from(vec![Some("x"), Some("1/15/2024"), None, Some("2024-07-04")]);
    let values: ArrayRef = Arc::new(values.slice(1, 3));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let expected = ["2024-01-15T00:00:00-05:00", "null", "2024-07-04T00:00:00-04:00"];
    for data_type in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary,
    ] {
        let values = cast(&values, &data_type).unwrap();
        assert_eq!(rows(&reader, &values, false), expected, "{data_type}");
    }
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    assert_eq!(rows(&reader, &nulls, false), ["null", "null"]);
    assert!(rows(&reader, &nulls, true)[1].starts_with("missing"));
}

#[test]
fn reads_numbers_by_numeric_formats_only() {
    use DataType::{Float32, Float64, Int32, Int64, UInt16};
    let excel = reader(&in_new_york("excel_serial | epoch_milliseconds"));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![45_306]));
    for data_type in [Int64, Int32, UInt16, Float32, Float64] {
        let found = rows(&excel, &cast(&numbers, &data_type).unwrap(), false);
        assert_eq!(found, ["2024-01-15T00:00:00-05:00"], "{data_type}");
    }
    let counts = column(&excel, UInt64Array::from(vec![1_705_294_800_000, u64::MAX]));
    assert!(counts[0] == "2024-01-15T00:00:00-05:00" && counts[1].starts_with("implausible_date"));
    let odd = Float64Array::from(vec![f64::NAN, f64::INFINITY, -1e300, 60.0]);
    let odd = column(&excel, odd);
    assert!(odd.iter().all(|row| row.contains("_date: ")), "{odd:?}");

    let plain = reader(&in_new_york("%m/%d/%Y"));
    let decimal = Decimal128Array::from(vec![45_306]);
    let decimal = decimal.with_precision_and_scale(10, 2).unwrap();
    let refused: [(ArrayRef, &str); 3] = [
        (numbers, "excel_serial"),
        (Arc::new(decimal), "bigint"),
        (Arc::new(BooleanArray::from(vec![true])), "varchar"),
    ];
    for (values, hint) in refused {
        let error = plain.read(&values, false).err().unwrap();
        assert!(error.to_string().contains("cannot be read as dates") && error.hint.contains(hint));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_panics_and_writes_valid_timestamps(value in "\\PC{0,24}|[-0-9/:.TZ+() ]{0,24}") {
        let reader = reader(&in_new_york("%m/%d/%Y | excel_serial | epoch_seconds | odata | %d %B %Y"));
        let row = text(&reader, &value);
        prop_assert!(row == "null" || row.contains(": ") || row.parse::<Timestamp>().is_ok(), "{}", row);
    }
}
