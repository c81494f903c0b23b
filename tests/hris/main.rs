//! The example pipelines of `config-examples/hris`, each against recorded answers of its HR system, with all rows that
//! reach the emulator compared.
//!
//! `facts/SYSTEM.yaml` holds requests and answers, and what each run must deliver, reject and request.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rows;
mod run;
mod scenario;

/// A test for each case of a system's facts.
macro_rules! system {
    ($system:ident: $($case:ident),+ $(,)?) => {
        mod $system {
            $(
                #[test]
                fn $case() {
                    crate::run::case(stringify!($system), stringify!($case));
                }
            )+

            #[test]
            fn has_a_test_for_each_case() {
                crate::run::check_cases(stringify!($system), &[$(stringify!($case)),+]);
            }
        }
    };
}

system!(adp: ends_at_204, ends_at_a_short_page, sends_nulls_for_missing_fields, remembers_leavers_and_finds_level_changes,
    rejects_wrong_credentials_once, rejects_a_foreign_certificate);
system!(bamboohr: delivers_leavers_levels_and_profiles, reads_changes_since_the_last_run, rejects_a_wrong_key_once,
    shows_the_message_of_the_service);
system!(dayforce: delivers_leavers_levels_and_profiles, rejects_wrong_credentials_once);
system!(hibob: delivers_leavers_levels_and_profiles, remembers_addresses_and_detects_lost_rights,
    sends_no_profiles_without_their_section, never_retries_a_rejected_login);
system!(oracle_hcm: delivers_leavers_reviews_and_profiles, finds_level_changes_between_runs,
    sends_nulls_for_missing_fields, rejects_wrong_credentials_once);
system!(personio: delivers_leavers_levels_and_profiles, stops_at_errors_with_status_200, rejects_wrong_credentials_once);
system!(successfactors: delivers_leavers_levels_reviews_and_profiles, sends_nulls_for_missing_fields,
    remembers_leavers, rejects_wrong_credentials_once);
system!(ukg: delivers_leavers_levels_and_profiles, rejects_wrong_credentials_once);
system!(workday: delivers_leavers_levels_reviews_and_profiles, remembers_leavers, rejects_pages_without_rows,
    rejects_wrong_credentials_once);
