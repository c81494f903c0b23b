//! What runs request, one after another, and how far they come.

use jiff::tz::{Offset, TimeZone};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::template::Uses;
use super::super::test_cases::cases;
use super::format::DAY;
use super::*;
use crate::component::Problems;

fn compile(config: Value, names: &[&str]) -> Result<Incremental, Vec<String>> {
    let config: IncrementalConfig =
        serde_json::from_value(config).map_err(|error| vec![error.to_string()])?;
    let uses: Uses = names.iter().map(|name| (*name).into()).collect();
    let mut found = Vec::new();
    let compiled = config.compile(&uses, &mut Problems::new(&mut found));
    assert_eq!(compiled.is_none(), !found.is_empty());
    compiled.ok_or_else(|| found.iter().map(ToString::to_string).collect())
}

fn from_start(config: Value) -> Incremental {
    compile(config, &["start"]).unwrap()
}

fn start_to_end(config: Value) -> Incremental {
    compile(config, &["start", "end"]).unwrap()
}

fn begin(incremental: &Incremental, saved: Option<&str>, now: &str) -> Plan {
    incremental
        .begin(saved, &[("base_url", "https://a.example")], now.parse().unwrap())
        .unwrap()
}

/// `{start}` and `{end}` of all windows.
fn requests(plan: &Plan) -> Vec<[Value; 2]> {
    let one = |values: &super::super::template::Values, name| values.get(name).cloned().unwrap_or_default();
    (0..plan.len())
        .map(|index| {
            let (values, _) = plan.window(index).unwrap();
            [one(&values, "start"), one(&values, "end")]
        })
        .collect()
}

fn finished(incremental: &Incremental, saved: Option<&str>, now: &str) -> String {
    begin(incremental, saved, now).finished().unwrap()
}

fn first_start(plan: &Plan) -> Value {
    requests(plan)[0][0].clone()
}

fn position(saved: &str) -> Value {
    serde_json::from_str::<Value>(saved).unwrap()["at"].clone()
}

fn observe(plan: &mut Plan, values: &[Value]) {
    let mut seen = Seen::default();
    for value in values {
        plan.observe(&mut seen, Some(value)).unwrap();
    }
    plan.seen.merge(&seen);
}

#[test]
fn splits_a_delayed_span_into_windows() {
    let incremental = start_to_end(json!({
        "initial": "2024-05-01", "window": "3h", "delay": "3h", "format": "%m-%d-%Y %H:%M",
    }));
    let plan = begin(&incremental, None, "2024-05-01T10:30:40Z");
    assert_eq!(
        json!(requests(&plan)),
        json!([
            ["05-01-2024 00:00", "05-01-2024 03:00"],
            ["05-01-2024 03:00", "05-01-2024 06:00"],
            ["05-01-2024 06:00", "05-01-2024 07:30"],
        ])
    );
    assert_eq!(plan.window(2).unwrap().1, "05-01-2024 06:00 to 05-01-2024 07:30");
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-01T03:00:00Z");
    let saved = plan.after_window(2).unwrap();
    assert_eq!(position(&saved), "2024-05-01T07:30:00Z");
    // Nothing can be new yet.
    let next = begin(&incremental, Some(&saved), "2024-05-01T10:30:50Z");
    assert_eq!(next.len(), 0);
    assert_eq!(position(&next.finished().unwrap()), "2024-05-01T07:30:00Z");
}

#[test]
fn reads_an_unfinished_day_again() {
    let incremental = start_to_end(json!({
        "initial": "2024-05-01", "window": "6d", "format": "%Y-%m-%d", "timezone": "America/New_York",
    }));
    // 02:00 UTC is still the day before in New York.
    let plan = begin(&incremental, None, "2024-05-14T02:00:00Z");
    assert_eq!(
        json!(requests(&plan)),
        json!([
            ["2024-05-01", "2024-05-07"],
            ["2024-05-07", "2024-05-13"],
            ["2024-05-13", "2024-05-14"],
        ])
    );
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-07T04:00:00Z");
    let saved = plan.finished().unwrap();
    assert_eq!(position(&saved), "2024-05-14T02:00:00Z");
    let next = begin(&incremental, Some(&saved), "2024-05-14T20:00:00Z");
    assert_eq!(json!(requests(&next)), json!([["2024-05-13", "2024-05-15"]]));
}

