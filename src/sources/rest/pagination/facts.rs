//! Numbers and flags out of answers, as services write them.

use serde_json::Value;

/// What there is besides rows and a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) has_more: Option<bool>,
    pub(super) total_rows: Option<u64>,
    pub(super) total_pages: Option<u64>,
}

/// Whether nothing is told: no value, null or a blank text.
fn blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// A yes or no; `None` if nothing is told.
///
/// # Errors
/// It is neither; what it is, in words.
pub(super) fn flag(value: &Value) -> Result<Option<bool>, &'static str> {
    if blank(value) {
        return Ok(None);
    }
    let yes = match value {
        Value::Bool(yes) => Some(*yes),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim() {
            "0" => Some(false),
            "1" => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            text if text.eq_ignore_ascii_case("true") => Some(true),
            _ => None,
        },
        _ => None,
    };
    yes.map(Some).ok_or_else(|| kind(value))
}

/// A count; `None` if nothing is told.
///
/// # Errors
/// It is none; what it is, in words.
pub(super) fn count(value: &Value) -> Result<Option<u64>, &'static str> {
    if blank(value) {
        return Ok(None);
    }
    let count = match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            // Some write counts as 120.0. Above 2^53 a float is no count.
            let float = number.as_f64()?;
            (float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float)).then_some(float as u64)
        }),
        Value::String(text) => {
            let text = text.trim();
            // `parse` would take a sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        }
        _ => None,
    };
    count.map(Some).ok_or_else(|| kind(value))
}

/// What a value is, without saying what it says.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number of another kind",
        Value::String(_) => "a text of another kind",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_come_in_many_spellings() {
        for (value, wanted) in [
            (json!(true), Some(true)),
            (json!("True"), Some(true)),
            (json!("1"), Some(true)),
            (json!(1), Some(true)),
            (json!(false), Some(false)),
            (json!(" false "), Some(false)),
            (json!("0"), Some(false)),
            (json!(0), Some(false)),
            (json!(null), None),
            (json!(""), None),
        ] {
            assert_eq!(flag(&value), Ok(wanted), "{value}");
        }
        for value in [json!("maybe"), json!(2), json!([]), json!({"more": true})] {
            assert!(flag(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn counts_may_be_text_and_are_never_guessed() {
        for (value, wanted) in [
            (json!(12), Some(12)),
            (json!(12.0), Some(12)),
            (json!("12"), Some(12)),
            (json!(" 0 "), Some(0)),
            (json!(null), None),
            (json!(" "), None),
        ] {
            assert_eq!(count(&value), Ok(wanted), "{value}");
        }
        for value in [
            json!(-1),
            json!("+1"),
            json!("1,000"),
            json!(1.5),
            json!(true),
            json!("99999999999999999999"),
        ] {
            assert!(count(&value).is_err(), "{value}");
        }
    }
}
