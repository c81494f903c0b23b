//! A fixture service, read page by page.

mod never_ends;
mod settings;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::super::extract::Extracted;
use super::super::json_path::ValuePaths;
use super::super::page::{InjectInto, PageRequest, PageResponse};
use super::pager::EndReason;
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
}

/// A page with so many distinct rows.
fn answer(body: Value, rows: u64) -> Answer {
    Answer {
        status: 200,
        header: None,
        body,
        rows,
        digest: rand::random(),
    }
}

impl Answer {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.header = Some((name, value.to_owned()));
        self
    }
}

struct Sequence {
    pager: Pager,
    paths: ValuePaths,
    url: Url,
    requests: Vec<String>,
}

impl Sequence {
    fn new(config: Value, max_pages: u64) -> Self {
        let config: PaginationConfig = serde_json::from_value(config).unwrap();
        let mut paths = ValuePaths::default();
        let mut found = Vec::new();
        let plan = config.compile(&mut paths, &mut Problems::new(&mut found));
        assert!(found.is_empty(), "{found:?}");
        let (mut pager, first) = Pager::start(&plan.unwrap());
        pager.max_pages = max_pages;
        Self {
            pager,
            paths,
            url: Url::parse("https://hr.contoso.com/rows?fields=a").unwrap(),
            requests: vec![display(&first)],
        }
    }

    fn take(&mut self, answer: &Answer) -> Result<Turn> {
        let header = answer.header.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let turn = self.pager.next(&PageResponse {
            url: self.url.clone(),
            status: answer.status,
            headers: HeaderMap::from_iter(header),
            extracted: Extracted {
                values: self.paths.find(&answer.body),
                records: answer.rows,
                digest: answer.digest,
                ..Extracted::default()
            },
        });
        if let Ok(Turn::Next(request)) = &turn {
            if let Some(link) = &request.url {
                self.url = self.url.join(link).unwrap();
            }
            self.requests.push(display(request));
        }
        turn
    }
}

/// `query.page=2 query.size=100`, or the URL and what else is set.
fn display(request: &PageRequest) -> String {
    let set = request.set.iter().map(|(target, value)| {
        let target = match target {
            InjectInto::Query(name) => format!("query.{name}"),
            InjectInto::Header(name) => format!("header.{}", name.0),
            InjectInto::Body(name) => format!("body.{name}"),
        };
        format!(
            "{target}={}",
            value.as_str().map_or(value.to_string(), str::to_owned)
        )
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
fn read(config: &Value, answers: &[Answer]) -> (Vec<String>, Result<EndReason, Error>, Vec<String>) {
    let mut sequence = Sequence::new(config.clone(), 100_000);
    for (index, answer) in answers.iter().enumerate() {
        let end = match sequence.take(answer) {
            Ok(Turn::Next(_)) => continue,
            Ok(Turn::End(reason)) => {
                assert_eq!(index + 1, answers.len(), "it ended early: {reason:?}");
                Ok(reason)
            }
            Err(error) => Err(error),
        };
        return (sequence.requests, end, sequence.pager.warnings);
    }
    panic!("it did not end: {:?}", sequence.requests);
}

/// The cells of a table whose first cells are settings and pages: each its body and its rows.
fn cases<const N: usize>(table: &str) -> impl Iterator<Item = (Value, Vec<Answer>, [&str; N])> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut cells = line.split(" → ");
        let config = serde_json::from_str(cells.next().unwrap()).unwrap();
        let pages: Vec<Vec<Value>> = serde_json::from_str(cells.next().unwrap()).unwrap();
        let pages = pages.iter();
        let pages = pages.map(|page| answer(page[0].clone(), page[1].as_u64().unwrap()));
        (
            config,
            pages.collect(),
            [(); N].map(|()| cells.next().unwrap_or_default()),
        )
    })
}

/// Settings, pages, why they ended, the last request, and the warning.
const PAGES: &str = r#"
{"type":"page","size":2,"size_param":{"query":"n"},"stop":{"short_page":true}} → [[{},2],[{},1]] → ShortPage → query.page=2 query.n=2
{"type":"page","size":2,"size_param":{"query":"n"}} → [[{},2],[{},1],[{},0]] → EmptyPage → query.page=3 query.n=2
{"type":"offset","size":100} → [[{},50],[{},20],[{},0]] → EmptyPage → query.offset=70 query.limit=100
{"type":"offset","start":10,"size":100,"step":"size"} → [[{},50],[{},20],[{},0]] → EmptyPage → query.offset=210 query.limit=100 → page 1 has 50 rows, 100 were requested, and another page follows
{"type":"offset","size":2,"step":"size","stop":{"has_more":"$.more","short_page":true}} → [[{"more":"true"},1],[{"more":1},0],[{"more":"0"},2]] → HasMoreIsFalse → query.offset=4 query.limit=2 → page 2 is empty and says that there is more
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":5},3],[{"n":5},2]] → TotalRows → query.page=2
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":5},3],[{"n":4},1]] → TotalRows → query.page=2 → was 5 and is 4 on page 2
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":5},3],[{"n":5},0]] → EmptyPage → query.page=2 → announced 5 rows and gave 3
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":0},3],[{"n":0},2],[{"n":0},0]] → EmptyPage → query.page=3 → announced 0 rows and gave 3
{"type":"offset","size":25,"stop":{"total_rows":"$.n"}} → [[{"n":25},25]] → TotalRows → query.offset=0 query.limit=25 → the first page is full with 25 rows
{"type":"offset","size":25,"stop":{"total_rows":"$.n"}} → [[{"n":24},24]] → TotalRows → query.offset=0 query.limit=25
{"type":"page","stop":{"has_more":"$.hasmore"}} → [[{"hasMore":true},1],[{},0]] → EmptyPage → query.page=2 → no answer has a value at `$.hasmore` (`stop.has_more`)
{"type":"none"} → [[{"@odata.nextLink":"https://hr.contoso.com/rows?x=1"},1]] → SinglePage →  → at `$['@odata.nextLink']`
{"type":"next_link","path":"$.nextLink"} → [[{"@odata.nextLink":"https://hr.contoso.com/rows?x=1"},1]] → NoNextPage →  → at `$['@odata.nextLink']`
{"type":"none"} → [[{"Paging":{"Next":""}},1]] → SinglePage
{"type":"none"} → [[{"hasMore":false,"next":null},1]] → SinglePage
{"type":"cursor","from":{"link_query":{"path":"$.next","param":"c"}},"into":{"query":"c"},"size":5,"size_param":{"query":"n"}} → [[{"next":"https://a.example/x?n=5&c=a%2Bb%3D#x"},5],[{},3]] → NoNextPage → query.c=a+b= query.n=5
"#;

