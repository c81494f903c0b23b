//! The settings of codecs in a pipeline file.

use super::*;
use crate::component::Problems;

#[test]
fn compression_is_a_name_or_a_list_of_names() {
    let parse = |yaml: &str| serde_saphyr::from_str::<Compression>(yaml).map_err(|error| error.to_string());
    assert!(parse("none").unwrap().codecs().is_empty());
    assert_eq!(parse("zip"), parse("[zip]"));
    assert_eq!(parse("[pgp, gzip]").unwrap().codecs(), [Codec::Pgp, Codec::Gzip]);
    for (yaml, expected) in [
        ("gzp", "did you mean `gzip`"),
        ("[none, gzip]", "cannot be in a list"),
        ("[]", "empty"),
        ("{gzip: 1}", "outermost first"),
    ] {
        assert_shows(&parse(yaml).unwrap_err(), &[expected]);
    }
    let schema = serde_json::to_value(schemars::schema_for!(Compression)).unwrap();
    let valid = |value: Value| jsonschema::is_valid(&schema, &value);
    assert!(valid(json!("none")) && valid(json!(["pgp", "zip"])) && !valid(json!("rar")));
}

fn problem_paths(yaml: &str) -> Vec<String> {
    let mut found = Vec::new();
    let given: Given = serde_saphyr::from_str(yaml).unwrap();
    given.settings().validate(&mut Problems::new(&mut found));
    found.into_iter().map(|problem| problem.path).collect()
}

/// Settings | path of the problem; none if they are valid.
#[cfg(feature = "pgp")]
const CASES: &str = "
    compression: pgp                                                          | compression
    compression: [zip, gzip, zip]                                             | compression
    compression: [gzip, gzip, gzip, gzip, gzip]                               | compression
    {compression: gzip, zip: {}}                                              | zip
    {compression: gzip, pgp: {passwords: [{env: X}]}}                         | pgp
    zip: {members: '[a'}                                                      | zip.members
    pgp: {}                                                                   | pgp.keys
    pgp: {passwords: [{env: X}], signature: required}                         | pgp.signature
    pgp: {passwords: [{env: X}], signature: optional}                         | pgp.signature
    pgp: {keys: [{key: {env: X}}], signed_by: [a.asc, '']}                    | pgp.signed_by[1]
    {}                                                                        |
    compression: none                                                         |
    {compression: [pgp, zip], zip: {members: '*'}, pgp: {passwords: [{env: X}]}} |
    pgp: {encrypted: optional, signed_by: [a.asc]}                            |
";

#[cfg(feature = "pgp")]
#[test]
fn reports_contradictions_at_their_key() {
    for (yaml, path) in CASES.lines().filter_map(|case| case.split_once('|')) {
        let expected: Vec<&str> = path.split_whitespace().collect();
        assert_eq!(problem_paths(yaml.trim()), expected, "{yaml}");
    }
}

#[cfg(not(feature = "pgp"))]
#[test]
fn a_build_without_openpgp_names_the_feature() {
    let paths = problem_paths("{compression: pgp, pgp: {passwords: [{env: X}]}}");
    assert_eq!(paths, ["compression", "pgp"]);
    let with_keys = json!({"pgp": {"passwords": [{"env": "X"}]}});
    assert_shows(&refused("x.pgp", b"", with_keys), &["feature `pgp`"]);
    assert_shows(&refused("x.pgp", b"\x85", json!({})), &["feature `pgp`"]);
}
