//! What is read for, and what is said of a parent's rows.

use serde_json::{Value, json};

use super::*;

/// A parent as its owner may have it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Read {
    path: String,
    #[serde(default)]
    each: Option<Box<ForEachConfig<Read>>>,
}

fn compile(config: Value) -> Result<Partitioning, Vec<String>> {
    let config: ForEachConfig<Read> = serde_json::from_value(config).expect("it decodes");
    let mut found = Vec::new();
    let each = config.compile(&mut Problems::new(&mut found).at("each"));
    assert_eq!(each.is_none(), !found.is_empty());
    each.ok_or_else(|| {
        found
            .iter()
            .map(|p| format!("{p} ({})", p.hint.as_deref().unwrap_or("-")))
            .collect()
    })
}

fn given(step: &Partition) -> Vec<(String, Value)> {
    step.values
        .iter()
        .map(|(name, filling)| {
            let value = match filling {
                Filling::One(value) => value.clone(),
                Filling::Many { values, .. } => Value::Array(values.clone()),
            };
            (name.to_string(), value)
        })
        .collect()
}

fn columns(step: &Partition) -> Value {
    Value::Object(
        step.columns
            .0
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
    )
}

#[test]
fn lists_give_every_combination_in_order() {
    let each = compile(json!({"values": {"company": ["x", "y"], "report": [1, 2]}})).unwrap();
    let all: Vec<_> = each.steps().iter().map(columns).collect();
    assert_eq!(
        all,
        [
            json!({"company": "x", "report": 1}),
            json!({"company": "x", "report": 2}),
            json!({"company": "y", "report": 1}),
            json!({"company": "y", "report": 2}),
        ]
    );
    assert_eq!(given(&each.steps()[2])[0], ("company".to_owned(), json!("y")));
    assert_eq!(each.max_parallel, 4);
    let bare = compile(json!({"values": {"a": ["x"]}, "columns": false})).unwrap();
    assert_eq!(columns(&bare.steps()[0]), json!({}));
    assert!(bare.column_names().is_empty());
}

#[test]
fn a_parents_rows_become_steps() {
    let each = compile(json!({
        "values": {"company": ["x"]},
        "parent": {"path": "Employees"},
        "key": {"id": "$.XRefCode"},
        "keep": {"number": "$.EmployeeNumber", "none": "$.gone.x"},
        "on_missing_key": "skip",
    }))
    .unwrap();
    let mut keys = each.parent().unwrap().keys(&each.steps()[0]);
    let step = keys
        .take(&json!({"XRefCode": "42", "EmployeeNumber": 7}))
        .unwrap()
        .unwrap();
    assert_eq!(
        given(&step),
        [("company".to_owned(), json!("x")), ("id".to_owned(), json!("42"))]
    );
    assert_eq!(
        columns(&step),
        json!({"company": "x", "id": "42", "number": 7, "none": null})
    );
    assert_eq!(
        each.column_names().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["company", "id", "none", "number"]
    );
    // 42 as a number is the same key: the service is asked with its text.
    for row in [
        json!({"XRefCode": 42}),
        json!({"XRefCode": null}),
        json!({}),
        json!({"XRefCode": " "}),
    ] {
        assert_eq!(keys.take(&row).unwrap(), None);
    }
    assert_eq!(keys.finish(), None);
    assert_eq!(
        keys.counts(),
        KeyCounts {
            rows: 5,
            missing: 3,
            repeated: 1
        }
    );
}

