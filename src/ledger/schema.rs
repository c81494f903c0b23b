//! The tables, and their migrations.
//!
//! `user_version` is the number of migrations done. A released migration never changes. Times are milliseconds since
//! 1970, UTC.

use rusqlite::Connection;

use super::error::LedgerError;

/// Marks the file as a ledger of hrsink ("hrsk").
pub(super) const APPLICATION_ID: i32 = 0x6872_736b;

/// The migrations from version n to n + 1.
pub(super) const STEPS: &[&str] = &[VERSION_1];

const VERSION_1: &str = "
-- Values of the file.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    pipeline TEXT NOT NULL,
    started INTEGER NOT NULL,
    -- Guards that the user overrode, a JSON list.
    allowed TEXT NOT NULL,
    -- Whether it read only part of its input.
    partial INTEGER NOT NULL,
    -- The rest is null while it runs, and remains so if it died.
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
    -- Null if the run was pruned and only accepted rows are left.
    run INTEGER REFERENCES run (seq) ON DELETE SET NULL,
    sink TEXT NOT NULL,
    job TEXT NOT NULL,
    scenario TEXT NOT NULL,
    number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    resent INTEGER NOT NULL,
    -- The keyed hash of the header row, 16 bytes.
    header BLOB NOT NULL,
    intended INTEGER NOT NULL,
    -- Null until it is known: `accepted`, `refused`, `unknown`, `not_sent`, ...
    outcome TEXT,
    settled INTEGER,
    attempts INTEGER,
    unknown_attempts INTEGER,
    status INTEGER,
    -- A JSON list.
    request_ids TEXT,
    duration_ms INTEGER,
    -- Of an unknown batch: `resent`, `accepted` or `not_accepted`; of any: `forgotten`, its rows no longer count. Then
    -- when, and by which run; null: by a person.
    decision TEXT,
    decided INTEGER,
    decided_by TEXT
) STRICT;
CREATE INDEX batch_of_run ON batch (run);
CREATE INDEX batch_of_job ON batch (job, scenario, outcome);

-- The rows of a batch, separate from it so that recording the outcome does not rewrite them. Kept while they matter: for
-- a batch in progress, accepted or unknown.
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

pub(super) const TABLES: [&str; 6] = ["meta", "run", "run_sink", "batch", "batch_rows", "position"];

pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn newest(steps: &[&str]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// Does the missing migrations, all of them or none.
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
    fn migrates_an_older_ledger_completely_or_not_at_all() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, STEPS).unwrap();
        connection
            .execute("INSERT INTO position VALUES ('p', 's', 'here', 1)", ())
            .unwrap();
        let failing = [STEPS, &["CREATE TABLE more (a); INSERT INTO nowhere VALUES (1);"]].concat();
        assert!(migrate(&connection, &failing).is_err());
        assert_eq!(version(&connection).unwrap(), newest(STEPS));
        assert!(!connection.table_exists(None, "more").unwrap());
        let further = "ALTER TABLE position ADD COLUMN note TEXT; UPDATE position SET note = 'old';";
        let steps = [STEPS, &[further]].concat();
        for _ in 0..2 {
            migrate(&connection, &steps).unwrap();
        }
        let sql = "SELECT position || note FROM position";
        let kept: String = connection.query_row(sql, (), |row| row.get(0)).unwrap();
        let actual = (&*kept, version(&connection).unwrap());
        assert_eq!(actual, ("hereold", newest(&steps)));
    }
}
