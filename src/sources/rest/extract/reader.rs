//! The response body as a blocking reader that enforces size and nesting limits.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

use bytes::{Buf as _, Bytes};

use super::error::BodyError;

/// Nesting levels; `serde_json` has the same limit for values that it builds.
const MAX_DEPTH: usize = 128;

/// Bytes of one string or number outside the records, so that skipped text cannot fill the memory.
const MAX_TOKEN: usize = 16 << 20;

pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What the parser reads at the moment, and how long that may be.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) at: Cell<u64>,
    limit: Cell<Option<(u64, u64)>>,
    what: RefCell<String>,
    /// Whether the parser has met the end of the body.
    pub(super) ended: Cell<bool>,
    /// The first failure.
    pub(super) failed: RefCell<Option<BodyError>>,
}

impl Progress {
    /// From here, `what` may be at most `bytes` long.
    pub(super) fn limit(&self, bytes: usize, what: &str) {
        self.limit.set(Some((self.at.get(), bytes as u64)));
        let mut text = self.what.borrow_mut();
        text.clear();
        text.push_str(what);
    }

    pub(super) fn unlimited(&self) {
        self.limit.set(None);
    }

    /// Keeps the first failure. The parser gets a placeholder for it: serde's own errors may repeat a value.
    pub(super) fn fail<E: serde::de::Error>(&self, error: BodyError) -> E {
        self.keep(error);
        E::custom("see the failure")
    }

    fn keep(&self, error: BodyError) {
        self.failed.borrow_mut().get_or_insert(error);
    }
}

pub(super) struct BodyReader<'p, I> {
    pieces: I,
    piece: Bytes,
    progress: &'p Progress,
    nesting: Nesting,
    started: bool,
    /// The first bytes, for response actions, messages and recordings.
    pub(super) head: Vec<u8>,
    max_head: usize,
    pub(super) received: usize,
}

impl<'p, I: Iterator<Item = Bytes>> BodyReader<'p, I> {
    pub(super) fn new(pieces: I, max_head: usize, progress: &'p Progress) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            progress,
            nesting: Nesting::default(),
            started: false,
            head: Vec::new(),
            max_head,
            received: 0,
        }
    }

    pub(super) fn fill_head(&mut self) {
        while self.head.len() < self.max_head && self.receive().is_some() {}
    }

    fn receive(&mut self) -> Option<Bytes> {
        let piece = self.pieces.next()?;
        let room = self.max_head.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(&piece[..room]);
        self.received += piece.len();
        Some(piece)
    }

    /// The next piece that is not empty; the first one without a byte order mark.
    fn advance(&mut self) -> io::Result<bool> {
        self.piece = Bytes::new();
        while self.piece.is_empty() {
            let Some(mut piece) = self.receive() else {
                self.progress.ended.set(true);
                return Ok(false);
            };
            if !std::mem::replace(&mut self.started, true) {
                let mut first = piece.to_vec();
                while first.len() < BOM.len()
                    && let Some(more) = self.receive()
                {
                    first.extend_from_slice(&more);
                }
                piece = Bytes::from(first);
                if piece.starts_with(BOM) {
                    piece = piece.slice(BOM.len()..);
                }
            }
            self.piece = piece;
        }
        let nesting = self.nesting.check(&self.piece, self.progress.at.get());
        nesting.map_err(|error| {
            self.progress.keep(error);
            io::Error::other("nesting or token limit")
        })?;
        Ok(true)
    }
}

impl<I: Iterator<Item = Bytes>> Read for BodyReader<'_, I> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.advance()? {
            return Ok(0);
        }
        let length = out.len().min(self.piece.len());
        out[..length].copy_from_slice(&self.piece[..length]);
        self.piece.advance(length);
        let at = self.progress.at.get() + length as u64;
        self.progress.at.set(at);
        if let Some((start, limit)) = self.progress.limit.get()
            && at - start > limit
        {
            let what = self.progress.what.borrow();
            self.progress.keep(BodyError::too_large(&what, start, limit));
            return Err(io::Error::other("size limit"));
        }
        Ok(length)
    }
}

pub(super) fn check_nesting(body: &[u8]) -> Result<(), BodyError> {
    Nesting::default().check(body, 0)
}

/// Brackets and strings seen so far: `serde_json` limits neither the depth nor the length of what it skips.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    token: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    fn check(&mut self, piece: &[u8], base: u64) -> Result<(), BodyError> {
        for (index, byte) in piece.iter().enumerate() {
            self.token += 1;
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = !self.in_string;
                    self.token = 0;
                }
                b'\\' => self.escaped = self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.token = 0;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.token = 0;
                }
                b',' | b':' => self.token = 0,
                _ => {}
            }
            if self.depth > MAX_DEPTH {
                return Err(BodyError::invalid(format!(
                    "objects and arrays are nested more than {MAX_DEPTH} levels deep at byte {} of the response body",
                    base + index as u64
                )));
            }
        }
        if self.token > MAX_TOKEN {
            let at = (base + piece.len() as u64).saturating_sub(self.token as u64);
            return Err(BodyError::too_large("a string or number", at, MAX_TOKEN as u64));
        }
        Ok(())
    }
}
