//! Pagination of HR systems beyond the example pipelines, and what those do not show.

use serde_json::json;

use super::{EndReason, Sequence, Warning, answer, ends, fails};

#[test]
fn rejects_personio_v1_pages_that_ignore_the_offset() {
    let config = json!({"type": "offset", "size": 100, "step": "size"});
    let all = [answer(json!({}), 130).digest(1), answer(json!({}), 130).digest(1)];
    let mut sequence = Sequence::new(config);
    sequence.take(&all[0]).unwrap();
    assert!(sequence.take(&all[1]).is_err(), "the same page again");
    assert!(matches!(
        sequence.warnings[..],
        [Warning::MoreThanRequested { rows: 130, .. }]
    ));
}

#[test]
fn reads_the_personio_v2_cursor_from_a_link() {
    let config = json!({"type": "cursor", "from": {"link_query": {"path": "$._meta.links.next.href", "param": "cursor"}}, "into": {"query": "cursor"}, "size": 50, "size_param": {"query": "limit"}});
    let href = "https://api.personio.de/v2/persons?limit=50&cursor=a%2Bb%3D#x";
    let (requests, _) = ends(
        config.clone(),
        &[
            answer(json!({"_meta": {"links": {"next": {"href": href}}}}), 50),
            answer(json!({"_meta": {"links": {}}}), 3),
        ],
        EndReason::NoNextPage,
    );
    assert_eq!(requests, ["query.limit=50", "query.cursor=a+b= query.limit=50"]);
    let other = answer(
        json!({"_meta": {"links": {"next": {"href": "/v2/persons?after=1"}}}}),
        50,
    );
    assert!(fails(config, &[other]).contains("no value for the parameter `cursor`"));
}

#[test]
fn follows_link_headers() {
    let config = json!({"type": "link_header", "size": 50, "size_param": {"header": "Prefer-Size"}});
    let (requests, _) = ends(
        config,
        &[
            answer(json!([]), 50).header("link", "</rows?page=2>; rel=\"next\""),
            answer(json!([]), 1).header("link", "</rows?page=1>; rel=\"prev\""),
        ],
        EndReason::NoNextPage,
    );
    assert_eq!(
        requests,
        ["header.Prefer-Size=50", "/rows?page=2 header.Prefer-Size=50"],
        "a link carries a query, and no header"
    );
}
