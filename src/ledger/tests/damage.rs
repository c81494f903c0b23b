//! Damaged and foreign files are refused, with a reason, and left unchanged.

use std::fs;

use super::*;

/// A ledger with one accepted batch of three rows, closed.
async fn fixture() -> Fixture {
    let (fixture, ledger) = started().await;
    send(&ledger, intent("a", 1, [1, 2, 3]), BatchOutcome::Accepted).await;
    fixture
}

/// Opening it fails either way, changes nothing, and reports `what` with a hint.
async fn refuses(fixture: &Fixture, what: &str) {
    let before = fs::read(fixture.path()).ok();
    let read_only = Ledger::open_read_only(&fixture.path()).await.unwrap_err();
    let error = Ledger::open(&fixture.path()).await.unwrap_err();
    assert_eq!(read_only.chain(), error.chain());
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains(what), "{}", error.chain());
    assert!(error.hints().count() > 0);
    assert_eq!(fs::read(fixture.path()).ok(), before);
}

#[tokio::test]
async fn refuses_missing_tables() {
    for (damage, what) in [
        ("CREATE TABLE t (a); DROP TABLE t", "it has no tables"),
        ("DROP TABLE position", "the table `position` is missing"),
        ("DELETE FROM meta", "has no record of its key"),
    ] {
        let fixture = fixture().await;
        if damage.starts_with("CREATE") {
            fs::write(fixture.path(), "").unwrap();
        }
        fixture.sqlite().execute_batch(damage).unwrap();
        refuses(&fixture, what).await;
    }
}

#[tokio::test]
async fn does_not_replace_a_lost_ledger_whose_log_is_left() {
    let fixture = fixture().await;
    let log = with_suffix(&fixture.path(), "-wal");
    fs::remove_file(fixture.path()).unwrap();
    fs::rename(with_suffix(&fixture.path(), ".key"), &log).unwrap();
    refuses(&fixture, "-wal` still exists").await;
    fs::write(log, "").unwrap();
    assert_eq!(known(&fixture.open().await, "b").await, (vec![], vec![]));
}

#[tokio::test]
async fn refuses_changed_rows() {
    for damage in [
        "UPDATE batch_rows SET hashes = zeroblob(48)",
        "UPDATE batch_rows SET hashes = substr(hashes, 1, 32)",
        "UPDATE batch_rows SET checksum = zeroblob(16)",
        "UPDATE batch SET rows = 2",
        "UPDATE batch SET rows = -1",
        "DELETE FROM batch_rows",
        // Swapped.
        "UPDATE batch_rows SET batch = -batch; UPDATE batch_rows SET batch = 3 + batch",
    ] {
        let fixture = fixture().await;
        let ledger = fixture.open().await;
        send(&ledger, intent("a", 2, [7, 8, 9]), BatchOutcome::Accepted).await;
        let sql = format!("PRAGMA foreign_keys = OFF; {damage}");
        fixture.sqlite().execute_batch(&sql).unwrap();
        let error = ledger.job_state(JOB, SCENARIO, None, "b").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{damage}: {}", error.chain());
        assert!(error.to_string().contains("is damaged: "), "{damage}: {error}");
    }
}

#[tokio::test]
async fn reports_a_locked_ledger_as_transient() {
    let fixture = fixture().await;
    let ledger = fixture.open().await;
    let impatient = ledger.write(|db| Ok(db.busy_timeout(Duration::from_millis(1))?));
    impatient.await.unwrap();
    let other = fixture.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = ledger.begin_run(run("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain());
    let (accepted, _) = known(&fixture.open_read_only().await, "b").await;
    assert_eq!(accepted, [1, 2, 3], "reading does not wait");
    other.execute_batch("ROLLBACK").unwrap();
    ledger.begin_run(run("b")).await.unwrap();
}

#[tokio::test]
async fn loses_nothing_it_acknowledged_when_the_disk_is_full() {
    let fixture = fixture().await;
    let ledger = fixture.open().await;
    let full = ledger.write(|db| {
        let pages: i64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
        Ok(db.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(()))?)
    });
    full.await.unwrap();
    // In the same transaction as a failure or not.
    let (one, two) = tokio::join!(
        ledger.save_position("p", "s", "x".repeat(100_000)),
        ledger.save_position("p", "t", "small".to_owned()),
    );
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Transient);
    let written = ledger.position("p", "t").await.unwrap().is_some();
    assert_eq!(two.is_ok(), written);
}
