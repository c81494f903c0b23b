//! What can be wrong with `pagination`.

use reqwest::header::{AUTHORIZATION, HOST, HeaderName};

use super::super::page::InjectInto;
use super::config::{Bounds, Checks, CursorFrom, OnMismatch, PaginationConfig, Step, Stops};
use crate::config::Problems;

/// The largest page number or offset to begin with.
const FURTHEST: u64 = 1_000_000_000_000_000;

/// What a kind of paging can do, as far as other settings need it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// The next page is counted: an end has to be told.
    Counted,
    /// The next page goes on after the last record: an empty page has none.
    Keyed,
    /// The answer names the next page.
    Named,
}

impl PaginationConfig {
    /// Notes what is wrong, and what contradicts itself.
    pub(in crate::sources::rest) fn validate(&self, problems: &mut Problems<'_>) {
        self.check_places(problems);
        let nature = match self {
            Self::None(_) => return,
            Self::Page(paging) => {
                check_start(paging.start, problems);
                check_size_param(
                    paging.size.is_some(),
                    paging.size_param.is_some(),
                    "size",
                    problems,
                );
                if paging.start > 1 {
                    check_totals_from_the_start(&paging.stop, true, problems);
                }
                Nature::Counted
            }
            Self::Offset(paging) => {
                check_start(paging.start, problems);
                check_size_param(
                    paging.limit.is_some(),
                    paging.limit_param.is_some(),
                    "limit",
                    problems,
                );
                if paging.step == Step::Limit && paging.limit.is_none() {
                    problems.at("step").add_with_hint(
                        "`step: limit` needs a `limit`",
                        "give the rows of a page as `limit`, or take `step` out: then the next page begins after the rows that came",
                    );
                }
                if paging.start > 0 {
                    check_totals_from_the_start(&paging.stop, false, problems);
                }
                Nature::Counted
            }
            Self::Cursor(paging) => {
                check_size_param(
                    paging.size.is_some(),
                    paging.size_param.is_some(),
                    "size",
                    problems,
                );
                if paging
                    .start
                    .as_deref()
                    .is_some_and(|start| start.trim().is_empty())
                {
                    problems
                        .at("start")
                        .add("is empty; take it out if the first request has no cursor");
                }
                let mut from = problems.at("from");
                match &paging.from {
                    CursorFrom::Body(_) => Nature::Named,
                    CursorFrom::Header(name) => {
                        check_header_name(name, &mut from.at("header"));
                        Nature::Named
                    }
                    CursorFrom::LastRecord(path) => {
                        if path.steps().is_empty() {
                            from.at("last_record").add_with_hint(
                                "names the whole record, and a text or number in it is wanted",
                                "name the field that the service goes on after, such as `$.id`",
                            );
                        }
                        Nature::Keyed
                    }
                    CursorFrom::LinkQuery(query) => {
                        if query.param.is_empty() {
                            from.at("link_query.param")
                                .add("is empty; give the name of the query parameter");
                        }
                        Nature::Named
                    }
                }
            }
            Self::NextLink(paging) => {
                check_size_param(
                    paging.size.is_some(),
                    paging.size_param.is_some(),
                    "size",
                    problems,
                );
                Nature::Named
            }
            Self::LinkHeader(paging) => {
                check_size_param(
                    paging.size.is_some(),
                    paging.size_param.is_some(),
                    "size",
                    problems,
                );
                if paging.rel.trim().is_empty() {
                    problems.at("rel").add("is empty; the usual relation is `next`");
                }
                Nature::Named
            }
            Self::ODataV2(paging) | Self::ODataV4(paging) => {
                check_size_param(
                    paging.size.is_some(),
                    paging.size_param.is_some(),
                    "size",
                    problems,
                );
                Nature::Named
            }
        };
        if let Some((stops, bounds, checks)) = self.parts() {
            check_stops(
                stops,
                self.page_size().is_some(),
                nature,
                &mut problems.at("stop"),
            );
            check_bounds(bounds, &mut problems.at("bounds"));
            check_checks(checks, stops, &mut problems.at("checks"));
        }
    }

    fn check_places(&self, problems: &mut Problems<'_>) {
        let position = match self {
            Self::Cursor(paging) => Some(("into", paging.into.clone())),
            Self::Page(paging) => Some(("param", paging.param.clone())),
            Self::Offset(paging) => Some(("param", paging.param.clone())),
            _ => None,
        };
        let size_key = match self {
            Self::Offset(_) => "limit_param",
            _ => "size_param",
        };
        let size = self.size_param().map(|place| (size_key, place));
        for (key, place) in position.iter().chain(&size) {
            check_place(place, &mut problems.at(key));
        }
        if let (Some((key, position)), Some((_, size))) = (&position, &size)
            && same(position, size)
        {
            problems.at(size_key).add(format!(
                "is the same place as `{key}`: one of the two values would be lost"
            ));
        }
    }
}

