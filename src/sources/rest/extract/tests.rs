//! The shapes of known systems, and what can be wrong with them.

mod any;

use serde_json::json;

use super::*;
use crate::config::{Problem, Problems};

/// Rows, and what the body's end told.
type Got = Result<(Vec<String>, Finished), BodyError>;

struct Body {
    config: RecordsConfig,
    probes: ValuePaths,
    limits: Limits,
    extra: Vec<(Arc<str>, Value)>,
    piece: usize,
}

fn body(config: Value) -> Body {
    Body {
        config: serde_json::from_value(config).unwrap(),
        probes: ValuePaths::default(),
        limits: Limits {
            keep_last: true,
            ..Limits::default()
        },
        extra: Vec::new(),
        piece: usize::MAX,
    }
}

fn at(path: &str) -> Body {
    body(json!({"path": path}))
}

impl Body {
    fn probe(mut self, path: &str) -> Self {
        self.probes.add(&SinglePath::parse(path).unwrap());
        self
    }

    fn extra(mut self, name: &str, value: Value) -> Self {
        self.extra.push((name.into(), value));
        self
    }

    fn pieces(mut self, bytes: usize) -> Self {
        self.piece = bytes;
        self
    }

    fn read(&self, text: impl AsRef<[u8]>) -> Got {
        let text = text.as_ref();
        let mut rows = Vec::new();
        let mut take = |row: &[u8]| {
            rows.push(String::from_utf8_lossy(row).into_owned());
            Ok::<_, BodyError>(())
        };
        let extractor = Extractor::new(&self.config, &self.probes, self.limits);
        let mut extraction = extractor.start(&self.extra);
        for piece in text.chunks(self.piece.min(text.len().max(1))) {
            extraction.feed(piece, &mut take)?;
        }
        let finished = extraction.finish(&mut take)?;
        assert_eq!(finished.rows, rows.len() as u64);
        Ok((rows, finished))
    }

    fn rows(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        self.read(text).unwrap().0
    }

    fn error(&self, text: impl AsRef<[u8]>) -> BodyError {
        self.read(text).map(|(rows, _)| rows).unwrap_err()
    }

    /// What is said, with the hint.
    fn told(&self, text: impl AsRef<[u8]>) -> String {
        let error = self.error(text);
        format!("{error}; {}", error.hint().unwrap_or_default())
    }
}

fn found(got: &Finished) -> Vec<Option<Value>> {
    let mut set = ValuePaths::default();
    let paths = ["$.p0", "$.p1", "$.p2", "$.p3"];
    let probes = paths.map(|path| set.add(&SinglePath::parse(path).unwrap()));
    probes
        .iter()
        .map(|probe| got.values.get(*probe).cloned())
        .collect()
}

const BAMBOO_TABLE: &str = r#"{"table":"employmentStatus","employees":{"7":{"lastChanged":"2024-05-01T10:00:00+00:00",
    "rows":[{"date":"2024-05-31","employmentStatus":"Terminated"},{"date":"2024-06-01"}]},"8":{"lastChanged":"x","rows":[]}}}"#;

#[test]
fn a_list_under_a_key_gives_its_elements_as_they_stand() {
    let workday = r#"{"Report_Entry":[{"Employee_ID":"7","Pay":10.50,"Orgs_group":[{"Org":"R&D"}]} , {"Employee_ID":"8"}]}"#;
    for path in ["$.Report_Entry", "$.Report_Entry[*]", "$['Report_Entry'][*]"] {
        for piece in [1, 7, usize::MAX] {
            let rows = at(path).pieces(piece).rows(workday);
            assert_eq!(
                rows,
                [
                    r#"{"Employee_ID":"7","Pay":10.50,"Orgs_group":[{"Org":"R&D"}]}"#,
                    r#"{"Employee_ID":"8"}"#
                ]
            );
        }
    }
}

