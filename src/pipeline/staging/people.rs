//! Counts the rows of each person, without storing who it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use arrow::array::AsArray;

use crate::component::{Chunk, RowKind};
use crate::error::{Error, Result};
use crate::hr::{FieldKind, Scenario};

/// Rows by person and scenario. A person is a 64-bit hash with a key that is random for each run and never stored.
pub(super) struct People {
    limit: u64,
    hasher: RandomState,
    rows: HashMap<u64, u32>,
}

impl People {
    /// Counts against `max_rows_per_person`.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            rows: HashMap::new(),
        }
    }

    /// Adds the rows of a chunk. Rows without an address are not counted.
    ///
    /// # Errors
    /// The rows are not of the HR schema, which the check of the pipeline file rules out.
    pub(super) fn count(&mut self, chunk: &Chunk) -> Result<()> {
        let unknown = || {
            Error::unexpected("cannot count rows by person: no text column holds the person")
                .with_hint("please report this: it should not happen")
        };
        let scenario = match chunk.kind {
            RowKind::Schema(id) => Scenario::from_id(id).ok_or_else(unknown)?,
            RowKind::Records => return Err(unknown()),
        };
        let addresses = scenario
            .fields()
            .iter()
            .find(|field| field.kind == FieldKind::Upn)
            .and_then(|field| chunk.batch.column_by_name(field.name))
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(unknown)?;
        let mut lower = String::new();
        for address in addresses.iter().flatten() {
            lower.clear();
            if address.is_ascii() {
                lower.push_str(address);
                lower.make_ascii_lowercase();
            } else {
                lower.extend(address.chars().flat_map(char::to_lowercase));
            }
            let person = self.hasher.hash_one((scenario, lower.as_str()));
            let rows = self.rows.entry(person).or_insert(0);
            *rows = rows.saturating_add(1);
        }
        Ok(())
    }

    /// The most rows of one person, and how many people have more than the limit.
    pub(super) fn figures(&self) -> (u64, u64) {
        let counts = || self.rows.values().map(|rows| u64::from(*rows));
        let over = counts().filter(|rows| *rows > self.limit).count() as u64;
        (counts().max().unwrap_or(0), over)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{RecordBatch, StringArray};

    use super::*;
    use crate::component::{Origins, Part};

    fn count(people: &mut People, kind: RowKind, addresses: &[Option<&str>]) -> Result<()> {
        let column = StringArray::from(addresses.to_vec());
        let part = Arc::new(Part {
            name: "a.csv".into(),
            columns: vec![],
        });
        people.count(&Chunk {
            batch: RecordBatch::try_from_iter([("EmailAddress", Arc::new(column) as _)]).unwrap(),
            origins: Origins::consecutive(part, 1, addresses.len()),
            kind,
        })
    }

    #[test]
    fn counts_by_person_and_scenario_case_insensitively() {
        let kind = RowKind::Schema(Scenario::EmployeeResignation.id());
        let mut people = People::new(1);
        assert_eq!(people.figures(), (0, 0));
        let profile = RowKind::Schema(Scenario::EmployeeProfile.id());
        for (kind, addresses, figures) in [
            (
                kind,
                vec![Some("a@contoso.com"), Some("Ä@contoso.com"), None],
                (1, 0),
            ),
            (profile, vec![Some("a@contoso.com")], (1, 0)),
            (
                kind,
                vec![
                    Some("A@Contoso.com"),
                    Some("ä@contoso.com"),
                    Some("A@CONTOSO.COM"),
                ],
                (3, 2),
            ),
        ] {
            count(&mut people, kind, &addresses).unwrap();
            assert_eq!(people.figures(), figures);
        }
        assert!(count(&mut people, RowKind::Records, &[Some("a@contoso.com")]).is_err());
    }
}
