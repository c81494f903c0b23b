//! Checks a column of free text.
//!
//! Length is counted in characters as Unicode scalar values, which is what the documentation's "characters" most likely
//! means and never more than UTF-16 code units, except for characters outside the basic plane, such as emoji.

use arrow::array::StringArray;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::checked::{Checked, check_each};
use super::space::trim;
use crate::component::RejectCode;

/// What to do with a text longer than its field allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnTooLong {
    /// Truncate it to the limit; the report counts how often.
    #[default]
    Truncate,
    /// Reject its row.
    Reject,
}

/// Checks `values` against a limit of `max_chars` characters, if there is one.
///
/// White space at both ends is removed first. A blank text counts as missing: null, or a fault if `required`. A
/// text over the limit is truncated, or its row rejected. Truncation never splits what a reader sees as one character (a
/// letter with its accents, an emoji with its parts), so the result may be a little shorter than the limit.
pub(crate) fn check(
    values: &StringArray,
    max_chars: Option<usize>,
    on_too_long: OnTooLong,
    required: bool,
) -> Checked {
    let mut truncated = 0;
    let checked = check_each(values, required, |text| {
        let Some((max, short)) = max_chars.and_then(|max| Some((max, truncate(text, max)?))) else {
            return Ok(text);
        };
        if on_too_long == OnTooLong::Reject {
            let found = text.chars().count();
            let message = format!("has {found} characters; the limit is {max}");
            return Err((RejectCode::TooLong, message.into()));
        }
        truncated += 1;
        Ok(trim(short))
    });
    Checked { truncated, ..checked }
}

/// The part of `text` that fits into `max` characters, if not all of it does.
fn truncate(text: &str, max: usize) -> Option<&str> {
    if text.len() <= max {
        return None;
    }
    let (limit, _) = text.char_indices().nth(max)?;
    let mut end = 0;
    for (start, cluster) in text.grapheme_indices(true) {
        if start + cluster.len() > limit {
            break;
        }
        end = start + cluster.len();
    }
    // One cluster longer than the limit: split it rather than send nothing.
    Some(&text[..if end == 0 { limit } else { end }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_characters_not_bytes() {
        use OnTooLong::{Reject, Truncate};
        let zalgo = format!("e{}", "\u{301}".repeat(9));
        for (text, max, on_too_long, expected, truncated) in [
            (" übergrößen\u{A0}", 10, Reject, Some("übergrößen"), 0),
            ("übergrößenx", 10, Truncate, Some("übergrößen"), 1),
            // Never splits what a reader sees as one character.
            ("cafe\u{301}s", 4, Truncate, Some("caf"), 1),
            ("ab cd", 3, Truncate, Some("ab"), 1),
            (&zalgo, 3, Truncate, Some("e\u{301}\u{301}"), 1),
            ("secret remark", 5, Reject, None, 0),
        ] {
            let values = StringArray::from(vec![text]);
            let checked = check(&values, Some(max), on_too_long, false);
            assert_eq!(checked.values, StringArray::from(vec![expected]));
            assert_eq!(checked.truncated, truncated, "{text}");
            let faults = checked.faults.iter().map(|fault| (fault.code, &*fault.message));
            let too_long = (RejectCode::TooLong, "has 13 characters; the limit is 5");
            assert!(faults.eq(expected.is_none().then_some(too_long)), "{text}");
        }
    }
}
