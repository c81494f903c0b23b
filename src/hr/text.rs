//! Checks a column of free text.
//!
//! Length is counted in characters as Unicode scalar values, which is what the documentation's "characters" most
//! likely means and never more than UTF-16 code units unless the text has characters outside the basic plane, such
//! as emoji.

use arrow::array::{Array, StringArray};
use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation;

use super::checked::{Checked, Rewriter};
use super::space::trim as trimmed;
use crate::component::RejectCode;

/// What happens to a text longer than its field allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTooLong {
    /// It is cut to the limit, and the report says how often.
    #[default]
    Truncate,
    /// Its row is rejected.
    Reject,
}

/// Checks `values` against a limit of `max_chars` characters, if there is one.
///
/// With `trim`, white space at both ends is removed first, as [`space::trim`](super::space::trim) does it. A text
/// that is empty then (white space alone too, without `trim`) counts as no value: null, or a fault when `required`.
/// A text over the limit is cut or its row rejected. The cut never splits what a reader sees as one character (a
/// letter with its accents, an emoji with its parts), so what is left may be a little shorter than the limit.
pub fn check(
    values: &StringArray,
    max_chars: Option<usize>,
    trim: bool,
    on_too_long: OnTooLong,
    required: bool,
) -> Checked {
    let mut column = Rewriter::new(values);
    for row in 0..values.len() {
        if values.is_null(row) {
            column.null(row, required);
            continue;
        }
        let whole = values.value(row);
        let bare = trimmed(whole);
        if bare.is_empty() {
            column.null(row, required);
            continue;
        }
        let text = if trim { bare } else { whole };
        match max_chars.and_then(|most| cut(text, most)) {
            Some(_) if on_too_long == OnTooLong::Reject => {
                let most = max_chars.unwrap_or_default();
                column.fault(
                    row,
                    RejectCode::TooLong,
                    format!(
                        "has {} characters, and at most {most} are allowed",
                        text.chars().count()
                    ),
                );
            }
            Some(short) => {
                column.truncated += 1;
                column.replace(row, if trim { trimmed(short) } else { short });
            }
            None if text.len() == whole.len() => column.keep(row),
            None => column.replace(row, text),
        }
    }
    column.finish()
}

/// The part of `text` that fits into `most` characters, if not all of it does.
fn cut(text: &str, most: usize) -> Option<&str> {
    if text.len() <= most {
        return None;
    }
    let (limit, _) = text.char_indices().nth(most)?;
    let mut end = 0;
    for (start, cluster) in text.grapheme_indices(true) {
        if start + cluster.len() > limit {
            break;
        }
        end = start + cluster.len();
    }
    // One cluster longer than the whole limit: cut it rather than send nothing.
    Some(&text[..if end == 0 { limit } else { end }])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str, most: usize, on_too_long: OnTooLong) -> Checked {
        check(
            &StringArray::from(vec![text]),
            Some(most),
            true,
            on_too_long,
            false,
        )
    }

    #[test]
    fn the_limit_counts_characters_not_bytes() {
        let checked = one("übergrößen", 10, OnTooLong::Reject);
        assert_eq!((checked.values.value(0), checked.faults.len()), ("übergrößen", 0));
        let checked = one("übergrößenx", 10, OnTooLong::Truncate);
        assert_eq!((checked.values.value(0), checked.truncated), ("übergrößen", 1));
    }

    #[test]
    fn a_text_too_long_is_rejected_without_being_shown() {
        let checked = one("secret remark", 5, OnTooLong::Reject);
        assert!(checked.values.is_null(0));
        assert_eq!(checked.faults[0].code, RejectCode::TooLong);
        assert_eq!(
            checked.faults[0].message,
            "has 13 characters, and at most 5 are allowed"
        );
        assert_eq!(checked.truncated, 0);
    }

    #[test]
    fn the_cut_spares_what_a_reader_sees_as_one_character() {
        let checked = one("cafe\u{301}s", 4, OnTooLong::Truncate);
        assert_eq!(checked.values.value(0), "caf");
        let checked = one("ab cd", 3, OnTooLong::Truncate);
        assert_eq!(checked.values.value(0), "ab");
        let zalgo = format!("e{}", "\u{301}".repeat(9));
        assert_eq!(
            one(&zalgo, 3, OnTooLong::Truncate).values.value(0),
            "e\u{301}\u{301}"
        );
    }

    #[test]
    fn blank_is_no_value() {
        let values = StringArray::from(vec![Some(" \u{A0}"), None, Some(""), Some(" x ")]);
        let checked = check(&values, None, true, OnTooLong::Truncate, true);
        assert_eq!(
            checked.faults.iter().map(|f| (f.row, f.code)).collect::<Vec<_>>(),
            [
                (0, RejectCode::Missing),
                (1, RejectCode::Missing),
                (2, RejectCode::Missing)
            ]
        );
        assert_eq!(
            checked.values,
            StringArray::from(vec![None, None, None, Some("x")])
        );

        let kept = check(&values, None, false, OnTooLong::Truncate, false);
        assert!(kept.faults.is_empty());
        assert_eq!(
            kept.values,
            StringArray::from(vec![None, None, None, Some(" x ")])
        );
    }

    #[test]
    fn a_clean_column_is_not_copied() {
        let values = StringArray::from(vec![Some("a"), None, Some("b")]);
        let checked = check(&values, Some(10), true, OnTooLong::Truncate, false);
        assert_eq!(checked.values.value_data().as_ptr(), values.value_data().as_ptr());
    }

    proptest! {
        #[test]
        fn what_is_left_is_a_prefix_within_the_limit(text in "\\PC{0,40}", most in 1usize..20) {
            if let Some(short) = cut(&text, most) {
                prop_assert!(text.starts_with(short) && text.chars().count() > most);
                prop_assert!((1..=most).contains(&short.chars().count()));
            } else {
                prop_assert!(text.chars().count() <= most);
            }
        }
    }
}
