//! Waits: the one that a service asks for, the end of one's patience, and both at the token endpoint.

use std::time::{Duration, SystemTime};

use super::{Fault, Place, Time, lasts, passes};
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
fn asked(place: Place, (name, status, date): (&'static str, u16, bool)) -> Fault {
    let header = if date { ahead(40) } else { "40".to_owned() };
    let reply = Reply::new(status).header("retry-after", &header);
    let fault = match place {
        Place::Upload => Fault::status(name, status, reply),
        Place::Token => Fault::new(name, Step::from(reply), format!("the response was {status}")),
    };
    fault.time(Time::Asked(40))
}

#[tokio::test]
async fn a_wait_that_the_service_asks_for_is_kept() {
    for kind in ASKED {
        passes(Place::Upload, &asked(Place::Upload, kind)).await;
    }
}

#[tokio::test]
async fn a_service_that_asks_to_wait_twice_has_its_rows_in_the_next_run() {
    for kind in ASKED {
        lasts(Place::Upload, &asked(Place::Upload, kind)).await;
    }
}

#[tokio::test]
async fn a_wait_that_the_token_endpoint_asks_for_is_kept() {
    for kind in ASKED {
        passes(Place::Token, &asked(Place::Token, kind)).await;
        lasts(Place::Token, &asked(Place::Token, kind)).await;
    }
}

#[tokio::test]
async fn a_token_endpoint_that_does_not_answer_is_left_after_a_minute_and_tried_again() {
    let fault = Fault::new("time-out", Step::Stall, "no response within the timeout").time(Time::Out(60));
    passes(Place::Token, &fault).await;
    lasts(Place::Token, &fault).await;
}
