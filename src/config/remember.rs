//! The `remember:` block of a source: which of its rows are kept for later runs, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{HumanDuration, Problems, suggestion};
use crate::secret::SecretRef;

/// The column that tells when a remembered row was last good.
pub const LAST_SEEN: &str = "last_seen";

/// What follows a source's name in the name of its remembered rows.
const PREVIOUS: &str = ".previous";

/// The name under which the remembered rows of `source` are an input.
pub fn previous_of(source: &str) -> String {
    format!("{source}{PREVIOUS}")
}

/// The source whose remembered rows `input` would be.
pub(super) fn source_of(input: &str) -> Option<&str> {
    input.strip_suffix(PREVIOUS).filter(|source| !source.is_empty())
}

/// Keeps the last good rows of a source, encrypted, beside the ledger. The rows as they stood before a run are the input
/// `NAME.previous`: the columns kept, as text, and `last_seen`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberConfig {
    /// The columns that tell the rows apart, such as an employee's number. A row in which one of them is empty is not
    /// kept; of rows with the same key in one run, the first good one is.
    #[schemars(length(min = 1))]
    pub key: Vec<String>,
    /// The columns that are kept, those of the key among them: exactly what is stored, as text.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// A row is good when none of these columns is empty (absent or blank); one that is not good does not replace what
    /// is remembered. Default: every kept column that is not of the key.
    #[serde(default)]
    pub required: Option<Vec<String>>,
    /// A row that has not come as a good one for so long is forgotten. Default `400d`: a year, and what a yearly
    /// process may be late.
    #[serde(default = "default_ttl")]
    pub ttl: HumanDuration,
    /// The key the rows are encrypted with: 32 random bytes as base64 or hexadecimal digits, such as
    /// `openssl rand -base64 32` makes. Without it the rows cannot be read.
    pub encryption_key: SecretRef,
    /// The key before the present one, while keys are changed: what was written with it can still be read. May be taken
    /// out after one complete run.
    #[serde(default)]
    pub old_encryption_key: Option<SecretRef>,
}

/// The `remember:` block of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Name of the source.
    pub source: String,
    /// What is kept of it.
    pub settings: RememberConfig,
}

fn default_ttl() -> HumanDuration {
    HumanDuration(Duration::from_secs(400 * 86_400))
}

impl RememberConfig {
    /// The columns that a good row has values in, beside those of the key.
    pub(crate) fn required(&self) -> Vec<String> {
        match &self.required {
            Some(required) => required.clone(),
            None => self
                .columns
                .iter()
                .filter(|column| !self.key.contains(column))
                .cloned()
                .collect(),
        }
    }

    /// Notes what is wrong with the settings. Looks at nothing but `self`.
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        if self.key.is_empty() {
            problems.at("key").add_with_hint(
                "at least one column tells the rows apart",
                "for example `key: [employee_id]`",
            );
        }
        if self.columns.is_empty() {
            problems.at("columns").add_with_hint(
                "at least the columns of the key are kept",
                "for example `columns: [employee_id, upn]`",
            );
        }
        let required = self.required.as_deref().unwrap_or_default();
        for (list, columns) in [
            ("key", &self.key[..]),
            ("columns", &self.columns),
            ("required", required),
        ] {
            let mut here = problems.at(list);
            let mut seen = BTreeSet::new();
            for (index, column) in columns.iter().enumerate() {
                if !seen.insert(column) {
                    here.at_index(index).add(format!("`{column}` stands here twice"));
                } else if list == "columns" && column == LAST_SEEN {
                    here.at_index(index).add_with_hint(
                        format!(
                            "`{LAST_SEEN}` is the name of the column that tells when a row was last good"
                        ),
                        "give the source's own column another name before it comes here",
                    );
                } else if list != "columns" && !self.columns.is_empty() && !self.columns.contains(column) {
                    let kept = self.columns.iter().map(String::as_str);
                    let near = suggestion(column, kept);
                    let hint = match near.filter(|near| near.starts_with("did")) {
                        Some(near) => format!("{near} else add `{column}` to `columns`"),
                        None => format!("add `{column}` to `columns`"),
                    };
                    here.at_index(index).add_with_hint(
                        format!("`{column}` is not among the `columns` that are kept"),
                        hint,
                    );
                }
            }
        }
        if self.ttl.0.is_zero() {
            problems.at("ttl").add("must be more than zero");
        }
        if self.old_encryption_key.as_ref() == Some(&self.encryption_key) {
            problems
                .at("old_encryption_key")
                .add("this is the present key; the one before it belongs here");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::decode::decode;

    fn problems(value: Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        if let Some(config) = decode::<RememberConfig>(value, &mut problems) {
            config.validate(&mut problems);
        }
        found
            .iter()
            .map(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or("-")))
            .collect()
    }

    #[test]
    fn what_is_required_is_by_default_all_but_the_key() {
        let config: RememberConfig = serde_json::from_value(json!({
            "key": ["id"], "columns": ["id", "upn", "level"], "encryption_key": {"env": "K"},
        }))
        .unwrap();
        assert_eq!(config.required(), ["upn", "level"]);
        assert_eq!(config.ttl.0, Duration::from_secs(400 * 86_400));
    }

    #[test]
    fn every_problem_is_named_at_its_place() {
        let found = problems(json!({
            "key": ["id", "id", "person"],
            "columns": ["id", "upn", "last_seen"],
            "required": ["upnn"],
            "ttl": "0s",
            "encryption_key": {"env": "K"},
            "old_encryption_key": {"env": "K"},
        }));
        assert_eq!(
            found,
            [
                "key[1]: `id` stands here twice (-)",
                "key[2]: `person` is not among the `columns` that are kept (add `person` to `columns`)",
                "columns[2]: `last_seen` is the name of the column that tells when a row was last good (give the source's own column another name before it comes here)",
                "required[0]: `upnn` is not among the `columns` that are kept (did you mean `upn`? else add `upnn` to `columns`)",
                "ttl: must be more than zero (-)",
                "old_encryption_key: this is the present key; the one before it belongs here (-)",
            ]
        );
    }

    #[test]
    fn nothing_is_kept_without_a_key_to_encrypt_it_with() {
        let found = problems(json!({"key": ["id"], "columns": ["id"]}));
        assert_eq!(
            found,
            ["encryption_key: `encryption_key` is required and not there (-)"]
        );
        let found = problems(json!({"key": [], "columns": [], "encryption_key": "c2VjcmV0LW1hcmtlcg=="}));
        assert!(
            found[0].starts_with("encryption_key: a secret is given by reference"),
            "{found:?}"
        );
        assert!(!found.concat().contains("c2Vj"), "{found:?}");
    }
}
