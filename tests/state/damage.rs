//! A ledger or a key that is not what it was.

use std::os::unix::fs::PermissionsExt;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;

/// The files of a ledger at rest.
const FILES: [&str; 2] = ["state.db", "state.db.key"];

/// A stand that has delivered 40 rows, and has two more to deliver.
fn used() -> Stand {
    let mut stand = Stand::new(40);
    stand.delivers(40);
    stand.grow(2);
    stand
}

/// What the files hold, as a backup has it.
fn back_up(stand: &Stand) -> [Vec<u8>; 2] {
    FILES.map(|file| std::fs::read(stand.path().join(".hrsink").join(file)).unwrap())
}

fn restore(stand: &Stand, backup: &[Vec<u8>; 2]) {
    for log in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(stand.path().join(".hrsink").join(log));
    }
    for (file, content) in FILES.iter().zip(backup) {
        let path = stand.path().join(".hrsink").join(file);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_damaged_ledger_is_no_new_start() {
    let stand = used();
    let backup = back_up(&stand);
    let whole = &backup[0];
    let mut without_header = whole.clone();
    without_header[..100].fill(0xa5);
    let half = whole[..whole.len() / 2].to_vec();
    for damaged in [without_header, half, Vec::new()] {
        std::fs::write(stand.ledger(), &damaged).unwrap();
        stand.refuses(
            2,
            &[
                "the ledger `",
                "` is damaged: ",
                "together from a backup",
                "begin a new ledger",
            ],
        );
        assert_eq!(
            std::fs::read(stand.ledger()).unwrap(),
            damaged,
            "it is left as it was"
        );
        let (code, said, _) = program::run(stand.path(), &["ledger", "verify", FILE]);
        assert_eq!(code, 1, "{said}");
        restore(&stand, &backup);
    }
    stand.delivers(2);
    stand.is_whole();
}

#[test]
fn bytes_that_changed_are_found_or_do_not_matter() {
    let mut stand = used();
    let mut random = StdRng::seed_from_u64(7);
    let mut found = 0;
    for _ in 0..30 {
        let backup = back_up(&stand);
        let mut damaged = backup[0].clone();
        let at = random.random_range(100..damaged.len() - 64);
        random.fill_bytes(&mut damaged[at..at + 64]);
        std::fs::write(stand.ledger(), &damaged).unwrap();
        let before = stand.service.uploads();
        let (code, said, error) = stand.run();
        if code == 0 {
            // Bytes that nobody uses: what was known is known.
            let report = stand.report();
            assert_eq!(report["rows"]["accepted"], 2, "at byte {at}");
            stand.grow(2);
            continue;
        }
        found += 1;
        assert_eq!(code, 2, "at byte {at}: {said}{error}");
        assert!(error.contains("is damaged: "), "at byte {at}: {error}");
        assert_eq!(stand.service.uploads(), before, "at byte {at}");
        restore(&stand, &backup);
    }
    println!("of 30 damaged ledgers, {found} were refused");
    assert!(found > 10, "{found}");
    restore(&stand, &back_up(&stand));
    stand.delivers(2);
}

#[test]
fn a_ledger_without_its_key_is_no_new_start() {
    let stand = used();
    let backup = back_up(&stand);
    let key = stand.path().join(".hrsink/state.db.key");
    std::fs::remove_file(&key).unwrap();
    stand.refuses(2, &["has lost its key", "restore the key from a backup"]);
    assert!(!key.exists(), "no other key is made");
    for (other, words) in [
        ("0123456789abcdef".repeat(4), "is not the key of the ledger"),
        ("lost".to_owned(), "is not a ledger's key"),
        (String::new(), "is not a ledger's key"),
    ] {
        restore(&stand, &backup);
        std::fs::write(&key, other).unwrap();
        stand.refuses(2, &[words, "backup"]);
    }
    restore(&stand, &backup);
    stand.delivers(2);
}

#[test]
fn a_key_without_its_ledger_is_no_new_start() {
    let stand = used();
    let backup = back_up(&stand);
    std::fs::remove_file(stand.ledger()).unwrap();
    stand.refuses(
        2,
        &[
            "is missing, but `",
            "state.db.key` is still there",
            "restore the ledger from a backup",
        ],
    );
    assert!(!stand.ledger().exists());
    restore(&stand, &backup);
    stand.delivers(2);
}

#[test]
fn a_ledger_of_a_newer_version_is_left_alone() {
    let stand = used();
    let backup = back_up(&stand);
    let db = rusqlite::Connection::open(stand.ledger()).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    stand.refuses(2, &["is of version 999", "update hrsink"]);
    restore(&stand, &backup);
    stand.delivers(2);
}

#[test]
fn another_programs_database_is_left_alone() {
    let stand = used();
    let backup = back_up(&stand);
    std::fs::remove_file(stand.ledger()).unwrap();
    let db = rusqlite::Connection::open(stand.ledger()).unwrap();
    db.execute_batch("CREATE TABLE stock (item TEXT); INSERT INTO stock VALUES ('apples')")
        .unwrap();
    drop(db);
    std::fs::set_permissions(stand.ledger(), PermissionsExt::from_mode(0o600)).unwrap();
    let theirs = std::fs::read(stand.ledger()).unwrap();
    stand.refuses(2, &["is a SQLite database, but not a ledger of hrsink"]);
    assert_eq!(std::fs::read(stand.ledger()).unwrap(), theirs);
    restore(&stand, &backup);
    stand.delivers(2);
}

#[test]
fn what_others_may_read_is_refused() {
    let stand = used();
    for file in FILES {
        let path = stand.path().join(".hrsink").join(file);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        stand.refuses(
            2,
            &[
                "is open to other users of this machine (mode 644)",
                "run `chmod 600 ",
            ],
        );
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    stand.delivers(2);
}
