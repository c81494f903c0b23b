//! What a pipeline file may say.

use serde_json::{Value, json};

use super::Given;
use crate::config::{Problem, Problems};

fn problems(settings: Value) -> Vec<Problem> {
    let given = Given::new(&settings);
    let mut found = Vec::new();
    given.settings().validate(&mut Problems::new(&mut found));
    found
}

fn packing(value: Value) -> Result<super::Compression, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn packing_is_a_name_or_a_list_of_names() {
    assert!(packing(json!("none")).unwrap().layers().is_empty());
    assert_eq!(packing(json!("zip")).unwrap(), packing(json!(["zip"])).unwrap());
    assert_eq!(packing(json!(["pgp", "gzip"])).unwrap().layers().len(), 2);
    assert!(packing(json!("gzp")).unwrap_err().contains("did you mean `gzip`"));
    assert!(
        packing(json!(["none", "gzip"]))
            .unwrap_err()
            .contains("`none` stands alone")
    );
    assert!(packing(json!([])).unwrap_err().contains("empty"));
    let schema = serde_json::to_value(schemars::schema_for!(super::Compression)).unwrap();
    let valid = |value: Value| jsonschema::is_valid(&schema, &value);
    assert!(valid(json!("none")) && valid(json!(["pgp", "zip"])) && !valid(json!("rar")));
}

#[cfg(feature = "pgp")]
#[test]
fn what_does_not_go_together_is_a_problem_at_its_key() {
    let key = json!([{"key": {"env": "KEY"}}]);
    for (settings, path) in [
        (json!({"packing": "pgp"}), "packing"),
        (json!({"packing": ["zip", "gzip", "zip"]}), "packing"),
        (
            json!({"packing": ["gzip", "gzip", "gzip", "gzip", "gzip"]}),
            "packing",
        ),
        (json!({"packing": "gzip", "zip": {}}), "zip"),
        (json!({"packing": "gzip", "pgp": {"keys": key}}), "pgp"),
        (json!({"zip": {"members": "[a"}}), "zip.members"),
        (json!({"pgp": {}}), "pgp.keys"),
        (
            json!({"pgp": {"keys": key, "signature": "required"}}),
            "pgp.signature",
        ),
        (
            json!({"pgp": {"keys": key, "signature": "optional"}}),
            "pgp.signature",
        ),
        (
            json!({"pgp": {"keys": key, "signature": "ignored", "signed_by": ["a.asc"]}}),
            "pgp.signature",
        ),
        (
            json!({"pgp": {"keys": key, "signed_by": ["a.asc", ""]}}),
            "pgp.signed_by[1]",
        ),
    ] {
        let found = problems(settings.clone());
        assert_eq!(found.len(), 1, "{settings}: {found:?}");
        assert_eq!(found[0].path, path, "{settings}");
    }
    for settings in [
        json!({}),
        json!({"packing": "none"}),
        json!({"packing": ["pgp", "zip"], "zip": {"members": "*.csv"}, "pgp": {"keys": key}}),
        json!({"pgp": {"passwords": [{"file": "password"}]}}),
        json!({"pgp": {"encrypted": "optional", "signed_by": ["a.asc"]}}),
    ] {
        assert_eq!(problems(settings.clone()), [], "{settings}");
    }
}

#[cfg(not(feature = "pgp"))]
#[test]
fn a_build_without_openpgp_names_the_feature() {
    let found = problems(json!({"packing": "pgp", "pgp": {"passwords": [{"env": "X"}]}}));
    assert!(
        found
            .iter()
            .all(|problem| problem.message.contains("feature `pgp`")),
        "{found:?}"
    );
    let error = super::unpack("x.pgp", b"", json!({"pgp": {"passwords": [{"env": "X"}]}})).unwrap_err();
    assert!(error.to_string().contains("feature `pgp`"));
    assert!(
        super::unpack("x.pgp", b"\x85", json!({}))
            .unwrap_err()
            .chain()
            .contains("feature `pgp`")
    );
}
