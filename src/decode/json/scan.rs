//! Passes over the text of a JSON value, and finds its simple values without building any.
//!
//! Takes what `serde_json` takes and nothing else, as a test shows. What is rare, such as escapes and numbers that 18
//! digits do not hold, is left to it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::shape::Kind;

/// Levels of objects and lists in one another, as `serde_json` counts them.
const MAX_DEPTH: usize = 127;

/// A simple value as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'t> {
    Null,
    Bool(bool),
    Number(&'t str, Kind),
    /// What is between the quotes; nothing in it is escaped.
    Text(&'t str),
    /// With its quotes; valid, and something in it is escaped.
    Escaped(&'t str),
}

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

/// Where the first quote, backslash or control character is: a JSON string goes on up to there at least.
#[inline]
fn string_stop(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte below the subtrahend borrows into its high bit. What lies above it may be told wrongly, and is not
        // asked.
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
        let stops = (control | quote | backslash) & !word & HIGH;
        if stops != 0 {
            return Some(index * 8 + (stops.trailing_zeros() / 8) as usize);
        }
    }
    let stop = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')?;
    Some(words.len() * 8 + stop)
}

impl Scalar<'_> {
    /// What kind of value it is; none is null.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Null => None,
            Self::Bool(_) => Some(Kind::Bool),
            Self::Number(_, kind) => Some(*kind),
            Self::Text(_) | Self::Escaped(_) => Some(Kind::Text),
        }
    }
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// What comes after white space, if anything does.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes a byte that comes after white space.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Takes exactly this text.
    #[inline]
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text.as_bytes());
        if there {
            self.at += text.len();
        }
        there
    }

    /// Takes a string, with its quotes; whether something in it is escaped.
    #[inline]
    pub(super) fn string(&mut self) -> Option<(&'t str, bool)> {
        let begin = self.at;
        if self.rest().first() != Some(&b'"') {
            return None;
        }
        self.at += 1;
        self.at += string_stop(self.rest())?;
        if self.rest()[0] == b'"' {
            self.at += 1;
            return Some((&self.text[begin..self.at], false));
        }
        while self.rest()[0] == b'\\' {
            // Whatever is escaped is one byte, or more that stop nothing.
            self.at += 2;
            self.at += string_stop(self.text.as_bytes().get(self.at..)?)?;
        }
        if self.rest()[0] != b'"' {
            return None;
        }
        self.at += 1;
        let string = &self.text[begin..self.at];
        serde_json::from_str::<String>(string).ok()?;
        Some((string, true))
    }

    /// Takes a value that is no object or list.
    #[inline]
    pub(super) fn scalar(&mut self) -> Option<Scalar<'t>> {
        match self.peek()? {
            b'"' => match self.string()? {
                (string, true) => Some(Scalar::Escaped(string)),
                (string, false) => Some(Scalar::Text(&string[1..string.len() - 1])),
            },
            b'n' => self.take_text("null").then_some(Scalar::Null),
            b't' => self.take_text("true").then_some(Scalar::Bool(true)),
            b'f' => self.take_text("false").then_some(Scalar::Bool(false)),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Scalar<'t>> {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        (length > 0).then_some(())?;
        let text = &self.text[self.at..self.at + length];
        self.at += length;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let simple = matches!(digits.len(), 1..=15)
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        let kind = if simple || text == "0" {
            Kind::Int
        } else {
            serde_json::from_str::<Number>(text).ok()?.0
        };
        Some(Scalar::Number(text, kind))
    }

    /// Passes over a value with `around` levels around it.
    pub(super) fn skip(&mut self, around: usize) -> Option<()> {
        let close = match self.peek()? {
            b'{' => b'}',
            b'[' => b']',
            _ => return self.scalar().map(|_| ()),
        };
        self.at += 1;
        if around == MAX_DEPTH {
            return None;
        }
        if self.take(close) {
            return Some(());
        }
        loop {
            if close == b'}' {
                self.peek()?;
                self.string()?;
                self.take(b':').then_some(())?;
            }
            self.skip(around + 1)?;
            if self.take(close) {
                return Some(());
            }
            self.take(b',').then_some(())?;
        }
    }
}

struct Number(Kind);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(Kind::of_signed(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(Kind::of_unsigned(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number(Kind::of_float(value)))
    }
}
