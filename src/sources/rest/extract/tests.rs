//! Bodies as known services send them, and what can be wrong with them.

mod any;

use serde_json::json;

use super::*;
use crate::error::Error;

struct Body {
    extractor: Extractor,
    extra: Vec<(Arc<str>, Value)>,
    piece: usize,
}

fn body(config: Value) -> Body {
    let config = serde_json::from_value(config).unwrap();
    Body {
        extractor: Extractor::new(&config, &ValuePaths::default(), None),
        extra: Vec::new(),
        piece: usize::MAX,
    }
}

/// A body for settings, or for a path.
fn body_of(settings: &str) -> Body {
    match settings.starts_with('$') {
        true => body(json!({"path": settings})),
        false => body(serde_json::from_str(settings).unwrap()),
    }
}

impl Body {
    fn value(mut self, path: &str) -> Self {
        self.extractor.paths.add(&SinglePath::parse(path).unwrap());
        self
    }

    fn pieces(mut self, bytes: usize) -> Self {
        self.piece = bytes;
        self
    }

    fn run(&self, text: &[u8], output: RowOutput<'_>) -> (Result<Extracted, BodyError>, Head) {
        let pieces = text.chunks(self.piece.min(text.len().max(1)));
        let pieces: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
        self.extractor.run(pieces.into_iter(), 64, &self.extra, output)
    }

    fn read(&self, text: impl AsRef<[u8]>) -> Result<(Vec<String>, Extracted), BodyError> {
        let mut rows = Vec::new();
        let extracted = self.run(text.as_ref(), &mut |row, _| {
            rows.push(row.to_owned());
            Ok(())
        });
        let extracted = extracted.0?;
        assert_eq!(extracted.rows, rows.len() as u64);
        Ok((rows, extracted))
    }

    #[track_caller]
    fn rows(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        self.read(text).unwrap().0
    }

    /// The error with its hint.
    #[track_caller]
    fn error(&self, text: impl AsRef<[u8]>) -> String {
        let error = self.read(text).map(|(rows, _)| rows).unwrap_err().into_error();
        format!("{error}; {}", error.hints().next().unwrap_or_default())
    }
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
{"format":"ndjson"} → ¶{"a":1}↵↵{"a":2} → {"a":1} · {"a":2}
{"format":"ndjson"} →  →
{"format":"ndjson","path":"$.d[?@.a]"} → {"d":[{"a":1},{}]}↵{"d":[{"a":2}]}↵ → {"a":1} · {"a":2}
{"path":"$.Items","missing":"empty"} → {} →
"#;

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
            let found = body_of(&settings).pieces(piece).rows(&text);
            assert_eq!(found, expected, "{settings} of {text}");
        }
    }
}

#[test]
fn extracts_values_before_after_and_around_the_records() {
    let text =
        r#"{"ok":true,"data":[{"id":"7"},{"id":"9"}],"meta":{"page":{"next":"abc"}},"links":{"next":null}}"#;
    // Containers of the records are kept without them.
    let expected = [
        ("$.meta.page.next", Some(json!("abc"))),
        ("$.links.next", Some(json!(null))),
        ("$.ok", Some(json!(true))),
        ("$.data[1].id", Some(json!("9"))),
        ("$.data", Some(json!([]))),
        ("$.none", None),
        ("$.links", Some(json!({"next": null}))),
    ];
    for piece in [1, 5, usize::MAX] {
        let body = body_of("$.data").pieces(piece);
        let body = expected.iter().fold(body, |body, (path, _)| body.value(path));
        let (rows, extracted) = body.read(text).unwrap();
        assert_eq!((rows.len(), extracted.records), (2, 2));
        for (path, value) in &expected {
            let found = extracted.values.get(&SinglePath::parse(path).unwrap());
            assert_eq!(found, value.as_ref(), "{path}");
        }
    }
}

#[test]
fn added_columns_come_first_and_agree_with_the_record() {
    let mut body = body_of("$.Data");
    body.extra = vec![("Code".into(), json!(42)), ("o'r\"g".into(), json!(null))];
    assert_eq!(
        body.rows(r#"{"Data":{"Code":"42","a":1.50}}"#),
        [r#"{"Code":42,"o'r\"g":null,"a":1.50}"#]
    );
    let error = body.error(r#"{"Data":{"Code":"marker"}}"#);
    assert!(error.contains("`Code`") && !error.contains("marker"), "{error}");
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
    let data = body_of("$.data").value("$.next");
    let deep = format!(r#"{{"data":[{}"#, "[".repeat(200));
    let long = format!(r#"{{"data":[],"next":"{}"}}"#, "x".repeat(65 << 10));
    for (text, expected) in [
        (deep.as_bytes(), "more than 128 levels"),
        (
            long.as_bytes(),
            "the value at `$.next` at byte 18 of the response body is larger than 65536 bytes",
        ),
        ("{\"data\":[{\"a\":\"\u{1}\"}]}".as_bytes(), "control character"),
        (b"{\"data\":[{\"a\":\"\xff\"}]}", "not valid UTF-8"),
    ] {
        let error = data.error(text);
        assert!(error.contains(expected), "{error}");
    }
    // Keys that may be personal data are not shown.
    let error = data.error(r#"{"a@contoso.com":{},"datax":1}"#);
    assert!(!error.contains("contoso") && !error.contains("datax"), "{error}");
}

#[test]
fn detects_truncated_bodies() {
    let list = r#" {"data":[{"a":"\u00e9"},{"b":[1,2]}],"next":{"x":null}}"#;
    for (settings, text) in [
        ("$.data", list),
        ("$..a", r#"[{"a":1},{"b":{"a":true}}]"#),
        (r#"{"path":"$.e","key_as":"id"}"#, r#"{"e":{"7":{"a":-1.5e3}}}"#),
    ] {
        for end in 0..text.len() {
            let result = body_of(settings).value("$.next").read(&text[..end]);
            match result {
                Err(BodyError::Truncated(_)) => {}
                Err(BodyError::Invalid(error)) if text[..end].trim().is_empty() => {
                    assert!(error.to_string().contains("is empty"));
                }
                other => panic!("cut at {end}: {other:?}"),
            }
        }
    }
}

#[test]
fn limits_buffered_bodies_and_skipped_texts() {
    let mut small = body_of("$..id");
    small.extractor.max_buffered_body = 20;
    let error = small.error(r#"{"data":[{"id":1},{"id":2}]}"#);
    let holds = error.contains("the whole body, which `$..id` requires") && error.contains("20 bytes");
    assert!(holds, "{error}");
    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(17 << 20));
    let huge = body_of("$.a").pieces(1 << 20).error(huge);
    assert!(huge.contains("a string or number"), "{huge}");
}

#[test]
fn keeps_the_start_of_the_body_and_reports_errors_of_the_output() {
    let text = format!(r#"[{{"a":1}},{{"a" 2}},"{}"]"#, "x".repeat(100));
    let (result, head) = body_of("$").pieces(9).run(text.as_bytes(), &mut |_, _| Ok(()));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("after 1 records"), "{error}");
    // It reads on for the message.
    assert_eq!((head.bytes.len(), head.received), (64, 72));
    let mut rows = 0;
    let (result, _) = body_of("$").run(b"[{},{}]", &mut |_, _| {
        rows += 1;
        Err(Error::input("the output failed"))
    });
    assert!(matches!(result, Err(BodyError::Output(_))));
    assert_eq!(rows, 1);
}
