//! Counts the rows of each person, without storing who it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use arrow::array::AsArray;

use super::super::guards::PeopleFigures;
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

    pub(super) fn figures(&self) -> PeopleFigures {
        let mut figures = PeopleFigures::default();
        for rows in self.rows.values().copied().map(u64::from) {
            figures.max_rows = figures.max_rows.max(rows);
            if rows > self.limit {
                figures.over += 1;
                figures.rows_over += rows;
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract;

    #[test]
    fn counts_by_person_and_scenario_case_insensitively() {
        let mut people = People::new(1);
        let mut count = |scenario: Scenario, addresses: &str| {
            let chunk = contract::chunk("a.csv", 1, &format!("EmailAddress\n{addresses}"));
            let kind = RowKind::Schema(scenario.id());
            people.count(&Chunk { kind, ..chunk }).unwrap();
            let figures = people.figures();
            (figures.max_rows, figures.over, figures.rows_over)
        };
        let resignation = Scenario::EmployeeResignation;
        assert_eq!(count(resignation, "a@contoso.com\nÄ@contoso.com\n-"), (1, 0, 0));
        assert_eq!(count(Scenario::EmployeeProfile, "a@contoso.com"), (1, 0, 0));
        let actual = count(resignation, "A@Contoso.com\nä@contoso.com\nA@CONTOSO.COM");
        assert_eq!(actual, (3, 2, 5));
        let records = contract::chunk("a.csv", 1, "EmailAddress\na@contoso.com");
        assert!(people.count(&records).is_err());
    }
}
