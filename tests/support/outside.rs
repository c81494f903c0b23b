//! Suites that need programs or servers of others: run where they are asked for, and never left out without a word.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// The environment variable that asks for them: `1` runs all, and what is not installed fails its tests, as does not
/// being root where a test needs accounts of its own; `unprivileged` leaves those out.
const VARIABLE: &str = "HRSINK_TEST_SERVERS";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    None,
    Unprivileged,
    All,
}

fn asked() -> Asked {
    match std::env::var(VARIABLE).as_deref() {
        Ok("1") => Asked::All,
        Ok("unprivileged") => Asked::Unprivileged,
        Err(std::env::VarError::NotPresent) | Ok("" | "0") => Asked::None,
        other => panic!("{VARIABLE} is 1, unprivileged, or is not set; not {other:?}"),
    }
}

/// Says once that something is left out, past what a test program keeps of tests that pass.
fn tell(what: &str, instead: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(what.to_owned()) {
        let _ = writeln!(std::io::stderr(), "left out: {what} ({instead})");
    }
}

/// Whether the tests of `suite` are to run. Says once for each suite that they are left out.
pub(crate) fn wanted(suite: &str) -> bool {
    let wanted = asked() != Asked::None;
    if !wanted {
        let instead = format!("set {VARIABLE}=1 to run it; `make test` installs what it needs");
        tell(suite, &instead);
    }
    wanted
}

/// Whether a test of `what`, which only root can do, is to run; its suite is wanted. Says that it is left out, where that
/// was asked for.
#[allow(dead_code, reason = "not every suite has such tests")]
pub(crate) fn wanted_as_root(what: &str, is_root: bool) -> bool {
    if !is_root {
        assert!(
            asked() == Asked::Unprivileged,
            "{what}: only root can test that; run the tests as root, or leave it out with {VARIABLE}=unprivileged"
        );
        tell(what, "needs root");
    }
    is_root
}
