//! Random documents in random pieces, against a simple implementation on the whole document.

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

/// The row of a record.
fn wrapped(value: &Value) -> Value {
    match value {
        Value::Object(_) => value.clone(),
        other => json!({"value": other}),
    }
}

/// The records of a whole document; `None` if the path selects something else.
fn expected_records(document: &Value, path: &str) -> Option<Vec<Value>> {
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

/// A value whose containers are empty: those around the records are extracted without their content.
fn emptied(value: Option<&Value>) -> Option<Value> {
    Some(match value? {
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
        other => other.clone(),
    })
}

proptest! {
    #[test]
    fn extracts_what_the_whole_document_has(
        document in document(), path in path(), value in path(), piece in 1_usize..40, pretty: bool,
    ) {
        let text = written(&document, pretty);
        let mut body = body(json!({"path": path, "missing": "empty"})).pieces(piece);
        let value = SinglePath::parse(&value).ok();
        let id = value.as_ref().map(|value| body.paths.add(value));
        match (body.read(&text), expected_records(&document, &path)) {
            (Ok((rows, extracted)), Some(expected)) => {
                let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
                prop_assert_eq!(rows, expected);
                if let (Some(value), Some(id)) = (value, id) {
                    prop_assert_eq!(emptied(extracted.values.get(id)), emptied(value.find(&document)));
                }
            }
            (Err(BodyError::WrongType { .. }), None) => {}
            (got, expected) => prop_assert!(false, "{:?}, expected {:?}", got, expected),
        }
    }

    #[test]
    fn detects_truncated_bodies(
        document in document(), path in path(), piece in 1_usize..40, pretty: bool,
    ) {
        prop_assume!(document.is_object() || document.is_array());
        let text = written(&document, pretty);
        let body = body(json!({"path": path, "missing": "empty"})).pieces(piece);
        for end in 0..text.len() {
            match body.read(&text.as_bytes()[..end]) {
                Err(BodyError::Truncated { .. } | BodyError::Empty | BodyError::WrongType { .. }) => {}
                other => prop_assert!(false, "cut at {}: {:?}", end, other),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic_and_pieces_do_not_matter(
        text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ua1e-. \nntrulfse<\xef\xbb\xbf".as_slice()), 0..60),
        path in path(), piece in 1_usize..9, lines: bool, rewritten: bool,
    ) {
        let mut config = json!({"path": path, "format": if lines { "ndjson" } else { "json" }});
        if rewritten {
            config["nested"] = json!("json");
            config["explode"] = json!({"path": "$.a", "empty": "keep"});
        }
        let read = |piece| {
            let body = body(config.clone()).value("$.a").value("$[0].a").pieces(piece);
            body.read(&text)
                .map(|(rows, extracted)| (rows, extracted.digest, extracted.values))
                .map_err(|error| error.to_string())
        };
        prop_assert_eq!(read(piece), read(usize::MAX));
    }

    #[test]
    fn exploded_rows_contain_the_values_of_their_records(
        records in prop::collection::vec(document(), 0..5), piece in 1_usize..40, keep: bool,
    ) {
        let text = Value::from(records.clone()).to_string();
        let config = json!({"explode": {"path": "$.a", "prefix": "p_", "empty": if keep { "keep" } else { "drop" }}});
        let mut expected = Vec::new();
        let mut is_wrong = false;
        for record in records.iter().map(wrapped) {
            let kept: Map<String, Value> = record.as_object().unwrap().iter()
                .filter(|(name, _)| *name != "a")
                .map(|(name, value)| (format!("p_{name}"), value.clone()))
                .collect();
            let elements = match record.get("a") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(elements)) => elements.clone(),
                Some(one @ Value::Object(_)) => vec![one.clone()],
                Some(_) => { is_wrong = true; break; }
            };
            if elements.is_empty() && keep {
                expected.push(Value::Object(kept.clone()));
            }
            for element in elements {
                let mut row = kept.clone();
                row.extend(wrapped(&element).as_object().unwrap().clone());
                expected.push(Value::Object(row));
            }
        }
        match body(config).pieces(piece).read(&text) {
            Ok((rows, _)) => {
                let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
                prop_assert!(!is_wrong);
                prop_assert_eq!(rows, expected);
            }
            Err(BodyError::WrongType { .. }) => prop_assert!(is_wrong),
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}
