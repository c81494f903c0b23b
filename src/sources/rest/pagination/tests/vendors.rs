//! Pagination of HR systems beyond the example pipelines, and what those do not show.

use serde_json::json;

use super::{EndReason, Sequence, Warning, answer, ends, fails};

#[test]
fn reads_bamboohr_by_link_and_by_cursor() {
    let page = |next: serde_json::Value, cursor: serde_json::Value| {
        answer(
            json!({"data": [], "meta": {"total": 5, "page": {"nextCursor": cursor}}, "_links": {"next": next}}),
            5,
        )
    };
    let url = "https://fabrikam.bamboohr.com/api/v1/employees?page%5Bafter%5D=abc&fields=a,b";
    let mut last = page(json!(null), json!(null));
    last.rows = 0;
    let link = json!({"type": "next_link", "path": "$._links.next", "size": 2500, "size_param": {"query": "page[limit]"}, "stop": {"total_rows": "$.meta.total"}});
    let (requests, warnings) = ends(
        link,
        &[page(json!(url), json!("abc")), last.clone()],
        EndReason::NoNextPage,
    );
    assert_eq!(
        requests,
        ["query.page[limit]=2500", url],
        "a link is followed as it is, and no query is added"
    );
    assert!(
        matches!(
            warnings[..],
            [Warning::ShortPageWithMore {
                rows: 5,
                size: 2500,
                ..
            }]
        ),
        "{warnings:?}"
    );
    let cursor = json!({"type": "cursor", "from": {"body": "$.meta.page.nextCursor"}, "into": {"query": "page[after]"}});
    let (requests, _) = ends(
        cursor,
        &[page(json!(url), json!("abc")), last],
        EndReason::NoNextPage,
    );
    assert_eq!(requests, ["", "query.page[after]=abc"]);
}

#[test]
fn ends_adp_at_a_short_page_204_or_an_empty_page() {
    let config = json!({"type": "offset", "param": {"query": "$skip"}, "size": 100, "size_param": {"query": "$top"}, "stop": {"short_page": true}});
    let full = answer(json!({"workers": []}), 100);
    let again = answer(json!({"workers": []}), 100);
    let (requests, _) = ends(
        config.clone(),
        &[full.clone(), again, answer(json!(null), 0).status(204)],
        EndReason::NoContent,
    );
    assert_eq!(
        requests,
        [
            "query.$skip=0 query.$top=100",
            "query.$skip=100 query.$top=100",
            "query.$skip=200 query.$top=100"
        ]
    );
    ends(
        config.clone(),
        &[full.clone(), answer(json!({}), 40)],
        EndReason::ShortPage,
    );
    ends(
        config,
        &[full, answer(json!({"workers": []}), 0)],
        EndReason::EmptyPage,
    );
}

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
fn continues_oracle_while_it_has_more() {
    let config = json!({"type": "offset", "size": 500, "step": "size", "stop": {"has_more": "$.hasMore"}});
    let (requests, warnings) = ends(
        config,
        &[
            answer(json!({"hasMore": true, "count": 480}), 480),
            answer(json!({"hasMore": false}), 500),
        ],
        EndReason::HasMoreIsFalse,
    );
    assert_eq!(requests[1], "query.offset=500 query.limit=500");
    assert!(warnings.contains(&Warning::ShortPageWithMore {
        page: 1,
        rows: 480,
        size: 500
    }));
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
