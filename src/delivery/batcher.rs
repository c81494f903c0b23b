//! Cuts encoded rows into batches.

use bytes::Bytes;

use crate::component::{Origin, Origins};
use crate::encode::EncodedRows;

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows, without the header row; at least 1.
    pub max_rows: usize,
    /// Bytes of the payload, header row included.
    pub max_bytes: usize,
}

/// The rows of one upload.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What is sent: the header row and the rows.
    pub payload: Bytes,
    /// Number of rows in it.
    pub rows: usize,
}

/// Fills batches of one kind of rows, in order. Every row comes out in exactly one batch, or is handed back as too
/// large.
#[derive(Debug)]
pub struct Batcher {
    header: Vec<u8>,
    limits: Limits,
    payload: Vec<u8>,
    rows: usize,
}

impl Batcher {
    /// `header` begins every payload.
    pub fn new(header: Vec<u8>, limits: Limits) -> Self {
        Self {
            payload: header.clone(),
            header,
            limits,
            rows: 0,
        }
    }

    /// Rows that are in no batch yet.
    pub fn pending(&self) -> usize {
        self.rows
    }

    /// Adds rows. Full batches go to `full`, the origins of rows that alone are larger than a batch may be to
    /// `too_large`.
    pub fn push(
        &mut self,
        encoded: &EncodedRows,
        origins: &Origins,
        mut full: impl FnMut(Batch),
        mut too_large: impl FnMut(Origin),
    ) {
        let mut start = 0;
        for (row, &end) in encoded.ends.iter().enumerate() {
            let bytes = &encoded.bytes[start..end];
            start = end;
            if self.header.len() + bytes.len() > self.limits.max_bytes {
                too_large(origins.at(row));
                continue;
            }
            if self.rows == self.limits.max_rows || self.payload.len() + bytes.len() > self.limits.max_bytes {
                full(self.cut());
            }
            self.payload.extend_from_slice(bytes);
            self.rows += 1;
        }
        // A full batch does not wait for the row that overflows it.
        if self.rows == self.limits.max_rows {
            full(self.cut());
        }
    }

    /// The last batch, if there are rows left.
    pub fn finish(&mut self) -> Option<Batch> {
        (self.rows > 0).then(|| self.cut())
    }

    fn cut(&mut self) -> Batch {
        let mut next = Vec::with_capacity(self.payload.len());
        next.extend_from_slice(&self.header);
        let payload = std::mem::replace(&mut self.payload, next);
        Batch {
            payload: payload.into(),
            rows: std::mem::take(&mut self.rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::super::component::Part;
    use super::*;

    fn encoded(rows: &[String]) -> (EncodedRows, Origins) {
        let mut encoded = EncodedRows::default();
        for row in rows {
            encoded.bytes.extend_from_slice(row.as_bytes());
            encoded.ends.push(encoded.bytes.len());
        }
        let part = Arc::new(Part {
            name: "t".into(),
            columns: Vec::new(),
        });
        (encoded, Origins::consecutive(part, 1, rows.len()))
    }

    proptest! {
        /// For any rows, cut into any chunks, under any limits: no row lost, doubled, reordered or over a limit, and
        /// the batches do not depend on how the chunks were cut.
        #[test]
        fn rows_are_conserved_in_order_within_the_limits(
            rows in prop::collection::vec("[a-z]{1,12}\n", 0..60),
            chunk in 1_usize..20,
            max_rows in 1_usize..9,
            max_bytes in 6_usize..40,
        ) {
            let limits = Limits { max_rows, max_bytes };
            let cut = |chunk: usize| {
                let mut batcher = Batcher::new(b"h\n".to_vec(), limits);
                let (mut batches, mut large) = (Vec::new(), Vec::new());
                for rows in rows.chunks(chunk) {
                    let (encoded, origins) = encoded(rows);
                    batcher.push(&encoded, &origins, |batch| batches.push(batch), |origin| large.push(origin));
                }
                batches.extend(batcher.finish());
                prop_assert_eq!(batcher.pending(), 0);
                Ok((batches, large.len()))
            };
            let (batches, large) = cut(chunk)?;
            let mut expected = rows.iter().filter(|row| row.len() + 2 <= max_bytes);
            let mut sent = 0;
            for batch in &batches {
                prop_assert!(batch.rows >= 1 && batch.rows <= max_rows && batch.payload.len() <= max_bytes);
                let text = std::str::from_utf8(&batch.payload).unwrap();
                let mut lines = text.split_inclusive('\n');
                prop_assert_eq!(lines.next(), Some("h\n"));
                for line in lines {
                    prop_assert_eq!(Some(line), expected.next().map(String::as_str));
                    sent += 1;
                }
            }
            prop_assert_eq!(expected.next(), None);
            prop_assert_eq!(sent + large, rows.len());
            let payloads = |batches: &[Batch]| batches.iter().map(|batch| batch.payload.clone()).collect::<Vec<_>>();
            prop_assert_eq!(payloads(&batches), payloads(&cut(rows.len().max(1))?.0));
        }
    }
}
