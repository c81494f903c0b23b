//! Damaged ledgers, lost keys, other versions and other files: refused before anything is sent, and left unchanged.

use std::os::unix::fs::PermissionsExt;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;

/// The files of a closed ledger.
const FILES: [&str; 2] = ["state.db", "state.db.key"];

/// Has delivered 40 rows, and has two more to deliver.
fn used() -> Fixture {
    let mut fixture = Fixture::new(40);
    fixture.delivers(40);
    fixture.grow(2);
    fixture
}

fn file(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path().join(".hrsink").join(name)
}

fn back_up(fixture: &Fixture) -> [Vec<u8>; 2] {
    FILES.map(|name| std::fs::read(file(fixture, name)).unwrap())
}

fn restore(fixture: &Fixture, backup: &[Vec<u8>; 2]) {
    for log in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(file(fixture, log));
    }
    for (name, content) in FILES.iter().zip(backup) {
        let path = file(fixture, name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

fn sqlite(fixture: &Fixture, sql: &str) {
    let db = rusqlite::Connection::open(fixture.ledger()).unwrap();
    db.execute_batch(sql).unwrap();
    std::fs::set_permissions(fixture.ledger(), PermissionsExt::from_mode(0o600)).unwrap();
}

fn change(fixture: &Fixture, change: fn(&mut Vec<u8>)) {
    let mut content = std::fs::read(fixture.ledger()).unwrap();
    change(&mut content);
    std::fs::write(fixture.ledger(), content).unwrap();
}

type Damage = (fn(&Fixture), &'static [&'static str]);

#[test]
fn refuses_damaged_and_foreign_ledgers() {
    let cases: [Damage; 10] = [
        (
            |fixture| change(fixture, |content| content[..100].fill(0xa5)),
            &[
                "the ledger `",
                "` is damaged: ",
                "together from a backup",
                "start a new ledger",
            ],
        ),
        (
            |fixture| change(fixture, |content| content.truncate(content.len() / 2)),
            &["` is damaged: "],
        ),
        (|fixture| change(fixture, Vec::clear), &["` is damaged: "]),
        (
            |fixture| std::fs::remove_file(file(fixture, FILES[1])).unwrap(),
            &["the key of the ledger", "restore the key from a backup"],
        ),
        (
            |fixture| std::fs::write(file(fixture, FILES[1]), "0123456789abcdef".repeat(4)).unwrap(),
            &["is not the key of the ledger", "backup"],
        ),
        (
            |fixture| std::fs::write(file(fixture, FILES[1]), "lost").unwrap(),
            &["invalid ledger key", "backup"],
        ),
        (
            |fixture| std::fs::remove_file(fixture.ledger()).unwrap(),
            &[
                "is missing, but `",
                "state.db.key` still exists",
                "restore the ledger from a backup",
            ],
        ),
        (
            |fixture| sqlite(fixture, "PRAGMA user_version = 999"),
            &["has version 999", "update hrsink"],
        ),
        (
            |fixture| {
                std::fs::remove_file(fixture.ledger()).unwrap();
                sqlite(fixture, "CREATE TABLE stock (item TEXT)");
            },
            &["is a SQLite database, but not a ledger of hrsink"],
        ),
        (
            |fixture| std::fs::set_permissions(fixture.ledger(), PermissionsExt::from_mode(0o644)).unwrap(),
            &["is readable by other users (mode 0644)", "run `chmod 600 "],
        ),
    ];
    let fixture = used();
    let backup = back_up(&fixture);
    for (damage, words) in cases {
        damage(&fixture);
        let damaged = FILES.map(|name| std::fs::read(file(&fixture, name)).ok());
        fixture.refuses(2, words);
        let after = FILES.map(|name| std::fs::read(file(&fixture, name)).ok());
        assert_eq!(after, damaged, "unchanged: {words:?}");
        let (code, out, _) = program::run(fixture.path(), &["ledger", "verify", FILE]);
        assert!(code == 1 || code == 2, "{words:?}: {out}");
        restore(&fixture, &backup);
    }
    fixture.delivers(2);
    fixture.check_ledger();
}

#[test]
fn detects_changed_bytes() {
    let mut fixture = used();
    let mut random = StdRng::seed_from_u64(7);
    let mut found = 0;
    for _ in 0..30 {
        let backup = back_up(&fixture);
        let mut damaged = backup[0].clone();
        let at = random.random_range(100..damaged.len() - 64);
        random.fill_bytes(&mut damaged[at..at + 64]);
        std::fs::write(fixture.ledger(), &damaged).unwrap();
        let before = fixture.service.uploads();
        let (code, out, error) = fixture.run();
        if code == 0 {
            // Unused bytes.
            assert_eq!(fixture.report()["rows"]["accepted"], 2, "at byte {at}");
            fixture.grow(2);
            continue;
        }
        found += 1;
        assert_eq!(code, 2, "at byte {at}: {out}{error}");
        assert!(error.contains("is damaged: "), "at byte {at}: {error}");
        assert_eq!(fixture.service.uploads(), before, "at byte {at}");
        restore(&fixture, &backup);
    }
    println!("of 30 damaged ledgers, {found} were refused");
    assert!(found > 10, "{found}");
    fixture.delivers(2);
}
