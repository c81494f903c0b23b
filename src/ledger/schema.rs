//! The tables, and how an older ledger becomes a newer one.
//!
//! `user_version` is the number of [`STEPS`] that were taken. A change of the tables is a further step, never a change
//! of one that has been released. Times are milliseconds since 1970, UTC.

use rusqlite::Connection;

use super::error::LedgerError;

/// Marks the file as a ledger of hrsink ("hrsk").
pub(super) const APPLICATION_ID: i32 = 0x6872_736b;

/// What is done to come from version n to n + 1.
pub(super) const STEPS: &[&str] = &[VERSION_1];

const VERSION_1: &str = "
-- What belongs to the file as a whole.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    pipeline TEXT NOT NULL,
    started INTEGER NOT NULL,
    -- Guards let through by hand, a JSON list.
    allowed TEXT NOT NULL,
    -- Whether it read its sources only in part.
    partial INTEGER NOT NULL,
    -- All below is null while it runs, and for ever if it died.
    ended INTEGER,
    exit_code INTEGER,
    error TEXT,
    read INTEGER,
    copied INTEGER,
    filtered INTEGER,
    rejected INTEGER,
    skipped INTEGER,
    accepted INTEGER,
    refused INTEGER,
    unknown INTEGER,
    not_sent INTEGER
) STRICT;
CREATE INDEX run_of_pipeline ON run (pipeline, started);

CREATE TABLE run_sink (
    run INTEGER NOT NULL REFERENCES run (seq) ON DELETE CASCADE,
    sink TEXT NOT NULL,
    rows INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    PRIMARY KEY (run, sink)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    -- Null when the run has been pruned and only the remembered rows are left.
    run INTEGER REFERENCES run (seq) ON DELETE SET NULL,
    sink TEXT NOT NULL,
    job TEXT NOT NULL,
    scenario TEXT NOT NULL,
    number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    resent INTEGER NOT NULL,
    -- The keyed hash of the header row, 16 bytes: which columns the payload has.
    header BLOB NOT NULL,
    intended INTEGER NOT NULL,
    -- Null until it is known what became of it: `accepted`, `refused`, `unknown`, `not_sent`, ...
    outcome TEXT,
    settled INTEGER,
    attempts INTEGER,
    unknown_attempts INTEGER,
    status INTEGER,
    -- A JSON list.
    request_ids TEXT,
    duration_ms INTEGER,
    -- What was decided about an unknown one: `resent`, `accepted` or `not_accepted`; or of any: `forgotten`, its rows
    -- count no more. When, and by which run; null: by hand.
    decision TEXT,
    decided INTEGER,
    decided_by TEXT
) STRICT;
CREATE INDEX batch_of_run ON batch (run);
CREATE INDEX batch_of_job ON batch (job, scenario, outcome);

-- The rows of a batch, apart from it so that settling it does not write them again. There only while they matter: for
-- a batch under way, accepted or unknown.
CREATE TABLE batch_rows (
    batch INTEGER PRIMARY KEY REFERENCES batch (id) ON DELETE CASCADE,
    checksum BLOB NOT NULL,
    -- 16 bytes a row.
    hashes BLOB NOT NULL
) STRICT;

CREATE TABLE position (
    pipeline TEXT NOT NULL,
    source TEXT NOT NULL,
    position TEXT NOT NULL,
    saved INTEGER NOT NULL,
    PRIMARY KEY (pipeline, source)
) STRICT, WITHOUT ROWID;
";

/// The tables of a ledger, each with the version that brought it.
const TABLES: [(u32, &str); 6] = [
    (1, "meta"),
    (1, "run"),
    (1, "run_sink"),
    (1, "batch"),
    (1, "batch_rows"),
    (1, "position"),
];

/// The tables that a ledger of `version` has.
pub(super) fn tables(version: u32) -> impl Iterator<Item = &'static str> {
    let there = TABLES.into_iter().filter(move |(since, _)| *since <= version);
    there.map(|(_, table)| table)
}

/// The version of an open ledger.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The version that `steps` lead to.
pub(super) fn newest(steps: &[&str]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// Takes the steps that have not been taken, all of them or none. The ledger is not newer than the last.
pub(super) fn migrate(connection: &Connection, steps: &[&str]) -> Result<(), LedgerError> {
    if version(connection)? >= newest(steps) {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let taken = (|| {
        // Another process may have been faster.
        let from = usize::try_from(version(connection)?).unwrap_or(usize::MAX);
        for step in steps.iter().skip(from) {
            connection.execute_batch(step)?;
        }
        if from < steps.len() {
            connection.pragma_update(None, "user_version", newest(steps))?;
        }
        connection.execute_batch("COMMIT")
    })();
    if taken.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(taken?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_is_reached_from_an_earlier_one_and_keeps_what_was_there() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, STEPS).unwrap();
        connection
            .execute("INSERT INTO position VALUES ('p', 's', 'here', 1)", ())
            .unwrap();
        let further = "ALTER TABLE position ADD COLUMN note TEXT; UPDATE position SET note = 'old';";
        let steps = [STEPS, &[further]].concat();
        migrate(&connection, &steps).unwrap();
        migrate(&connection, &steps).unwrap();
        let (position, note): (String, String) = connection
            .query_row("SELECT position, note FROM position", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!((&*position, &*note), ("here", "old"));
        assert_eq!(version(&connection).unwrap(), newest(&steps));
    }

    #[test]
    fn a_step_that_fails_leaves_everything_as_it_was() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, STEPS).unwrap();
        let steps = [STEPS, &["CREATE TABLE more (a); INSERT INTO nowhere VALUES (1);"]].concat();
        assert!(migrate(&connection, &steps).is_err());
        assert_eq!(version(&connection).unwrap(), newest(STEPS));
        assert!(!connection.table_exists(None, "more").unwrap());
        migrate(&connection, STEPS).unwrap();
    }
}
