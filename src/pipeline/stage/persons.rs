//! Counts the rows of each person, without keeping who it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use arrow::array::AsArray;

use crate::component::{Chunk, RowKind};
use crate::error::{Error, Result};
use crate::hr::FieldKind;

/// Rows of each person and scenario. Persons are told apart by a 64-bit hash whose key is drawn anew for each run and
/// never leaves it.
pub(super) struct Persons {
    limit: u64,
    hasher: RandomState,
    rows: HashMap<u64, u32>,
    /// The address at hand, in lower case.
    lower: String,
}

impl Persons {
    /// Counts against a limit of `limit` rows.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            rows: HashMap::new(),
            lower: String::new(),
        }
    }

    /// Adds the rows of a chunk. A row without an address belongs to nobody.
    ///
    /// # Errors
    /// The rows are not of the HR schema, which the check of the pipeline file rules out.
    pub(super) fn count(&mut self, chunk: &Chunk) -> Result<()> {
        let unknown = || {
            Error::unexpected("rows of a person cannot be counted: no text column holds the person")
                .with_hint("please report this: it should not happen")
        };
        let RowKind::Hr(scenario) = chunk.kind else {
            return Err(unknown());
        };
        let addresses = scenario
            .fields()
            .iter()
            .find(|field| field.kind == FieldKind::Upn)
            .and_then(|field| chunk.batch.column_by_name(field.name))
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(unknown)?;
        for address in addresses.iter().flatten() {
            self.lower.clear();
            if address.is_ascii() {
                self.lower.push_str(address);
                self.lower.make_ascii_lowercase();
            } else {
                self.lower.extend(address.chars().flat_map(char::to_lowercase));
            }
            let person = self.hasher.hash_one((scenario, self.lower.as_str()));
            let rows = self.rows.entry(person).or_insert(0);
            *rows = rows.saturating_add(1);
        }
        Ok(())
    }

    /// Most rows of one person, and how many persons have more than the limit.
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
    use crate::hr::Scenario;

    fn chunk(kind: RowKind, addresses: &[Option<&str>]) -> Chunk {
        let column = StringArray::from(addresses.to_vec());
        let part = Arc::new(Part {
            name: "a.csv".into(),
            columns: vec![],
        });
        Chunk {
            batch: RecordBatch::try_from_iter([("EmailAddress", Arc::new(column) as _)]).unwrap(),
            origins: Origins::consecutive(part, 1, addresses.len()),
            kind,
        }
    }

    #[test]
    fn letter_case_does_not_make_another_person() {
        let kind = RowKind::Hr(Scenario::EmployeeResignation);
        let mut persons = Persons::new(1);
        assert_eq!(persons.figures(), (0, 0));
        persons
            .count(&chunk(
                kind,
                &[Some("a@contoso.com"), Some("Ä@contoso.com"), None, None],
            ))
            .unwrap();
        assert_eq!(persons.figures(), (1, 0));
        persons
            .count(&chunk(
                kind,
                &[
                    Some("A@Contoso.com"),
                    Some("ä@contoso.com"),
                    Some("A@CONTOSO.COM"),
                ],
            ))
            .unwrap();
        assert_eq!(persons.figures(), (3, 2));
    }

    #[test]
    fn a_row_in_another_scenario_is_no_second_row() {
        let mut persons = Persons::new(1);
        for scenario in [Scenario::EmployeeResignation, Scenario::EmployeeProfile] {
            let chunk = chunk(RowKind::Hr(scenario), &[Some("a@contoso.com")]);
            persons.count(&chunk).unwrap();
        }
        assert_eq!(persons.figures(), (1, 0));
    }

    #[test]
    fn records_cannot_be_counted() {
        let chunk = chunk(RowKind::Records, &[Some("a@contoso.com")]);
        assert!(Persons::new(1).count(&chunk).is_err());
    }
}
