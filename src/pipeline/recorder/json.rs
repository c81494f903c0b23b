//! JSON text with its values masked.
//!
//! Works on the text, from left to right, so that a page that was cut is masked like a whole one, numbers keep their
//! length, and no depth is too deep. What is not JSON is masked by its form.

use std::borrow::Cow;

use crate::mask;

/// Characters of a text's form to keep.
const MOST: usize = 64;
/// An object with more keys is a map of ids to things, and its keys are values.
const MOST_KEYS: usize = 200;

/// `text`, masked. Valid JSON if `text` is.
pub(super) fn mask(text: &str) -> String {
    let keys = keys_of_objects(text);
    let mut out = String::with_capacity(text.len());
    // The number of each open object; `None` for an array.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut objects = 0;
    for token in Tokens(text) {
        match token {
            Token::Mark(mark) => {
                match mark {
                    '{' => {
                        open.push(Some(objects));
                        objects += 1;
                    }
                    '[' => open.push(None),
                    '}' | ']' => drop(open.pop()),
                    _ => {}
                }
                out.push(mark);
            }
            Token::Text(raw, is_key) => {
                let value = unescaped(raw);
                let many = || {
                    let object = open.last().copied().flatten();
                    object.is_some_and(|object| keys.get(object).is_some_and(|keys| *keys > MOST_KEYS))
                };
                let kept = is_key && !mask::is_like_a_value(&value) && !many();
                let shown = if kept {
                    value
                } else {
                    mask::strict_form(&value, MOST).into()
                };
                // A text always has a JSON form.
                out.push_str(&serde_json::Value::from(shown.as_ref()).to_string());
            }
            Token::Number(number) => push_number(&mut out, number),
            Token::Other(other) => match other {
                "true" | "false" | "null" => out.push_str(other),
                _ => out.push_str(&mask::strict_form(other, MOST)),
            },
        }
    }
    out
}

/// How many keys each object has, by the order in which they begin.
fn keys_of_objects(text: &str) -> Vec<usize> {
    let mut keys = Vec::new();
    let mut open: Vec<Option<usize>> = Vec::new();
    for token in Tokens(text) {
        match token {
            Token::Mark('{') => {
                open.push(Some(keys.len()));
                keys.push(0);
            }
            Token::Mark('[') => open.push(None),
            Token::Mark('}' | ']') => drop(open.pop()),
            Token::Text(_, true) => {
                if let Some(Some(object)) = open.last() {
                    keys[*object] += 1;
                }
            }
            _ => {}
        }
    }
    keys
}

/// Digits become 9; those of an exponent 1, which no number is too large for. A leading zero stays one digit.
fn push_number(out: &mut String, number: &str) {
    let mut digit = '9';
    for c in number.chars() {
        match c {
            '0'..='9' => out.push(digit),
            'e' | 'E' => {
                digit = '1';
                out.push(c);
            }
            _ => out.push(c),
        }
    }
}

fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    match serde_json::from_str::<String>(&format!("\"{raw}\"")) {
        Ok(text) => text.into(),
        Err(_) => raw.into(),
    }
}

enum Token<'t> {
    /// White space and punctuation.
    Mark(char),
    /// What stands between quotes, and whether a colon follows.
    Text(&'t str, bool),
    Number(&'t str),
    Other(&'t str),
}

struct Tokens<'t>(&'t str);

impl<'t> Iterator for Tokens<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        let text = self.0;
        let first = text.chars().next()?;
        if is_mark(first) {
            self.0 = &text[1..];
            return Some(Token::Mark(first));
        }
        if first == '"' {
            let rest = &text[1..];
            let mut escaped = false;
            let end = rest.bytes().position(|byte| {
                let is_end = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                is_end
            });
            // A text that was cut ends with the page.
            let (raw, after) = end.map_or((rest, ""), |end| (&rest[..end], &rest[end + 1..]));
            self.0 = after;
            return Some(Token::Text(raw, after.trim_start().starts_with(':')));
        }
        let end = text.find(|c| is_mark(c) || c == '"').unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        self.0 = after;
        let of_a_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        Some(if word.bytes().all(of_a_number) {
            Token::Number(word)
        } else {
            Token::Other(word)
        })
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | ' ' | '\t' | '\r' | '\n')
}
