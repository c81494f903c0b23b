//! How HR systems page, one by one.

use serde_json::json;

use super::{EndReason, Warning, answer, ends, fails};

#[test]
fn workday_reports_have_one_page() {
    let (asked, warnings) = ends(
        json!({"type": "none"}),
        &[answer(json!({"Report_Entry": [{}, {}]}), 2)],
        EndReason::OnlyPage,
    );
    assert_eq!((asked, warnings), (vec![String::new()], vec![]));
}

#[test]
fn bamboohr_by_link_and_by_cursor() {
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
    let (asked, warnings) = ends(
        link,
        &[page(json!(url), json!("abc")), last.clone()],
        EndReason::NoToken,
    );
    assert_eq!(
        asked,
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
    let (asked, _) = ends(
        cursor,
        &[page(json!(url), json!("abc")), last],
        EndReason::NoToken,
    );
    assert_eq!(asked, ["", "query.page[after]=abc"]);
}

#[test]
fn successfactors_v2_follows_next_with_its_port() {
    let next = "https://api.contoso.com:443/odata/v2/EmpJob?$format=json&$skiptoken=eyJ%3D";
    let (asked, _) = ends(
        json!({"type": "odata_v2", "size": 1000, "size_param": {"query": "customPageSize"}}),
        &[
            answer(json!({"d": {"results": [], "__next": next}}), 1000),
            answer(json!({"d": {"results": []}}), 3),
        ],
        EndReason::NoToken,
    );
    assert_eq!(asked, ["query.customPageSize=1000", next]);
}

#[test]
fn odata_v4_follows_next_link() {
    let (asked, _) = ends(
        json!({"type": "odata_v4"}),
        &[
            answer(json!({"value": [], "@odata.nextLink": "People?$skiptoken=2"}), 0),
            answer(json!({"value": []}), 3),
        ],
        EndReason::NoToken,
    );
    assert_eq!(asked, ["", "People?$skiptoken=2"]);
}

#[test]
fn adp_ends_with_a_short_page_204_or_nothing() {
    let config = json!({"type": "offset", "param": {"query": "$skip"}, "limit": 100, "limit_param": {"query": "$top"}, "stop": {"short_page": true}});
    let full = answer(json!({"workers": []}), 100);
    let again = answer(json!({"workers": []}), 100);
    let (asked, _) = ends(
        config.clone(),
        &[full.clone(), again, answer(json!(null), 0).status(204)],
        EndReason::Status(204),
    );
    assert_eq!(
        asked,
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
fn ukg_ends_with_an_empty_page() {
    let config = json!({"type": "page", "size": 10000, "size_param": {"query": "per_page"}});
    let (asked, warnings) = ends(
        config.clone(),
        &[
            answer(json!([]), 100),
            answer(json!([]), 100),
            answer(json!([]), 0),
        ],
        EndReason::EmptyPage,
    );
    assert_eq!(asked[2], "query.page=3 query.per_page=10000");
    assert_eq!(
        warnings,
        [],
        "a smaller page than asked for is nothing unusual without a claim of more"
    );
    let stuck = [answer(json!([]), 100).digest(1), answer(json!([]), 100).digest(1)];
    assert!(fails(config, &stuck).contains("never end"));
}

#[test]
fn personio_v1_counts_pages_that_may_be_text() {
    let config = json!({"type": "offset", "limit": 100, "step": "limit", "stop": {"total_pages": "$.metadata.total_pages", "total_rows": "$.metadata.total_elements"}});
    let page = |rows| {
        answer(
            json!({"metadata": {"total_pages": "2", "total_elements": "130"}}),
            rows,
        )
    };
    let (asked, warnings) = ends(config, &[page(100), page(30)], EndReason::TotalRows);
    assert_eq!(
        asked,
        [
            "query.offset=0 query.limit=100",
            "query.offset=100 query.limit=100"
        ]
    );
    assert_eq!(warnings, []);
}

#[test]
fn personio_v1_may_ignore_paging() {
    let config = json!({"type": "offset", "limit": 100, "step": "limit"});
    let all = [answer(json!({}), 130).digest(1), answer(json!({}), 130).digest(1)];
    let mut sequence = super::Sequence::new(&super::settings(config));
    sequence.take(&all[0]).unwrap();
    assert!(sequence.take(&all[1]).is_err(), "the same page again");
    assert!(matches!(
        sequence.warnings[..],
        [Warning::MoreThanAsked { rows: 130, .. }]
    ));
}

#[test]
fn personio_v2_has_its_cursor_inside_a_link() {
    let config = json!({"type": "cursor", "from": {"link_query": {"path": "$._meta.links.next.href", "param": "cursor"}}, "into": {"query": "cursor"}, "size": 50, "size_param": {"query": "limit"}});
    let href = "https://api.personio.de/v2/persons?limit=50&cursor=a%2Bb%3D#x";
    let (asked, _) = ends(
        config.clone(),
        &[
            answer(json!({"_meta": {"links": {"next": {"href": href}}}}), 50),
            answer(json!({"_meta": {"links": {}}}), 3),
        ],
        EndReason::NoToken,
    );
    assert_eq!(asked, ["query.limit=50", "query.cursor=a+b= query.limit=50"]);
    let other = answer(
        json!({"_meta": {"links": {"next": {"href": "/v2/persons?after=1"}}}}),
        50,
    );
    assert!(fails(config, &[other]).contains("no value for the parameter `cursor`"));
}

#[test]
fn hibob_tables_give_a_cursor() {
    let config = json!({"type": "cursor", "from": {"body": "$.response_metadata.next_cursor"}, "into": {"query": "cursor"}, "size": 200, "size_param": {"query": "limit"}});
    for end in [
        json!({"next_cursor": null}),
        json!({"next_cursor": ""}),
        json!({}),
    ] {
        let (asked, warnings) = ends(
            config.clone(),
            &[
                answer(json!({"response_metadata": {"next_cursor": "n1"}}), 200),
                answer(json!({"response_metadata": end}), 7),
            ],
            EndReason::NoToken,
        );
        assert_eq!(asked, ["query.limit=200", "query.cursor=n1 query.limit=200"]);
        assert_eq!(warnings, []);
    }
}

#[test]
fn oracle_goes_on_while_it_has_more() {
    let config = json!({"type": "offset", "limit": 500, "step": "limit", "stop": {"has_more": "$.hasMore"}});
    let (asked, warnings) = ends(
        config,
        &[
            answer(json!({"hasMore": true, "count": 480}), 480),
            answer(json!({"hasMore": false}), 500),
        ],
        EndReason::NoMore,
    );
    assert_eq!(asked[1], "query.offset=500 query.limit=500");
    assert!(warnings.contains(&Warning::ShortPageWithMore {
        page: 1,
        rows: 480,
        size: 500
    }));
}

#[test]
fn dayforce_ends_with_an_empty_text() {
    let next = "https://us1.dayforcehcm.com:443/Api/contoso/V1/Employees?cursor=a%253d";
    let (asked, _) = ends(
        json!({"type": "next_link", "path": "$.Paging.Next"}),
        &[
            answer(json!({"Data": [], "Paging": {"Next": next}}), 1000),
            answer(json!({"Data": [], "Paging": {"Next": ""}}), 12),
        ],
        EndReason::NoToken,
    );
    assert_eq!(asked, ["", next]);
}

#[test]
fn link_headers_are_followed() {
    let config = json!({"type": "link_header", "size": 50, "size_param": {"header": "Prefer-Size"}});
    let (asked, _) = ends(
        config,
        &[
            answer(json!([]), 50).header("link", "</rows?page=2>; rel=\"next\""),
            answer(json!([]), 1).header("link", "</rows?page=1>; rel=\"prev\""),
        ],
        EndReason::NoToken,
    );
    assert_eq!(
        asked,
        ["header.Prefer-Size=50", "/rows?page=2 header.Prefer-Size=50"],
        "a link carries a query, and no header"
    );
}

#[test]
fn a_404_ends_where_it_is_set() {
    let config = json!({"type": "page", "stop": {"status": [404]}});
    ends(
        config,
        &[answer(json!([]), 3), answer(json!(null), 0).status(404)],
        EndReason::Status(404),
    );
}
