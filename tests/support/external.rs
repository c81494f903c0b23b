//! Test suites that need other programs or servers: run on request, and reported when left out.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// The environment variable that requests them. `1` runs all: a missing program, or a missing root account, fails the
/// tests that need it. `unprivileged` leaves out those that need root.
const VARIABLE: &str = "HRSINK_TEST_SERVERS";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Requested {
    None,
    Unprivileged,
    All,
}

fn requested() -> Requested {
    match std::env::var(VARIABLE).as_deref() {
        Ok("1") => Requested::All,
        Ok("unprivileged") => Requested::Unprivileged,
        Err(std::env::VarError::NotPresent) | Ok("" | "0") => Requested::None,
        other => panic!("{VARIABLE} must be 1, unprivileged or unset, not {other:?}"),
    }
}

/// Reports once that something is left out, bypassing the capture of output.
fn report(what: &str, why: &str) {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    if reported.insert(what.to_owned()) {
        let _ = writeln!(std::io::stderr(), "left out: {what} ({why})");
    }
}

/// Whether to run the tests of `suite`. Reports once when they are left out.
pub(crate) fn enabled(suite: &str) -> bool {
    let enabled = requested() != Requested::None;
    if !enabled {
        let why = format!("set {VARIABLE}=1 to run it; `make test` installs what it needs");
        report(suite, &why);
    }
    enabled
}

/// Whether to run a test of an enabled suite that needs root.
#[allow(dead_code, reason = "not every suite has such tests")]
pub(crate) fn enabled_as_root(what: &str, is_root: bool) -> bool {
    if !is_root {
        assert!(
            requested() == Requested::Unprivileged,
            "{what}: only root can test that; run the tests as root, or leave it out with {VARIABLE}=unprivileged"
        );
        report(what, "needs root");
    }
    is_root
}