#[test]
fn what_pages_are_turned_with_is_found_before_and_after_the_records() {
    let bamboo = r#"{"data":[{"employeeId":"7"},{"employeeId":"9"}],"meta":{"total":1,"page":{"nextCursor":"abc"}},"_links":{"next":null}}"#;
    let personio = r#"{"success":true,"metadata":{"current_page":0,"total_pages":1},"data":[{"attributes":{"email":{"value":"a@x.test"}}}]}"#;
    let body = at("$.data")
        .probe("$.meta.page.nextCursor")
        .probe("$._links.next")
        .probe("$.success")
        .probe("$.data[1].employeeId");
    for piece in [1, 5, usize::MAX] {
        let body = Body {
            piece,
            config: body.config.clone(),
            probes: body.probes.clone(),
            limits: body.limits,
            extra: Vec::new(),
        };
        let (rows, got) = body.read(bamboo).unwrap();
        assert_eq!((rows.len(), got.records), (2, 2));
        assert_eq!(
            found(&got),
            [Some(json!("abc")), Some(json!(null)), None, Some(json!("9"))]
        );
        let last = got.last_record().unwrap().unwrap();
        assert_eq!(last["employeeId"], "9");
        assert_eq!(
            found(&body.read(personio).unwrap().1),
            [None, None, Some(json!(true)), None]
        );
    }
}