#[test]
fn writes_the_formats_of_vendors() {
    for (format, timezone, expected) in [
        ("iso_z", "+02:00", json!("2024-05-01T20:30:15Z")),
        ("iso_offset", "Europe/Berlin", json!("2024-05-01T22:30:15+02:00")),
        ("epoch_seconds", "UTC", json!(1_714_602_615)),
        ("epoch_milliseconds", "UTC", json!(1_714_602_615_000_i64)),
        ("%Y-%m-%d%:z", "America/Los_Angeles", json!("2024-05-01-07:00")),
        ("%m/%d/%Y %I:%M:%S %p", "UTC", json!("05/01/2024 10:30:15 PM")),
        ("%Y-%m-%dT%H:%M:%S.%3fZ", "UTC", json!("2024-05-01T22:30:15.000Z")),
        ("%d.%m.%Y", "UTC", json!("01.05.2024")),
    ] {
        let config = json!({"initial": "2024-05-01T22:30:15", "format": format, "timezone": timezone});
        let plan = begin(&start_to_end(config), None, "2024-05-02T10:00:00Z");
        assert_eq!(first_start(&plan), expected, "{format}");
    }
}

#[test]
fn continues_after_the_greatest_cursor() {
    let incremental =
        from_start(json!({"cursor": "$.changed", "initial": "2024-01-01", "timezone": "+02:00"}));
    let mut plan = begin(&incremental, None, "2024-06-01T00:00:00Z");
    let values = ["2024-05-31T10:00:00", "2024-05-31T08:00:00.25Z", " "];
    observe(&mut plan, &values.map(Value::from));
    let saved = plan.finished().unwrap();
    assert_eq!(position(&saved), "2024-05-31T08:00:00.25Z");
    // A run without records does not advance; older records do not move the position back.
    let mut plan = begin(&incremental, Some(&saved), "2024-06-02T00:00:00Z");
    assert_eq!(first_start(&plan), "2024-05-31T08:00:00Z");
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-31T08:00:00.25Z");
    observe(&mut plan, &[json!("2020-01-01")]);
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-31T08:00:00.25Z");
}

#[test]
fn reads_cursors_in_every_notation() {
    let incremental = from_start(json!({"cursor": "$.c", "initial": "2024-01-01"}));
    // Cursors in the future count as now. Others are errors that do not show the value.
    for (value, expected) in cases(
        "
        '2024-05-01T22:30:15+02:00' | 2024-05-01T20:30:15Z;
        '2024-05-01 22:30:15' | 2024-05-01T22:30:15Z;
        '/Date(1714602615500)/' | 2024-05-01T22:30:15.5Z;
        '9999-12-31' | 2024-06-01T00:00:00Z;
        '9999-12-31T23:59:59Z' | 2024-06-01T00:00:00Z;
        '/Date(253402214400000)/' | 2024-06-01T00:00:00Z;
        'marker' | a text in another format;
        '/Date(marker)/' | a text in another format;
        20240501 | a number;
        [marker] | a list;",
    ) {
        let mut plan = begin(&incremental, None, "2024-06-01T00:00:00Z");
        let mut seen = Seen::default();
        if let Err(error) = plan.observe(&mut seen, Some(&value)) {
            let message = format!(
                "the cursor at `$.c` of a record is {expected}, expected an ISO 8601 date or date-time"
            );
            assert_eq!(error.to_string(), message);
            continue;
        }
        plan.seen.merge(&seen);
        assert_eq!(position(&plan.finished().unwrap()), *expected, "{value}");
    }
}

#[test]
fn limits_cursors_to_the_windows_read() {
    let incremental = start_to_end(json!({"cursor": "$.c", "initial": "2024-05-01", "window": "1d"}));
    let mut plan = begin(&incremental, None, "2024-05-04T12:00:00Z");
    assert_eq!(plan.len(), 4);
    observe(&mut plan, &[json!("2024-05-03T00:00:00Z")]);
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-02T00:00:00Z");
    assert_eq!(position(&plan.after_window(3).unwrap()), "2024-05-04T00:00:00Z");
    observe(&mut plan, &[json!("2024-05-04T11:00:00Z")]);
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-04T11:00:00Z");
}

#[test]
fn repeats_full_runs() {
    let incremental = from_start(json!({"initial": "2024-01-01", "full_refresh_every": {"every": "3d"}}));
    let mut saved: Option<String> = None;
    let full = [1, 2, 3, 4, 5, 6, 7].map(|day| {
        let now = format!("2024-05-0{day}T00:00:00Z");
        let plan = begin(&incremental, saved.as_deref(), &now);
        saved = Some(plan.finished().unwrap());
        plan.is_full()
    });
    assert_eq!(full, [true, false, false, true, false, false, true]);
}