#[test]
fn a_row_without_its_key_is_an_error_unless_said_otherwise() {
    let each = compile(json!({"parent": {"path": "p"}, "key": {"id": "$.a.id"}})).unwrap();
    let mut keys = each.parent().unwrap().keys(&Partition::default());
    assert!(keys.take(&json!({"a": {"id": 1}})).unwrap().is_some());
    let error = keys.take(&json!({"a": {"ID": "marker"}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 2 of the parent has no key: there is nothing at `$.a.id`, which `id` is taken from"
    );
    for (value, says) in [
        (json!({"marker": 1}), "an object"),
        (json!(["marker"]), "a list"),
        (json!(1.25), "a fraction"),
        (json!(1e30), "too large"),
    ] {
        let error = keys.take(&json!({"a": {"id": value}})).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("`$.a.id`"), "{error}");
        assert!(!error.contains("marker") && !error.contains("1.25"), "{error}");
    }
    let debug = format!("{keys:?}");
    assert!(!debug.contains("marker"), "{debug}");
}

#[test]
fn groups_are_full_but_for_the_last() {
    let each =
        compile(json!({"parent": {"path": "p"}, "key": {"ids": "$.id"}, "group": 2, "separator": ";"}))
            .unwrap();
    let mut keys = each.parent().unwrap().keys(&Partition::default());
    let mut all = Vec::new();
    for id in [1, 2, 2, 3, 4, 5] {
        all.extend(keys.take(&json!({"id": id})).unwrap());
    }
    all.extend(keys.finish());
    let ids: Vec<_> = all.iter().map(|step| given(step)[0].1.clone()).collect();
    assert_eq!(ids, [json!([1, 2]), json!([3, 4]), json!([5])]);
    assert_eq!(keys.finish(), None);
    assert_eq!(columns(&all[0]), json!({}));
    assert!(matches!(all[0].values.get("ids"), Some(Filling::Many { separator, .. }) if &**separator == ";"));
}

#[test]
fn placeholders_that_nothing_uses_are_noted() {
    let each = compile(json!({
        "values": {"a": [1], "b": [1]},
        "parent": {"path": "p"},
        "key": {"id": "$.id", "date": "$.date"},
    }))
    .unwrap();
    let mut found = Vec::new();
    let uses: Uses = ["a".into(), "date".into()].into();
    each.check_used(&uses, &mut Problems::new(&mut found).at("each"));
    let uses: Uses = ["a".into(), "b".into()].into();
    each.check_used(&uses, &mut Problems::new(&mut found).at("each"));
    let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["each.values.b", "each.key.date", "each.key.id"]);
    let mut names = Names::default();
    each.names(&mut names);
    assert_eq!(
        (names.kind("a"), names.kind("id")),
        (Some(Kind::Fixed), Some(Kind::Key))
    );
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let found = compile(json!({
        "values": {"start": ["a"], "1x": ["a"], "v": ["a", "a", " ", 1.5], "e": [], "t": "a"},
        "parent": {"path": "p"},
        "key": {"v": "$.v", "w": "$.w"},
        "keep": {"v": "$.v"},
        "group": 0,
        "max_parallel": 0,
        "max_skipped": 0.5,
    }))
    .unwrap_err();
    assert_eq!(
        found,
        [
            "each.values.start: `start` and `end` are the placeholders of `incremental:` (-)",
            "each.values.1x: a placeholder's name is of letters, digits and `_`, and does not begin with a digit (-)",
            "each.values.v[1]: the value is in the list twice: its rows would be read twice (-)",
            "each.values.v[2]: the value is blank (-)",
            "each.values.v[3]: expected a text, a whole number or a boolean; other numbers go in quotes (-)",
            "each.values.e: an empty list: nothing would be read (-)",
            "each.values.t: expected a list of values (such as `t: [a, b]`)",
            "each.key.v: the placeholder is in `values` too (-)",
            "each.keep.v: a placeholder gives a column of this name too (give it another name, or `columns: false`)",
            "each.group: expected a number from 1 to 10000, found 0 (-)",
            "each.max_parallel: expected a number from 1 to 64, found 0 (-)",
            "each.max_skipped: nothing is left out (it goes with `on_error: skip`)",
        ]
    );
    let found = compile(json!({
        "key": {"id": "$.id"}, "group": 2, "on_error": "skip", "skip_statuses": [200, 429], "max_skipped": 10.0,
    }))
    .unwrap_err();
    assert_eq!(found.len(), 6, "{found:#?}");
    let found = compile(json!({
        "parent": {"path": "p"}, "key": {"a": "$.a", "b": "$.b"}, "group": 2, "keep": {"c": "$.c"},
    }))
    .unwrap_err();
    assert_eq!(found.len(), 2, "{found:#?}");
    let many: Vec<_> = (0..101).collect();
    let found = compile(json!({"values": {"a": many, "b": many}})).unwrap_err();
    assert!(found[0].contains("10000 combinations"), "{found:?}");
}

#[test]
fn what_may_be_left_out_has_a_bound() {
    let each = compile(json!({"values": {"a": [1]}, "on_error": "skip"})).unwrap();
    assert!(each.skips.may_skip(404) && !each.skips.may_skip(401));
    let mut skips = each.skips.begin();
    for _ in 0..9 {
        skips.answered();
    }
    skips.skipped(404).unwrap();
    assert!(skips.finish().is_ok());
    skips.skipped(404).unwrap();
    let error = skips.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the service gave no answer for 2 of 11 values of `for_each`, more than `max_skipped` (0.1) allows"
    );

    let mut skips = each.skips.begin();
    let failed = (0..30).find_map(|_| skips.skipped(403).err()).unwrap();
    assert!(failed.to_string().contains("none of the first 20"), "{failed}");

    let strict = compile(json!({"values": {"a": [1]}})).unwrap();
    assert!(!strict.skips.may_skip(404));
    assert!(strict.skips.begin().finish().is_ok());
}
