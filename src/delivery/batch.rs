//! Cuts encoded rows into batches, and batches into parts: by rows and bytes, never by time, so that the same rows give
//! the same batches.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::component::{Origin, Origins};
use crate::format::encode::EncodedRows;
use crate::ledger::RowHash;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rows, without the header row; at least 1.
    pub(crate) max_rows: usize,
    /// Bytes of the payload, header row included.
    pub(crate) max_bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) payload: Bytes,
    header: usize,
    /// For each row, its end in `payload`.
    ends: Vec<usize>,
    origins: Vec<Origins>,
    /// The rows' hashes; empty without a ledger.
    pub(super) hashes: Arc<Vec<RowHash>>,
}

impl Batch {
    pub(super) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// `None` after the last row.
    pub(super) fn origin(&self, index: usize) -> Option<Origin> {
        let mut left = index;
        for origins in &self.origins {
            if left < origins.len() {
                return Some(origins.at(left));
            }
            left -= origins.len();
        }
        None
    }

    /// The rows of `range` as a batch, with the header row.
    ///
    /// # Panics
    /// If `range` is not within the batch.
    #[must_use]
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let start_of = |row: usize| match row {
            0 => self.header,
            row => self.ends[row - 1],
        };
        let (start, end) = (start_of(range.start), start_of(range.end));
        let mut payload = Vec::with_capacity(self.header + end - start);
        payload.extend_from_slice(&self.payload[..self.header]);
        payload.extend_from_slice(&self.payload[start..end]);
        let ends = self.ends[range.clone()].iter();
        let ends = ends.map(|end| end - start + self.header).collect();
        let mut origins = Vec::new();
        let mut before = 0;
        for part in &self.origins {
            let from = range.start.clamp(before, before + part.len());
            let to = range.end.clamp(before, before + part.len());
            if from < to {
                origins.push(part.slice(from - before, to - from));
            }
            before += part.len();
        }
        Self {
            payload: payload.into(),
            header: self.header,
            ends,
            origins,
            hashes: Arc::new(self.hashes.get(range).unwrap_or_default().to_vec()),
        }
    }
}

/// Fills batches in order. Every row ends up in exactly one batch, or is returned as too large.
#[derive(Debug)]
pub(super) struct Batcher {
    header: Vec<u8>,
    limits: Limits,
    /// What the service accepted; at most `limits.max_bytes`. A single larger row is still sent.
    accepted_bytes: usize,
    payload: Vec<u8>,
    ends: Vec<usize>,
    origins: Vec<Origins>,
    hashes: Vec<RowHash>,
}

impl Batcher {
    pub(super) fn new(header: Vec<u8>, limits: Limits) -> Self {
        Self {
            payload: header.clone(),
            header,
            limits,
            accepted_bytes: limits.max_bytes,
            ends: Vec::new(),
            origins: Vec::new(),
            hashes: Vec::new(),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.ends.len()
    }

    /// Limits further payloads to `bytes`, because the service refused a larger one.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.accepted_bytes = self.accepted_bytes.min(bytes);
    }

    /// Adds rows with their hashes (none, or one for each row). Passes full batches to `full`, and rows that exceed the
    /// limit alone, by their index in `encoded`, to `too_large`.
    pub(super) fn push(
        &mut self,
        encoded: &EncodedRows,
        origins: &Origins,
        hashes: &[RowHash],
        mut full: impl FnMut(Batch),
        mut too_large: impl FnMut(usize),
    ) {
        let mut start = 0;
        // The first row whose origin is not in `self.origins` yet.
        let mut from = 0;
        for (row, &end) in encoded.ends.iter().enumerate() {
            let bytes = &encoded.bytes[start..end];
            start = end;
            if self.header.len() + bytes.len() > self.limits.max_bytes {
                self.add_origins(origins, from..row);
                from = row + 1;
                too_large(row);
                continue;
            }
            let over = !self.ends.is_empty() && self.payload.len() + bytes.len() > self.accepted_bytes;
            if self.ends.len() == self.limits.max_rows || over {
                self.add_origins(origins, from..row);
                from = row;
                full(self.cut());
            }
            self.payload.extend_from_slice(bytes);
            self.ends.push(self.payload.len());
            if let Some(hash) = hashes.get(row) {
                self.hashes.push(*hash);
            }
        }
        self.add_origins(origins, from..encoded.ends.len());
        // Send a full batch now, not when the next row arrives.
        if self.ends.len() == self.limits.max_rows {
            full(self.cut());
        }
    }

