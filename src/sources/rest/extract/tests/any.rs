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
        let text = match pretty {
            true => serde_json::to_string_pretty(&document).unwrap(),
            false => document.to_string(),
        };
        let mut body = body(json!({"path": path, "missing": "empty"})).pieces(piece);
        let value = SinglePath::parse(&value).ok();
        if let Some(value) = &value {
            body.extractor.paths.add(value);
        }
        match (body.read(&text), expected_records(&document, &path)) {
            (Ok((rows, extracted)), Some(expected)) => {
                let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
                prop_assert_eq!(rows, expected);
                if let Some(value) = value {
                    prop_assert_eq!(emptied(extracted.values.get(&value)), emptied(value.find(&document)));
                }
            }
            (Err(BodyError::Invalid(error)), None) => prop_assert!(error.to_string().contains("expected an array")),
            (got, expected) => prop_assert!(false, "{:?}, expected {:?}", got, expected),
        }
    }
}
