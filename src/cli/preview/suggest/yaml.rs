//! A suggestion as a part of a pipeline file.

use std::borrow::Cow;

/// `text` as a YAML value: plain where that is safe, and with `${` written so that it means itself.
pub(super) fn text(text: &str) -> String {
    let text: Cow<'_, str> = if text.contains("${") {
        text.replace("${", "$${").into()
    } else {
        text.into()
    };
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_ ()[]'\".-".contains(c))
        && !text.ends_with(' ')
        && !is_word(&text);
    if plain {
        text.into_owned()
    } else if text.chars().any(char::is_control) {
        // JSON is YAML.
        serde_json::Value::from(text.as_ref()).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Words that YAML has a meaning for.
fn is_word(text: &str) -> bool {
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// `text` in a comment: on one line.
pub(super) fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::document::{self, Notation};

    fn read(value: &str) -> String {
        let yaml = format!("a: {value}  # comment\n");
        let path = std::path::Path::new("a.yaml");
        let tree = document::parse(&yaml, Notation::of(path).unwrap(), path).unwrap();
        tree["a"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_plain_stays_plain() {
        assert_eq!(text("lower(trim(\"Work Email\"))"), "lower(trim(\"Work Email\"))");
        assert_eq!(text("\"Last Day\""), "'\"Last Day\"'");
        assert_eq!(text("\"a ${b}\""), "'\"a $${b}\"'");
    }

    proptest! {
        #[test]
        fn it_is_read_back(value in "[^$]{1,20}|[a-z :#'\"\\[\\]{},&*!|>%@`-]{1,12}") {
            prop_assume!(value.chars().all(|c| !c.is_control() && !"\u{feff}\u{85}\u{2028}\u{2029}\u{fffe}\u{ffff}".contains(c)));
            prop_assert_eq!(read(&text(&value)), value);
        }
    }
}
