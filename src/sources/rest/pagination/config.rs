//! The settings of `pagination`, checked and compiled.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::super::header_name::HeaderNameSetting;
use super::super::json_path::{SinglePath, ValuePaths};
use super::super::page::InjectInto;
use super::super::typed_keys::{self, TypedKeys, given, typed};
use super::{NextPage, Plan, Step};
use crate::component::Problems;

const ODATA_V2: &str = "$.d.__next";
const ODATA_V4: &str = "$['@odata.nextLink']";

/// Paths at which services usually name a next page, to detect a reading that ends too early.
pub(super) static COMMON_PATHS: LazyLock<Vec<SinglePath>> = LazyLock::new(|| {
    let paths = [
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
    paths.into_iter().map(constant).collect()
});

const COMMON: &[&str] = &["size", "size_param", "stop"];

/// How to read all pages.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = describe)]
pub(crate) struct PaginationConfig {
    /// How the next page is requested.
    #[serde(rename = "type")]
    pub kind: PaginationType,
    /// Where the page number (`page`) or the offset (`offset`) goes. Default: the query parameter `page` or `offset`.
    pub param: Option<InjectInto>,
    /// The first page number (`page`, default 1) or offset (`offset`, default 0).
    #[schemars(example = 0)]
    pub start: Option<u32>,
    /// How far `offset` advances: by the number of rows received (`rows`), which is safe if the service returns fewer
    /// rows than requested, or by the page size (`size`), for services that omit rows you may not see. Default `rows`.
    pub step: Option<OffsetStep>,
    /// Where the response contains the cursor of the next page (`cursor`). A missing, null or empty cursor ends the read.
    pub from: Option<CursorFrom>,
    /// Where the cursor goes in the next request (`cursor`).
    pub into: Option<InjectInto>,
    /// Where the body contains the URL of the next page (`next_link`), such as `$.Paging.Next`. A missing, null or empty
    /// URL ends the read. hrsink requests the URL unchanged, without the query parameters of the first request.
    pub path: Option<SinglePath>,
    /// Rows per page, sent with `size_param`. Default: the service decides.
    pub size: Option<NonZeroU32>,
    /// Where `size` goes. With links, a query parameter is sent with the first request only. Default: the query
    /// parameter `limit` with `offset`, else `size` is not sent.
    pub size_param: Option<InjectInto>,
    /// More conditions that end the read. An empty page (`page`, `offset`), a missing next page and status
    /// 204 always end it.
    pub stop: Option<StopConfig>,
}

/// How the next page is requested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaginationType {
    /// There is one page.
    #[default]
    None,
    /// By page number.
    Page,
    /// By row offset.
    Offset,
    /// By a cursor from the previous page.
    Cursor,
    /// By a URL in the body.
    NextLink,
    /// By the `Link` header with `rel="next"`.
    LinkHeader,
    /// OData 2: by the URL at `$.d.__next`.
    OdataV2,
    /// OData 4: by the URL at `$['@odata.nextLink']`.
    OdataV4,
}

const TYPES: [TypedKeys; 8] = [
    typed("none", &[], &[]),
    typed("page", &[], &["param", "start", "size", "size_param", "stop"]),
    typed(
        "offset",
        &[],
        &["param", "start", "step", "size", "size_param", "stop"],
    ),
    typed("cursor", &["from", "into"], COMMON),
    typed("next_link", &["path"], COMMON),
    typed("link_header", &[], COMMON),
    typed("odata_v2", &[], COMMON),
    typed("odata_v4", &[], COMMON),
];

fn describe(schema: &mut Schema) {
    typed_keys::describe(&TYPES, schema);
}

/// How far an offset advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OffsetStep {
    /// By the rows received.
    Rows,
    /// By the page size.
    Size,
}

/// Where the response contains the cursor.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CursorFrom {
    /// At this path of the body, such as `$.meta.page.nextCursor`.
    Body(SinglePath),
    /// In this header.
    Header(#[schemars(example = &"X-Next-Cursor")] HeaderNameSetting),
    /// In the query of a URL in the body.
    LinkQuery(LinkQuery),
}

/// A query parameter of a URL in the body.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkQuery {
    /// Where the body contains the URL, such as `$._meta.links.next.href`.
    pub path: SinglePath,
    /// The query parameter that is the cursor.
    #[schemars(length(min = 1), example = &"after")]
    pub param: String,
}

/// More conditions that end the read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StopConfig {
    /// Whether a page with fewer rows than `size` is the last one. Saves one request, but loses rows if the service
    /// returns fewer rows than requested: use it only with a `size` that the service honors. Default false.
    pub short_page: bool,
    /// Where the body indicates whether more pages follow: a boolean, also as text or as 1 or 0. False ends the read; true
    /// continues it, however few rows the page has. Default: not read.
    pub has_more: Option<SinglePath>,
    /// Where the body contains the total number of rows. Ends `page` and `offset`; a different
    /// number of rows is a warning with every type. Default: not read.
    pub total_rows: Option<SinglePath>,
    /// Where the body contains the number of pages. Ends `page` and `offset`; a different number of pages
    /// is a warning with every type. Default: not read.
    pub total_pages: Option<SinglePath>,
}