/// Whether two values would stand in one place.
fn same(a: &InjectInto, b: &InjectInto) -> bool {
    match (a, b) {
        (InjectInto::Header(a), InjectInto::Header(b)) => a.eq_ignore_ascii_case(b),
        (InjectInto::Body(a), InjectInto::Body(b)) => {
            let inside = |outer: &str, inner: &str| {
                inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            inside(a, b) || inside(b, a)
        }
        (a, b) => a == b,
    }
}

fn check_place(place: &InjectInto, problems: &mut Problems<'_>) {
    match place {
        InjectInto::Query(name) if name.is_empty() => {
            problems.at("query").add("is empty; give the parameter's name");
        }
        InjectInto::Query(_) => {}
        InjectInto::Header(name) => check_header_name(name, &mut problems.at("header")),
        InjectInto::Body(path) => {
            if path.split('.').any(str::is_empty) {
                problems.at("body").add(format!(
                    "`{path}` is not a place in the body: give names joined by dots, such as `page.cursor`"
                ));
            }
        }
    }
}

fn check_header_name(name: &str, problems: &mut Problems<'_>) {
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => problems.add(format!("`{name}` is not the name of a header")),
        Ok(name) if name == AUTHORIZATION || name == HOST => {
            problems.add(format!("`{name}` is not a header for paging"));
        }
        Ok(_) => {}
    }
}

fn check_start(start: u64, problems: &mut Problems<'_>) {
    if start > FURTHEST {
        problems
            .at("start")
            .add(format!("{start} is not between 0 and {FURTHEST}"));
    }
}

fn check_size_param(size: bool, param: bool, key: &str, problems: &mut Problems<'_>) {
    if param && !size {
        problems.at(format!("{key}_param")).add_with_hint(
            format!("there is no `{key}` to send"),
            format!("give the rows of a page as `{key}`, or take `{key}_param` out"),
        );
    }
}

fn check_totals_from_the_start(stops: &Stops, pages: bool, problems: &mut Problems<'_>) {
    let mut wrong = |key: &str, there: bool| {
        if there {
            problems.at("stop").at(key).add_with_hint(
                "what is before `start` is not read, so that what is read cannot be held against a total",
                format!("take `start` or `stop.{key}` out"),
            );
        }
    };
    wrong("total_rows", pages && stops.total_rows.is_some());
    wrong("total_pages", stops.total_pages.is_some());
}

fn check_stops(stops: &Stops, size: bool, nature: Nature, problems: &mut Problems<'_>) {
    if stops.short_page && !size {
        problems.at("short_page").add_with_hint(
            "nobody knows what is short without a page size",
            "give the rows of a page that the service is known to give, or take `short_page` out",
        );
    }
    for (index, status) in stops.status.iter().enumerate() {
        let why = match status {
            204 => "204 is an end in any case",
            401 | 403 | 407 => "speaks of access, and would leave out records unseen",
            408 | 421 | 425 | 429 => "speaks of a passing trouble, and the pages after it would be lost",
            400..=499 => continue,
            500..=599 => "is a failure of the service, and the pages after it would be lost",
            _ => "is not one of 400 to 499",
        };
        problems.at("status").at_index(index).add(if *status == 204 {
            why.to_owned()
        } else {
            format!("{status} {why}")
        });
    }
    let told = stops.short_page
        || stops.has_more.is_some()
        || stops.total_rows.is_some()
        || stops.total_pages.is_some()
        || !stops.status.is_empty();
    match (stops.empty_page, nature) {
        (Some(false), Nature::Counted) if !told => problems.at("empty_page").add_with_hint(
            "nothing else ends the reading",
            "take `empty_page: false` out, or say what the end is: `has_more`, `total_rows`, `total_pages`, `short_page` or `status`",
        ),
        (Some(false), Nature::Keyed) => problems.at("empty_page").add_with_hint(
            "an empty page has no last record to go on after, and is the end",
            "take `empty_page: false` out",
        ),
        _ => {}
    }
    let same_path = |a: &Option<_>, b: &Option<_>| a.is_some() && a == b;
    if same_path(&stops.total_rows, &stops.total_pages) {
        problems
            .at("total_pages")
            .add("is the same path as `total_rows`: a number is the count of one of them");
    }
}

fn check_bounds(bounds: &Bounds, problems: &mut Problems<'_>) {
    const MOST: u64 = 10_000_000;
    if bounds.max_pages.get() > MOST {
        problems
            .at("max_pages")
            .add(format!("{} is not between 1 and {MOST}", bounds.max_pages));
    }
}

fn check_checks(checks: &Checks, stops: &Stops, problems: &mut Problems<'_>) {
    let totals = stops.total_rows.is_some() || stops.total_pages.is_some();
    if checks.on_total_mismatch != OnMismatch::default() && !totals {
        problems.at("on_total_mismatch").add_with_hint(
            "there is no total to compare with",
            "give `stop.total_rows` or `stop.total_pages`, or take `on_total_mismatch` out",
        );
    }
}
