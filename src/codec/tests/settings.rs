//! The settings of codecs in a pipeline file.

use super::*;
use crate::component::Problems;

#[test]
fn compression_is_a_name_or_a_list_of_names() {
    let parse =
        |value: Value| serde_json::from_value::<Compression>(value).map_err(|error| error.to_string());
    assert!(parse(json!("none")).unwrap().codecs().is_empty());
    assert_eq!(parse(json!("zip")), parse(json!(["zip"])));
    assert_eq!(
        parse(json!(["pgp", "gzip"])).unwrap().codecs(),
        [Codec::Pgp, Codec::Gzip]
    );
    for (value, expected) in [
        (json!("gzp"), "did you mean `gzip`"),
        (json!(["none", "gzip"]), "cannot be in a list"),
        (json!([]), "empty"),
        (json!({"gzip": 1}), "outermost first"),
    ] {
        assert_shows(&parse(value).unwrap_err(), &[expected]);
    }
    let schema = serde_json::to_value(schemars::schema_for!(Compression)).unwrap();
    let valid = |value: Value| jsonschema::is_valid(&schema, &value);
    assert!(valid(json!("none")) && valid(json!(["pgp", "zip"])) && !valid(json!("rar")));
}

fn problem_paths(settings: Value) -> Vec<String> {
    let mut found = Vec::new();
    Given::new(settings)
        .settings()
        .validate(&mut Problems::new(&mut found));
    found.into_iter().map(|problem| problem.path).collect()
}

#[cfg(feature = "pgp")]
#[test]
fn reports_contradictions_at_their_key() {
    let key = json!([{"key": {"env": "KEY"}}]);
    let nothing = [""; 0];
    for (settings, paths) in [
        (json!({"compression": "pgp"}), &["compression"][..]),
        (json!({"compression": ["zip", "gzip", "zip"]}), &["compression"]),
        (
            json!({"compression": ["gzip", "gzip", "gzip", "gzip", "gzip"]}),
            &["compression"],
        ),
        (json!({"compression": "gzip", "zip": {}}), &["zip"]),
        (json!({"compression": "gzip", "pgp": {"keys": key}}), &["pgp"]),
        (json!({"zip": {"members": "[a"}}), &["zip.members"]),
        (json!({"pgp": {}}), &["pgp.keys"]),
        (
            json!({"pgp": {"keys": key, "signature": "required"}}),
            &["pgp.signature"],
        ),
        (
            json!({"pgp": {"keys": key, "signature": "optional"}}),
            &["pgp.signature"],
        ),
        (
            json!({"pgp": {"keys": key, "signature": "ignored", "signed_by": ["a"]}}),
            &["pgp.signature"],
        ),
        (
            json!({"pgp": {"keys": key, "signed_by": ["a.asc", ""]}}),
            &["pgp.signed_by[1]"],
        ),
        (json!({}), &nothing),
        (json!({"compression": "none"}), &nothing),
        (
            json!({"compression": ["pgp", "zip"], "zip": {"members": "*.csv"}, "pgp": {"keys": key}}),
            &nothing,
        ),
        (json!({"pgp": {"passwords": [{"file": "password"}]}}), &nothing),
        (
            json!({"pgp": {"encrypted": "optional", "signed_by": ["a.asc"]}}),
            &nothing,
        ),
    ] {
        assert_eq!(problem_paths(settings.clone()), paths, "{settings}");
    }
}

#[cfg(not(feature = "pgp"))]
#[test]
fn a_build_without_openpgp_names_the_feature() {
    let settings = json!({"compression": "pgp", "pgp": {"passwords": [{"env": "X"}]}});
    assert_eq!(problem_paths(settings), ["compression", "pgp"]);
    let with_keys = json!({"pgp": {"passwords": [{"env": "X"}]}});
    assert_shows(&refused("x.pgp", b"", with_keys), &["feature `pgp`"]);
    assert_shows(&refused("x.pgp", b"\x85", json!({})), &["feature `pgp`"]);
}
