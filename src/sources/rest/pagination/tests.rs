//! A fixture service, read page by page.

mod never_ends;
mod settings;
mod vendors;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::super::json_path::ValuePaths;
use super::super::page::{InjectInto, PageRequest, PageResponse};
use super::pager::EndReason;
use super::warning::Warning;
use super::{Pager, PaginationConfig, Turn};
use crate::component::Problems;
use crate::error::{Error, Result};

/// An answer.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    header: Option<(&'static str, String)>,
    body: Value,
    rows: u64,
    digest: u64,
    last: Option<Value>,
}

/// A page with so many distinct rows.
fn answer(body: Value, rows: u64) -> Answer {
    Answer {
        status: 200,
        header: None,
        body,
        rows,
        digest: rand::random(),
        last: None,
    }
}

impl Answer {
    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.header = Some((name, value.to_owned()));
        self
    }

    fn last(mut self, record: Value) -> Self {
        self.last = Some(record);
        self
    }

    fn digest(mut self, digest: u64) -> Self {
        self.digest = digest;
        self
    }
}

struct Sequence {
    pager: Pager,
    paths: ValuePaths,
    url: Url,
    requests: Vec<String>,
    warnings: Vec<Warning>,
}

impl Sequence {
    fn new(config: Value) -> Self {
        Self::with_max_pages(config, 100_000)
    }

    fn with_max_pages(config: Value, max_pages: u64) -> Self {
        let config: PaginationConfig = serde_json::from_value(config).unwrap();
        let mut paths = ValuePaths::default();
        let mut found = Vec::new();
        let pager = config.compile(&mut paths, &mut Problems::new(&mut found));
        assert!(found.is_empty(), "{found:?}");
        let mut sequence = Self {
            pager: pager.unwrap().with_max_pages(max_pages),
            paths,
            url: Url::parse("https://hr.contoso.com/rows?fields=a").unwrap(),
            requests: Vec::new(),
            warnings: Vec::new(),
        };
        let first = sequence.pager.first();
        sequence.request(&first);
        sequence
    }

    fn request(&mut self, request: &PageRequest) {
        if let Some(link) = &request.url {
            self.url = self.url.join(link).unwrap();
        }
        self.requests.push(display(request));
    }

    fn take(&mut self, answer: &Answer) -> Result<Turn> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = &answer.header {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let page = PageResponse {
            url: &self.url,
            status: answer.status,
            headers: &headers,
            values: &self.paths.find(&answer.body),
            records: answer.rows,
        };
        let turn = self.pager.next(&page, answer.digest, answer.last.as_ref());
        self.warnings.extend(self.pager.take_warnings());
        if let Ok(Turn::Next(request)) = &turn {
            self.request(&request.clone());
        }
        turn
    }
}

