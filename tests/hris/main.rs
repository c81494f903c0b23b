//! The example pipelines of `config-examples/hris`, each against recorded answers of its HR system, with all rows that
//! reach the emulator compared.
//!
//! `facts/SYSTEM.yaml` holds requests and answers, and what each run must deliver, reject and request.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rows;
mod run;
mod scenario;

/// A test for each system, which plays all cases of its facts.
macro_rules! systems {
    ($($system:ident),+ $(,)?) => {
        $(
            #[test]
            fn $system() {
                crate::run::all_cases(stringify!($system));
            }
        )+
    };
}

systems!(
    adp,
    bamboohr,
    dayforce,
    hibob,
    oracle_hcm,
    personio,
    successfactors,
    ukg,
    workday
);

#[test]
fn every_system_has_a_test() {
    let facts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hris/facts")).unwrap();
    assert_eq!(facts.count(), 9);
}
