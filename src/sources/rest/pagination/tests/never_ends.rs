//! Whatever a service answers: an end or an error, and nothing asked twice.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answer, Sequence, Turn, answer, settings};

const MAX_PAGES: u64 = 12;

fn kinds() -> impl Strategy<Value = Value> {
    let stop = json!({"has_more": "$.more", "total_rows": "$.rows", "total_pages": "$.pages"});
    let bounds = json!({"max_pages": MAX_PAGES});
    let with = move |mut config: Value, told: bool, checks: Value| {
        config["bounds"] = bounds.clone();
        config["checks"] = checks;
        if told {
            config["stop"] = stop.clone();
        }
        config
    };
    let kind = prop_oneof![
        Just(json!({"type": "page"})),
        Just(json!({"type": "page", "start": 0, "size": 3})),
        Just(json!({"type": "offset", "limit": 3})),
        Just(json!({"type": "offset", "limit": 3, "step": "limit"})),
        Just(json!({"type": "cursor", "from": {"body": "$.next"}, "into": {"query": "c"}, "size": 3})),
        Just(json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"query": "c"}})),
        Just(
            json!({"type": "cursor", "from": {"link_query": {"path": "$.next", "param": "c"}}, "into": {"query": "c"}})
        ),
        Just(json!({"type": "next_link", "path": "$.next"})),
        Just(json!({"type": "link_header"})),
        Just(json!({"type": "odata_v4"})),
    ];
    let checks = prop_oneof![
        Just(json!({})),
        Just(json!({"on_duplicate_page": "ignore"})),
        Just(json!({"on_duplicate_page": "stop", "on_repeat": "stop"})),
    ];
    (kind, any::<bool>(), checks).prop_map(move |(kind, told, checks)| with(kind, told, checks))
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!(true)),
        (0u64..6).prop_map(|n| json!(n)),
        (0u64..6).prop_map(|n| json!(n.to_string())),
    ];
    let token = prop_oneof![
        1 => Just(Value::Null),
        6 => (0u64..40).prop_map(|n| json!(format!("/rows?c={n}"))),
        1 => Just(json!("rows?fields=a")),
    ];
    let flag = prop_oneof![Just(json!(true)), Just(Value::Null), Just(json!("0"))];
    let one = (value, token, flag, 0u64..5, 0u64..3, 0u64..9, any::<bool>()).prop_map(
        |(total, next, more, rows, digest, id, done)| {
            let mut one = answer(
                json!({"next": next, "@odata.nextLink": next, "more": more, "rows": total, "pages": total}),
                rows,
            )
            .digest(digest)
            .last(json!({"id": id}));
            if let Some(link) = next.as_str() {
                one = one.header("link", &format!("<{link}>; rel=\"next\""));
            }
            if done && rows == 0 {
                one = one.status(204);
            }
            one
        },
    );
    proptest::collection::vec(one, MAX_PAGES as usize + 2)
}

proptest! {
    #[test]
    fn a_sequence_ends_and_never_asks_the_same_twice(config in kinds(), answers in answers()) {
        let mut sequence = Sequence::new(&settings(config));
        let mut ended = false;
        for answer in &answers {
            match sequence.take(answer) {
                Ok(Turn::Next(_)) => {}
                Ok(Turn::End(_)) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        prop_assert!(ended, "more than {} pages: {:?}", MAX_PAGES, sequence.asked);
        prop_assert!(sequence.asked.len() as u64 <= MAX_PAGES);
        let different: HashSet<&String> = sequence.asked.iter().collect();
        prop_assert_eq!(different.len(), sequence.asked.len(), "{:?}", sequence.asked);
    }
}