/// `query.page=2 query.size=100`, or the URL and what else is set.
fn display(request: &PageRequest) -> String {
    let set = request.set.iter().map(|(target, value)| {
        let target = match target {
            InjectInto::Query(name) => format!("query.{name}"),
            InjectInto::Header(name) => format!("header.{name}"),
            InjectInto::Body(name) => format!("body.{name}"),
        };
        match value {
            Value::String(text) => format!("{target}={text}"),
            other => format!("{target}={other}"),
        }
    });
    request
        .url
        .clone()
        .into_iter()
        .chain(set)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Reads to the end: the requests, why it ended, and the warnings.
fn read(config: Value, answers: &[Answer]) -> (Vec<String>, Result<EndReason, Error>, Vec<Warning>) {
    let mut sequence = Sequence::new(config);
    for (index, answer) in answers.iter().enumerate() {
        match sequence.take(answer) {
            Ok(Turn::Next(_)) => {}
            Ok(Turn::End(reason)) => {
                assert_eq!(index + 1, answers.len(), "it ended early: {reason:?}");
                return (sequence.requests, Ok(reason), sequence.warnings);
            }
            Err(error) => return (sequence.requests, Err(error), sequence.warnings),
        }
    }
    panic!("it did not end: {:?}", sequence.requests);
}

fn ends(config: Value, answers: &[Answer], reason: EndReason) -> (Vec<String>, Vec<Warning>) {
    let (requests, end, warnings) = read(config, answers);
    assert_eq!(end.unwrap(), reason);
    (requests, warnings)
}

fn fails(config: Value, answers: &[Answer]) -> String {
    read(config, answers).1.unwrap_err().to_string()
}

#[test]
fn ends_at_a_short_page_only_if_configured() {
    let short = [answer(json!([]), 100), answer(json!([]), 30)];
    let config = |stop: bool| json!({"type": "page", "size": 100, "size_param": {"query": "n"}, "stop": {"short_page": stop}});
    let (requests, warnings) = ends(config(true), &short, EndReason::ShortPage);
    assert_eq!(requests, ["query.page=1 query.n=100", "query.page=2 query.n=100"]);
    assert_eq!(warnings, []);
    let more = [short.as_slice(), &[answer(json!([]), 0)]].concat();
    ends(config(false), &more, EndReason::EmptyPage);
}

#[test]
fn advances_offsets_by_rows_or_by_size() {
    let pages = [answer(json!([]), 50), answer(json!([]), 20), answer(json!([]), 0)];
    let by_rows = json!({"type": "offset", "size": 100});
    let (requests, _) = ends(by_rows, &pages, EndReason::EmptyPage);
    assert_eq!(
        requests,
        [
            "query.offset=0 query.limit=100",
            "query.offset=50 query.limit=100",
            "query.offset=70 query.limit=100"
        ],
        "a service that gives fewer than requested loses no rows"
    );
    let by_size = json!({"type": "offset", "start": 10, "size": 100, "step": "size"});
    let (requests, warnings) = ends(by_size, &pages, EndReason::EmptyPage);
    assert_eq!(requests[2], "query.offset=210 query.limit=100");
    let stepped = Warning::SteppedOverShortPage {
        page: 1,
        rows: 50,
        size: 100,
    };
    assert_eq!(warnings, [stepped]);
}

#[test]
fn believes_has_more_before_it_counts_rows() {
    let config = json!({"type": "offset", "size": 2, "step": "size", "stop": {"has_more": "$.more", "short_page": true}});
    let pages = [
        answer(json!({"more": "true"}), 1),
        answer(json!({"more": 1}), 0),
        answer(json!({"more": "0"}), 2),
    ];
    let (requests, warnings) = ends(config, &pages, EndReason::HasMoreIsFalse);
    assert_eq!(requests.len(), 3);
    let empty = Warning::EmptyPageWithMore { page: 2 };
    assert!(warnings.contains(&empty), "{warnings:?}");
}

#[test]
fn rejects_sequences_that_would_lose_rows_or_never_end() {
    let more = answer(json!({"more": true}), 0);
    let stop = json!({"has_more": "$.more"});
    let cursor = json!({"type": "cursor", "from": {"body": "$.c"}, "into": {"query": "c"}});
    let link = json!({"type": "next_link", "path": "$.c"});
    let tokens =
        |texts: &[&str]| -> Vec<Answer> { texts.iter().map(|text| answer(json!({"c": text}), 1)).collect() };
    let same_page = vec![answer(json!([]), 3).digest(7), answer(json!([]), 3).digest(7)];
    let after_id =
        json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"query": "after"}, "stop": stop});
    let no_id = vec![answer(json!([]), 2).last(json!({"ID": 17}))];
    for (config, answers, expected) in [
        (
            json!({"type": "offset", "stop": stop}),
            vec![more.clone()],
            "the next offset would be the same",
        ),
        (
            json!({"type": "next_link", "path": "$.next", "stop": stop}),
            vec![more.clone()],
            "names no next page",
        ),
        (after_id.clone(), vec![more], "has no last record"),
        (after_id, no_id, "no text or number at `$.id`"),
        (cursor.clone(), tokens(&["a", "a"]), "would never end"),
        (cursor, tokens(&["a", "b", "a"]), "would never end"),
        (link.clone(), tokens(&["/rows?fields=a"]), "would never end"),
        (
            link,
            tokens(&["?p=2", "https://hr.contoso.com:443/rows?p=2"]),
            "would never end",
        ),
        (
            json!({"type": "page"}),
            same_page,
            "page 2 has the same records as the page before it",
        ),
        (
            json!({"type": "page", "stop": {"total_rows": "$.n"}}),
            vec![answer(json!({"n": "many"}), 1)],
            "page 1: `$.n` (`stop.total_rows`) is another text, expected a count",
        ),
    ] {
        let error = fails(config, &answers);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn compares_totals_with_the_rows_read() {
    let page = |total: u64, rows| answer(json!({"n": total}), rows);
    let changed = Warning::TotalChanged {
        of: "rows",
        from: 5,
        to: 4,
        page: 2,
    };
    let missed = |total, read| Warning::TotalMismatch {
        of: "rows",
        total,
        read,
    };
    let by_page = json!({"type": "page", "stop": {"total_rows": "$.n"}});
    let by_offset = json!({"type": "offset", "size": 25, "stop": {"total_rows": "$.n"}});
    for (config, pages, reason, expected) in [
        (
            &by_page,
            vec![page(5, 3), page(5, 2)],
            EndReason::TotalRows,
            vec![],
        ),
        (
            &by_page,
            vec![page(5, 3), page(4, 1)],
            EndReason::TotalRows,
            vec![changed],
        ),
        (
            &by_page,
            vec![page(5, 3), page(5, 0)],
            EndReason::EmptyPage,
            vec![missed(5, 3)],
        ),
        // A total that is exceeded does not end the reading.
        (
            &by_page,
            vec![page(0, 3), page(0, 2), page(0, 0)],
            EndReason::EmptyPage,
            vec![missed(0, 3)],
        ),
        (
            &by_offset,
            vec![page(25, 25)],
            EndReason::TotalRows,
            vec![Warning::TotalIsOnePage { size: 25 }],
        ),
        (&by_offset, vec![page(24, 24)], EndReason::TotalRows, vec![]),
    ] {
        let (_, warnings) = ends(config.clone(), &pages, reason);
        assert_eq!(warnings, expected, "{config}");
    }
}

#[test]
fn warns_of_settings_that_find_nothing() {
    let (_, warnings) = ends(
        json!({"type": "page", "stop": {"has_more": "$.hasmore"}}),
        &[answer(json!({"hasMore": true}), 1), answer(json!({}), 0)],
        EndReason::EmptyPage,
    );
    let path = "$.hasmore".to_owned();
    let setting = "stop.has_more";
    assert_eq!(warnings, [Warning::NeverFound { setting, path }]);
}

#[test]
fn warns_of_a_next_page_named_elsewhere() {
    let link = json!({"@odata.nextLink": "https://hr.contoso.com/rows?$skiptoken=1"});
    let place = "`$['@odata.nextLink']`".to_owned();
    for config in [
        json!({"type": "none"}),
        json!({"type": "next_link", "path": "$.nextLink"}),
    ] {
        let (_, end, warnings) = read(config, &[answer(link.clone(), 1)]);
        assert!(end.is_ok());
        assert_eq!(warnings, [Warning::NextPageElsewhere { place: place.clone() }]);
    }
    let by_header = answer(json!([]), 1).header("link", "</rows?p=2>; rel=\"next\"");
    let (_, warnings) = ends(json!({"type": "none"}), &[by_header], EndReason::SinglePage);
    assert!(warnings[0].to_string().contains("at the `Link` header"));
    for quiet in [
        json!({"Paging": {"Next": ""}}),
        json!({"hasMore": false}),
        json!({"next": null}),
    ] {
        let (_, warnings) = ends(
            json!({"type": "none"}),
            &[answer(quiet, 1)],
            EndReason::SinglePage,
        );
        assert_eq!(warnings, []);
    }
}

#[test]
fn continues_after_an_empty_page_that_names_a_next_one() {
    let config = json!({"type": "cursor", "from": {"header": "x-next"}, "into": {"header": "x-after"}});
    let pages = [answer(json!([]), 0).header("x-next", "b"), answer(json!([]), 2)];
    let (requests, _) = ends(config, &pages, EndReason::NoNextPage);
    assert_eq!(requests, ["", "header.x-after=b"]);
}

#[test]
fn says_where_the_link_is_inside_an_object() {
    let config = json!({"type": "next_link", "path": "$._links.next"});
    let (_, end, _) = read(config, &[answer(json!({"_links": {"next": {"href": "/x"}}}), 1)]);
    let error = end.unwrap_err();
    assert_eq!(
        error.to_string(),
        "page 1: `$._links.next` is an object, expected the next page"
    );
    assert_eq!(
        error.hints().collect::<Vec<_>>(),
        ["the link is inside: use `$._links.next.href`"]
    );
}

#[test]
fn continues_after_the_last_record() {
    let config = json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"body": "page.after"}, "size": 2, "size_param": {"body": "page.size"}});
    let pages = [answer(json!([]), 2).last(json!({"id": 17})), answer(json!([]), 0)];
    let (requests, _) = ends(config, &pages, EndReason::EmptyPage);
    assert_eq!(
        requests,
        ["body.page.size=2", "body.page.after=17 body.page.size=2"]
    );
}

