//! Tables of settings and what is expected of them, for tests.

use serde_json::Value;

/// Cases that end with `;`: settings as YAML, and the expected text behind `|`.
pub(super) fn cases(text: &str) -> impl Iterator<Item = (Value, String)> {
    text.trim().trim_end_matches(';').split(";\n").map(|case| {
        let (settings, expected) = case.split_once('|').expect("a case has a `|`");
        let settings = serde_saphyr::from_str(settings).expect("settings are YAML");
        let expected: Vec<&str> = expected.split_whitespace().collect();
        (settings, expected.join(" "))
    })
}