impl PaginationConfig {
    /// Checks the settings and compiles them. `paths` collects the values to extract from each body.
    pub(in super::super) fn compile(
        &self,
        paths: &mut ValuePaths,
        problems: &mut Problems<'_>,
    ) -> Option<Arc<Plan>> {
        let before = problems.len();
        let given = given!(self; param, start, step, from, into, path, size, size_param, stop);
        typed_keys::check(&TYPES, TYPES[self.kind as usize].name, &given, problems);
        if problems.len() == before {
            self.check_targets(problems);
            if let Some(CursorFrom::LinkQuery(query)) = &self.from
                && query.param.is_empty()
            {
                let mut from = problems.at("from");
                let message = "is empty; give the name of the query parameter";
                from.at("link_query").at("param").add(message);
            }
            self.check_stop(&mut problems.at("stop"));
        }
        if problems.len() > before {
            return None;
        }
        let plan = Plan {
            next: self.next_page(),
            size: self.size.map(|size| u64::from(size.get())),
            size_target: self.size_target(),
            stop: self.stop.clone().unwrap_or_default(),
        };
        plan.paths().for_each(|path| paths.add(path));
        Some(Arc::new(plan))
    }

    pub(in super::super) fn targets(&self) -> Vec<(&'static str, InjectInto)> {
        let size = self.size_target().map(|target| ("size_param", target));
        self.position_target().into_iter().chain(size).collect()
    }

    fn position_target(&self) -> Option<(&'static str, InjectInto)> {
        let param = |name: &str| {
            let query = || InjectInto::Query(name.to_owned());
            Some(("param", self.param.clone().unwrap_or_else(query)))
        };
        match self.kind {
            PaginationType::Page => param("page"),
            PaginationType::Offset => param("offset"),
            PaginationType::Cursor => self.into.clone().map(|into| ("into", into)),
            _ => None,
        }
    }

    fn size_target(&self) -> Option<InjectInto> {
        let limit = || InjectInto::Query("limit".to_owned());
        let default = (self.kind == PaginationType::Offset && self.size.is_some()).then(limit);
        self.size_param.clone().or(default)
    }

    fn check_targets(&self, problems: &mut Problems<'_>) {
        if let [(key, position), (_, size)] = &*self.targets()
            && position.overlaps(size)
        {
            problems.at("size_param").add(format!(
                "conflicts with `{key}`: both set the same parameter, and one of the two values would be lost"
            ));
        }
        if self.size_param.is_some() && self.size.is_none() {
            problems.at("size_param").add("requires `size`");
        }
        if self.step == Some(OffsetStep::Size) && self.size.is_none() {
            problems.at("step").add_with_hint(
                "`step: size` requires `size`",
                "set `size`, or remove `step` to advance by the rows received",
            );
        }
    }

    fn check_stop(&self, problems: &mut Problems<'_>) {
        let Some(stop) = &self.stop else { return };
        if stop.short_page && self.size.is_none() {
            problems.at("short_page").add_with_hint(
                "requires `size`: without it no page is short",
                "set the `size` that the service is known to give, or remove `short_page`",
            );
        }
        if stop.total_rows.is_some() && stop.total_rows == stop.total_pages {
            let message = "is the same path as `total_rows`: a number cannot count both";
            problems.at("total_pages").add(message);
        }
        // Rows before an offset can be counted, rows on the pages before a first page cannot.
        let by_page = self.kind == PaginationType::Page;
        if self.start.is_some_and(|start| start > u32::from(by_page)) {
            for (key, given) in [
                ("total_rows", by_page && stop.total_rows.is_some()),
                ("total_pages", stop.total_pages.is_some()),
            ] {
                if given {
                    problems.at(key).add_with_hint(
                        "what lies before `start` is not read, so a total cannot be compared",
                        format!("remove `start` or `stop.{key}`"),
                    );
                }
            }
        }
    }

    fn next_page(&self) -> NextPage {
        let position = self.position_target().map(|(_, target)| target);
        let count = |param, first, step| NextPage::Count {
            param,
            start: self.start.unwrap_or(first).into(),
            step,
        };
        match (self.kind, position, &self.from, &self.path) {
            (PaginationType::Page, Some(param), ..) => count(param, 1, Step::Page),
            (PaginationType::Offset, Some(param), ..) => match (self.step, self.size) {
                (Some(OffsetStep::Size), Some(size)) => count(param, 0, Step::Size(size.get().into())),
                _ => count(param, 0, Step::Rows),
            },
            (PaginationType::Cursor, Some(into), Some(from), _) => NextPage::Cursor {
                from: from.clone(),
                into,
            },
            (PaginationType::NextLink, _, _, Some(path)) => NextPage::Url(path.clone()),
            (PaginationType::OdataV2, ..) => NextPage::Url(constant(ODATA_V2)),
            (PaginationType::OdataV4, ..) => NextPage::Url(constant(ODATA_V4)),
            (PaginationType::LinkHeader, ..) => NextPage::LinkHeader,
            _ => NextPage::None,
        }
    }
}

fn constant(text: &str) -> SinglePath {
    SinglePath::parse(text).expect("a constant path is valid")
}
