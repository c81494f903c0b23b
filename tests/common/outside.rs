//! Suites that need programs or servers of others: run where they are asked for, and never left out without a word.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// The environment variable that asks for them: `1` runs all, and what is not installed fails its tests.
const VARIABLE: &str = "HRSINK_TEST_SERVERS";

/// Whether the tests of `suite` are to run. Says once for each suite that they are left out.
pub(crate) fn wanted(suite: &str) -> bool {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    match std::env::var(VARIABLE).as_deref() {
        Ok("1") => return true,
        Ok(other) if !other.is_empty() && other != "0" => {
            panic!("{VARIABLE} is 1 or is not set, not {other:?}")
        }
        _ => {}
    }
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(suite.to_owned()) {
        // Past what a test program keeps of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "left out: {suite} (set {VARIABLE}=1 to run it; `make test` installs what it needs)"
        );
    }
    false
}
