//! Whatever a service responds, no page is requested twice.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answer, Sequence, Turn};

fn configs() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(json!({"type": "page"})),
        Just(json!({"type": "page", "start": 0, "size": 3})),
        Just(json!({"type": "offset", "size": 3})),
        Just(json!({"type": "offset", "size": 3, "step": "size"})),
        Just(json!({"type": "cursor", "from": {"body": "$.next"}, "into": {"query": "c"}, "size": 3})),
        Just(
            json!({"type": "cursor", "from": {"link_query": {"path": "$.next", "param": "c"}}, "into": {"query": "c"}})
        ),
        Just(json!({"type": "next_link", "path": "$.next"})),
        Just(json!({"type": "link_header"})),
        Just(json!({"type": "odata_v4"})),
    ];
    (kind, any::<bool>()).prop_map(|(mut config, with_stop)| {
        if with_stop {
            config["stop"] = json!({"has_more": "$.more", "total_rows": "$.rows", "total_pages": "$.pages"});
        }
        config
    })
}

/// Each with its status and the digest of its rows.
fn answers() -> impl Strategy<Value = Vec<(Answer, u16, u64)>> {
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
    let one = (value, token, flag, 0u64..5, any::<u64>(), any::<bool>()).prop_map(
        |(total, next, more, rows, digest, done)| {
            let body = json!({
                "next": next, "@odata.nextLink": next, "more": more, "rows": total, "pages": total,
                "Link": next.as_str().map(|link| format!("<{link}>; rel=\"next\"")),
            });
            let status = if done && rows == 0 { 204 } else { 200 };
            ((body, rows), status, digest % 9)
        },
    );
    proptest::collection::vec(one, 14)
}

proptest! {
    #[test]
    fn requests_nothing_twice(config in configs(), answers in answers()) {
        let mut sequence = Sequence::new(config);
        for (answer, status, digest) in &answers {
            if !matches!(sequence.take_page(answer, *status, *digest), Ok(Turn::Next(_))) {
                break;
            }
        }
        let different: HashSet<&String> = sequence.requests.iter().collect();
        prop_assert_eq!(different.len(), sequence.requests.len(), "{:?}", sequence.requests);
    }
}
