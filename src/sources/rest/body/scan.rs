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

const OTHER: u8 = 0;
const QUOTE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;

static KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    kinds[b'"' as usize] = QUOTE;
    kinds[b'{' as usize] = OPEN;
    kinds[b'[' as usize] = OPEN;
    kinds[b'}' as usize] = CLOSE;
    kinds[b']' as usize] = CLOSE;
    kinds
};

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
        let mut at = 0;
        loop {
            if self.in_string {
                if self.escaped {
                    if at == bytes.len() {
                        return Ok(None);
                    }
                    at += 1;
                    self.escaped = false;
                }
                let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) else {
                    return Ok(None);
                };
                at += found + 1;
                if bytes[at - 1] == b'\\' {
                    self.escaped = true;
                    continue;
                }
                self.in_string = false;
                if self.depth == 0 {
                    return Ok(Some(at));
                }
            }
            let rest = &bytes[at..];
            let Some(found) = rest.iter().position(|&byte| KINDS[usize::from(byte)] != OTHER) else {
                return Ok(None);
            };
            let byte = rest[found];
            at += found + 1;
            match KINDS[usize::from(byte)] {
                QUOTE => self.in_string = true,
                OPEN => {
                    if self.depth == self.room {
                        return Err((at - 1, Fault::TooDeep));
                    }
                    self.depth += 1;
                    self.lists = self.lists << 1 | u128::from(byte == b'[');
                }
                _ => {
                    if self.depth == 0 || (self.lists & 1 == 1) != (byte == b']') {
                        return Err((at - 1, Fault::Mismatch));
                    }
                    self.lists >>= 1;
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(at));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
