//! Waits: `Retry-After` and timeouts, of the service and of the token endpoint.

use std::time::{Duration, SystemTime};

use super::{Endpoint, Fault, Time, lasts, passes, passes_and_lasts};
use crate::fails;
use crate::support::{Pipeline, emulator};
use serde_json::json;
use test_server::{Reply, Step};

/// An HTTP date so many seconds ahead, and so a whole number of them or a part less.
fn ahead(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

/// A status and the form of `Retry-After`.
const ASKED: [(&str, u16, bool); 4] = [
    ("429 in seconds", 429, false),
    ("429 with a date", 429, true),
    ("503 in seconds", 503, false),
    ("503 with a date", 503, true),
];

/// Made right before it is needed: a date comes nearer.
fn asked(endpoint: Endpoint, (name, status, date): (&'static str, u16, bool)) -> Fault {
    let header = if date { ahead(40) } else { "40".to_owned() };
    let reply = Reply::new(status).header("retry-after", &header);
    let fault = match endpoint {
        Endpoint::Upload => Fault::status(name, status, reply),
        Endpoint::Token => Fault::new(name, Step::from(reply), format!("the response was {status}")),
    };
    fault.time(Time::Asked(40))
}

#[tokio::test]
async fn honors_retry_after_of_the_service() {
    for kind in ASKED {
        passes(Endpoint::Upload, &asked(Endpoint::Upload, kind)).await;
    }
}

#[tokio::test]
async fn delivers_in_the_next_run_after_repeated_retry_after() {
    for kind in ASKED {
        lasts(Endpoint::Upload, &asked(Endpoint::Upload, kind)).await;
    }
}

#[tokio::test]
async fn honors_retry_after_of_the_token_endpoint() {
    for kind in ASKED {
        passes(Endpoint::Token, &asked(Endpoint::Token, kind)).await;
        lasts(Endpoint::Token, &asked(Endpoint::Token, kind)).await;
    }
}

#[tokio::test]
async fn retries_a_token_request_after_a_minute_without_answer() {
    let fault = Fault::new("time-out", Step::Stall, "no response within the timeout").time(Time::Out(60));
    passes_and_lasts(Endpoint::Token, [fault]).await;
}

#[tokio::test]
async fn stops_when_retry_after_exceeds_the_time_left() {
    for faults in ["429=1,retry_after=3600s", "503=1,retry_after=date:3600s"] {
        let emulator = emulator(faults).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["retry"]["max_elapsed"] = json!("30m");
        pipeline.sink()["delivery"] = json!({"max_consecutive_failures": 1});
        let report = pipeline.run().await;
        fails(
            &report,
            75,
            &["the service requested a wait of 3", "run again later"],
        );
        assert_eq!(emulator.status().uploads, 1);
        assert_rows!(report, 6, not_sent: 6);
    }
}
