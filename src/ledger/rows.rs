//! Reads the tables: the rows of batches, verified by their checksums, and single values.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::error::{LedgerError, damaged};
use super::{BatchId, RowHash, RowSet, UnknownBatch};
use crate::error::Result;

pub(super) struct Reader {
    pub(super) path: Arc<Path>,
    pub(super) checksums: [u8; 32],
}

impl Reader {
    pub(super) fn accepted(
        &self,
        db: &Connection,
        job: &str,
        scenario: &str,
        since: Option<Timestamp>,
    ) -> Result<RowSet, LedgerError> {
        // A batch that was resolved as accepted was accepted when it was sent.
        const WHICH: &str = "FROM batch LEFT JOIN batch_rows ON batch_rows.batch = batch.id
            WHERE batch.job = ?1 AND batch.scenario = ?2 AND (
                batch.outcome = 'accepted' AND batch.decision IS NULL AND batch.settled >= ?3
                OR batch.outcome = 'unknown' AND batch.decision = 'accepted' AND batch.intended >= ?3
            )";
        let since = since.map_or(i64::MIN, Timestamp::as_millisecond);
        let mut set = RowSet::default();
        let sql = format!("SELECT batch.id, batch.rows, batch_rows.checksum, batch_rows.hashes {WHICH}");
        all(db, &sql, params![job, scenario, since], |row| {
            self.rows(row, |hash| _ = set.insert(hash))
        })?;
        Ok(set)
    }

    pub(super) fn unknown(
        &self,
        db: &Connection,
        job: &str,
        scenario: &str,
        run: &str,
    ) -> Result<Vec<UnknownBatch>, LedgerError> {
        let sql = "SELECT batch.id, batch.rows, batch_rows.checksum, batch_rows.hashes,
                 run.id, batch.number, batch.part, batch.intended, batch.decision IS NULL
             FROM batch LEFT JOIN run ON run.seq = batch.run LEFT JOIN batch_rows ON batch_rows.batch = batch.id
             WHERE batch.job = ?1 AND batch.scenario = ?2 AND run.id IS NOT ?3 AND (
                 batch.decision IS NULL AND (batch.outcome = 'unknown' OR batch.outcome IS NULL)
                 OR batch.decision = 'resent' AND batch_rows.batch IS NOT NULL)
             ORDER BY batch.id";
        let mut batches = all(db, sql, params![job, scenario, run], |row| {
            let mut rows = Vec::new();
            self.rows(row, |hash| rows.push(hash))?;
            // Its run may have been pruned.
            let run: Option<String> = row.get(4)?;
            Ok(UnknownBatch {
                id: BatchId(row.get(0)?),
                run: run.unwrap_or_else(|| "(pruned)".to_owned()),
                number: natural(row, 5)?,
                part: row.get(6)?,
                intended: time(row, 7)?,
                row_count: rows.len() as u64,
                rows,
                open: row.get(8)?,
                resent_unreported: 0,
            })
        })?;
        self.resent_unreported(db, job, scenario, run, &mut batches)?;
        Ok(batches)
    }

    /// Counts the rows of open batches that were accepted later, from runs that died before they could report it.
    fn resent_unreported(
        &self,
        db: &Connection,
        job: &str,
        scenario: &str,
        run: &str,
        batches: &mut [UnknownBatch],
    ) -> Result<(), LedgerError> {
        let Some(first) = batches.iter().find(|batch| batch.open).map(|batch| batch.id) else {
            return Ok(());
        };
        let sql = "SELECT batch.id, batch.rows, batch_rows.checksum, batch_rows.hashes
             FROM batch JOIN run ON run.seq = batch.run LEFT JOIN batch_rows ON batch_rows.batch = batch.id
             WHERE batch.job = ?1 AND batch.scenario = ?2 AND batch.id > ?4 AND batch.outcome = 'accepted'
                 AND batch.decision IS NULL AND run.ended IS NULL AND run.id IS NOT ?3
             ORDER BY batch.id";
        let mut batch_of: HashMap<RowHash, usize> = HashMap::new();
        let mut next = 0;
        all(db, sql, params![job, scenario, run, first.0], |row| {
            let id: i64 = row.get(0)?;
            while let Some(batch) = batches.get(next).filter(|batch| batch.id.0 < id) {
                if batch.open {
                    batch_of.extend(batch.rows.iter().map(|row| (*row, next)));
                }
                next += 1;
            }
            self.rows(row, |hash| {
                if let Some(index) = batch_of.remove(&hash) {
                    batches[index].resent_unreported += 1;
                }
            })
        })?;
        Ok(())
    }

    /// Passes each row of a batch to `each`; for the columns of `row` see [`hashes`](Self::hashes).
    fn rows(&self, row: &Row<'_>, each: impl FnMut(RowHash)) -> Result<(), LedgerError> {
        let hashes = self.hashes(row)?.map_err(|how| damaged(&self.path, how))?;
        hashes
            .iter()
            .map(|bytes| RowHash(u128::from_le_bytes(*bytes)))
            .for_each(each);
        Ok(())
    }

    /// The hashes of a batch, from a row whose first columns are the batch's id, rows, checksum and hashes; or what is
    /// wrong with them.
    pub(super) fn hashes<'r>(
        &self,
        row: &'r Row<'_>,
    ) -> Result<std::result::Result<&'r [[u8; RowHash::BYTES]], String>, LedgerError> {
        let id: i64 = row.get(0)?;
        let rows = natural(row, 1)?;
        let (Ok(sum), Ok(hashes)) = (row.get_ref(2)?.as_blob(), row.get_ref(3)?.as_blob()) else {
            return Ok(Err(format!("the rows of batch {id} are missing")));
        };
        let (hashes, rest) = hashes.as_chunks();
        if rest.is_empty()
            && hashes.len() as u64 == rows
            && sum == checksum(&self.checksums, id, hashes.as_flattened())
        {
            Ok(Ok(hashes))
        } else {
            Ok(Err(format!(
                "the rows of batch {id} have changed since they were written"
            )))
        }
    }
}

pub(super) fn accepted_headers(
    db: &Connection,
    job: &str,
    scenario: &str,
) -> Result<HashSet<RowHash>, LedgerError> {
    let sql = "SELECT DISTINCT header FROM batch
         WHERE job = ?1 AND scenario = ?2 AND outcome = 'accepted' AND decision IS NULL";
    let headers = all(db, sql, params![job, scenario], |row| {
        Ok(RowHash(u128::from_le_bytes(row.get(0)?)))
    });
    Ok(headers?.into_iter().collect())
}

/// Covers the batch's id too, so that blobs cannot be swapped.
pub(super) fn checksum(key: &[u8; 32], batch: i64, hashes: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&batch.to_le_bytes()).update(hashes);
    let hash = hasher.finalize();
    std::array::from_fn(|n| hash.as_bytes()[n])
}

pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
) -> Result<Vec<T>, LedgerError> {
    let mut query = db.prepare(sql)?;
    let mut found = query.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// SQLite's integers are signed.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn natural(row: &Row<'_>, n: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(n)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(n, value))
}

pub(super) fn time(row: &Row<'_>, n: usize) -> rusqlite::Result<Timestamp> {
    let value: i64 = row.get(n)?;
    Timestamp::from_millisecond(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(n, value))
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
