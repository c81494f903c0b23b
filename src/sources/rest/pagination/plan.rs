//! A paging configuration, compiled.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::super::json_path::{SinglePath, ValueId, ValuePaths};
use super::super::page::InjectInto;
use super::config::{Bounds, Checks, CursorFrom, OnLimit, PaginationConfig, Step, Stops};
use super::pager::Pager;

/// Finds the target of the `Link` header with a relation, as it stands.
pub(in crate::sources::rest) type FindLink = fn(&HeaderMap, &str) -> Option<String>;

const ODATA_V2: &str = "$.d.__next";
const ODATA_V4: &str = "$['@odata.nextLink']";

/// Places where services usually name a next page. Looked at when the reading ends, to see that it does not end early.
const USUAL: [&str; 11] = [
    ODATA_V4,
    ODATA_V2,
    "$._links.next",
    "$.links.next",
    "$._meta.links.next",
    "$.Paging.Next",
    "$.next",
    "$.meta.page.nextCursor",
    "$.response_metadata.next_cursor",
    "$.hasMore",
    "$.has_more",
];

/// A place in the body that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) probe: ValueId,
    pub(super) path: SinglePath,
    /// The setting that says so.
    pub(super) setting: &'static str,
}

/// How the next page is found.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// There is none.
    Single,
    /// By counting.
    Count {
        param: InjectInto,
        start: u64,
        step: Stride,
    },
    /// By what the answer gives.
    Token { from: Origin, goes: Goes },
}

/// How counting goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stride {
    /// By one.
    Page,
    /// By the rows that came.
    Rows,
    /// By this many rows.
    Limit(u64),
}

/// Where a token stands.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Body(Looked),
    Header { name: HeaderName },
    LastRecord { path: SinglePath },
    LinkQuery { url: Looked, param: String },
    LinkHeader { relation: String },
}

/// What a token is for.
#[derive(Debug, Clone)]
pub(super) enum Goes {
    /// It is the whole URL.
    Url,
    /// It goes here; the first request has the start.
    Into {
        place: InjectInto,
        start: Option<String>,
    },
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) size: Option<u64>,
    /// What the first request has, besides its position.
    pub(super) first: Vec<(InjectInto, Value)>,
    /// What later requests have, besides theirs.
    pub(super) later: Vec<(InjectInto, Value)>,
    pub(super) stops: Stops,
    pub(super) empty_page: bool,
    pub(super) has_more: Option<Looked>,
    pub(super) total_rows: Option<Looked>,
    pub(super) total_pages: Option<Looked>,
    pub(super) bounds: Bounds,
    pub(super) checks: Checks,
    pub(super) usual: Vec<(ValueId, &'static str)>,
    pub(super) find_link: FindLink,
}

impl Plan {
    /// Whether totals are an end: where the next page is counted, and not named by the answer.
    pub(super) fn ends_by_total(&self) -> bool {
        self.kind.is_counted()
    }

    /// Rows before the first.
    pub(super) fn skipped(&self) -> u64 {
        match &self.kind {
            Kind::Count {
                start,
                step: Stride::Rows | Stride::Limit(_),
                ..
            } => *start,
            _ => 0,
        }
    }
}

impl Kind {
    fn followed(probes: &mut ValuePaths, setting: &'static str, path: &SinglePath) -> Self {
        Self::Token {
            from: Origin::Body(Looked::new(probes, setting, path)),
            goes: Goes::Url,
        }
    }

    fn is_counted(&self) -> bool {
        matches!(
            self,
            Self::Count { .. }
                | Self::Token {
                    from: Origin::LastRecord { .. },
                    ..
                }
        )
    }
}

impl PaginationConfig {
    /// Compiles it. `probes` are what an answer's body is searched for; `find_link` reads `Link` headers.
    ///
    /// The configuration is [valid](Self::validate).
    pub(in crate::sources::rest) fn pager(&self, probes: &mut ValuePaths, find_link: FindLink) -> Pager {
        let kind = self.kind(probes);
        let stops = self.stops().cloned().unwrap_or_default();
        let size = self.page_size();
        let followed = matches!(kind, Kind::Token { goes: Goes::Url, .. });
        let first: Vec<_> = self
            .size_param()
            .zip(size)
            .map(|(place, size)| (place, Value::from(size)))
            .into_iter()
            .collect();
        // A link carries its own query, and nothing else.
        let later = first
            .iter()
            .filter(|(place, _)| !(followed && matches!(place, InjectInto::Query(_))))
            .cloned()
            .collect();
        let mut look =
            |setting, path: &Option<SinglePath>| path.as_ref().map(|path| Looked::new(probes, setting, path));
        let has_more = look("stop.has_more", &stops.has_more);
        let total_rows = look("stop.total_rows", &stops.total_rows);
        let total_pages = look("stop.total_pages", &stops.total_pages);
        let usual = if kind.is_counted() {
            Vec::new()
        } else {
            USUAL
                .iter()
                .map(|text| (probes.add(&known(text)), *text))
                .collect()
        };
        Pager::new(Plan {
            empty_page: stops.empty_page.unwrap_or(kind.is_counted()),
            kind,
            size,
            first,
            later,
            stops,
            has_more,
            total_rows,
            total_pages,
            bounds: self.bounds().cloned().unwrap_or_default(),
            checks: self.checks().cloned().unwrap_or_default(),
            usual,
            find_link,
        })
    }

