//! What runs ask for, one after another, and how far they come.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::template::Filling;
use super::*;

fn uses(names: &[&str]) -> Uses {
    names.iter().map(|name| (*name).into()).collect()
}

fn compile(config: Value, names: &[&str]) -> Result<Incremental, Vec<String>> {
    let config: IncrementalConfig = serde_json::from_value(config).expect("it decodes");
    let mut found = Vec::new();
    let compiled = config.compile(&uses(names), &mut Problems::new(&mut found).at("incremental"));
    assert_eq!(compiled.is_none(), !found.is_empty());
    compiled.ok_or_else(|| {
        found
            .iter()
            .map(|p| format!("{p} ({})", p.hint.as_deref().unwrap_or("-")))
            .collect()
    })
}

fn both(config: Value) -> Incremental {
    compile(config, &["start", "end"]).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn begin(incremental: &Incremental, saved: Option<&str>, now: &str) -> Plan {
    incremental
        .begin(saved, &[("base_url", "https://a.example")], at(now))
        .unwrap()
}

/// `{start}` and `{end}` of all windows.
fn asked(plan: &Plan) -> Vec<(Value, Value)> {
    (0..plan.len())
        .map(|index| {
            let values = plan.window(index).unwrap().values;
            let one = |name| match values.get(name) {
                Some(Filling::One(value)) => value.clone(),
                _ => Value::Null,
            };
            (one("start"), one("end"))
        })
        .collect()
}

fn texts(plan: &Plan) -> Vec<(String, String)> {
    asked(plan)
        .into_iter()
        .map(|(start, end)| {
            (
                start.as_str().unwrap().to_owned(),
                end.as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn position(saved: &str) -> Value {
    serde_json::from_str::<Value>(saved).unwrap()["at"].clone()
}

#[test]
fn a_run_begins_where_the_last_one_did() {
    let incremental = compile(json!({"initial": "2024-01-01", "lookback": "1h"}), &["start"]).unwrap();
    let first = begin(&incremental, None, "2024-05-01T10:00:00.5Z");
    assert_eq!(*first.why(), Why::First);
    assert_eq!(asked(&first)[0].0, "2024-01-01T00:00:00Z");
    let saved = first.finished().unwrap();
    assert_eq!(position(&saved), "2024-05-01T10:00:00.5Z");
    let second = begin(&incremental, Some(&saved), "2024-05-02T10:00:00Z");
    assert_eq!(*second.why(), Why::GoesOn);
    assert_eq!(
        (second.len(), &asked(&second)[0].0),
        (1, &json!("2024-05-01T09:00:00Z"))
    );
    assert_eq!(position(&second.finished().unwrap()), "2024-05-02T10:00:00Z");
    // At once again: there is still a request, since what the service has is not known.
    let third = begin(
        &incremental,
        Some(&second.finished().unwrap()),
        "2024-05-02T10:00:00Z",
    );
    assert_eq!(third.len(), 1);
}

#[test]
fn windows_of_three_hours_that_are_three_hours_behind() {
    let incremental = both(json!({
        "initial": "2024-05-01", "window": "3h", "delay": "3h", "format": "%m-%d-%Y %H:%M",
    }));
    let plan = begin(&incremental, None, "2024-05-01T10:30:40Z");
    assert_eq!(
        texts(&plan),
        pairs(&[
            ("05-01-2024 00:00", "05-01-2024 03:00"),
            ("05-01-2024 03:00", "05-01-2024 06:00"),
            ("05-01-2024 06:00", "05-01-2024 07:30"),
        ])
    );
    assert_eq!(
        plan.window(2).unwrap().shown,
        "05-01-2024 06:00 to 05-01-2024 07:30"
    );
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-01T03:00:00Z");
    let saved = plan.after_window(2).unwrap();
    assert_eq!(position(&saved), "2024-05-01T07:30:00Z");
    // Nothing can be new yet: nothing is asked, and the position stays.
    let next = begin(&incremental, Some(&saved), "2024-05-01T10:30:50Z");
    assert_eq!(next.len(), 0);
    assert_eq!(position(&next.finished().unwrap()), "2024-05-01T07:30:00Z");
}

#[test]
fn whole_days_with_ends_that_belong_to_them() {
    let incremental = both(json!({
        "initial": "2024-05-01", "window": "6d", "format": "%Y-%m-%d", "end_inclusive": true,
        "timezone": "America/New_York",
    }));
    // 02:00 in UTC is still the day before there.
    let plan = begin(&incremental, None, "2024-05-14T02:00:00Z");
    let expected = [
        ("2024-05-01", "2024-05-06"),
        ("2024-05-07", "2024-05-12"),
        ("2024-05-13", "2024-05-13"),
    ];
    assert_eq!(texts(&plan), pairs(&expected));
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-07T04:00:00Z");
    let saved = plan.finished().unwrap();
    assert_eq!(position(&saved), "2024-05-14T02:00:00Z");
    // The day that was not over is read again.
    let next = begin(&incremental, Some(&saved), "2024-05-14T20:00:00Z");
    assert_eq!(texts(&next), pairs(&[("2024-05-13", "2024-05-14")]));
}

#[test]
fn formats_as_vendors_have_them() {
    let now = "2024-05-02T10:00:00Z";
    let start = |format: &str, zone: &str| {
        let config = json!({"initial": "2024-05-01T22:30:15", "format": format, "timezone": zone});
        asked(&begin(&both(config), None, now))[0].0.clone()
    };
    assert_eq!(start("iso_z", "+02:00"), "2024-05-01T20:30:15Z");
    assert_eq!(start("iso_offset", "Europe/Berlin"), "2024-05-01T22:30:15+02:00");
    assert_eq!(start("epoch_seconds", "UTC"), json!(1_714_602_615));
    assert_eq!(start("epoch_milliseconds", "UTC"), json!(1_714_602_615_000_i64));
    assert_eq!(start("%Y-%m-%d%:z", "America/Los_Angeles"), "2024-05-01-07:00");
    assert_eq!(start("%m/%d/%Y %I:%M:%S %p", "UTC"), "05/01/2024 10:30:15 PM");
    assert_eq!(start("%Y-%m-%dT%H:%M:%S.%3fZ", "UTC"), "2024-05-01T22:30:15.000Z");
    assert_eq!(start("%d.%m.%Y", "UTC"), "01.05.2024");
}

#[test]
fn what_is_exactly_at_the_start_is_not_left_out() {
    let incremental = both(json!({"initial": "2024-05-01", "start_exclusive": true, "end_inclusive": true}));
    let plan = begin(&incremental, None, "2024-05-02T00:00:00Z");
    assert_eq!(
        texts(&plan),
        pairs(&[("2024-04-30T23:59:59Z", "2024-05-01T23:59:59Z")])
    );
}

fn observe(plan: &mut Plan, values: &[Value]) {
    let mut seen = Seen::default();
    for value in values {
        plan.observe(&mut seen, Some(value)).unwrap();
    }
    plan.merge(&seen);
}

#[test]
fn a_cursor_in_the_records_is_where_the_next_run_begins() {
    let incremental = compile(
        json!({"cursor": "$.changed", "initial": "2024-01-01", "timezone": "+02:00"}),
        &["start"],
    )
    .unwrap();
    assert_eq!(incremental.cursor().unwrap().to_string(), "$.changed");
    let mut plan = begin(&incremental, None, "2024-06-01T00:00:00Z");
    observe(
        &mut plan,
        &[
            json!("/Date(1462060800000+0000)/"),
            json!("2024-05-31T10:00:00"),
            json!("2024-05-31T08:00:00.25Z"),
            json!("2024-05-30"),
            json!(null),
            json!(" "),
        ],
    );
    assert_eq!(
        (plan.seen().with, plan.seen().without, plan.seen().future),
        (4, 2, 0)
    );
    let saved = plan.finished().unwrap();
    assert_eq!(position(&saved), "2024-05-31T08:00:00.25Z");
    // A run without records does not move on; one with older records does not go back.
    let plan = begin(&incremental, Some(&saved), "2024-06-02T00:00:00Z");
    assert_eq!(asked(&plan)[0].0, "2024-05-31T08:00:00Z");
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-31T08:00:00.25Z");
    let mut plan = plan;
    observe(&mut plan, &[json!("2020-01-01")]);
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-31T08:00:00.25Z");
}

#[test]
fn a_cursor_in_the_future_leaves_no_gap() {
    let incremental = compile(json!({"cursor": "$.c", "initial": "2024-01-01"}), &["start"]).unwrap();
    let mut plan = begin(&incremental, None, "2024-06-01T00:00:00Z");
    observe(
        &mut plan,
        &[
            json!("9999-12-31"),
            json!("9999-12-31T23:59:59Z"),
            json!("/Date(253402214400000)/"),
            json!("2024-05-01"),
        ],
    );
    assert_eq!(plan.seen().future, 3);
    assert_eq!(position(&plan.finished().unwrap()), "2024-06-01T00:00:00Z");
}

#[test]
fn cursors_and_windows_together_go_no_further_than_was_asked() {
    let incremental = both(json!({"cursor": "$.c", "initial": "2024-05-01", "window": "1d"}));
    let mut plan = begin(&incremental, None, "2024-05-04T12:00:00Z");
    assert_eq!(plan.len(), 4);
    observe(&mut plan, &[json!("2024-05-03T00:00:00Z")]);
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-02T00:00:00Z");
    assert_eq!(position(&plan.after_window(3).unwrap()), "2024-05-04T00:00:00Z");
    observe(&mut plan, &[json!("2024-05-04T11:00:00Z")]);
    assert_eq!(position(&plan.finished().unwrap()), "2024-05-04T11:00:00Z");
}

#[test]
fn a_cursor_of_another_kind_is_an_error_that_names_its_place() {
    for (format, value, says) in [
        (
            "iso8601",
            json!("marker"),
            "a text that is none: expected a date or date-time of ISO 8601",
        ),
        (
            "iso8601",
            json!(20_240_501),
            "a number that is none: expected a date or date-time of ISO 8601",
        ),
        (
            "epoch_seconds",
            json!("2024-marker"),
            "a text that is none: expected a number of seconds since 1970",
        ),
        (
            "epoch_milliseconds",
            json!([1]),
            "a list: expected a number of milliseconds since 1970",
        ),
        (
            "integer",
            json!("a-marker"),
            "a text that is none: expected a whole number",
        ),
        (
            "integer",
            json!(1.5),
            "a number that is none: expected a whole number",
        ),
        (
            "%m/%d/%Y",
            json!("2024-05-01"),
            "a text that is none: expected a time as `%m/%d/%Y`",
        ),
        (
            "iso8601",
            json!("/Date(marker)/"),
            "a text that is none: expected a date or date-time of ISO 8601",
        ),
    ] {
        let initial = if format == "integer" {
            json!(0)
        } else {
            json!("2024-01-01")
        };
        let config = json!({"cursor": "$.c", "cursor_format": format, "initial": initial});
        let plan = begin(
            &compile(config, &["start"]).unwrap(),
            None,
            "2024-06-01T00:00:00Z",
        );
        let error = plan.observe(&mut Seen::default(), Some(&value)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the cursor at `$.c` of a record is {says}")
        );
    }
}

#[test]
fn cursors_of_every_format_are_read() {
    for (format, value, expected) in [
        ("epoch_seconds", json!(1_714_602_615), "2024-05-01T22:30:15Z"),
        ("epoch_seconds", json!("1714602615.5"), "2024-05-01T22:30:15.5Z"),
        (
            "epoch_milliseconds",
            json!("1714602615500"),
            "2024-05-01T22:30:15.5Z",
        ),
        (
            "%m/%d/%Y %H:%M",
            json!("05/01/2024 22:30"),
            "2024-05-01T22:30:00Z",
        ),
        ("%m/%d/%Y", json!("05/01/2024"), "2024-05-01T00:00:00Z"),
        (
            "iso8601",
            json!("2024-05-01T22:30:15+02:00"),
            "2024-05-01T20:30:15Z",
        ),
        ("iso8601", json!("2024-05-01 22:30:15"), "2024-05-01T22:30:15Z"),
        (
            "iso8601",
            json!("/Date(1714602615500)/"),
            "2024-05-01T22:30:15.5Z",
        ),
    ] {
        let config = json!({"cursor": "$.c", "cursor_format": format, "initial": "2024-01-01"});
        let mut plan = begin(
            &compile(config, &["start"]).unwrap(),
            None,
            "2024-06-01T00:00:00Z",
        );
        observe(&mut plan, &[value]);
        assert_eq!(position(&plan.finished().unwrap()), expected, "{format}");
    }
}

#[test]
fn ids_that_grow_are_a_cursor_too() {
    let config = json!({"cursor": "$.id", "cursor_format": "integer", "initial": 0});
    let incremental = compile(config, &["start"]).unwrap();
    let mut plan = begin(&incremental, None, "2024-06-01T00:00:00Z");
    assert_eq!(asked(&plan), [(json!(0), Value::Null)]);
    assert_eq!(plan.window(0).unwrap().shown, "from 0");
    observe(&mut plan, &[json!(7), json!("12"), json!(3)]);
    let saved = plan.finished().unwrap();
    let plan = begin(&incremental, Some(&saved), "2024-06-02T00:00:00Z");
    assert_eq!(asked(&plan)[0].0, json!(12));
    assert_eq!(position(&plan.finished().unwrap()), json!(12));
}

#[test]
fn a_full_run_comes_every_so_often() {
    let config = json!({"initial": "2024-01-01", "full_refresh_every": {"runs": 3}});
    let incremental = compile(config, &["start"]).unwrap();
    let mut saved: Option<String> = None;
    let full: Vec<bool> = (1..=7)
        .map(|day| {
            let plan = begin(
                &incremental,
                saved.as_deref(),
                &format!("2024-05-0{day}T00:00:00Z"),
            );
            saved = Some(plan.finished().unwrap());
            plan.why().is_full()
        })
        .collect();
    assert_eq!(full, [true, false, false, true, false, false, true]);

    let config = json!({"initial": "2024-01-01", "full_refresh_every": {"every": "3d"}});
    let incremental = compile(config, &["start"]).unwrap();
    let mut saved: Option<String> = None;
    let full: Vec<bool> = (1..=5)
        .map(|day| {
            let plan = begin(
                &incremental,
                saved.as_deref(),
                &format!("2024-05-0{day}T00:00:00Z"),
            );
            saved = Some(plan.finished().unwrap());
            plan.why().is_full()
        })
        .collect();
    assert_eq!(full, [true, false, false, true, false]);
}

#[test]
fn a_full_run_that_was_broken_off_goes_on() {
    let incremental =
        both(json!({"initial": "2024-05-01", "window": "1d", "full_refresh_every": {"runs": 2}}));
    let saved = begin(&incremental, None, "2024-05-03T00:00:00Z")
        .finished()
        .unwrap();
    let saved = begin(&incremental, Some(&saved), "2024-05-04T00:00:00Z")
        .finished()
        .unwrap();
    let full = begin(&incremental, Some(&saved), "2024-05-05T00:00:00Z");
    assert_eq!((full.why(), full.len()), (&Why::Due, 4));
    let saved = full.after_window(0).unwrap();
    assert_eq!(position(&saved), "2024-05-02T00:00:00Z");
    let resumed = begin(&incremental, Some(&saved), "2024-05-06T00:00:00Z");
    assert_eq!((resumed.why(), resumed.len()), (&Why::Resumed, 4));
    assert_eq!(asked(&resumed)[0].0, "2024-05-02T00:00:00Z");
    let saved = resumed.finished().unwrap();
    let next = begin(&incremental, Some(&saved), "2024-05-07T00:00:00Z");
    assert_eq!((next.why(), next.len()), (&Why::GoesOn, 1));
}

#[test]
fn looking_back_does_not_take_the_position_back() {
    let incremental = both(json!({"initial": "2024-05-01", "window": "1d", "lookback": "3d"}));
    let saved = begin(&incremental, None, "2024-05-10T00:00:00Z")
        .finished()
        .unwrap();
    let plan = begin(&incremental, Some(&saved), "2024-05-11T00:00:00Z");
    assert_eq!(asked(&plan)[0].0, "2024-05-07T00:00:00Z");
    assert_eq!(position(&plan.after_window(0).unwrap()), "2024-05-10T00:00:00Z");
}

#[test]
fn other_settings_begin_anew_or_fail() {
    let config = |on_change: &str, initial: &str| json!({"initial": initial, "on_change": on_change});
    let incremental = compile(config("restart", "2024-01-01"), &["start"]).unwrap();
    let saved = begin(&incremental, None, "2024-05-01T00:00:00Z")
        .finished()
        .unwrap();
    assert!(!saved.contains("a.example"), "{saved}");
    let now = at("2024-05-02T00:00:00Z");
    let plan = incremental
        .begin(Some(&saved), &[("base_url", "https://b.example")], now)
        .unwrap();
    assert_eq!(*plan.why(), Why::Changed(vec!["base_url".to_owned()]));
    assert_eq!(
        plan.why().to_string(),
        "the position was kept for other settings (`base_url`) and is not used: everything is read, from `initial`"
    );
    assert_eq!(asked(&plan)[0].0, "2024-01-01T00:00:00Z");
    let strict = compile(config("error", "2023-01-01"), &["start"]).unwrap();
    let error = strict
        .begin(Some(&saved), &[("base_url", "https://a.example")], now)
        .unwrap_err();
    assert!(error.to_string().contains("(initial)"), "{error}");
}

#[test]
fn a_clock_that_went_back_leaves_no_gap() {
    let incremental = compile(json!({"initial": "2024-01-01"}), &["start"]).unwrap();
    let saved = begin(&incremental, None, "2024-05-01T00:00:00Z")
        .finished()
        .unwrap();
    let little = begin(&incremental, Some(&saved), "2024-04-30T23:58:00Z");
    assert_eq!(position(&little.finished().unwrap()), "2024-05-01T00:00:00Z");
    let error = incremental
        .begin(
            Some(&saved),
            &[("base_url", "https://a.example")],
            at("2024-04-30T00:00:00Z"),
        )
        .unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Guard);
    assert!(error.to_string().contains("a clock was wrong"), "{error}");
}

#[test]
fn what_was_kept_is_read_or_refused() {
    let incremental = compile(json!({"initial": "2024-01-01"}), &["start"]).unwrap();
    for (saved, says) in [
        ("marker", "cannot be read"),
        (
            r#"{"v":1,"at":"marker","runs":0,"full":null,"of":{}}"#,
            "cannot be read",
        ),
        (r#"{"v":9,"later":true}"#, "another version"),
    ] {
        let error = incremental
            .begin(Some(saved), &[], at("2024-05-01T00:00:00Z"))
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn too_many_windows_are_an_error() {
    let incremental = both(json!({"initial": "1900-01-01", "window": "1m"}));
    let error = incremental
        .begin(None, &[], at("2024-05-01T00:00:00Z"))
        .unwrap_err();
    assert!(error.to_string().contains("more than 100000"), "{error}");
    let incremental = both(json!({"initial": "2030-01-01"}));
    let error = incremental
        .begin(None, &[], at("2024-05-01T00:00:00Z"))
        .unwrap_err();
    assert!(error.to_string().contains("in the future"), "{error}");
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let found = compile(
        json!({
            "initial": "May 2024", "format": "iso", "timezone": "America/NewYork", "cursor_format": "integer",
            "window": "1h", "full_refresh_every": {},
        }),
        &[],
    )
    .unwrap_err();
    assert_eq!(
        found,
        [
            "incremental.timezone: `America/NewYork` is no time zone (did you mean `America/New_York`, \
             `America/Fort_Wayne`, `America/Nome`?)",
            "incremental.cursor_format: there is no cursor in the records (`cursor: $.path` says where it is)",
            "incremental.format: `iso` is no format (did you mean `iso_z`, `iso_offset`? or write a pattern such as \
             `%Y-%m-%d`)",
            "incremental.initial: expected a whole number (such as 0, to begin with the first)",
            "incremental: no request uses `{start}`: everything would be read in every run (write `{start}` where the \
             service takes it, such as `query: {since: \"{start}\"}`)",
            "incremental.window: it is about times, and with `cursor_format: integer` there are none (-)",
            "incremental.timezone: it is about times, and with `cursor_format: integer` there are none (-)",
            "incremental.format: it is about times, and with `cursor_format: integer` there are none (-)",
            "incremental.full_refresh_every: give `runs` or `every` (-)",
        ]
    );
    for (config, names, says) in [
        (
            json!({"window": "3h"}),
            vec!["start"],
            "incremental.window: no request uses `{end}`",
        ),
        (
            json!({"delay": "3h"}),
            vec!["start"],
            "incremental.delay: no request uses `{end}`",
        ),
        (
            json!({"window": "36h", "format": "%Y-%m-%d"}),
            vec!["start", "end"],
            "incremental.window: it is no multiple of the granularity (1day)",
        ),
        (
            json!({"granularity": "1h", "format": "%Y-%m-%d"}),
            vec!["start"],
            "incremental.granularity: it is no multiple",
        ),
        (json!({"format": "%Y-%m"}), vec!["start"], "does not name a day"),
        (
            json!({"format": "%Y-%m-%d %I:%M"}),
            vec!["start"],
            "`%I` and `%p` belong together",
        ),
        (
            json!({"format": "%Y-%m-%d %M"}),
            vec!["start"],
            "without the greater one",
        ),
        (json!({"format": "%Y-%m-%d %Q"}), vec!["start"], "not known here"),
        (
            json!({"format": "%Y-%m-%dT%H:%M:%S%f"}),
            vec!["start"],
            "fractions of any length",
        ),
        (
            json!({"format": "%Y-%m-%dT%H:%M:%SZ", "timezone": "+02:00"}),
            vec!["start"],
            "`Z` at the end says UTC",
        ),
        (json!({"timezone": "+2:00"}), vec!["start"], "is no offset"),
        (
            json!({"full_refresh_every": {"runs": 1}}),
            vec!["start"],
            "from 2 on",
        ),
    ] {
        let mut config = config;
        config["initial"] = json!("2024-01-01");
        let found = compile(config, &names).unwrap_err();
        assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:#?}");
    }
}

#[test]
fn an_hour_that_the_clocks_show_twice_is_not_lost() {
    // 01:30 comes twice on 3 November 2024 in New York: 05:30 and 06:30 in UTC.
    let incremental = both(json!({
        "initial": "2024-11-01", "format": "%Y-%m-%dT%H:%M:%S", "timezone": "America/New_York", "window": "1h",
    }));
    for now in ["2024-11-03T05:30:00Z", "2024-11-03T06:30:00Z"] {
        let saved = begin(&incremental, None, now).finished().unwrap();
        let next = begin(&incremental, Some(&saved), "2024-11-03T12:00:00Z");
        assert!(
            texts(&next)[0].0.as_str() < "2024-11-03T01:00:00",
            "{:?}",
            texts(&next)[0]
        );
    }
}

proptest! {
    /// Each point between the first start and the last end is in exactly one window as it is written, and what comes
    /// after the position that is kept is asked for by the next run.
    #[test]
    fn windows_cover_all_exactly_once(
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
        granularity in 1_i64..3,
        length in 1_i64..8,
        end_inclusive: bool,
        delay in prop_oneof![Just(0_i64), Just(10_800)],
    ) {
        let granularity = granularity * unit;
        // Not too many windows for the smallest unit.
        let window = length * granularity * if unit == 1000 { 10_000 } else { 1 };
        let config = json!({
            "initial": Timestamp::from_second(initial).unwrap().to_string(),
            "format": format,
            "timezone": zone,
            "granularity": format!("{granularity}ms"),
            "window": format!("{window}ms"),
            "end_inclusive": end_inclusive,
            "delay": format!("{delay}s"),
        });
        let incremental = both(config);
        let now = Timestamp::from_second(initial + span).unwrap();
        let plan = incremental.begin(None, &[], now).unwrap();
        let read = |text: &str| {
            let hour = format.ends_with("%H");
            let text = if hour { format!("{text}:00") } else { text.to_owned() };
            text.parse::<jiff::civil::DateTime>().unwrap()
                .to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond()
        };
        let points: Vec<(i64, i64)> = texts(&plan).iter()
            .map(|(start, end)| (read(start), read(end) + if end_inclusive { granularity } else { 0 }))
            .collect();
        for (start, end) in &points {
            prop_assert!(start < end && end - start <= window);
            prop_assert_eq!((start % granularity, end % granularity), (0, 0));
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
        // The first instant is in, and the position goes no further than what was asked for.
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            prop_assert!(first.0 <= local(Timestamp::from_second(initial).unwrap()));
            let saved = plan.finished().unwrap();
            let kept: Timestamp = position(&saved).as_str().unwrap().parse().unwrap();
            prop_assert!(kept <= now);
            prop_assert!(local(kept) <= last.1);
            let later = Timestamp::from_second(initial + span + more).unwrap();
            let next = incremental.begin(Some(&saved), &[], later).unwrap();
            if let Some((start, _)) = texts(&next).first() {
                prop_assert!(read(start) <= local(kept));
                prop_assert!(read(start) <= last.1);
            }
        }
    }
}
