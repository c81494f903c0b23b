//! What was found of the columns to pick, in all of a source's reading.

use std::sync::atomic::{AtomicU64, Ordering};

use super::extract::Extractor;

/// Counts over all pages.
#[derive(Debug, Default)]
pub(super) struct MappedColumns {
    rows: AtomicU64,
    /// Bits of the columns for which there was anything.
    found: AtomicU64,
}

impl MappedColumns {
    /// Notes a page of so many rows, and the bits of the columns for which there was anything in one.
    pub(super) fn note(&self, rows: u64, found: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.found.fetch_or(found, Ordering::Relaxed);
    }

    /// Warns of paths at which no row had anything: one that is misspelt gives nulls, as one does to what nobody has.
    pub(super) fn warn(&self, extractor: &Extractor, source: &str) {
        let rows = self.rows.load(Ordering::Relaxed);
        let found = self.found.load(Ordering::Relaxed);
        if rows == 0 {
            return;
        }
        let never: Vec<String> = extractor
            .picks()
            .take(64)
            .enumerate()
            .filter(|(index, _)| found & (1 << index) == 0)
            .map(|(_, (column, path))| format!("`{column}` at `{path}`"))
            .collect();
        if !never.is_empty() {
            tracing::warn!(
                source,
                rows,
                "`records.columns` found nothing in any row for {}: are these spelt as the service spells them?",
                never.join(", ")
            );
        }
    }
}