#[test]
fn a_probe_may_be_a_whole_object_around_the_records() {
    let body = at("$.d.results").probe("$.d").probe("$.d.results[0]").pieces(3);
    let (rows, got) = body.read(r#"{"d":{"results":[{"a":1}],"__next":"u"}}"#).unwrap();
    assert_eq!(rows, [r#"{"a":1}"#]);
    assert_eq!(
        found(&got)[..2],
        [
            Some(json!({"results": [{"a": 1}], "__next": "u"})),
            Some(json!({"a": 1}))
        ]
    );
}

#[test]
fn a_whole_body_is_a_list_or_one_record() {
    assert_eq!(at("$").rows(r#" [{"a":1},{"a":2}] "#).len(), 2);
    assert_eq!(at("$").rows("\u{feff}{\"a\":1}"), [r#"{"a":1}"#]);
    assert_eq!(at("$").pieces(1).rows("\u{feff}[]").len(), 0);
    assert_eq!(at("$").rows("null").len(), 0);
    assert_eq!(
        at("$.Data").rows(r#"{"Data":{"XRefCode":"42"}}"#),
        [r#"{"XRefCode":"42"}"#]
    );
    assert_eq!(at("$.Data").rows(r#"{"Data":null}"#).len(), 0);
    assert_eq!(body(json!({})).rows("[{}]"), ["{}"]);
}

#[test]
fn elements_that_are_no_objects_get_a_column() {
    assert_eq!(
        at("$.ids").pieces(2).rows(r#"{"ids":[7, "x",null,[1], 1.0e5]}"#),
        [
            r#"{"value":7}"#,
            r#"{"value":"x"}"#,
            r#"{"value":null}"#,
            r#"{"value":[1]}"#,
            r#"{"value":1.0e5}"#
        ]
    );
}

#[test]
fn what_the_path_must_not_be_is_told_with_its_type() {
    assert_eq!(
        at("$.data").error(r#"{"data":"marker"}"#).to_string(),
        "what is at `$.data` is a text, and a list or an object is wanted"
    );
    assert!(at("$.data").told(r#"{"data":12}"#).contains("is a number"));
    assert!(at("$").told("true").contains("is true or false"));
}

#[test]
fn a_misspelt_path_is_told_with_the_right_key() {
    let told = at("$.Report_Entries").told(r#"{"Report_Entry":[{"marker":1}]}"#);
    assert!(told.contains("`$` has no member `Report_Entries`"), "{told}");
    assert!(told.contains("did you mean `Report_Entry`?"), "{told}");
    assert!(
        told.contains("`missing: empty`") && !told.contains("marker"),
        "{told}"
    );
    let told = at("$.d.result").told(r#"{"d":{"results":[]}}"#);
    assert!(
        told.contains("`$.d` has no member `result`; did you mean `results`?"),
        "{told}"
    );
    let told = at("$.d.results").told(r#"{"d":[{"results":[]}]}"#);
    assert!(
        told.contains("`$.d` is a list, which has no member `results`"),
        "{told}"
    );
    // Keys that are values are not shown.
    let told = at("$.data").told(r#"{"a@contoso.com":{},"datax":1}"#);
    assert!(!told.contains("contoso") && !told.contains("datax"), "{told}");
    let lenient = body(json!({"path": "$.Items", "missing": "empty"}));
    assert_eq!(lenient.rows("{}").len(), 0);
    assert!(lenient.read("").is_err(), "an empty body is another matter");
}

#[test]
fn keys_are_compared_as_what_they_say() {
    assert_eq!(at("$.data").rows(r#"{"d\u0061ta":[{"a":1}]}"#), [r#"{"a":1}"#]);
    assert_eq!(at(r"$['a\'\\b.c']").pieces(1).rows(r#"{"a'\\b.c":[{}]}"#), ["{}"]);
    let twice = at("$.data").told(r#"{"data":[],"d\u0061ta":[]}"#);
    assert!(
        twice.contains("at byte 11") && twice.contains("`data` is there twice"),
        "{twice}"
    );
    let twice = at("$.data")
        .probe("$.next")
        .told(r#"{"data":[],"next":1,"next":2}"#);
    assert!(twice.contains("`next` is there twice"), "{twice}");
}

#[test]
fn members_are_records_with_their_names() {
    let config = json!({"path": "$.employees", "key_as": "employee_id", "explode": {"path": "$.rows"}});
    for piece in [1, 11, usize::MAX] {
        let (rows, got) = body(config.clone()).pieces(piece).read(BAMBOO_TABLE).unwrap();
        assert_eq!(
            rows,
            [
                r#"{"employee_id":"7","lastChanged":"2024-05-01T10:00:00+00:00","date":"2024-05-31","employmentStatus":"Terminated"}"#,
                r#"{"employee_id":"7","lastChanged":"2024-05-01T10:00:00+00:00","date":"2024-06-01"}"#,
            ]
        );
        assert_eq!((got.records, got.rows, got.without_list), (2, 2, 0));
    }
    // The same without what stands around the rows.
    for path in ["$.employees.*.rows", "$.employees.*.rows[*]"] {
        let rows = body(json!({"path": path, "key_as": "id"})).rows(BAMBOO_TABLE);
        assert_eq!(rows[1], r#"{"id":"7","date":"2024-06-01"}"#);
        assert_eq!(rows.len(), 2);
    }
    let map = body(json!({"path": "$.e", "key_as": "id"}));
    assert_eq!(map.rows(r#"{"e":{}}"#).len(), 0);
    assert_eq!(map.rows(r#"{"e":[]}"#).len(), 0, "how PHP writes an empty map");
    assert_eq!(map.rows(r#"{"e":null}"#).len(), 0);
    assert_eq!(
        map.rows(r#"{"e":{"7":"x","8\"":[{"a":1}]}}"#),
        [r#"{"id":"7","value":"x"}"#, r#"{"id":"8\"","a":1}"#]
    );
    let told = map.told(r#"{"e":[{"a":1}]}"#);
    assert!(
        told.contains("`$.e` is a list") && told.contains("`key_as`"),
        "{told}"
    );
}

#[test]
fn a_path_goes_through_the_elements_of_lists() {
    let text = r#"{"w":[{"id":1,"a":[{"x":1},{"x":2}]},{"id":2},{"id":3,"a":[]},{"a":{"x":3}}]}"#;
    for path in ["$.w[*].a[*]", "$.w[*].a", "$.w.*.a"] {
        assert_eq!(
            at(path).pieces(4).rows(text),
            [r#"{"x":1}"#, r#"{"x":2}"#, r#"{"x":3}"#]
        );
    }
    let told = at("$.w[*].b").told(text);
    assert!(told.contains("`$.w[*]` has no member `b`"), "{told}");
    assert_eq!(at("$.w[*].b").rows(r#"{"w":[]}"#).len(), 0);
    assert_eq!(at("$.w[1]").rows(text), [r#"{"id":2}"#]);
}

#[test]
fn filters_and_descendants_look_at_the_whole_body() {
    let text = "\u{feff}{\"data\":[{\"id\":1.10,\"t\":\"x\"},{\"id\":12345678901234567890123,\"t\":\"y\"},{\"t\":\"y\"}],\"next\":\"n\"}";
    let body = at("$.data[?@.t == 'y']").probe("$.next").pieces(5);
    let (rows, got) = body.read(text).unwrap();
    assert_eq!(
        rows,
        [r#"{"id":12345678901234567890123,"t":"y"}"#, r#"{"t":"y"}"#]
    );
    assert_eq!(found(&got)[0], Some(json!("n")));
    assert_eq!(at("$..id").rows(text)[0], r#"{"value":1.10}"#);
    assert_eq!(at("$.data[::-1]").rows(text)[2], r#"{"id":1.10,"t":"x"}"#);
    assert_eq!(at("$.data[?@.t == 'z']").rows(text).len(), 0);
    let told = at("$.dat[?@.t]").told(text);
    assert!(told.contains("did you mean `data`?"), "{told}");
    let mut small = at("$..id");
    small.limits.max_buffered = 20;
    let told = small.told(text);
    assert!(
        told.contains("the whole body, which `$..id` needs,") && told.contains("20 bytes"),
        "{told}"
    );
    assert!(
        at("$..id")
            .error(r#"{"data":[1,,2]}"#)
            .to_string()
            .contains("byte 11")
    );
    assert!(at("$..id").error(r#"{"data":["#).is_truncated());
}

#[test]
fn columns_are_taken_out_of_records_by_path() {
    let pick = json!({"mail": "$.a.mail.value", "team": "$.a.teams[1]"});
    let text = r#"[{"a":{"mail":{"value":"x\u0040y"},"teams":["R",{"n":1.0}]},"k":1},{"a":null,"rows":[{"n":1},{"n":2}]},{}]"#;
    let own = body(json!({"columns": pick})).rows(text);
    assert_eq!(
        own[0],
        r#"{"a":{"mail":{"value":"x\u0040y"},"teams":["R",{"n":1.0}]},"k":1,"mail":"x\u0040y","team":{"n":1.0}}"#
    );
    assert_eq!(own[2], r#"{"mail":null,"team":null}"#);
    assert_eq!(
        body(json!({"columns": pick, "explode": {"path": "$.rows", "keep": "none"}})).rows(text),
        [
            r#"{"n":1,"mail":null,"team":null}"#,
            r#"{"n":2,"mail":null,"team":null}"#
        ]
    );
    let told = body(json!({"columns": {"k": "$.a.k"}})).told(r#"[{"k":1,"a":{"k":2}}]"#);
    assert!(told.contains("`k`"), "{told}");
}

#[test]
fn exploded_rows_keep_what_is_asked_for() {
    let text = r#"[{"id":7,"n":{"a":[1]},"rows":[{"x":1.0},{"id":8}]},{"id":9,"rows":[]},{"id":10},{"id":11,"rows":{"x":2}}]"#;
    let rows = |explode: Value| body(json!({"explode": explode})).rows(text);
    assert_eq!(
        rows(json!({"path": "$.rows[*]", "keep": ["id"], "prefix": "parent_", "empty": "keep"})),
        [
            r#"{"parent_id":7,"x":1.0}"#,
            r#"{"parent_id":7,"id":8}"#,
            r#"{"parent_id":9}"#,
            r#"{"parent_id":10}"#,
            r#"{"parent_id":11,"x":2}"#,
        ]
    );
    assert_eq!(
        rows(json!({"path": "$.rows", "keep": "none"})),
        [r#"{"x":1.0}"#, r#"{"id":8}"#, r#"{"x":2}"#]
    );
    assert_eq!(
        rows(json!({"path": "$.n.a", "keep": ["id"]})),
        [r#"{"id":7,"value":1}"#]
    );
    let clash = body(json!({"explode": {"path": "$.rows"}}));
    let told = clash.told(text);
    assert!(told.contains("`id`") && told.contains("`prefix`"), "{told}");
    let (_, got) = clash.read(r#"[{"id":7,"rows":[{"id":"7"}]},{"id":1}]"#).unwrap();
    assert_eq!((got.records, got.rows, got.without_list), (2, 1, 1));
    let told = clash.told(r#"[{"rows":"marker"}]"#);
    assert!(
        told.contains("`$.rows` is a text") && !told.contains("marker"),
        "{told}"
    );
    assert!(clash.told(r#"[{"rows":[],"rows":[]}]"#).contains("twice"));
}

#[test]
fn added_columns_come_first_and_agree_with_the_record() {
    let body = at("$.Data")
        .extra("XRefCode", json!(42))
        .extra("o'r\"g", json!(null));
    assert_eq!(
        body.rows(r#"{"Data":{"XRefCode":"42","a":1.50}}"#),
        [r#"{"XRefCode":42,"o'r\"g":null,"a":1.50}"#]
    );
    let told = body.told(r#"{"Data":{"XRefCode":"marker"}}"#);
    assert!(told.contains("`XRefCode`") && !told.contains("marker"), "{told}");
    // What is no JSON inside is passed on for the decoder to put aside.
    assert_eq!(body.rows(r#"{"Data":[{"a" 1}]}"#), [r#"{"a" 1}"#]);
}

#[test]
fn nested_values_become_text_if_asked() {
    let body = body(json!({"nested": "json"}));
    assert_eq!(
        body.rows(r#"[{"a":[1.0,"\"x\\"],"b":{},"c":"[]"}]"#),
        [r#"{"a":"[1.0,\"\\\"x\\\\\"]","b":"{}","c":"[]"}"#]
    );
}

#[test]
fn lines_are_bodies_of_their_own() {
    let lines = body(json!({"format": "ndjson"})).probe("$.next");
    for piece in [1, 4, usize::MAX] {
        let lines = Body {
            piece,
            ..body(json!({"format": "ndjson"})).probe("$.next")
        };
        let (rows, got) = lines.read("\u{feff}{\"a\":1}\r\n\n{\"a\":2,\"next\":3}").unwrap();
        assert_eq!(rows, [r#"{"a":1}"#, r#"{"a":2,"next":3}"#]);
        assert_eq!(found(&got)[0], Some(json!(3)));
    }
    assert_eq!(lines.rows("").len(), 0);
    assert!(lines.error("{\"a\":1}\n{\"a\":").is_truncated());
    assert!(
        lines
            .told("{\"a\":\n1}")
            .contains("a line ends before its value does")
    );
    // What is missing on one line is missing, whatever the others have.
    let told = body(json!({"format": "ndjson", "path": "$.d"}))
        .told("{\"d\":[{\"a\":1}]}\n{\"error\":\"timeout\"}\n");
    assert!(told.contains("`d`"), "{told}");
    let filtered = body(json!({"format": "ndjson", "path": "$.d[?@.a]"}));
    assert_eq!(
        filtered.rows("{\"d\":[{\"a\":1},{}]}\n{\"d\":[{\"a\":2}]}\n"),
        [r#"{"a":1}"#, r#"{"a":2}"#]
    );
}

#[test]
fn what_is_not_json_is_told_by_its_look() {
    let page = "<html><head><title>Sign in</title></head><body>marker</body></html>";
    for piece in [1, usize::MAX] {
        let told = at("$.data").pieces(piece).told(page);
        assert!(
            told.contains("a web page titled \"Sign in\"") && !told.contains("marker"),
            "{told}"
        );
        for text in ["not found", "marker", "2024-05-01;marker", "<x>", "\u{fe}"] {
            let error = at("$.data").pieces(piece).error(text);
            assert!(matches!(error, BodyError::NotJson { .. }), "{text}: {error:?}");
            assert!(!error.to_string().contains("marker"));
        }
    }
    assert_eq!(at("$").error(" \n"), BodyError::Empty);
    let mut body = at("$.data");
    body.limits.allow_empty = true;
    assert_eq!(body.rows("").len(), 0);
}

#[test]
fn what_is_wrong_around_the_records_is_told_with_its_place() {
    let cases = [
        (r#"{"data":[{"a":1} {"a":2}]}"#, "byte 17: a comma is missing"),
        (r#"{"data":[{"a":[1}]}"#, "byte 16: a bracket closes"),
        (r#"{"data":[,]}"#, "byte 9: a value is missing"),
        (r#"{"data":[{}],}"#, "byte 13: a key in double quotes"),
        (r#"{data:[]}"#, "byte 1: a key in double quotes"),
        (r#"{"data" []}"#, "byte 8: a colon is missing"),
        (r#"{"data":[]]"#, "byte 10: a bracket closes"),
        (
            r#"{"data":[]}{"data":[]}"#,
            "byte 11: there is more after the end",
        ),
        (r#"{"data":[],"x":nope}"#, "byte 15: a value is no number"),
    ];
    for (text, told) in cases {
        for piece in [1, usize::MAX] {
            let error = at("$.data").pieces(piece).error(text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
    let told = at("$").told("{\"a\":1}\n{\"a\":2}\n");
    assert!(told.contains("`format: ndjson`"), "{told}");
}

#[test]
fn bounds_are_kept() {
    let mut small = at("$.data");
    small.limits.max_record = 10;
    for piece in [1, usize::MAX] {
        small.piece = piece;
        assert_eq!(small.rows(r#"{"data":[{"a":"12"}]}"#).len(), 1);
        assert!(
            small
                .told(r#"{"data":[{"a":"123"}]}"#)
                .contains("larger than 10 bytes")
        );
        let large = format!(r#"{{"data":[],"next":"{}"}}"#, "x".repeat(65 << 10));
        let told = at("$.data").probe("$.next").pieces(piece).told(&large);
        assert!(told.contains("the value at `$.next` at byte 18"), "{told}");
        let deep = format!(r#"{{"data":[{}"#, "[".repeat(200));
        let error = at("$.data").pieces(piece).error(deep);
        assert!(matches!(error, BodyError::TooDeep { .. }), "{error:?}");
    }
}

#[test]
fn a_page_that_is_served_twice_has_the_same_digest() {
    let digest = |text: &str, piece| at("$.d").pieces(piece).read(text).unwrap().1.digest;
    let once = digest(r#"{"d":[{"a":1},{"a":2}],"page":1}"#, 1);
    assert_eq!(once, digest(r#"{"page":2,"d":[{"a":1},{"a":2}]}"#, 99));
    assert_ne!(once, digest(r#"{"d":[{"a":1},{"a":3}],"page":1}"#, 1));
}

#[test]
fn an_error_of_the_taker_ends_it() {
    #[derive(Debug)]
    enum Stop {
        Body,
        Taker,
    }
    impl From<BodyError> for Stop {
        fn from(_: BodyError) -> Self {
            Self::Body
        }
    }
    let extractor = Extractor::new(
        &RecordsConfig::default(),
        &ValuePaths::default(),
        Limits::default(),
    );
    let mut full = |_: &[u8]| Err(Stop::Taker);
    let got = extractor.start(&[]).feed(b"[{}]", &mut full);
    assert!(matches!(got, Err(Stop::Taker)));
    let got = extractor.start(&[]).feed(b"[}", &mut full);
    assert!(matches!(got, Err(Stop::Body)));
}

#[test]
fn settings_that_cannot_be_are_told() {
    let problems = |config: Value| {
        let config: RecordsConfig = serde_json::from_value(config).unwrap();
        let mut found: Vec<Problem> = Vec::new();
        config.validate(&mut Problems::new(&mut found).at("records"));
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(problems(json!({})).is_empty());
    let told = problems(json!({"path": "$..x", "key_as": ""}));
    assert!(
        told.len() == 2 && told[1].starts_with("records.key_as: `$..x` has"),
        "{told:?}"
    );
    let told = problems(json!({"explode": {"path": "$", "keep": "none", "prefix": "p_"}}));
    assert_eq!(told.len(), 2, "{told:?}");
    let told = problems(json!({"explode": {"path": "$.a.b", "keep": ["x", "a", "x"]}}));
    assert!(
        told[0].starts_with("records.explode.keep[1]: `a` holds the list"),
        "{told:?}"
    );
    assert!(told[1].starts_with("records.explode.keep[2]: `x`"), "{told:?}");
    let told = problems(json!({"columns": {"a": "$", "b": "$[0]", "c": "$.c"}}));
    assert!(
        told.len() == 2 && told[0].starts_with("records.columns.a: `$` is not within a row"),
        "{told:?}"
    );
    for wrong in [
        json!({"path": "data"}),
        json!({"paths": "$"}),
        json!({"explode": {"path": "$.a[*].b"}}),
        json!({"explode": {"path": "$.a", "keep": "some"}}),
    ] {
        assert!(serde_json::from_value::<RecordsConfig>(wrong).is_err());
    }
}
