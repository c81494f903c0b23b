//! Partitions from values and from a parent's rows.

use serde_json::{Value, json};

use super::*;

fn compile(mut config: Value) -> Result<Partitioning, Vec<String>> {
    if config.get("parent").is_some() {
        config["parent"] = json!({"request": {"path": "p"}});
    }
    let config: ForEachConfig = serde_json::from_value(config).expect("it decodes");
    let mut found = Vec::new();
    let compiled = config.compile(&mut Problems::new(&mut found));
    assert_eq!(compiled.is_none(), !found.is_empty());
    compiled.ok_or_else(|| found.iter().map(ToString::to_string).collect())
}

#[test]
fn rejects_unusable_keys_and_shows_no_value() {
    let partitioning = compile(json!({"parent": {}, "key": {"id": "$.a.id"}})).unwrap();
    let mut keys = partitioning.keys(&Partition::default());
    for (value, expected) in [
        (json!({"marker": 1}), "an object"),
        (json!(["marker"]), "a list"),
        (json!(1.25), "a fraction"),
        (json!(1e30), "too large"),
    ] {
        let error = keys.take(&json!({"a": {"id": value}})).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("`$.a.id`"), "{error}");
        assert!(!error.contains("marker") && !error.contains("1.25"), "{error}");
    }
}

#[test]
fn reports_unused_placeholders() {
    let partitioning = compile(json!({
        "values": {"a": [1], "b": [1]}, "parent": {}, "key": {"id": "$.id", "date": "$.date"},
    }))
    .unwrap();
    let mut found = Vec::new();
    for uses in [["a", "date"], ["a", "b"]] {
        let uses: Uses = uses.into_iter().map(Into::into).collect();
        partitioning.check_used(&uses, &mut Problems::new(&mut found));
    }
    let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["values.b", "key.date", "key.id"]);
}

#[test]
fn reports_all_invalid_settings_at_once() {
    let found = compile(json!({
        "values": {"start": ["a"], "1x": ["a"], "v": ["a", "a", " ", 1.5], "e": [], "t": "a"},
        "parent": {},
        "key": {"v": "$.v", "w": "$.w"},
        "include_from_parent": {"v": "$.v"},
        "batch_size": 2,
        "skip": {"status": [429]},
    }))
    .unwrap_err();
    assert_eq!(
        found,
        [
            "values.start: `start` and `end` are the placeholders of `incremental`",
            "values.1x: a placeholder's name consists of letters, digits and `_`, and does not start with a digit",
            "values.v[1]: duplicate value: its rows would be read twice",
            "values.v[2]: the value is blank",
            "values.v[3]: expected a text, a whole number or a boolean; quote other numbers",
            "values.e: an empty list: nothing would be read",
            "values.t: expected a list of values",
            "key.v: the placeholder is in `values` too",
            "include_from_parent.v: a placeholder gives a column of this name too",
            "batch_size: requires a single `key`",
            "include_from_parent: does not work with `batch_size`: a row of a batch has no single parent",
            "skip.status[0]: 429 is transient: it is retried and cannot be skipped",
        ]
    );
    let found = compile(json!({"key": {"id": "$.id"}, "batch_size": 2})).unwrap_err();
    assert_eq!(found.len(), 3, "{found:#?}");
    let many: Vec<_> = (0..101).collect();
    let found = compile(json!({"values": {"a": many, "b": many}})).unwrap_err();
    assert!(found[0].contains("10000 combinations"), "{found:?}");
}

#[test]
fn fails_early_if_no_partition_is_answered() {
    let partitioning = compile(json!({"values": {"a": [1]}, "skip": {}})).unwrap();
    let mut skips = partitioning.skips();
    let failed = (0..30).find_map(|_| skips.skip(403).err()).unwrap();
    assert!(failed.to_string().contains("none of the first 20"), "{failed}");
    let mut skips = partitioning.skips();
    skips.answered = 1;
    assert!((0..30).all(|_| skips.skip(403).is_ok()));
}
