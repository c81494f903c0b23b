//! Finds the end of a JSON value of which nothing but its brackets and quotes is looked at.

use memchr::memchr2;

/// Most objects and lists in one another: what fits the word that remembers their kinds, and what `serde_json` takes.
pub(super) const MAX_DEPTH: u32 = 128;

/// What is wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A bracket closes what it did not open.
    Mismatch,
    /// Too many levels.
    TooDeep,
}

/// In an object, list or string, whose bytes come in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// The open brackets, the innermost lowest; 1 is a list.
    lists: u128,
    depth: u32,
    room: u32,
    in_string: bool,
    escaped: bool,
}

const ONES: u64 = u64::MAX / 255;

/// The high bit of each byte of `word` that is `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    zero(word ^ (ONES * u64::from(byte)))
}

/// The high bit of each byte of `word` that is zero.
#[inline]
fn zero(word: u64) -> u64 {
    const LOW: u64 = ONES * 0x7f;
    !(((word & LOW) + LOW) | word | LOW)
}

/// The high bit of each byte of `word` that is a bracket, or one of a few others.
#[inline]
fn brackets(word: u64) -> u64 {
    // `[` and `{` differ in one bit, as `]` and `}` do; `{` and `}` in two more.
    zero(((word | (ONES * 0x20)) ^ (ONES * u64::from(b'{'))) & !(ONES * 0x06))
}

impl Scan {
    /// Before the quote or bracket that a value begins with, with `around` levels around it.
    pub(super) fn new(around: usize) -> Self {
        Self {
            room: MAX_DEPTH.saturating_sub(u32::try_from(around).unwrap_or(MAX_DEPTH)),
            ..Self::default()
        }
    }

    /// After the opening quote of a string.
    pub(super) fn in_string() -> Self {
        Self {
            in_string: true,
            ..Self::default()
        }
    }

    /// Takes more bytes: how many belong to the value if it ends in them, nothing if it does not.
    ///
    /// # Errors
    /// The offset of what is wrong, and what.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, Fault)> {
        if self.in_string && self.depth == 0 {
            return Ok(self.string(bytes));
        }
        let mut at = 0;
        while at < bytes.len() {
            if let Some(word) = bytes[at..].first_chunk()
                && !self.escaped
            {
                let word = u64::from_le_bytes(*word);
                if equal(word, b'\\') == 0 {
                    if let Some(end) = self.word(word, at)? {
                        return Ok(Some(end));
                    }
                    at += 8;
                    continue;
                }
            }
            let byte = bytes[at];
            at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'"' => self.in_string = !self.in_string,
                b'\\' => self.escaped = self.in_string,
                _ if self.in_string => {}
                _ => {
                    if self.bracket(byte, at - 1)? {
                        return Ok(Some(at));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Takes eight bytes without a backslash, the first at `at`, without a branch for each: in HR records, strings are
    /// short and end where nothing foresees it.
    #[inline]
    fn word(&mut self, word: u64, at: usize) -> Result<Option<usize>, (usize, Fault)> {
        // For each byte, whether the quotes up to it are odd in number.
        let mut inside = equal(word, b'"') >> 7;
        inside ^= inside << 8;
        inside ^= inside << 16;
        inside ^= inside << 32;
        inside ^= ONES * u64::from(self.in_string);
        let mut found = brackets(word) & !(inside << 7);
        while found != 0 {
            let place = found.trailing_zeros() as usize / 8;
            found &= found - 1;
            if self.bracket(word.to_le_bytes()[place], at + place)? {
                self.in_string = false;
                return Ok(Some(at + place + 1));
            }
        }
        self.in_string = inside >> 56 != 0;
        Ok(None)
    }

    /// Takes a byte outside of strings; whether it closes the value.
    #[inline]
    fn bracket(&mut self, byte: u8, at: usize) -> Result<bool, (usize, Fault)> {
        match byte {
            b'{' | b'[' => {
                if self.depth == self.room {
                    return Err((at, Fault::TooDeep));
                }
                self.depth += 1;
                self.lists = self.lists << 1 | u128::from(byte == b'[');
                Ok(false)
            }
            b'}' | b']' => {
                if self.depth == 0 || (self.lists & 1 == 1) != (byte == b']') {
                    return Err((at, Fault::Mismatch));
                }
                self.lists >>= 1;
                self.depth -= 1;
                Ok(self.depth == 0)
            }
            _ => Ok(false),
        }
    }

    /// Goes on in a string that is the value.
    fn string(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.escaped {
                bytes.get(at)?;
                at += 1;
                self.escaped = false;
            }
            at += memchr2(b'"', b'\\', &bytes[at..])? + 1;
            if bytes[at - 1] == b'"' {
                self.in_string = false;
                return Some(at);
            }
            self.escaped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_ends_where_its_last_bracket_closes_however_it_is_cut() {
        let text = br#"{"a\\":["}\"]",{"b":[]}],"c":"\\\\"}, 1"#;
        for cut in 0..=text.len() {
            let mut scan = Scan::new(0);
            let end = match scan.run(&text[..cut]).unwrap() {
                Some(end) => end,
                None => cut + scan.run(&text[cut..]).unwrap().unwrap(),
            };
            assert_eq!(&text[end..], b", 1");
        }
    }

    #[test]
    fn brackets_must_match_and_have_a_bound() {
        assert_eq!(Scan::new(0).run(b"[{]}"), Err((2, Fault::Mismatch)));
        let deep = vec![b'['; 200];
        assert_eq!(Scan::new(0).run(&deep), Err((128, Fault::TooDeep)));
        assert_eq!(Scan::new(120).run(&deep), Err((8, Fault::TooDeep)));
        let closed = [&deep[..128], &[b']'; 128]].concat();
        assert_eq!(Scan::new(0).run(&closed), Ok(Some(256)));
    }

    /// [`Scan::run`], a byte at a time.
    fn byte_by_byte(scan: &mut Scan, bytes: &[u8]) -> Result<Option<usize>, (usize, Fault)> {
        for (at, byte) in bytes.iter().enumerate() {
            match scan.run(std::slice::from_ref(byte)) {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(Some(at + end)),
                Err((_, fault)) => return Err((at, fault)),
            }
        }
        Ok(None)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn eight_bytes_at_a_time_are_eight_times_one(text in "[\\[{\"]([\\[\\]{}\"a-z]|\\\\[\"\\\\a]|[\\]}yY_\\x7f{é]){0,60}") {
            let (mut scan, mut slow) = (Scan::new(0), Scan::new(0));
            let text = text.as_bytes();
            let (begin, rest) = text.split_at(1);
            if begin == b"\"" {
                (scan, slow) = (Scan::in_string(), Scan::in_string());
            } else {
                prop_assert_eq!(scan.run(begin), slow.run(begin));
            }
            let result = scan.run(rest);
            prop_assert_eq!(&result, &byte_by_byte(&mut slow, rest));
            if result.is_ok() {
                prop_assert_eq!(
                    (scan.in_string, scan.escaped, scan.depth),
                    (slow.in_string, slow.escaped, slow.depth)
                );
            }
        }
    }
}
