//! Bodies as known services send them, and what can be wrong with them.

mod any;

use serde_json::json;

use super::plan::Limits;
use super::*;
use crate::component::{Problem, Problems};
use crate::error::{Error, Result as Done};

struct Body {
    config: RecordsConfig,
    paths: ValuePaths,
    limits: Limits,
    cursor: Option<SinglePath>,
    extra: Vec<(Arc<str>, Value)>,
    piece: usize,
}

#[derive(Default)]
struct Rows {
    texts: Vec<String>,
    cursors: Vec<Option<Value>>,
    fails: bool,
}

impl RowOutput for Rows {
    fn row(&mut self, text: &str) -> Done<()> {
        self.texts.push(text.to_owned());
        match self.fails {
            true => Err(Error::input("the output failed")),
            false => Ok(()),
        }
    }

    fn cursor(&mut self, value: Option<&Value>) -> Done<()> {
        self.cursors.push(value.cloned());
        Ok(())
    }
}

fn body(config: Value) -> Body {
    Body {
        config: serde_json::from_value(config).unwrap(),
        paths: ValuePaths::default(),
        limits: Limits::default(),
        cursor: None,
        extra: Vec::new(),
        piece: usize::MAX,
    }
}

fn at(path: &str) -> Body {
    body(json!({"path": path}))
}

