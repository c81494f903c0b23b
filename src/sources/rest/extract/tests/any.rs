//! Any document, cut anywhere, against the slow and simple way.

use proptest::prelude::*;
use serde_json::Map;

use super::*;

/// Documents of few keys, so that paths lead somewhere.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c\\\\\"{}\\[\\],:é\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        let key = prop_oneof![Just("a"), Just("b"), Just("c\"d"), Just("é")].prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        4 => Just(".a"), 4 => Just(".b"), 1 => Just("['c\"d']"), 1 => Just("['é']"),
        2 => Just("[0]"), 1 => Just("[1]"), 2 => Just("[*]"), 2 => Just(".*"), 1 => Just("[?@.a]"),
    ];
    prop::collection::vec(step, 0..4).prop_map(|steps| format!("${}", steps.concat()))
}

/// What is written of a record that is not an object.
fn wrapped(value: &Value) -> Value {
    match value {
        Value::Object(_) => value.clone(),
        other => json!({"value": other}),
    }
}

/// Records by way of the whole document; nothing if the path leads to what is no record.
fn naively(document: &Value, path: &str) -> Option<Vec<Value>> {
    let query = path.contains('?');
    let path = if query {
        path
    } else {
        path.strip_suffix("[*]").unwrap_or(path)
    };
    let several = query || path.ends_with('*');
    let mut records = Vec::new();
    for node in serde_json_path::JsonPath::parse(path).unwrap().query(document) {
        match node {
            Value::Array(elements) => records.extend(elements.iter().map(wrapped)),
            Value::Null => {}
            Value::Object(_) => records.push(node.clone()),
            _ if several => records.push(wrapped(node)),
            _ => return None,
        }
    }
    Some(records)
}

fn written(document: &Value, pretty: bool) -> String {
    if pretty {
        serde_json::to_string_pretty(document).unwrap()
    } else {
        document.to_string()
    }
}

proptest! {
    #[test]
    fn any_document_gives_what_the_slow_way_gives(
        document in document(), path in path(), probe in path(), piece in 1_usize..40, pretty: bool,
    ) {
        let text = written(&document, pretty);
        let mut body = body(json!({"path": path, "missing": "empty"})).pieces(piece);
        let probe = SinglePath::parse(&probe).ok();
        if let Some(probe) = &probe {
            body.probes.add(probe);
        }
        match (body.read(&text), naively(&document, &path)) {
            (Ok((rows, got)), Some(wanted)) => {
                let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
                prop_assert_eq!(rows, wanted);
                prop_assert_eq!(got.values, body.probes.find(&document));
            }
            (Err(BodyError::WrongType { .. }), None) => {}
            (got, wanted) => prop_assert!(false, "{:?} where {:?} is wanted", got, wanted),
        }
    }

    #[test]
    fn a_body_that_is_cut_off_never_passes_for_whole(
        document in document(), path in path(), piece in 1_usize..40, pretty: bool,
    ) {
        prop_assume!(document.is_object() || document.is_array());
        let text = written(&document, pretty);
        let body = body(json!({"path": path, "missing": "empty"})).pieces(piece);
        for end in 0..text.len() {
            let cut = body.read(&text.as_bytes()[..end]);
            let Err(error) = cut else {
                return Err(TestCaseError::fail(format!("cut at {end}")));
            };
            let expected = matches!(error, BodyError::Truncated { .. } | BodyError::Empty | BodyError::WrongType { .. });
            prop_assert!(expected, "{error:?}");
        }
    }

    #[test]
    fn rubbish_never_panics_and_is_the_same_in_any_pieces(
        text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ua1e-. \nntrulfse<\xef\xbb\xbf".as_slice()), 0..60),
        path in path(), piece in 1_usize..9, lines: bool, rewritten: bool,
    ) {
        let mut config = json!({"path": path, "format": if lines { "ndjson" } else { "json" }});
        if rewritten {
            config["nested"] = json!("json");
            config["explode"] = json!({"path": "$.a", "empty": "keep"});
        }
        let read = |piece| {
            let body = body(config.clone()).probe("$.a").probe("$[0].a").pieces(piece);
            body.read(&text).map(|(rows, got)| (rows, got.digest, got.values)).map_err(|error| error.to_string())
        };
        prop_assert_eq!(read(piece), read(usize::MAX));
    }

    #[test]
    fn rewritten_rows_hold_what_the_records_held(
        records in prop::collection::vec(document(), 0..5), piece in 1_usize..40, keep: bool,
    ) {
        let text = Value::from(records.clone()).to_string();
        let config = json!({"explode": {"path": "$.a", "prefix": "p_", "empty": if keep { "keep" } else { "drop" }}});
        let mut wanted = Vec::new();
        let mut wrong = false;
        for record in records.iter().map(wrapped) {
            let kept: Map<String, Value> = record.as_object().unwrap().iter()
                .filter(|(name, _)| *name != "a")
                .map(|(name, value)| (format!("p_{name}"), value.clone()))
                .collect();
            let elements = match record.get("a") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(elements)) => elements.clone(),
                Some(one @ Value::Object(_)) => vec![one.clone()],
                Some(_) => { wrong = true; break; }
            };
            if elements.is_empty() && keep {
                wanted.push(Value::Object(kept.clone()));
            }
            for element in elements {
                let mut row = kept.clone();
                row.extend(wrapped(&element).as_object().unwrap().clone());
                wanted.push(Value::Object(row));
            }
        }
        match body(config).pieces(piece).read(&text) {
            Ok((rows, _)) => {
                let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
                prop_assert!(!wrong);
                prop_assert_eq!(rows, wanted);
            }
            Err(BodyError::WrongType { .. }) => prop_assert!(wrong),
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}
