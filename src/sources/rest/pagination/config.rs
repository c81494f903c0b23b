//! The settings of `pagination`.

use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::json_path::SinglePath;
use super::super::page::InjectInto;

/// How a service gives its records page by page.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PaginationConfig {
    /// One answer holds everything.
    None(NoPagination),
    /// Pages are numbered.
    Page(PagePagination),
    /// Pages begin at a row.
    Offset(OffsetPagination),
    /// Each page gives a value that the request for the next one has to carry.
    Cursor(CursorPagination),
    /// Each page's body gives the URL of the next one.
    NextLink(NextLinkPagination),
    /// Each answer's `Link` header gives the URL of the next page.
    LinkHeader(LinkHeaderPagination),
    /// OData 2: the URL of the next page stands at `$.d.__next`.
    #[serde(rename = "odata_v2")]
    ODataV2(ODataPagination),
    /// OData 4: the URL of the next page stands at `$['@odata.nextLink']`.
    #[serde(rename = "odata_v4")]
    ODataV4(ODataPagination),
}

impl Default for PaginationConfig {
    fn default() -> Self {
        Self::None(NoPagination {})
    }
}

/// No paging has no settings. An answer that names a next page nevertheless is reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoPagination {}

/// Settings of `page`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PagePagination {
    /// Where the page's number goes. Default: the query parameter `page`.
    #[serde(default = "page_param")]
    pub param: InjectInto,
    /// The number of the first page. Default 1.
    #[serde(default = "one")]
    pub start: u64,
    /// Rows of a page: asked for with `size_param`, and what a page with fewer is held against. Left out, the service
    /// decides.
    #[serde(default)]
    pub size: Option<NonZeroU64>,
    /// Where the size goes. Left out, it is not sent.
    #[serde(default)]
    pub size_param: Option<InjectInto>,
    /// What ends the reading. An empty page does, unless said otherwise.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// Settings of `offset`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetPagination {
    /// Where the number of the page's first row goes. Default: the query parameter `offset`.
    #[serde(default = "offset_param")]
    pub param: InjectInto,
    /// The first row. Default 0.
    #[serde(default)]
    pub start: u64,
    /// Rows of a page: asked for with `limit_param`, and what a page with fewer is held against. Left out, the service
    /// decides; `step: limit` needs it.
    #[serde(default)]
    pub limit: Option<NonZeroU64>,
    /// Where the limit goes. Default: the query parameter `limit` if there is a limit.
    #[serde(default)]
    pub limit_param: Option<InjectInto>,
    /// How far the next page is: `rows`, as many as came, which loses nothing if the service gives fewer than asked;
    /// `limit`, as many as asked, for services that leave out rows of a page which may not be seen. Default `rows`.
    #[serde(default)]
    pub step: Step,
    /// What ends the reading. An empty page does, unless said otherwise.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// How far the next page is from this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// By the rows that came.
    #[default]
    Rows,
    /// By the limit.
    Limit,
}

/// Settings of `cursor`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorPagination {
    /// Where an answer has the cursor of the next page. None there, or an empty text, is the end.
    pub from: CursorFrom,
    /// Where it goes in the next request.
    pub into: InjectInto,
    /// The cursor of the first request, for services that want one. Default: none.
    #[serde(default)]
    pub start: Option<String>,
    /// Rows of a page: asked for with `size_param`, and what a page with fewer is held against. Left out, the service
    /// decides.
    #[serde(default)]
    pub size: Option<NonZeroU64>,
    /// Where the size goes. Left out, it is not sent.
    #[serde(default)]
    pub size_param: Option<InjectInto>,
    /// What ends the reading. A missing cursor does in any case.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// Where a cursor stands.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CursorFrom {
    /// At this path of the body, such as `$.meta.page.nextCursor`.
    Body(SinglePath),
    /// In the header of this name.
    Header(String),
    /// At this path of the page's last record, such as `$.id`: for services that go on after a key. An empty page is
    /// the end.
    LastRecord(SinglePath),
    /// In the query of a URL that the body has.
    LinkQuery(LinkQuery),
}

/// A parameter of a URL in the body.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkQuery {
    /// Where the body has the URL, such as `$._meta.links.next.href`.
    pub path: SinglePath,
    /// The name of the query parameter that is the cursor.
    pub param: String,
}