impl Body {
    fn value(mut self, path: &str) -> Self {
        self.paths.add(&SinglePath::parse(path).unwrap());
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

    fn run(&self, text: impl AsRef<[u8]>, output: &mut Rows) -> (Result<Extracted, BodyError>, Head) {
        let pieces: Vec<Bytes> = text
            .as_ref()
            .chunks(self.piece.min(text.as_ref().len().max(1)))
            .map(Bytes::copy_from_slice)
            .collect();
        let extractor = Extractor(Arc::new(Plan {
            limits: self.limits,
            cursor: self.cursor.clone(),
            keep_last: true,
            ..Plan::new(&self.config, &self.paths)
        }));
        extractor.run(pieces.into_iter(), 64, &self.extra, output)
    }

    fn read(&self, text: impl AsRef<[u8]>) -> Result<(Vec<String>, Extracted), BodyError> {
        let mut output = Rows::default();
        let extracted = self.run(text, &mut output).0?;
        assert_eq!(extracted.rows, output.texts.len() as u64);
        Ok((output.texts, extracted))
    }

    #[track_caller]
    fn rows(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        self.read(text).unwrap().0
    }

    /// The error with its hint.
    #[track_caller]
    fn error(&self, text: impl AsRef<[u8]>) -> String {
        let error = self.read(text).map(|(rows, _)| rows).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    }
}

/// The values at the first paths of a body.
fn values(extracted: &Extracted, count: usize) -> Vec<Option<Value>> {
    let mut paths = ValuePaths::default();
    let ids = (0..count).map(|at| paths.add(&SinglePath::parse(&format!("$.x{at}")).unwrap()));
    ids.map(|id| extracted.values.get(id).cloned()).collect()
}

/// Settings or a path, a body, and the rows; `¶` stands for a byte order mark, `↵` for a line break.
const ROWS: &str = r#"
$.Entry → {"Entry":[{"ID":"7","Pay":10.50,"O":[{"X":"R&D"}]} , {"ID":"8"}]} → {"ID":"7","Pay":10.50,"O":[{"X":"R&D"}]} · {"ID":"8"}
$.Entry[*] → {"Entry":[{"ID":"7"},{"ID":"8"}]} → {"ID":"7"} · {"ID":"8"}
$['Entry'][ * ] → {"Entry":[{"ID":"7"}]} → {"ID":"7"}
$ →  [{"a":1},{"a":2}]  → {"a":1} · {"a":2}
$ → ¶{"a":1} → {"a":1}
$ → ¶[] →
$ → null →
$.Data → {"Data":{"X": "42" }} → {"X":"42"}
$.Data → {"Data":null} →
$.ids → {"ids":[7, "x",null,[1], 1.0e5]} → {"value":7} · {"value":"x"} · {"value":null} · {"value":[1]} · {"value":1.0e5}
$.data → {"d\u0061ta":[{"a":1}]} → {"a":1}
$['a\'\\b.c'] → {"a'\\b.c":[{}]} → {}
$.w[*].a[*] → {"w":[{"a":[{"x":1},{"x":2}]},{"id":2},{"a":[]},{"a":{"x":3}}]} → {"x":1} · {"x":2} · {"x":3}
$.w[*].a → {"w":[{"a":[{"x":1}]},{"a":{"x":3}}]} → {"x":1} · {"x":3}
$.w.*.a → {"w":[{"a":[{"x":1}]},{"id":2}]} → {"x":1}
$.w[*].b → {"w":[]} →
$.w[1] → {"w":[{"id":1},{"id":2}]} → {"id":2}
$.e.*.rows → {"e":{"7":{"rows":[{"d":"a"},{"d":"b"}]},"8":{"rows":[]}}} → {"d":"a"} · {"d":"b"}
$.d[?@.t == 'y'] → ¶{"d":[{"id":1.10,"t":"x"},{"id":12345678901234567890123,"t":"y"}]} → {"id":12345678901234567890123,"t":"y"}
$..id → {"d":[{"id":1.10},{"id":2}]} → {"value":1.10} · {"value":2}
$.d[::-2] → {"d":[{"id":1},{"id":2},{"id":3}]} → {"id":3} · {"id":1}
$.d[?@.t == 'z'] → {"d":[{"id":1}]} →
{"path":"$.e","key_as":"id","explode":{"path":"$.rows"}} → {"e":{"7":{"at":"x","rows":[{"d":"a"},{"d":"b"}]}}} → {"id":"7","at":"x","d":"a"} · {"id":"7","at":"x","d":"b"}
{"path":"$.e.*.rows[*]","key_as":"id"} → {"e":{"7":{"rows":[{"d":"a"}]}}} → {"id":"7","d":"a"}
{"path":"$.e","key_as":"id"} → {"e":{}} →
{"path":"$.e","key_as":"id"} → {"e":[]} →
{"path":"$.e","key_as":"id"} → {"e":null} →
{"path":"$.e","key_as":"id"} → {"e":{"7":"x","8\"":[{"a":1}]}} → {"id":"7","value":"x"} · {"id":"8\"","a":1}
{"columns":{"m":"$.a.m.v","t":"$.a.t[1]"}} → [{"a":{"m":{"v":"x\u0040y"},"t":["R",{"n":1.0}]}},{}] → {"a":{"m":{"v":"x\u0040y"},"t":["R",{"n":1.0}]},"m":"x\u0040y","t":{"n":1.0}} · {"m":null,"t":null}
{"columns":{"t":"$.a.t[1]"},"explode":{"path":"$.rows","keep":"none"}} → [{"a":null,"rows":[{"n":1},{"a":{"t":[0,1]}}]}] → {"n":1,"t":null} · {"a":{"t":[0,1]},"t":1}
{"explode":{"path":"$.r[*]","keep":["id"],"prefix":"p_","empty":"keep"}} → [{"id":7,"n":0,"r":[{"x":1.0},{"id":8}]},{"id":9,"r":[]},{"id":10},{"id":11,"r":{"x":2}}] → {"p_id":7,"x":1.0} · {"p_id":7,"id":8} · {"p_id":9} · {"p_id":10} · {"p_id":11,"x":2}
{"explode":{"path":"$.r","keep":"none"}} → [{"id":7,"r":[{"x":1.0},{"id":8}]},{"id":9,"r":[]},{"r":{"x":2}}] → {"x":1.0} · {"id":8} · {"x":2}
{"explode":{"path":"$.n.a","keep":["id"]}} → [{"id":7,"n":{"a":[1]}}] → {"id":7,"value":1}
{"nested":"json"} → [{"a":[1.0,"\"x\\"],"b":{},"c":"[]"}] → {"a":"[1.0,\"\\\"x\\\\\"]","b":"{}","c":"[]"}
{"format":"ndjson"} → ¶{"a":1}↵↵{"a":2} → {"a":1} · {"a":2}
{"format":"ndjson"} →  →
{"format":"ndjson","path":"$.d[?@.a]"} → {"d":[{"a":1},{}]}↵{"d":[{"a":2}]}↵ → {"a":1} · {"a":2}
{"path":"$.Items","missing":"empty"} → {} →
"#;

/// A body for settings, or for a path.
fn body_of(settings: &str) -> Body {
    match settings.starts_with('$') {
        true => at(settings),
        false => body(serde_json::from_str(settings).unwrap()),
    }
}

/// The cells of a table.
fn cells(table: &str) -> impl Iterator<Item = [String; 3]> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let line = line.replace('¶', "\u{feff}").replace('↵', "\n");
        let mut cells = line.split('→').map(|cell| cell.strip_prefix(' ').unwrap_or(cell));
        [(); 3].map(|()| {
            let cell = cells.next().unwrap();
            cell.strip_suffix(' ').unwrap_or(cell).to_owned()
        })
    })
}