#[test]
fn reads_pages_to_their_end_and_warns_of_missing_rows() {
    for (config, pages, [reason, last, warning]) in cases(PAGES) {
        let (requests, end, warnings) = read(&config, &pages);
        assert_eq!(format!("{:?}", end.unwrap()), reason, "{config}");
        assert_eq!(requests.last().unwrap(), last, "{config}");
        let warnings = warnings.join("; ");
        assert!(warnings.contains(warning), "{config}: {warnings}");
        assert_eq!(warnings.is_empty(), warning.is_empty(), "{config}: {warnings}");
    }
}

/// Settings, pages, and what the error says.
const ERRORS: &str = r#"
{"type":"offset","stop":{"has_more":"$.more"}} → [[{"more":true},0]] → the next offset would be the same
{"type":"next_link","path":"$.next","stop":{"has_more":"$.more"}} → [[{"more":true},0]] → names no next page
{"type":"cursor","from":{"body":"$.c"},"into":{"query":"c"}} → [[{"c":"a"},1],[{"c":"a"},1]] → would never end
{"type":"cursor","from":{"body":"$.c"},"into":{"query":"c"}} → [[{"c":"a"},1],[{"c":"b"},1],[{"c":"a"},1]] → would never end
{"type":"cursor","from":{"link_query":{"path":"$.c","param":"p"}},"into":{"query":"p"}} → [[{"c":"/rows?after=1"},1]] → no value for the parameter `p`
{"type":"next_link","path":"$.c"} → [[{"c":"/rows?fields=a"},1]] → would never end
{"type":"next_link","path":"$.c"} → [[{"c":"?p=2"},1],[{"c":"https://hr.contoso.com:443/rows?p=2"},1]] → would never end
{"type":"next_link","path":"$._links.next"} → [[{"_links":{"next":{"href":"/x"}}},1]] → page 1: `$._links.next` is an object, expected the next page; the link is inside: use `$._links.next.href`
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":"many"},1]] → page 1: `$.n` (`stop.total_rows`) is another text, expected a count
"#;

#[test]
fn rejects_sequences_that_would_lose_rows_or_never_end() {
    let message = |config: &Value, pages: &[Answer]| {
        let error = read(config, pages).1.unwrap_err();
        format!("{error}; {}", error.hints().next().unwrap_or_default())
    };
    for (config, pages, [expected]) in cases(ERRORS) {
        let error = message(&config, &pages);
        assert!(error.contains(expected), "{error}");
    }
    let page = answer(json!([]), 3);
    let error = message(&json!({"type": "page"}), &[page.clone(), page]);
    assert!(
        error.contains("page 2 has the same records as the page before it"),
        "{error}"
    );
}

#[test]
fn reads_link_headers() {
    let page = answer(json!([]), 50).header("link", "</rows?page=2>; rel=\"next\"");
    let (_, _, warnings) = read(&json!({"type": "none"}), std::slice::from_ref(&page));
    assert!(warnings[0].contains("at the `Link` header"), "{warnings:?}");
    // A link carries a query, and no header.
    let config = json!({"type": "link_header", "size": 50, "size_param": {"header": "Prefer-Size"}});
    let (requests, end, _) = read(&config, &[page, answer(json!([]), 1)]);
    assert_eq!(end.unwrap(), EndReason::NoNextPage);
    assert_eq!(requests[1], "/rows?page=2 header.prefer-size=50");
}

#[test]
fn stops_loops_of_empty_pages_and_of_too_many_pages() {
    let mut empty = Sequence::new(json!({"type": "next_link", "path": "$.n"}), 100_000);
    let error = (0..2_000)
        .find_map(|n| empty.take(&answer(json!({"n": format!("/p{n}")}), 0)).err())
        .unwrap();
    assert!(error.to_string().contains("1000 pages in a row are empty"));
    assert_eq!(empty.requests.len(), 1_000);

    let mut long = Sequence::new(json!({"type": "page"}), 2);
    long.take(&answer(json!([]), 5)).unwrap();
    let error = long.take(&answer(json!([]), 5)).unwrap_err().to_string();
    assert!(
        error.contains("more than 2 pages") && error.contains("2 pages with 10 rows"),
        "{error}"
    );
}
