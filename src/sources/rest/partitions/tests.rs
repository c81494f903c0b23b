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

fn values(partition: &Partition) -> Value {
    let entries = partition.values.0.iter();
    let entries = entries.map(|(name, value)| (name.to_string(), value.clone()));
    Value::Object(entries.collect())
}

#[test]
fn takes_each_key_once_and_batches_them() {
    let config = json!({"parent": {}, "key": {"ids": "$.id"}, "batch_size": 2, "on_missing_key": "skip"});
    let partitioning = compile(config).unwrap();
    let mut keys = partitioning.keys(&Partition::default());
    let mut all = Vec::new();
    // 2 as a text is the same key: the request has its text.
    for id in [
        json!(1),
        json!(2),
        json!("2"),
        json!(null),
        json!(3),
        json!(" "),
        json!(4),
        json!(5),
    ] {
        all.extend(keys.take(&json!({"id": id})).unwrap());
    }
    assert_eq!(keys.take(&json!({})).unwrap(), None);
    all.extend(keys.finish());
    let ids: Vec<_> = all
        .iter()
        .map(|partition| values(partition)["ids"].take())
        .collect();
    assert_eq!(json!(ids), json!([[1, 2], [3, 4], [5]]));
    assert_eq!((keys.finish(), all[0].columns.0.len()), (None, 0));
    assert_eq!((keys.rows, keys.missing, keys.repeated), (9, 3, 1));
}

#[test]
fn rejects_rows_without_a_usable_key_and_shows_no_value() {
    let partitioning = compile(json!({"parent": {}, "key": {"id": "$.a.id"}})).unwrap();
    let mut keys = partitioning.keys(&Partition::default());
    assert!(keys.take(&json!({"a": {"id": 1}})).unwrap().is_some());
    let error = keys.take(&json!({"a": {"ID": "marker"}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 2 of the parent has no value at `$.a.id` for the key `id`"
    );
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
    let mut names = Names::default();
    partitioning.names(&mut names);
    assert_eq!(
        (names.kind("a"), names.kind("id")),
        (Some(Kind::Fixed), Some(Kind::Key))
    );
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
            "batch_size: requires a single `key`: lists of several keys would not belong together",
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
