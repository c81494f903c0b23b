//! Network failures.

use super::{Endpoint, Fault, Time, batches, passes_and_lasts};
use crate::support::barrier::{Barrier, Break};
use crate::support::{Pipeline, arrived, emails, emulator, history};
use crate::{fails, outcomes};
use hrsink::plugin::BatchOutcome::NotSent;
use serde_json::json;
use test_server::Step;

const ENDED: &str = "the connection ended without a response";
const TIMED_OUT: &str = "no response within the timeout";

fn faults() -> [Fault; 7] {
    [
        Fault::new("reset before the body", Break::ResetBeforeBody, ENDED).unknown(),
        Fault::new("reset after the body", Break::ResetAfterBody, ENDED).unknown(),
        Fault::new("closed before the body", Step::CloseBeforeBody, ENDED).unknown(),
        Fault::new("closed after the body", Step::CloseAfterBody, ENDED).unknown(),
        Fault::new(
            "not HTTP",
            Step::Garbage(b"\x16\x03\x01\x00\x02\x02\x28".to_vec()),
            ENDED,
        )
        .unknown(),
        Fault::new("time-out before the body", Break::Hold, TIMED_OUT)
            .unknown()
            .time(Time::Out(60)),
        Fault::new("time-out after the body", Step::Stall, TIMED_OUT)
            .unknown()
            .time(Time::Out(60)),
    ]
}

#[tokio::test]
async fn retries_broken_connections_and_resends_their_rows_in_the_next_run() {
    passes_and_lasts(Endpoint::Upload, faults()).await;
}

#[tokio::test]
async fn retries_refused_connections_without_unknown_rows() {
    for way in ["ingestion", "authority"] {
        let emulator = emulator("").await;
        let mut barrier = Barrier::closed();
        let mut pipeline = Pipeline::new(&emulator.url(), 4);
        pipeline.sink()["cloud"][way] = json!(barrier.url());
        let report = pipeline.run().await;
        fails(&report, 75, &["cannot connect", "3 attempts"]);
        assert_eq!(outcomes(&report), [(1, NotSent, 3), (2, NotSent, 3)], "{way}");
        assert_rows!(report, 4, not_sent: 4; "{way}");
        let recorded = history(&pipeline).await;
        let expected = json!([[1, "not_sent", 3, 0, null], [2, "not_sent", 3, 0, null]]);
        assert_eq!(batches(&recorded["runs"][0]), expected, "{way}");
        assert_eq!(recorded["runs"][0]["open_unknown"], 0, "{way}");

        barrier.open(&emulator.url(), []);
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.accepted), (0, 4), "{way}");
        assert!(report.earlier_unknown.is_empty(), "{way}");
        assert_eq!(arrived(&emulator), emails(4), "{way}");
    }
}
