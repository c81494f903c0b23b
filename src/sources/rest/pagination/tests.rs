//! A fixture service, read page by page, and invalid settings.

mod any;

use reqwest::header::{HeaderMap, HeaderValue, LINK};
use serde_json::{Value, json};
use url::Url;

use super::super::extract::Extracted;
use super::super::json_path::ValuePaths;
use super::super::page::{InjectInto, PageRequest, PageResponse};
use super::pager::EndReason;
use super::{Pager, PaginationConfig, Turn};
use crate::component::Problems;
use crate::error::{Error, Result};

/// The body of an answer, whose member `Link` is its header too, and how many distinct rows it has.
type Answer = (Value, u64);

struct Sequence {
    pager: Pager,
    paths: ValuePaths,
    url: Url,
    requests: Vec<String>,
}

impl Sequence {
    fn new(config: Value) -> Self {
        let config: PaginationConfig = serde_json::from_value(config).unwrap();
        let mut paths = ValuePaths::default();
        let mut found = Vec::new();
        let plan = config.compile(&mut paths, &mut Problems::new(&mut found));
        assert!(found.is_empty(), "{found:?}");
        let (pager, first) = Pager::start(&plan.unwrap());
        Self {
            pager,
            paths,
            url: Url::parse("https://hr.contoso.com/rows?fields=a").unwrap(),
            requests: vec![display(&first)],
        }
    }

    fn take(&mut self, answer: &Answer) -> Result<Turn> {
        self.take_page(answer, 200, rand::random())
    }

    fn take_page(&mut self, (body, rows): &Answer, status: u16, digest: u64) -> Result<Turn> {
        let link = body["Link"].as_str();
        let link = link.map(|link| (LINK, HeaderValue::from_str(link).unwrap()));
        let turn = self.pager.next(&PageResponse {
            url: self.url.clone(),
            status,
            headers: HeaderMap::from_iter(link),
            extracted: Extracted {
                values: self.paths.find(body),
                records: *rows,
                digest,
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
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        format!("{target}={value}")
    });
    let parts: Vec<String> = request.url.clone().into_iter().chain(set).collect();
    parts.join(" ")
}

/// Reads to the end: the requests, why it ended, and the warnings.
fn read(config: &Value, answers: &[Answer]) -> (Vec<String>, Result<EndReason, Error>, Vec<String>) {
    let mut sequence = Sequence::new(config.clone());
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

/// The cells of a table whose first cells are settings and answers.
fn cases<const N: usize>(table: &str) -> impl Iterator<Item = (Value, Vec<Answer>, [&str; N])> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut cells = line.split(" → ");
        let config = serde_json::from_str(cells.next().unwrap()).unwrap();
        let answers = serde_json::from_str(cells.next().unwrap()).unwrap();
        let rest = [(); N].map(|()| cells.next().unwrap_or_default());
        (config, answers, rest)
    })
}

/// Settings, pages, why they ended, the last request, and the warning.
const PAGES: &str = r#"
{"type":"page","size":2,"size_param":{"query":"n"},"stop":{"short_page":true}} → [[{},2],[{},1]] → ShortPage → query.page=2 query.n=2
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
{"type":"link_header","size":50,"size_param":{"header":"Prefer-Size"}} → [[{"Link":"</rows?page=2>; rel=\"next\""},50],[{},1]] → NoNextPage → /rows?page=2 header.prefer-size=50
{"type":"none"} → [[{"Link":"</rows?page=2>; rel=\"next\""},50]] → SinglePage →  → at the `Link` header
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
{"type":"page","stop":{"total_rows":"$.n"}} → [[{"n":"many"},1]] → page 1: `$.n` (`stop.total_rows`) is a string that is not a count
"#;

#[test]
fn rejects_sequences_that_would_lose_rows_or_never_end() {
    for (config, pages, [expected]) in cases(ERRORS) {
        let error = read(&config, &pages).1.unwrap_err();
        let error = format!("{error}; {}", error.hints().next().unwrap_or_default());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn stops_loops_of_empty_pages_and_of_too_many_pages() {
    let stop = |config, rows| {
        let mut sequence = Sequence::new(config);
        let pages = (0..=100_000).map(|n| (json!({"n": format!("/p{n}")}), rows));
        let error = pages.map(|page| sequence.take(&page)).find_map(Result::err);
        (error.unwrap().to_string(), sequence.requests.len())
    };
    let (error, requests) = stop(json!({"type": "next_link", "path": "$.n"}), 0);
    assert!(error.contains("1000 pages in a row are empty"), "{error}");
    assert_eq!(requests, 1_000);
    let (error, requests) = stop(json!({"type": "page"}), 5);
    assert!(error.contains("100000 pages with 500000 rows"), "{error}");
    assert_eq!(requests, 100_000);
}

/// Settings, and their problem; without a key, they do not decode.
const INVALID: &str = r#"
{"type":"none","size":5} → size: `size` does not apply to `type: none`
{"type":"next_link"} → path: `path` is required with `type: next_link`
{"type":"page","size_param":{"query":"n"}} → size_param: requires `size`
{"type":"page","size":5,"size_param":{"query":"page"}} → size_param: conflicts with `param`: both set the same parameter, and one of the two values would be lost
{"type":"page","param":{"body":"page"},"size":5,"size_param":{"body":"page.size"}} → size_param: conflicts with `param`: both set the same parameter, and one of the two values would be lost
{"type":"offset","param":{"query":"limit"},"size":5} → size_param: conflicts with `param`: both set the same parameter, and one of the two values would be lost
{"type":"page","stop":{"short_page":true}} → stop.short_page: requires `size`: without it no page is short
{"type":"page","start":3,"stop":{"total_pages":"$.n"}} → stop.total_pages: what lies before `start` is not read, so a total cannot be compared
{"type":"offset","step":"size"} → step: `step: size` requires `size`
{"type":"page","stop":{"total_rows":"$.n","total_pages":"$.n"}} → stop.total_pages: is the same path as `total_rows`: a number cannot count both
{"type":"next_link","path":"$..next"} → may select several values
{"type":"page","param":{"header":"a b"}} → `a b` is not a valid header name
"#;

#[test]
fn rejects_invalid_settings_by_key() {
    for line in INVALID.lines().filter(|line| !line.is_empty()) {
        let (config, expected) = line.split_once(" → ").unwrap();
        match serde_json::from_str::<PaginationConfig>(config) {
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
            Ok(config) => {
                let mut found = Vec::new();
                config.compile(&mut ValuePaths::default(), &mut Problems::new(&mut found));
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                assert_eq!(found, [expected], "{line}");
            }
        }
    }
}

#[test]
fn describes_the_keys_of_each_type_in_the_schema() {
    let schema = schemars::schema_for!(PaginationConfig);
    let rules = schema.as_value()["allOf"].as_array().unwrap();
    let is_next_link = |rule: &&Value| rule["if"]["properties"]["type"]["const"] == "next_link";
    let next_link = &rules.iter().find(is_next_link).unwrap()["then"];
    assert_eq!(next_link["required"], json!(["path"]));
    assert_eq!(next_link["properties"]["step"], json!(false));
}