#[test]
fn resumes_an_interrupted_full_run() {
    let incremental =
        start_to_end(json!({"initial": "2024-05-01", "window": "1d", "full_refresh_every": {"runs": 2}}));
    let mut saved = finished(&incremental, None, "2024-05-03T00:00:00Z");
    saved = finished(&incremental, Some(&saved), "2024-05-04T00:00:00Z");
    let full = begin(&incremental, Some(&saved), "2024-05-05T00:00:00Z");
    assert_eq!((full.is_full(), full.len()), (true, 4));
    saved = full.after_window(0).unwrap();
    assert_eq!(position(&saved), "2024-05-02T00:00:00Z");
    let resumed = begin(&incremental, Some(&saved), "2024-05-06T00:00:00Z");
    let actual = (&*resumed.why, resumed.len());
    assert_eq!(actual, ("resuming an interrupted full run", 4));
    assert_eq!(first_start(&resumed), "2024-05-02T00:00:00Z");
    saved = resumed.finished().unwrap();
    let next = begin(&incremental, Some(&saved), "2024-05-07T00:00:00Z");
    assert_eq!((next.is_full(), next.len()), (false, 1));
}

#[test]
fn keeps_the_position_while_it_looks_back() {
    let incremental = start_to_end(json!({"initial": "2024-05-01", "window": "1d", "lookback": "3d"}));
    let saved = finished(&incremental, None, "2024-05-10T00:00:00Z");
    let plan = begin(&incremental, Some(&saved), "2024-05-11T00:00:00Z");
    assert_eq!(first_start(&plan), "2024-05-07T00:00:00Z");
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-10T00:00:00Z");
}

#[test]
fn stops_if_the_clock_went_back() {
    let incremental = from_start(json!({"initial": "2024-01-01"}));
    let saved = finished(&incremental, None, "2024-05-01T00:00:00Z");
    let adjusted = begin(&incremental, Some(&saved), "2024-04-30T23:58:00Z");
    assert_eq!(position(&adjusted.finished().unwrap()), "2024-05-01T00:00:00Z");
    let now = "2024-04-30T00:00:00Z".parse().unwrap();
    let error = incremental
        .begin(Some(&saved), &[("base_url", "https://a.example")], now)
        .unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Guard);
    assert!(error.to_string().contains("the clock was wrong"), "{error}");
}

