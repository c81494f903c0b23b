//! Keyed hashes of rows.
//!
//! A row is hashed by the names and values of its columns that have a value: neither the order of the columns nor an empty
//! column changes the hash. So a mapping may gain an optional field, and only rows that have it are new.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use siphasher::sip128::SipHasher24;

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowHash(pub u128);

impl RowHash {
    pub(super) const BYTES: usize = 16;
}

/// A set of row hashes, in parts: each grows alone, so that growing needs no second copy of all rows.
#[derive(Debug, Default)]
pub(crate) struct RowSet([HashSet<RowHash, BuildHasherDefault<IdentityHasher>>; 16]);

impl RowSet {
    /// Whether the row is new.
    pub(crate) fn insert(&mut self, row: RowHash) -> bool {
        self.0[(row.0 >> 124) as usize].insert(row)
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, row: RowHash) -> bool {
        self.0[(row.0 >> 124) as usize].contains(&row)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(HashSet::len).sum()
    }
}

/// The low half of a [`RowHash`]: it is uniform already.
#[derive(Debug, Default, Clone, Copy)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "64 of 128 random bits are enough")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[derive(Clone)]
pub(crate) struct RowHasher {
    hasher: SipHasher24,
}

impl fmt::Debug for RowHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowHasher").finish_non_exhaustive()
    }
}

impl RowHasher {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(&key),
        }
    }

    /// Appends the hash of each row of `batch` to `into`.
    pub(crate) fn hash(&self, batch: &RecordBatch, into: &mut Vec<RowHash>) -> Result<()> {
        let columns = self.columns(batch)?;
        into.reserve(batch.num_rows());
        let mut row = Vec::with_capacity(256);
        for n in 0..batch.num_rows() {
            row.clear();
            for (tag, values) in &columns {
                let value = values.value(n);
                if values.is_null(n) || value.is_empty() {
                    continue;
                }
                row.extend_from_slice(&tag.to_le_bytes()[..4]);
                row.extend_from_slice(&(value.len() as u64).to_le_bytes()[..4]);
                row.extend_from_slice(value.as_bytes());
            }
            into.push(RowHash(self.keyed(&row)));
        }
        Ok(())
    }

    pub(crate) fn header(&self, header: &[u8]) -> RowHash {
        RowHash(self.keyed(header))
    }

    /// The columns of `batch` as text, sorted by name, each with the hash of its name.
    fn columns(&self, batch: &RecordBatch) -> Result<Vec<(u128, StringArray)>> {
        let schema = batch.schema_ref();
        let mut order: Vec<usize> = (0..batch.num_columns()).collect();
        order.sort_by_key(|&n| schema.field(n).name());
        let column = |n: usize| {
            let name = schema.field(n).name();
            Ok((self.keyed(name.as_bytes()), text(name, batch.column(n))?))
        };
        order.into_iter().map(column).collect()
    }

    fn keyed(&self, bytes: &[u8]) -> u128 {
        self.hasher.hash(bytes).as_u128()
    }
}

fn text(name: &str, column: &dyn Array) -> Result<StringArray> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, &DataType::Utf8, &strict)
        .ok()
        .and_then(|text| text.as_any().downcast_ref::<StringArray>().cloned())
        // The error is dropped: it may contain a value.
        .ok_or_else(|| {
            Error::unexpected(format!(
                "the column `{name}`, of type {}, cannot be hashed: it has no text form",
                column.data_type()
            ))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, LargeStringArray, NullArray, StringViewArray, StructArray};

    use super::*;

    fn hashes(key: u8, columns: Vec<(&str, ArrayRef)>) -> Vec<RowHash> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let mut hashes = Vec::new();
        RowHasher::new([key; 16]).hash(&batch, &mut hashes).unwrap();
        hashes
    }

    fn strings(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn ignores_order_types_and_empty_columns() {
        let upn = || strings(&[Some("a@contoso.com"), Some("b@contoso.com")]);
        let day = || strings(&[Some("2026-01-01"), None]);
        let first = hashes(1, vec![("Upn", upn()), ("Day", day())]);
        assert_ne!(first[0], first[1]);
        let none: ArrayRef = Arc::new(NullArray::new(2));
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("2026-01-01"), None]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a@contoso.com", "b@contoso.com"]));
        let slice = StringArray::from(vec!["x", "a@contoso.com", "b@contoso.com"]).slice(1, 2);
        let empty = strings(&[Some(""), None]);
        for columns in [
            vec![("Day", day()), ("Upn", upn())],
            vec![("Remarks", empty), ("Upn", upn()), ("Day", day())],
            vec![("Upn", view), ("Day", large), ("Level", none)],
            vec![("Upn", Arc::new(slice)), ("Day", day())],
        ] {
            assert_eq!(hashes(1, columns), first);
        }
    }

    #[test]
    fn distinguishes_names_values_and_keys() {
        let one = |key: u8, columns: &str| {
            let columns = columns.split(' ').map(|column| column.split_once('=').unwrap());
            let columns = columns.map(|(name, value)| (name, strings(&[Some(value)])));
            hashes(key, columns.collect())[0]
        };
        let rows = [
            "a=x b=y", "a=y b=x", "a=xy", "b=xy", "a=X b=y", "ab=x b=y", "a=x c=y", "a=",
        ];
        let distinct: HashSet<RowHash> = rows.iter().map(|columns| one(1, columns)).collect();
        assert_eq!(distinct.len(), rows.len());
        assert_eq!(one(1, "a="), one(1, "b="));
        assert_ne!(one(1, "a=x"), one(2, "a=x"));
        assert!(!format!("{:?}", RowHasher::new([77; 16])).contains("77"));
    }

    #[test]
    fn hashes_numbers_as_text_and_rejects_nested_values() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![42]));
        let text = hashes(1, vec![("n", strings(&[Some("42")]))]);
        assert_eq!(hashes(1, vec![("n", number.clone())]), text);
        let pair: ArrayRef = Arc::new(StructArray::try_from(vec![("inner", number)]).unwrap());
        let batch = RecordBatch::try_from_iter([("pair", pair)]).unwrap();
        let error = RowHasher::new([1; 16]).hash(&batch, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`pair`"), "{error}");
    }

    #[test]
    fn keeps_the_hash_of_a_row_in_every_version() {
        let row = vec![
            ("UserPrincipalName", strings(&[Some("a@contoso.com")])),
            ("LastWorkingDate", strings(&[Some("2026-01-31T00:00:00Z")])),
        ];
        let hash = format!("{:032x}", hashes(7, row)[0].0);
        assert_eq!(hash, "c0ccf810a6cf9d4fc5dceabe8f8b06d2");
    }
}