/// Settings of `next_link`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextLinkPagination {
    /// Where the body has the URL of the next page, such as `$.Paging.Next`. None there, or an empty text, is the end.
    /// It is followed as it is: the request's own query is not added again.
    pub path: SinglePath,
    /// Rows of a page: asked for with `size_param`, and what a page with fewer is held against. Left out, the service
    /// decides.
    #[serde(default)]
    pub size: Option<NonZeroU64>,
    /// Where the size goes: in the first request only if that is the query, since the links carry theirs. Left out, it
    /// is not sent.
    #[serde(default)]
    pub size_param: Option<InjectInto>,
    /// What ends the reading. A missing URL does in any case.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// Settings of `link_header`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkHeaderPagination {
    /// The relation of the link. Default `next`.
    #[serde(default = "next_relation")]
    pub rel: String,
    /// Rows of a page: asked for with `size_param`, and what a page with fewer is held against. Left out, the service
    /// decides.
    #[serde(default)]
    pub size: Option<NonZeroU64>,
    /// Where the size goes: in the first request only if that is the query, since the links carry theirs. Left out, it
    /// is not sent.
    #[serde(default)]
    pub size_param: Option<InjectInto>,
    /// What ends the reading. A missing link does in any case.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// Settings of `odata_v2` and `odata_v4`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ODataPagination {
    /// Rows of a page: asked for with `size_param`, and what a page with fewer is held against. Left out, the service
    /// decides.
    #[serde(default)]
    pub size: Option<NonZeroU64>,
    /// Where the size goes, such as `{query: customPageSize}`: in the first request only if that is the query, since
    /// the links carry theirs. Left out, it is not sent.
    #[serde(default)]
    pub size_param: Option<InjectInto>,
    /// What ends the reading. A missing link does in any case.
    #[serde(default)]
    pub stop: Stops,
    /// How much is read at most.
    #[serde(default)]
    pub bounds: Bounds,
    /// What happens when answers contradict one another.
    #[serde(default)]
    pub checks: Checks,
}

/// What ends the reading. Any of these does; status 204 always.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stops {
    /// A page without rows. Default: true for `page`, `offset` and cursors taken from the last record; false where the
    /// answer names the next page, because a filter may leave a page in the middle empty.
    pub empty_page: Option<bool>,
    /// A page with fewer rows than the size asked for. It saves one request, and loses rows if the service gives fewer
    /// than it is asked for: name a size that it is known to give. Default false.
    pub short_page: bool,
    /// These statuses, besides 204: 404 for services that have no page after the last. Any of 400 to 499 but those
    /// that speak of access, throttling and time-outs. Default: none.
    pub status: Vec<u16>,
    /// Where the body says whether there is more: true or false, also as text or as 1 or 0. False is the end. A page
    /// that says true is not the end, however few rows it has. Default: not looked for.
    pub has_more: Option<SinglePath>,
    /// Where the body says how many rows there are on all pages together; also as text. It is the end for `page`,
    /// `offset` and cursors taken from the last record, and a check for all. Default: not looked for.
    pub total_rows: Option<SinglePath>,
    /// Where the body says how many pages there are; also as text. It is the end for `page`, `offset` and cursors taken
    /// from the last record, and a check for all. Default: not looked for.
    pub total_pages: Option<SinglePath>,
}

/// How much is read at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Pages: 1 to 10,000,000. Default 100,000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_pages: NonZeroU64,
    /// Rows; pages are not cut. Default: no bound.
    pub max_rows: Option<NonZeroU64>,
    /// What happens at a bound when there is more: `error`, or `stop`, which leaves the rest unread with a warning.
    /// Default `error`.
    pub on_limit: OnLimit,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_pages: const { NonZeroU64::new(100_000).expect("not zero") },
            max_rows: None,
            on_limit: OnLimit::Error,
        }
    }
}

/// What happens at a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// The run fails.
    #[default]
    Error,
    /// The reading ends, with a warning.
    Stop,
}

/// What happens when answers contradict one another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// An answer names a next page that was read before, so that the paging would never end: `error` or `stop`. Default
    /// `error`.
    pub on_repeat: OnLimit,
    /// A page has the very records of the page before it: `error`, `stop`, which leaves it out, or `ignore`. Default
    /// `error`.
    pub on_duplicate_page: OnDoubt,
    /// The total changes from page to page, or is not what came in the end: `error`, `warn` or `ignore`. Rows may be
    /// missing then, or there twice, because they changed while they were read. Default `warn`.
    pub on_total_mismatch: OnMismatch,
}

/// What happens to a page that came before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDoubt {
    /// The run fails.
    #[default]
    Error,
    /// The reading ends, without that page.
    Stop,
    /// It is taken like any other.
    Ignore,
}

/// What happens when a total is not what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// The run fails.
    Error,
    /// It is said in the log and the report.
    #[default]
    Warn,
    /// Nothing is said.
    Ignore,
}

fn page_param() -> InjectInto {
    InjectInto::Query("page".to_owned())
}

fn offset_param() -> InjectInto {
    InjectInto::Query("offset".to_owned())
}

fn next_relation() -> String {
    "next".to_owned()
}

fn one() -> u64 {
    1
}
