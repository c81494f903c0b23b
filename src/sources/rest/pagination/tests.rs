//! A made-up service, asked page by page.

mod never_ends;
mod settings;
mod vendors;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::super::json_path::{SinglePath, ValuePaths};
use super::super::page::{InjectInto, PageRequest, PageResponse};
use super::warning::Warning;
use super::{EndReason, Pager, PaginationConfig, Turn};
use crate::error::{Error, Result};

/// Settings as a pipeline file has them.
pub(super) fn settings(value: Value) -> PaginationConfig {
    let config: PaginationConfig = serde_json::from_value(value).unwrap();
    let mut found = Vec::new();
    config.validate(&mut crate::config::Problems::new(&mut found));
    assert!(found.is_empty(), "{found:?}");
    config
}

/// Enough of a `Link` header reader for tests: `<target>; rel="relation"`.
fn find_link(headers: &HeaderMap, relation: &str) -> Option<String> {
    let text = headers.get("link")?.to_str().ok()?;
    let (target, rest) = text.strip_prefix('<')?.split_once('>')?;
    rest.contains(&format!("rel=\"{relation}\""))
        .then(|| target.to_owned())
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: u16,
    header: Option<(&'static str, String)>,
    body: Value,
    rows: u64,
    digest: u64,
    last: Option<Value>,
}

/// A good answer with so many rows, all different.
pub(super) fn answer(body: Value, rows: u64) -> Answer {
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

/// A sequence under way.
pub(super) struct Sequence {
    pager: Pager,
    probes: ValuePaths,
    url: Url,
    asked: Vec<String>,
    pub(super) warnings: Vec<Warning>,
}

impl Sequence {
    pub(super) fn new(config: &PaginationConfig) -> Self {
        let mut probes = ValuePaths::default();
        let pager = config.pager(&mut probes, find_link);
        let mut sequence = Self {
            pager,
            probes,
            url: Url::parse("https://hr.contoso.com/rows?fields=a").unwrap(),
            asked: Vec::new(),
            warnings: Vec::new(),
        };
        let first = sequence.pager.first();
        sequence.ask(&first);
        sequence
    }

    fn ask(&mut self, ask: &PageRequest) {
        if let Some(link) = &ask.url {
            self.url = self.url.join(link).unwrap();
        }
        self.asked.push(shown(ask));
    }

    pub(super) fn take(&mut self, answer: &Answer) -> Result<Turn> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = &answer.header {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let told = PageResponse {
            url: &self.url,
            status: answer.status,
            headers: &headers,
            values: &self.probes.find(&answer.body),
            records: answer.rows,
        };
        let turn = self.pager.next(&told, answer.digest, answer.last.as_ref());
        self.warnings.extend(self.pager.take_warnings());
        if let Ok(Turn::Next(ask)) = &turn {
            let ask = ask.clone();
            self.ask(&ask);
        }
        turn
    }
}

/// `query.page=2 query.size=100`, or the URL with what is set besides.
pub(super) fn shown(ask: &PageRequest) -> String {
    let set = ask.set.iter().map(|(place, value)| {
        let place = match place {
            InjectInto::Query(name) => format!("query.{name}"),
            InjectInto::Header(name) => format!("header.{name}"),
            InjectInto::Body(name) => format!("body.{name}"),
        };
        match value {
            Value::String(text) => format!("{place}={text}"),
            other => format!("{place}={other}"),
        }
    });
    ask.url
        .clone()
        .into_iter()
        .chain(set)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Reads to the end: what was asked, why it ended, and what was noticed.
pub(super) fn read(
    config: Value,
    answers: &[Answer],
) -> (Vec<String>, Result<EndReason, Error>, Vec<Warning>) {
    let mut sequence = Sequence::new(&settings(config));
    for (index, answer) in answers.iter().enumerate() {
        match sequence.take(answer) {
            Ok(Turn::Next(_)) => {}
            Ok(Turn::End(reason)) => {
                assert_eq!(index + 1, answers.len(), "it ended early: {reason}");
                return (sequence.asked, Ok(reason), sequence.warnings);
            }
            Err(error) => return (sequence.asked, Err(error), sequence.warnings),
        }
    }
    panic!("it did not end: {:?}", sequence.asked);
}

fn ends(config: Value, answers: &[Answer], reason: EndReason) -> (Vec<String>, Vec<Warning>) {
    let (asked, end, warnings) = read(config, answers);
    assert_eq!(end.unwrap(), reason);
    (asked, warnings)
}

fn fails(config: Value, answers: &[Answer]) -> String {
    read(config, answers).1.unwrap_err().to_string()
}

#[test]
fn a_short_page_ends_only_where_it_is_set() {
    let short = [answer(json!([]), 100), answer(json!([]), 30)];
    let paging = |stop: bool| json!({"type": "page", "size": 100, "size_param": {"query": "n"}, "stop": {"short_page": stop}});
    let (asked, warnings) = ends(paging(true), &short, EndReason::ShortPage);
    assert_eq!(asked, ["query.page=1 query.n=100", "query.page=2 query.n=100"]);
    assert_eq!(warnings, []);
    let more = [short.as_slice(), &[answer(json!([]), 0)]].concat();
    ends(paging(false), &more, EndReason::EmptyPage);
}

#[test]
fn offsets_step_by_the_rows_that_came_or_by_the_limit() {
    let pages = [answer(json!([]), 50), answer(json!([]), 20), answer(json!([]), 0)];
    let (asked, _) = ends(
        json!({"type": "offset", "limit": 100}),
        &pages,
        EndReason::EmptyPage,
    );
    assert_eq!(
        asked,
        [
            "query.offset=0 query.limit=100",
            "query.offset=50 query.limit=100",
            "query.offset=70 query.limit=100"
        ],
        "a service that gives fewer than asked loses no rows"
    );
    let (asked, warnings) = ends(
        json!({"type": "offset", "start": 10, "limit": 100, "step": "limit"}),
        &pages,
        EndReason::EmptyPage,
    );
    assert_eq!(asked[2], "query.offset=210 query.limit=100");
    assert_eq!(
        warnings,
        [Warning::SteppedOverShortPage {
            page: 1,
            rows: 50,
            size: 100
        }]
    );
}

#[test]
fn a_flag_is_believed_before_rows_are_counted() {
    let config = json!({"type": "offset", "limit": 2, "step": "limit", "stop": {"has_more": "$.more", "short_page": true}});
    let (asked, warnings) = ends(
        config,
        &[
            answer(json!({"more": "true"}), 1),
            answer(json!({"more": 1}), 0),
            answer(json!({"more": "0"}), 2),
        ],
        EndReason::NoMore,
    );
    assert_eq!(asked.len(), 3);
    assert!(
        warnings.contains(&Warning::EmptyPageWithMore { page: 2 }),
        "{warnings:?}"
    );
}

#[test]
fn more_that_cannot_be_asked_for_is_an_error_and_no_end() {
    let more = answer(json!({"more": true}), 0);
    let stop = json!({"has_more": "$.more"});
    for (config, wanted) in [
        (
            json!({"type": "offset", "stop": stop}),
            "the next offset would be the same",
        ),
        (
            json!({"type": "next_link", "path": "$.next", "stop": stop}),
            "names no next page",
        ),
        (
            json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"query": "after"}, "stop": stop}),
            "no last record",
        ),
    ] {
        let error = fails(config, std::slice::from_ref(&more));
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_token_or_link_read_before_is_endless_paging() {
    let cursor = json!({"type": "cursor", "from": {"body": "$.c"}, "into": {"query": "c"}});
    let link = json!({"type": "next_link", "path": "$.c"});
    let round =
        |texts: &[&str]| -> Vec<Answer> { texts.iter().map(|text| answer(json!({"c": text}), 1)).collect() };
    for (config, answers) in [
        (cursor.clone(), round(&["a", "a"])),
        (cursor.clone(), round(&["a", "b", "a"])),
        (link.clone(), round(&["/rows?fields=a"])),
        (link, round(&["?p=2", "https://hr.contoso.com:443/rows?p=2"])),
    ] {
        let error = fails(config, &answers);
        assert!(error.contains("the paging would never end"), "{error}");
    }
    let mut stopping = cursor;
    stopping["checks"] = json!({"on_repeat": "stop"});
    let (_, warnings) = ends(stopping, &round(&["a", "a"]), EndReason::Repeated);
    assert_eq!(warnings, [Warning::Repeated { page: 2 }]);
}

#[test]
fn the_same_records_twice_in_a_row_are_an_error_or_what_is_set() {
    let twice = [answer(json!([]), 3).digest(7), answer(json!([]), 3).digest(7)];
    assert!(fails(json!({"type": "page"}), &twice).contains("page 2 has the very records"));
    let with = |check: &str| json!({"type": "page", "checks": {"on_duplicate_page": check}});
    let (_, warnings) = ends(with("stop"), &twice, EndReason::DuplicatePage);
    assert_eq!(warnings, [Warning::Duplicate { page: 2 }]);
    let more = [twice.as_slice(), &[answer(json!([]), 0).digest(7)]].concat();
    ends(with("ignore"), &more, EndReason::EmptyPage);
}

#[test]
fn totals_end_and_are_held_against_what_came() {
    let paging = |check: &str| json!({"type": "page", "stop": {"total_rows": "$.n"}, "checks": {"on_total_mismatch": check}});
    let good = [answer(json!({"n": "5"}), 3), answer(json!({"n": 5}), 2)];
    let (_, warnings) = ends(paging("error"), &good, EndReason::TotalRows);
    assert_eq!(warnings, []);
    let shrunk = [answer(json!({"n": 5}), 3), answer(json!({"n": 4}), 1)];
    let (_, warnings) = ends(paging("warn"), &shrunk, EndReason::TotalRows);
    assert_eq!(
        warnings,
        [Warning::TotalChanged {
            of: "rows",
            from: 5,
            to: 4,
            page: 2
        }]
    );
    assert!(fails(paging("error"), &shrunk).contains("was 5 and is 4"));
    let missing = [answer(json!({"n": 5}), 3), answer(json!({"n": 5}), 0)];
    let (_, warnings) = ends(paging("warn"), &missing, EndReason::EmptyPage);
    assert_eq!(
        warnings,
        [Warning::TotalMissed {
            of: "rows",
            total: 5,
            read: 3
        }]
    );
}

#[test]
fn a_total_that_may_be_the_pages_own_count_is_said() {
    let config = json!({"type": "offset", "limit": 25, "stop": {"total_rows": "$.count"}});
    let (_, warnings) = ends(
        config.clone(),
        &[answer(json!({"count": 25}), 25)],
        EndReason::TotalRows,
    );
    assert_eq!(warnings, [Warning::TotalIsOnePage { size: 25 }]);
    let (_, warnings) = ends(config, &[answer(json!({"count": 24}), 24)], EndReason::TotalRows);
    assert_eq!(warnings, []);
}

#[test]
fn a_total_that_is_passed_is_no_end() {
    let pages = [
        answer(json!({"n": 0}), 3),
        answer(json!({"n": 0}), 2),
        answer(json!({"n": 0}), 0),
    ];
    let (_, warnings) = ends(
        json!({"type": "page", "stop": {"total_rows": "$.n"}}),
        &pages,
        EndReason::EmptyPage,
    );
    assert!(
        matches!(warnings[..], [Warning::TotalMissed { total: 0, .. }]),
        "{warnings:?}"
    );
}

#[test]
fn what_is_looked_for_and_never_told_is_said() {
    let (_, warnings) = ends(
        json!({"type": "page", "stop": {"has_more": "$.hasmore"}}),
        &[answer(json!({"hasMore": true}), 1), answer(json!({}), 0)],
        EndReason::EmptyPage,
    );
    assert_eq!(
        warnings,
        [Warning::NeverTold {
            setting: "stop.has_more",
            path: "$.hasmore".to_owned()
        }]
    );
}

#[test]
fn a_next_page_named_elsewhere_is_said() {
    let link = json!({"@odata.nextLink": "https://hr.contoso.com/rows?$skiptoken=1"});
    for config in [
        json!({"type": "none"}),
        json!({"type": "next_link", "path": "$.nextLink"}),
    ] {
        let (_, end, warnings) = read(config, &[answer(link.clone(), 1)]);
        assert!(end.is_ok());
        assert_eq!(
            warnings,
            [Warning::NextElsewhere {
                place: "`$['@odata.nextLink']`".to_owned()
            }]
        );
    }
    let answered = answer(json!([]), 1).header("link", "</rows?p=2>; rel=\"next\"");
    let (_, warnings) = ends(json!({"type": "none"}), &[answered], EndReason::OnlyPage);
    assert_eq!(
        warnings[0].to_string(),
        "the last page read names a next page at the `Link` header, which `pagination` does not look at: more may be there"
    );
    for quiet in [
        json!({"Paging": {"Next": ""}}),
        json!({"hasMore": false}),
        json!({"next": null}),
    ] {
        let (_, warnings) = ends(json!({"type": "none"}), &[answer(quiet, 1)], EndReason::OnlyPage);
        assert_eq!(warnings, []);
    }
}

#[test]
fn bounds_end_or_fail() {
    let rows =
        |counts: &[u64]| -> Vec<Answer> { counts.iter().map(|rows| answer(json!([]), *rows)).collect() };
    let bounds = |bounds: Value| json!({"type": "page", "bounds": bounds});
    let error = fails(bounds(json!({"max_pages": 2})), &rows(&[5, 5]));
    assert_eq!(
        error,
        "there is more than `bounds.max_pages` allows: 2; read were 2 pages with 10 rows"
    );
    assert!(fails(bounds(json!({"max_rows": 9})), &rows(&[5, 5])).contains("`bounds.max_rows` allows: 9"));
    let stop = json!({"max_rows": 10, "on_limit": "stop"});
    let (_, warnings) = ends(bounds(stop), &rows(&[5, 5]), EndReason::Bound);
    assert_eq!(
        warnings,
        [Warning::Bounded {
            bound: "max_rows",
            at: 10
        }]
    );
    ends(
        bounds(json!({"max_rows": 10})),
        &rows(&[5, 5, 0]),
        EndReason::EmptyPage,
    );
}

#[test]
fn an_empty_page_in_the_middle_does_not_end_what_follows_tokens() {
    let config = |stop: Value| json!({"type": "cursor", "from": {"header": "x-next"}, "into": {"header": "x-after"}, "stop": stop});
    let pages = [answer(json!([]), 0).header("x-next", "b"), answer(json!([]), 2)];
    let (asked, _) = ends(config(json!({})), &pages, EndReason::NoToken);
    assert_eq!(asked, ["", "header.x-after=b"]);
    ends(
        config(json!({"empty_page": true})),
        &pages[..1],
        EndReason::EmptyPage,
    );
}

#[test]
fn a_token_that_is_none_is_an_error_that_says_where_to_look() {
    let config = json!({"type": "next_link", "path": "$._links.next"});
    let (_, end, _) = read(config, &[answer(json!({"_links": {"next": {"href": "/x"}}}), 1)]);
    let error = end.unwrap_err();
    assert_eq!(
        error.to_string(),
        "page 1: at `$._links.next` is an object where the next page is to be named"
    );
    assert_eq!(
        error.hints().collect::<Vec<_>>(),
        ["the link is within: name `$._links.next.href`"]
    );
}

#[test]
fn keys_go_on_after_the_last_record() {
    let config = json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"body": "page.after"}, "size": 2, "size_param": {"body": "page.size"}});
    let (asked, _) = ends(
        config.clone(),
        &[answer(json!([]), 2).last(json!({"id": 17})), answer(json!([]), 0)],
        EndReason::EmptyPage,
    );
    assert_eq!(asked, ["body.page.size=2", "body.page.after=17 body.page.size=2"]);
    let error = fails(config, &[answer(json!([]), 2).last(json!({"ID": 17}))]);
    assert!(
        error.contains("the last record has no text and no number at `$.id`"),
        "{error}"
    );
}