#[test]
fn takes_nothing_after_the_end_until_it_restarts() {
    let mut sequence = Sequence::new(json!({"type": "page"}));
    let empty = answer(json!([]), 0);
    assert_eq!(sequence.take(&empty).unwrap(), Turn::End(EndReason::EmptyPage));
    assert!(sequence.take(&empty).is_err());
    assert_eq!(display(&sequence.pager.first()), "query.page=1");
    let next = PageRequest {
        url: None,
        set: vec![(InjectInto::Query("page".into()), json!(2))],
    };
    assert_eq!(sequence.take(&answer(json!([]), 1)).unwrap(), Turn::Next(next));
    assert_eq!((sequence.pager.pages(), sequence.pager.rows()), (1, 1));
}

#[test]
fn stops_loops_of_empty_pages_and_of_too_many_pages() {
    let mut empty = Sequence::new(json!({"type": "next_link", "path": "$.n"}));
    let error = (0..2_000)
        .find_map(|n| empty.take(&answer(json!({"n": format!("/p{n}")}), 0)).err())
        .unwrap();
    assert!(error.to_string().contains("1000 pages in a row are empty"));
    assert_eq!(empty.requests.len(), 1_000);

    let mut long = Sequence::with_max_pages(json!({"type": "page"}), 2);
    long.take(&answer(json!([]), 5)).unwrap();
    let error = long.take(&answer(json!([]), 5)).unwrap_err().to_string();
    assert!(
        error.contains("more than 2 pages") && error.contains("2 pages with 10 rows"),
        "{error}"
    );
}