#[test]
fn extracts_records_as_rows() {
    for [settings, text, rows] in cells(ROWS) {
        let expected: Vec<&str> = rows.split(" · ").filter(|row| !row.is_empty()).collect();
        for piece in [1, 7, usize::MAX] {
            assert_eq!(
                body_of(&settings).pieces(piece).rows(&text),
                expected,
                "{settings} of {text}"
            );
        }
    }
}

#[test]
fn extracts_values_before_after_and_around_the_records() {
    let text =
        r#"{"ok":true,"data":[{"id":"7"},{"id":"9"}],"meta":{"page":{"next":"abc"}},"links":{"next":null}}"#;
    let paths = [
        "$.meta.page.next",
        "$.links.next",
        "$.ok",
        "$.data[1].id",
        "$.data",
        "$.none",
        "$.links",
    ];
    let body = paths.iter().fold(at("$.data"), |body, path| body.value(path));
    for piece in [1, 5, usize::MAX] {
        let body = Body {
            piece,
            config: body.config.clone(),
            paths: body.paths.clone(),
            ..at("$")
        };
        let (rows, extracted) = body.read(text).unwrap();
        assert_eq!((rows.len(), extracted.records), (2, 2));
        // Containers of the records are kept without them.
        let expected = [
            Some(json!("abc")),
            Some(json!(null)),
            Some(json!(true)),
            Some(json!("9")),
            Some(json!([])),
            None,
            Some(json!({"next": null})),
        ];
        assert_eq!(values(&extracted, paths.len()), expected);
        assert_eq!(extracted.last_record.unwrap()["id"], "9");
    }
}

#[test]
fn reads_the_cursor_of_each_row() {
    let mut cursors = body(json!({"explode": {"path": "$.rows"}}));
    cursors.cursor = Some(SinglePath::parse("$.at.time").unwrap());
    let mut output = Rows::default();
    let text = r#"[{"at":{"time":"2026"},"rows":[{"x":1},{"x":2}]},{"rows":[{"at":{}}]}]"#;
    cursors.run(text, &mut output).0.unwrap();
    assert_eq!(output.cursors, [Some(json!("2026")), Some(json!("2026")), None]);
}