    fn kind(&self, probes: &mut ValuePaths) -> Kind {
        match self {
            Self::None(_) => Kind::Single,
            Self::Page(paging) => Kind::Count {
                param: paging.param.clone(),
                start: paging.start,
                step: Stride::Page,
            },
            Self::Offset(paging) => Kind::Count {
                param: paging.param.clone(),
                start: paging.start,
                step: match (paging.step, paging.limit) {
                    (Step::Limit, Some(limit)) => Stride::Limit(limit.get()),
                    _ => Stride::Rows,
                },
            },
            Self::Cursor(paging) => Kind::Token {
                from: match &paging.from {
                    CursorFrom::Body(path) => Origin::Body(Looked::new(probes, "from.body", path)),
                    // A name that is none was refused; no answer has this one.
                    CursorFrom::Header(name) => Origin::Header {
                        name: HeaderName::from_bytes(name.as_bytes())
                            .unwrap_or(HeaderName::from_static("invalid")),
                    },
                    CursorFrom::LastRecord(path) => Origin::LastRecord { path: path.clone() },
                    CursorFrom::LinkQuery(query) => Origin::LinkQuery {
                        url: Looked::new(probes, "from.link_query", &query.path),
                        param: query.param.clone(),
                    },
                },
                goes: Goes::Into {
                    place: paging.into.clone(),
                    start: paging.start.clone(),
                },
            },
            Self::NextLink(paging) => Kind::followed(probes, "path", &paging.path),
            Self::ODataV2(_) => Kind::followed(probes, "type", &known(ODATA_V2)),
            Self::ODataV4(_) => Kind::followed(probes, "type", &known(ODATA_V4)),
            Self::LinkHeader(paging) => Kind::Token {
                from: Origin::LinkHeader {
                    relation: paging.rel.clone(),
                },
                goes: Goes::Url,
            },
        }
    }

    /// Rows of a page, where they are known.
    pub(in crate::sources::rest) fn page_size(&self) -> Option<u64> {
        match self {
            Self::None(_) => None,
            Self::Page(paging) => paging.size,
            Self::Offset(paging) => paging.limit,
            Self::Cursor(paging) => paging.size,
            Self::NextLink(paging) => paging.size,
            Self::LinkHeader(paging) => paging.size,
            Self::ODataV2(paging) | Self::ODataV4(paging) => paging.size,
        }
        .map(std::num::NonZero::get)
    }

    /// Where the page size goes.
    pub(super) fn size_param(&self) -> Option<InjectInto> {
        match self {
            Self::None(_) => None,
            Self::Page(paging) => paging.size_param.clone(),
            Self::Offset(paging) => paging
                .limit_param
                .clone()
                .or_else(|| paging.limit.map(|_| InjectInto::Query("limit".to_owned()))),
            Self::Cursor(paging) => paging.size_param.clone(),
            Self::NextLink(paging) => paging.size_param.clone(),
            Self::LinkHeader(paging) => paging.size_param.clone(),
            Self::ODataV2(paging) | Self::ODataV4(paging) => paging.size_param.clone(),
        }
    }

    /// Whether rows are left unread on purpose once a bound is reached.
    pub(in crate::sources::rest) fn stops_at_bounds(&self) -> bool {
        self.bounds()
            .is_some_and(|bounds| bounds.on_limit == OnLimit::Stop)
    }

    /// Statuses besides 2xx that are the end and no failure.
    pub(in crate::sources::rest) fn end_statuses(&self) -> &[u16] {
        self.stops().map_or(&[], |stops| &stops.status)
    }

    /// Places in requests that paging fills: for a look at what else fills them, and at whether there is a body.
    pub(in crate::sources::rest) fn places(&self) -> Vec<InjectInto> {
        let position = match self {
            Self::Page(paging) => Some(paging.param.clone()),
            Self::Offset(paging) => Some(paging.param.clone()),
            Self::Cursor(paging) => Some(paging.into.clone()),
            _ => None,
        };
        position.into_iter().chain(self.size_param()).collect()
    }

    pub(super) fn stops(&self) -> Option<&Stops> {
        self.parts().map(|(stops, _, _)| stops)
    }

    pub(super) fn bounds(&self) -> Option<&Bounds> {
        self.parts().map(|(_, bounds, _)| bounds)
    }

    fn checks(&self) -> Option<&Checks> {
        self.parts().map(|(_, _, checks)| checks)
    }

    pub(super) fn parts(&self) -> Option<(&Stops, &Bounds, &Checks)> {
        Some(match self {
            Self::None(_) => return None,
            Self::Page(paging) => (&paging.stop, &paging.bounds, &paging.checks),
            Self::Offset(paging) => (&paging.stop, &paging.bounds, &paging.checks),
            Self::Cursor(paging) => (&paging.stop, &paging.bounds, &paging.checks),
            Self::NextLink(paging) => (&paging.stop, &paging.bounds, &paging.checks),
            Self::LinkHeader(paging) => (&paging.stop, &paging.bounds, &paging.checks),
            Self::ODataV2(paging) | Self::ODataV4(paging) => (&paging.stop, &paging.bounds, &paging.checks),
        })
    }
}

impl Looked {
    fn new(probes: &mut ValuePaths, setting: &'static str, path: &SinglePath) -> Self {
        Self {
            probe: probes.add(path),
            path: path.clone(),
            setting,
        }
    }
}

/// A path written here.
fn known(text: &str) -> SinglePath {
    SinglePath::parse(text).expect("a path written in the code is one")
}
