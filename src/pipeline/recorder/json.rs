//! Masks the values of JSON text.
//!
//! Works on the text from left to right, so that a truncated page is masked like a complete one, numbers keep their
//! length, and no nesting is too deep.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::mask;

/// Characters of a value's form to keep.
pub(super) const MAX_FORM_CHARS: usize = 64;
/// With more keys than this that occur once, a page is a map of ids, and those keys are values.
const MAX_UNIQUE_KEYS: usize = 200;

/// A string, which the end of the text may truncate, with the colon after a key; or any other word.
static TOKEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)"?(\s*:)?|[^\s"{}\[\],:]+"#).ok());

/// `text`, masked. Valid JSON if `text` is.
pub(super) fn mask(text: &str) -> String {
    let Some(token) = &*TOKEN else {
        return mask::strict_form(text, MAX_FORM_CHARS);
    };
    let mut keys: HashMap<&str, usize> = HashMap::new();
    for found in token.captures_iter(text) {
        if let (Some(key), Some(_)) = (found.get(1), found.get(2)) {
            *keys.entry(key.as_str()).or_default() += 1;
        }
    }
    let unique = keys.values().filter(|count| **count == 1).count();
    let masks_unique = unique > MAX_UNIQUE_KEYS;
    let masked = token.replace_all(text, |found: &Captures<'_>| {
        let Some(raw) = found.get(1) else {
            return word(&found[0]);
        };
        let value = unescaped(raw.as_str());
        let colon = found.get(2).map_or("", |colon| colon.as_str());
        let is_id = mask::is_like_a_value(&value) || (masks_unique && keys.get(raw.as_str()) == Some(&1));
        let shown = match colon.is_empty() || is_id {
            true => mask::strict_form(&value, MAX_FORM_CHARS).into(),
            false => value,
        };
        format!("{}{colon}", serde_json::Value::from(shown.as_ref()))
    });
    masked.into_owned()
}

/// A number, `true`, `false`, `null`, or text that is not JSON.
fn word(word: &str) -> String {
    if matches!(word, "true" | "false" | "null") {
        return word.to_owned();
    }
    if !word
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    {
        return mask::strict_form(word, MAX_FORM_CHARS);
    }
    // Digits become 9; those of an exponent 1, so that the number is not too large.
    let exponent = word.find(['e', 'E']).unwrap_or(word.len());
    let digits = |part: &str, digit| part.replace(|c: char| c.is_ascii_digit(), digit);
    digits(&word[..exponent], "9") + &digits(&word[exponent..], "1")
}

fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).map_or(raw.into(), Cow::Owned)
}