#[test]
fn rejects_runs_that_cannot_begin() {
    let one_span = json!({"initial": "2024-01-01"});
    let damaged = r#"{"v":1,"at":"marker","runs":0,"full":null,"of":{}}"#;
    let many = json!({"initial": "1900-01-01", "window": "1m"});
    for (config, saved, expected) in [
        (&one_span, Some("marker"), "cannot be read"),
        (&one_span, Some(damaged), "cannot be read"),
        (&one_span, Some(r#"{"v":9,"later":true}"#), "another version"),
        (&many, None, "more than 100000"),
        (&json!({"initial": "2030-01-01"}), None, "in the future"),
    ] {
        let now = "2024-05-01T00:00:00Z".parse().unwrap();
        let error = start_to_end(config.clone()).begin(saved, &[], now).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn rejects_invalid_settings_by_key() {
    let found = compile(
        json!({"initial": "May 2024", "format": "iso", "window": "1h", "delay": "1h", "full_refresh_every": {}}),
        &[],
    )
    .unwrap_err();
    assert_eq!(
        found,
        [
            "format: unknown format `iso`",
            "initial: expected an ISO 8601 date or date-time",
            "no request uses `{start}`, so every run would read everything",
            "window: no request uses `{end}`, so every request would read to the end",
            "delay: no request uses `{end}`, so every request would read to the end",
            "full_refresh_every: give either `runs` or `every`",
        ]
    );
    for (mut config, expected) in cases(
        "
        {window: 36h, format: '%Y-%m-%d'} | window: expected a multiple of the smallest unit of `format` (1day);
        {format: '%Y-%m-%dT%H:%M:%SZ', timezone: '+02:00'} | `Z` at the end means UTC;
        {timezone: '+2:00'} | is not an offset;
        {full_refresh_every: {runs: 1}} | expected 2 to;
        {format: '%Y-%m'} | does not name a day;
        {format: '%Y-%m-%d %I:%M'} | `%I` and `%p` require each other;
        {format: '%Y-%m-%d %M'} | without the larger one;
        {format: '%Y-%m-%d %Q'} | unsupported directive `%Q`;
        {format: '%Y-%m-%d %'} | ends within a directive;
        {format: '%Y-%m-%dT%H:%M:%S%f'} | fractions of any length;",
    ) {
        config["initial"] = json!("2024-01-01");
        let found = compile(config, &["start", "end"]).unwrap_err();
        let is_expected = found.len() == 1 && found[0].contains(&expected);
        assert!(is_expected, "{expected}: {found:#?}");
    }
}

#[test]
fn loses_no_record_of_an_ambiguous_hour() {
    // 01:30 occurs twice on 3 November 2024 in New York: 05:30 and 06:30 UTC.
    let incremental = start_to_end(json!({
        "initial": "2024-11-01", "format": "%Y-%m-%dT%H:%M:%S", "timezone": "America/New_York", "window": "1h",
    }));
    for now in ["2024-11-03T05:30:00Z", "2024-11-03T06:30:00Z"] {
        let saved = finished(&incremental, None, now);
        let start = first_start(&begin(&incremental, Some(&saved), "2024-11-03T12:00:00Z"));
        assert!(start.as_str().unwrap() < "2024-11-03T01:00:00", "{start}");
    }
}

proptest! {
    /// Each point between the first start and the last end is in exactly one window, and the next run requests
    /// everything after the saved position.
    #[test]
    fn covers_everything_exactly_once(
        initial in 1_600_000_000_i64..1_700_000_000,
        span in 0_i64..40_000_000,
        more in 0_i64..4_000_000,
        zone in prop_oneof![
            Just("UTC"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Asia/Kathmandu"),
            Just("America/Sao_Paulo"), Just("+05:30"),
        ],
        (format, unit) in prop_oneof![
            Just(("%Y-%m-%d", DAY)), Just(("%Y-%m-%dT%H:%M:%S", 1000)), Just(("%Y-%m-%d %H", 3_600_000)),
        ],
        length in 1_i64..16,
        delay in prop_oneof![Just(0_i64), Just(10_800)],
    ) {
        // Not too many windows for the smallest unit.
        let window = length * unit * if unit == 1000 { 10_000 } else { 1 };
        let incremental = start_to_end(json!({
            "initial": Timestamp::from_second(initial).unwrap().to_string(),
            "format": format,
            "timezone": zone,
            "window": format!("{window}ms"),
            "delay": format!("{delay}s"),
        }));
        let now = Timestamp::from_second(initial + span).unwrap();
        let plan = incremental.begin(None, &[], now).unwrap();
        let read = |value: &Value| {
            let hour = if format.ends_with("%H") { ":00" } else { "" };
            let text = format!("{}{hour}", value.as_str().unwrap());
            text.parse::<jiff::civil::DateTime>().unwrap()
                .to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond()
        };
        let points: Vec<(i64, i64)> = requests(&plan).iter().map(|[start, end]| (read(start), read(end))).collect();
        for (start, end) in &points {
            prop_assert!(start < end && end - start <= window);
            prop_assert_eq!((start % unit, end % unit), (0, 0));
        }
        for pair in points.windows(2) {
            prop_assert_eq!(pair[0].1, pair[1].0);
        }
        let zone = if zone.starts_with('+') {
            TimeZone::fixed(Offset::from_seconds(19_800).unwrap())
        } else {
            TimeZone::get(zone).unwrap()
        };
        let local = |instant: Timestamp| {
            instant.as_millisecond() + i64::from(zone.to_offset(instant).seconds()) * 1000
        };
        // The first instant is included, and the position does not exceed what was requested.
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            prop_assert!(first.0 <= local(Timestamp::from_second(initial).unwrap()));
            let saved = plan.finished().unwrap();
            let kept: Timestamp = position(&saved).as_str().unwrap().parse().unwrap();
            prop_assert!(kept <= now);
            prop_assert!(local(kept) <= last.1);
            let later = Timestamp::from_second(initial + span + more).unwrap();
            let next = incremental.begin(Some(&saved), &[], later).unwrap();
            if let Some([start, _]) = requests(&next).first() {
                prop_assert!(read(start) <= local(kept));
            }
        }
    }
}
