//! The `snapshot:` block of a source: which of its rows are kept for later runs, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::Problems;
use crate::secret::SecretRef;
use crate::settings::HumanDuration;
use crate::suggest::suggestion;

/// The column that holds the time when a row was last valid.
pub(super) const LAST_SEEN: &str = "last_seen";

/// Appended to the name of a source, it names the input with the rows of the snapshot.
const PREVIOUS: &str = ".previous";

pub(crate) fn snapshot_input(source: &str) -> String {
    format!("{source}{PREVIOUS}")
}

pub(crate) fn source_of_input(input: &str) -> Option<&str> {
    input.strip_suffix(PREVIOUS).filter(|source| !source.is_empty())
}

/// Keeps the last valid rows of a source, encrypted, beside the ledger. The rows as of the run before are the input
/// `NAME.previous`: the kept columns as text, and `last_seen`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// Columns that identify a row, such as the employee number. Rows without a value in every one of them are not kept.
    /// If several rows of a run have the same key, the first valid one is kept.
    #[schemars(length(min = 1), example = ["employee_id"])]
    pub key: Vec<String>,
    /// Columns to keep, as text; must include the key. No other column is stored.
    #[schemars(length(min = 1), example = ["employee_id", "upn", "manager_id"])]
    pub columns: Vec<String>,
    /// Columns that must have a value. A row in which one is missing or blank does not replace the stored row. Default:
    /// every kept column except the key.
    #[serde(default)]
    #[schemars(example = ["upn"])]
    pub required: Option<Vec<String>>,
    /// How long a row is kept after it was last valid.
    #[serde(default = "default_ttl")]
    pub ttl: HumanDuration,
    /// Encryption key: 32 random bytes as base64 or hexadecimal digits, such as `openssl rand -base64 32` prints. The
    /// rows cannot be read without it.
    pub encryption_key: SecretRef,
    /// Previous encryption key, while keys are rotated: files written with it can still be read. Remove it after one
    /// complete run.
    #[serde(default)]
    pub old_encryption_key: Option<SecretRef>,
}

/// A source with a `snapshot:` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSnapshot {
    /// Name of the source.
    pub source: String,
    /// Its settings.
    pub settings: SnapshotConfig,
}

fn default_ttl() -> HumanDuration {
    HumanDuration(Duration::from_secs(400 * 86_400))
}

impl SnapshotConfig {
    /// The columns other than the key in which a valid row has a value.
    pub(crate) fn required(&self) -> Vec<String> {
        let columns = self.required.as_ref().unwrap_or(&self.columns);
        let not_key = columns.iter().filter(|column| !self.key.contains(column));
        not_key.cloned().collect()
    }

    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        if self.key.is_empty() {
            problems.at("key").add_with_hint(
                "`key` requires at least one column",
                "for example `key: [employee_id]`",
            );
        }
        if self.columns.is_empty() {
            problems.at("columns").add_with_hint(
                "`columns` requires at least the columns of the key",
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
                let mut here = here.at_index(index);
                if !seen.insert(column) {
                    here.add(format!("duplicate column `{column}`"));
                } else if list == "columns" && column == LAST_SEEN {
                    here.add_with_hint(
                        format!("`{LAST_SEEN}` is reserved for the time a row was last valid"),
                        "rename the column of the source",
                    );
                } else if list != "columns" && !self.columns.is_empty() && !self.columns.contains(column) {
                    let near = suggestion(column, self.columns.iter().map(String::as_str));
                    let hint = match near.filter(|near| near.starts_with("did")) {
                        Some(near) => format!("{near} otherwise add `{column}` to `columns`"),
                        None => format!("add `{column}` to `columns`"),
                    };
                    here.add_with_hint(format!("`{column}` is not in `columns`"), hint);
                }
            }
        }
        if self.ttl.0.is_zero() {
            problems.at("ttl").add("must be more than zero");
        }
        if self.old_encryption_key.as_ref() == Some(&self.encryption_key) {
            let mut here = problems.at("old_encryption_key");
            here.add("this is the current key; set the previous one");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::component::decode;

    fn problems(value: Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        if let Some(config) = decode::<SnapshotConfig>(value, &mut problems) {
            config.validate(&mut problems);
        }
        found
            .iter()
            .map(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or("-")))
            .collect()
    }

    #[test]
    fn reports_each_problem_with_its_path() {
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
                "key[1]: duplicate column `id` (-)",
                "key[2]: `person` is not in `columns` (add `person` to `columns`)",
                "columns[2]: `last_seen` is reserved for the time a row was last valid (rename the column of the source)",
                "required[0]: `upnn` is not in `columns` (did you mean `upn`? otherwise add `upnn` to `columns`)",
                "ttl: must be more than zero (-)",
                "old_encryption_key: this is the current key; set the previous one (-)",
            ]
        );
    }
}