#[test]
fn added_columns_come_first_and_agree_with_the_record() {
    let body = at("$.Data").extra("Code", json!(42)).extra("o'r\"g", json!(null));
    assert_eq!(
        body.rows(r#"{"Data":{"Code":"42","a":1.50}}"#),
        [r#"{"Code":42,"o'r\"g":null,"a":1.50}"#]
    );
    let error = body.error(r#"{"Data":{"Code":"marker"}}"#);
    assert!(error.contains("`Code`") && !error.contains("marker"), "{error}");
}

#[test]
fn counts_records_rows_and_missing_arrays() {
    let (_, extracted) = body(json!({"explode": {"path": "$.rows"}}))
        .read(r#"[{"id":7,"rows":[{"id":"7"},{}]},{"id":1}]"#)
        .unwrap();
    assert_eq!(
        (extracted.records, extracted.rows, extracted.without_list),
        (2, 2, 1)
    );
    let digest = |text: &str, piece| at("$.d").pieces(piece).read(text).unwrap().1.digest;
    let once = digest(r#"{"d":[{"a":1},{"a":2}],"page":1}"#, 1);
    assert_eq!(once, digest(r#"{"page":2,"d":[{"a":1},{"a":2}]}"#, 99));
    assert_ne!(once, digest(r#"{"d":[{"a":1},{"a":3}],"page":1}"#, 1));
}

/// Settings or a path, a body, and parts of the error. All have a value at `$.next`.
const ERRORS: &str = r#"
$.data → {"data":"marker"} → `$.data` is a string, expected an array or an object
$.data → {"data":12} → is a number
$ → true → is a boolean
$.Entries → {"Entry":[{"marker":1}]} → `$` has no member `Entries` · did you mean `Entry`? · `missing: empty`
$.d.result → {"d":{"results":[]}} → `$.d` has no member `result` · did you mean `results`?
$.d.results → {"d":[{"results":[]}]} → `$.d` is an array, which has no member `results`
$.w[*].b → {"w":[{"c":1}]} → `$.w[*]` has no member `b`
$.dat[?@.t] → {"data":[]} → did you mean `data`?
$.data → {"data":[],"d\u0061ta":[]} → `data` occurs twice
$.data → {"data":[],"next":1,"next":2} → `next` occurs twice
{"path":"$.e","key_as":"id"} → {"e":[{"a":1}]} → `$.e` is an array · `key_as`
{"explode":{"path":"$.rows"}} → [{"id":7,"rows":[{"id":8}]}] → `id` · `prefix`
{"explode":{"path":"$.rows"}} → [{"rows":"marker"}] → `$.rows` is a string
{"explode":{"path":"$.rows"}} → [{"rows":[],"rows":[]}] → twice
{"columns":{"k":"$.a.k"}} → [{"k":1,"a":{"k":2}}] → `k` · rename
{"format":"ndjson","path":"$.d"} → {"d":[{"a":1}]}↵{"error":"marker"}↵ → `d`
$.data → {"data":[{"a":1} {"a":2}]} → line 1, column 18 · after 1 records · expected `,` or `]`
$.data → {"data":[{↵"marker" 1}]} → line 2, column 10 · expected `:`
$.data → {data:[]} → key must be a string
$.data → {"data":[]] → column 11
$.data → {"data":[],"x":nope} → invalid JSON
$ → {"a":1}↵{"a":2}↵ → trailing characters · `records.format: ndjson`
$ →   → is empty
$.data → <html><head><title>Sign in</title></head>marker</html> → a web page titled "Sign in"
$.data → <?xml version='1.0'?><a>marker</a> → XML · Accept: application/json
$.data → not found, marker → not JSON but plain text
$.data → 2024-05-01;marker → not JSON but plain text
"#;

#[test]
fn errors_name_the_position_and_no_value() {
    for [settings, text, parts] in cells(ERRORS) {
        for piece in [1, usize::MAX] {
            let error = body_of(&settings).value("$.next").pieces(piece).error(&text);
            for part in parts.split(" · ") {
                assert!(error.contains(part), "`{part}` is not in {error}");
            }
            assert!(!error.contains("marker"), "{error}");
        }
    }
    let deep = format!(r#"{{"data":[{}"#, "[".repeat(200));
    assert!(at("$.data").error(deep).contains("more than 128 levels"));
    let long = format!(r#"{{"data":[],"next":"{}"}}"#, "x".repeat(65 << 10));
    let error = at("$.data").value("$.next").error(long);
    assert!(
        error.contains("the value at `$.next` at byte 18") && error.contains("65536 bytes"),
        "{error}"
    );
    assert!(
        at("$.data")
            .error("{\"data\":[{\"a\":\"\u{1}\"}]}")
            .contains("control character")
    );
    // Keys that may be personal data are not shown.
    let error = at("$.data").error(r#"{"a@contoso.com":{},"datax":1}"#);
    assert!(!error.contains("contoso") && !error.contains("datax"), "{error}");
    let invalid = at("$.data").error(b"{\"data\":[{\"a\":\"\xff\"}]}");
    assert!(invalid.contains("not valid UTF-8"), "{invalid}");
}

#[test]
fn limits_records_and_buffered_bodies() {
    let mut small = at("$.data");
    small.limits.record = 10;
    for piece in [1, usize::MAX] {
        small.piece = piece;
        assert_eq!(small.rows(r#"{"data":[{"a":"12"}]}"#).len(), 1);
        let error = small.error(r#"{"data":[{"a":"1234"}]}"#);
        assert!(
            error.contains("the record at byte 10") && error.contains("larger than 10 bytes"),
            "{error}"
        );
    }
    let mut small = at("$..id");
    small.limits.buffered_body = 20;
    let error = small.error(r#"{"data":[{"id":1},{"id":2}]}"#);
    assert!(
        error.contains("the whole body, which `$..id` requires") && error.contains("20 bytes"),
        "{error}"
    );
    let huge = at("$.a")
        .pieces(1 << 20)
        .error(format!(r#"{{"a":"{}"}}"#, "x".repeat(17 << 20)));
    assert!(huge.contains("a string or number"), "{huge}");
}

#[test]
fn keeps_the_start_of_the_body_and_reports_errors_of_the_output() {
    let text = format!(r#"[{{"a":1}},{{"a" 2}},"{}"]"#, "x".repeat(100));
    let (result, head) = at("$").pieces(9).run(&text, &mut Rows::default());
    assert!(matches!(result, Err(BodyError::Syntax { records: 1, .. })));
    assert_eq!(
        (head.bytes.len(), head.received),
        (64, 72),
        "it reads on for the message"
    );
    let mut output = Rows {
        fails: true,
        ..Rows::default()
    };
    let (result, _) = at("$").run("[{},{}]", &mut output);
    assert!(matches!(result, Err(BodyError::Other(_))));
    assert_eq!(output.texts.len(), 1);
}

#[test]
fn rejects_invalid_settings() {
    let problems = |config: Value| {
        let config: RecordsConfig = serde_json::from_value(config).unwrap();
        let mut found: Vec<Problem> = Vec::new();
        config.validate(&mut Problems::new(&mut found).at("records"));
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let cases: [(Value, &[&str]); 5] = [
        (json!({}), &[]),
        (
            json!({"path": "$..x", "key_as": ""}),
            &["records.key_as: a column", "records.key_as: `key_as` requires"],
        ),
        (
            json!({"explode": {"path": "$", "keep": "none", "prefix": "p_"}}),
            &["records.explode.path", "records.explode.prefix"],
        ),
        (
            json!({"explode": {"path": "$.a.b", "keep": ["x", "a", "x"]}}),
            &[
                "records.explode.keep[1]: `a` contains",
                "records.explode.keep[2]: `x`",
            ],
        ),
        (
            json!({"columns": {"a": "$", "b": "$[0]", "c": "$.c"}}),
            &["records.columns.a: `$` must start", "records.columns.b"],
        ),
    ];
    for (config, expected) in cases {
        let found = problems(config);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
    for wrong in [
        json!({"path": "data"}),
        json!({"paths": "$"}),
        json!({"explode": {"path": "$.a[*].b"}}),
        json!({"explode": {"path": "$.a", "keep": "some"}}),
    ] {
        assert!(serde_json::from_value::<RecordsConfig>(wrong).is_err());
    }
}