    pub(super) fn finish(&mut self) -> Option<Batch> {
        (!self.ends.is_empty()).then(|| self.cut())
    }

    fn add_origins(&mut self, origins: &Origins, range: Range<usize>) {
        if !range.is_empty() {
            self.origins.push(origins.slice(range.start, range.len()));
        }
    }

    fn cut(&mut self) -> Batch {
        let mut next = Vec::with_capacity(self.payload.len());
        next.extend_from_slice(&self.header);
        let payload = std::mem::replace(&mut self.payload, next);
        let room = self.ends.len();
        Batch {
            payload: payload.into(),
            header: self.header.len(),
            ends: std::mem::replace(&mut self.ends, Vec::with_capacity(room)),
            origins: std::mem::take(&mut self.origins),
            hashes: Arc::new(std::mem::replace(&mut self.hashes, Vec::with_capacity(room))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::component::Part;

    /// Rows with their origins and hashes, both counted from `before`.
    fn encoded(before: usize, rows: &[String]) -> (EncodedRows, Origins, Vec<RowHash>) {
        let mut encoded = EncodedRows::default();
        for row in rows {
            encoded.bytes.extend_from_slice(row.as_bytes());
            encoded.ends.push(encoded.bytes.len());
        }
        let part = Arc::new(Part {
            name: "t".into(),
            columns: Vec::new(),
        });
        let origins = Origins::consecutive(part, before as u64, rows.len());
        let hashes = (before..before + rows.len()).map(|row| RowHash(row as u128));
        (encoded, origins, hashes.collect())
    }

    proptest! {
        /// No row is lost, duplicated, reordered or over a limit, and batches do not depend on how the input was chunked.
        #[test]
        fn conserves_rows_in_order_within_the_limits(
            rows in prop::collection::vec("[a-z]{1,12}\n", 0..60),
            chunk in 1_usize..20,
            max_rows in 1_usize..9,
            max_bytes in 6_usize..40,
            halved in any::<bool>(),
        ) {
            let limits = Limits { max_rows, max_bytes };
            let cut = |chunk: usize| {
                let mut batcher = Batcher::new(b"h\n".to_vec(), limits);
                if halved {
                    batcher.shrink(max_bytes / 2);
                }
                let mut before = 0;
                let (mut batches, mut large) = (Vec::new(), Vec::new());
                for rows in rows.chunks(chunk) {
                    let (encoded, origins, hashes) = encoded(before, rows);
                    before += rows.len();
                    batcher.push(&encoded, &origins, &hashes, |batch| batches.push(batch), |row| large.push(row));
                }
                batches.extend(batcher.finish());
                prop_assert_eq!(batcher.pending(), 0);
                Ok((batches, large.len()))
            };
            let (batches, large) = cut(chunk)?;
            let mut expected = rows.iter().enumerate().filter(|(_, row)| row.len() + 2 <= max_bytes);
            let mut sent = 0;
            for batch in &batches {
                prop_assert!(batch.rows() >= 1 && batch.rows() <= max_rows && batch.payload.len() <= max_bytes);
                prop_assert!(!halved || batch.rows() == 1 || batch.payload.len() <= max_bytes / 2);
                // Its halves have the same rows.
                let half = batch.rows() / 2;
                let parts = [batch.part(0..half), batch.part(half..batch.rows())];
                for batch in parts {
                    let text = std::str::from_utf8(&batch.payload).unwrap();
                    let mut lines = text.split_inclusive('\n');
                    prop_assert_eq!(lines.next(), Some("h\n"));
                    for (index, line) in lines.enumerate() {
                        let (row, text) = expected.next().unwrap();
                        prop_assert_eq!(line, text);
                        prop_assert_eq!(batch.origin(index).unwrap().row, row as u64);
                        prop_assert_eq!(batch.hashes[index], RowHash(row as u128));
                        sent += 1;
                    }
                    prop_assert_eq!(batch.origin(batch.rows()), None);
                }
            }
            prop_assert_eq!(expected.next(), None);
            prop_assert_eq!(sent + large, rows.len());
            let payloads = |batches: &[Batch]| batches.iter().map(|batch| batch.payload.clone()).collect::<Vec<_>>();
            prop_assert_eq!(payloads(&batches), payloads(&cut(rows.len().max(1))?.0));
        }
    }
}