#[test]
fn after_the_end_nothing_is_taken_and_first_begins_anew() {
    let mut sequence = Sequence::new(&settings(json!({"type": "page"})));
    let empty = answer(json!([]), 0);
    assert_eq!(sequence.take(&empty).unwrap(), Turn::End(EndReason::EmptyPage));
    assert!(sequence.take(&empty).is_err());
    let first = sequence.pager.first();
    assert_eq!(shown(&first), "query.page=1");
    assert_eq!(
        sequence.take(&answer(json!([]), 1)).unwrap(),
        Turn::Next(PageRequest {
            url: None,
            set: vec![(InjectInto::Query("page".into()), json!(2))]
        })
    );
    assert_eq!((sequence.pager.pages(), sequence.pager.rows()), (1, 1));
}

#[test]
fn a_thousand_empty_pages_lead_nowhere() {
    let mut sequence = Sequence::new(&settings(json!({"type": "next_link", "path": "$.n"})));
    let error = (0..2_000)
        .find_map(|n| sequence.take(&answer(json!({"n": format!("/p{n}")}), 0)).err())
        .unwrap();
    assert!(error.to_string().contains("1000 pages in a row are empty"));
    assert_eq!(sequence.asked.len(), 1_000);
}

#[test]
fn constants_are_paths() {
    let mut probes = ValuePaths::default();
    settings(json!({"type": "odata_v2"})).pager(&mut probes, find_link);
    settings(json!({"type": "odata_v4"})).pager(&mut probes, find_link);
    assert!(probes.paths().contains(&SinglePath::parse("$.d.__next").unwrap()));
}
