//! The sequence of pages: what to request next, and when to stop.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use reqwest::header::HeaderName;
use serde_json::Value;

use super::super::json_path::{SinglePath, ValueId};
use super::super::page::{InjectInto, PageRequest, PageResponse};
use super::values::Located;
use super::warning::Warning;
use crate::error::{Error, Result};

/// More pages than this are a loop.
const MAX_PAGES: u64 = 100_000;
/// More empty pages in a row than this are a loop.
const MAX_EMPTY_PAGES: u64 = 1_000;

/// Compiled settings.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) next: NextPage,
    pub(super) size: Option<u64>,
    /// Values of the first request besides the position.
    pub(super) first: Vec<(InjectInto, Value)>,
    /// Values of all later requests besides the position.
    pub(super) later: Vec<(InjectInto, Value)>,
    pub(super) short_page_ends: bool,
    pub(super) has_more: Option<Located>,
    pub(super) total_rows: Option<Located>,
    pub(super) total_pages: Option<Located>,
    pub(super) common_paths: Vec<(ValueId, &'static str)>,
}

/// How the next page is found.
#[derive(Debug)]
pub(super) enum NextPage {
    None,
    Count {
        param: InjectInto,
        start: u64,
        step: Step,
    },
    Cursor {
        from: TokenSource,
        into: InjectInto,
    },
    Url(TokenSource),
}

/// How far a counted position advances.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Page,
    Rows,
    Size(u64),
}

/// Where the cursor or URL of the next page is.
#[derive(Debug)]
pub(super) enum TokenSource {
    Body(Located),
    Header(HeaderName),
    LastRecord(SinglePath),
    LinkQuery { url: Located, param: String },
    LinkHeader,
}

impl NextPage {
    /// Whether hrsink knows where the next page starts without the answer naming it: then an empty page and a reached
    /// total are the end.
    pub(super) fn is_counted(&self) -> bool {
        let last_record = |from: &TokenSource| matches!(from, TokenSource::LastRecord(_));
        matches!(self, Self::Count { .. }) || matches!(self, Self::Cursor { from, .. } if last_record(from))
    }
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Turn {
    Next(PageRequest),
    End(EndReason),
}

/// Why a page was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum EndReason {
    SinglePage,
    EmptyPage,
    ShortPage,
    /// The status says that there is no body to read.
    NoContent,
    NoNextPage,
    HasMoreIsFalse,
    TotalRows,
    TotalPages,
}

/// One sequence of pages. A clone of a pager that has not started is a new sequence.
#[derive(Debug, Clone)]
pub(in super::super) struct Pager {
    plan: Arc<Plan>,
    max_pages: u64,
    /// Random keys: no service can make two tokens collide.
    hasher: RandomState,
    state: State,
}

#[derive(Debug, Clone, Default)]
struct State {
    requested: u64,
    answered: u64,
    /// Answers with a body.
    bodies: u64,
    rows: u64,
    /// Page number or offset of the last request.
    position: u64,
    /// Hashes of the cursors and URLs requested.
    seen: HashSet<u64>,
    last_digest: Option<u64>,
    empty_in_a_row: u64,
    total_rows: Option<u64>,
    total_pages: Option<u64>,
    has_more_found: bool,
    /// Page and rows of a short page that a step by size passed over.
    short_page: Option<(u64, u64)>,
    ended: bool,
    warned: HashSet<Discriminant<Warning>>,
    warnings: Vec<Warning>,
}

impl Pager {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan: Arc::new(plan),
            max_pages: MAX_PAGES,
            hasher: RandomState::new(),
            state: State::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_max_pages(mut self, max_pages: u64) -> Self {
        self.max_pages = max_pages;
        self
    }

    /// The first request. Restarts the sequence.
    pub(in super::super) fn first(&mut self) -> PageRequest {
        self.state = State {
            requested: 1,
            ..State::default()
        };
        let mut set = Vec::new();
        if let NextPage::Count { param, start, .. } = &self.plan.next {
            self.state.position = *start;
            set.push((param.clone(), Value::from(*start)));
        }
        set.extend(self.plan.first.iter().cloned());
        PageRequest { url: None, set }
    }

    /// Takes an answer and returns what follows it. `digest` identifies the page's records; `last_record` is the last
    /// of them.
    ///
    /// # Errors
    /// The reading would never end or rows would be missing: a page or token repeats, the answer announces more and
    /// names no next page, or a value has the wrong type.
    pub(in super::super) fn next(
        &mut self,
        page: &PageResponse<'_>,
        digest: u64,
        last_record: Option<&Value>,
    ) -> Result<Turn> {
        if self.state.ended || self.state.answered >= self.state.requested {
            return Err(Error::unexpected(
                "a page was given to a sequence that did not request it",
            ));
        }
        let plan = Arc::clone(&self.plan);
        self.state.answered += 1;
        if page.status == 204 || !(200..300).contains(&page.status) {
            return self.end(EndReason::NoContent, page);
        }
        self.state.bodies += 1;
        self.reject_duplicate(page, digest)?;
        self.state.rows = self.state.rows.saturating_add(page.records);
        let number = self.state.answered;
        let has_more = plan.has_more.as_ref().map(|at| at.flag(page, number));
        let has_more = has_more.transpose()?.flatten();
        self.state.has_more_found |= has_more.is_some();
        self.check_size(page);
        self.note_totals(&plan, page)?;
        if has_more == Some(false) {
            return self.end(EndReason::HasMoreIsFalse, page);
        }
        match self.advance(&plan, page, has_more == Some(true), last_record)? {
            Turn::End(reason) => self.end(reason, page),
            Turn::Next(request) => self.request(request, page),
        }
    }

    /// Warnings since the last call.
    pub(in super::super) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.state.warnings)
    }

    /// Rows so far, before `explode` and rejects.
    pub(in super::super) fn rows(&self) -> u64 {
        self.state.rows
    }

    /// Pages so far.
    pub(in super::super) fn pages(&self) -> u64 {
        self.state.answered
    }

    fn reject_duplicate(&mut self, page: &PageResponse<'_>, digest: u64) -> Result<()> {
        if page.records == 0
            || matches!(self.plan.next, NextPage::None)
            || self.state.last_digest.replace(digest) != Some(digest)
        {
            return Ok(());
        }
        Err(Error::input(format!(
            "page {} has the same records as the page before it: the pagination would never end",
            self.state.answered
        ))
        .with_hint(
            "the service may not know the parameter that `pagination` sends, and return the first page each time: \
             compare its name with the service's documentation",
        ))
    }

    /// What follows the page, before the limits are checked.
    fn advance(
        &mut self,
        plan: &Plan,
        page: &PageResponse<'_>,
        more: bool,
        last_record: Option<&Value>,
    ) -> Result<Turn> {
        let number = self.state.answered;
        let empty = page.records == 0;
        let short = plan.size.filter(|size| page.records < *size);
        let counted = plan.next.is_counted();
        if matches!(plan.next, NextPage::None) {
            return Ok(Turn::End(EndReason::SinglePage));
        }
        // A page that says that there is more is believed before its rows are counted.
        if empty && counted && !more {
            return Ok(Turn::End(EndReason::EmptyPage));
        }
        if short.is_some() && plan.short_page_ends && !more {
            return Ok(Turn::End(EndReason::ShortPage));
        }
        if counted && let Some(reason) = self.total_reached(plan, more) {
            return Ok(Turn::End(reason));
        }
        let (request, announced) = match &plan.next {
            NextPage::None => return Ok(Turn::End(EndReason::SinglePage)),
            NextPage::Count { param, step, .. } => {
                let step = match step {
                    Step::Page => 1,
                    Step::Size(size) => *size,
                    Step::Rows => page.records,
                };
                if step == 0 {
                    return Err(no_next_page(
                        number,
                        "has no rows, so the next offset would be the same",
                    ));
                }
                self.state.position = self.state.position.saturating_add(step);
                let set = self.with_size(Some((param.clone(), Value::from(self.state.position))));
                (PageRequest { url: None, set }, more || self.totals_say_more(plan))
            }
            NextPage::Cursor { from, .. } | NextPage::Url(from) => {
                if empty && counted {
                    return Err(no_next_page(number, "has no last record to continue after"));
                }
                let is_url = matches!(plan.next, NextPage::Url(_));
                let Some(token) = from.token(is_url, page, last_record, number)? else {
                    if more {
                        return Err(no_next_page(number, "names no next page"));
                    }
                    return Ok(Turn::End(EndReason::NoNextPage));
                };
                (self.with_token(plan, token, page)?, more || !counted)
            }
        };
        if announced && empty {
            self.warn(Warning::EmptyPageWithMore { page: number });
        } else if let Some(size) = short.filter(|_| announced) {
            let rows = page.records;
            self.warn(Warning::ShortPageWithMore {
                page: number,
                rows,
                size,
            });
        }
        if let NextPage::Count {
            step: Step::Size(_), ..
        } = plan.next
        {
            self.state.short_page = short.map(|_| (number, page.records));
        }
        Ok(Turn::Next(request))
    }

    /// The request with a cursor or URL that was not requested before.
    fn with_token(&mut self, plan: &Plan, token: Value, page: &PageResponse<'_>) -> Result<PageRequest> {
        let text = match &token {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (key, request) = match &plan.next {
            NextPage::Cursor { into, .. } => {
                let set = self.with_size(Some((into.clone(), token)));
                (text, PageRequest { url: None, set })
            }
            _ => {
                // The page just read counts as requested, however its URL came about.
                self.state.seen.insert(self.hasher.hash_one(page.url.as_str()));
                let target = page.url.join(&text).map(String::from);
                let set = self.with_size(None);
                let url = Some(text.clone());
                (target.unwrap_or(text), PageRequest { url, set })
            }
        };
        if self.state.seen.insert(self.hasher.hash_one(key.as_str())) {
            return Ok(request);
        }
        Err(Error::input(format!(
            "page {} names a next page that was read before: the pagination would never end",
            self.state.answered
        ))
        .with_hint(
            "compare `pagination` with the service's documentation: the cursor may belong in another place of the \
             request",
        ))
    }

    fn with_size(&self, position: Option<(InjectInto, Value)>) -> Vec<(InjectInto, Value)> {
        position
            .into_iter()
            .chain(self.plan.later.iter().cloned())
            .collect()
    }

    /// Allows one more request, unless the sequence is a loop.
    fn request(&mut self, request: PageRequest, page: &PageResponse<'_>) -> Result<Turn> {
        let (pages, rows) = (self.state.answered, self.state.rows);
        if self.state.requested >= self.max_pages {
            return Err(Error::input(format!(
                "there are more than {} pages: the pagination may be a loop; {pages} pages with {rows} rows were read",
                self.max_pages
            ))
            .with_hint("set a larger page `size`, or read less at a time with `incremental.window` or `for_each`"));
        }
        self.state.empty_in_a_row = match page.records {
            0 => self.state.empty_in_a_row + 1,
            _ => 0,
        };
        if self.state.empty_in_a_row >= MAX_EMPTY_PAGES {
            return Err(Error::input(format!(
                "{MAX_EMPTY_PAGES} pages in a row are empty, and each says that there is more"
            ))
            .with_hint(
                "check that `records` finds the rows, and `pagination` against the service's documentation",
            ));
        }
        self.state.requested += 1;
        Ok(Turn::Next(request))
    }

    fn end(&mut self, reason: EndReason, page: &PageResponse<'_>) -> Result<Turn> {
        let plan = Arc::clone(&self.plan);
        self.state.ended = true;
        self.compare_totals(&plan);
        self.warn_of_unused_settings(&plan);
        // A misspelled path finds nothing, and nothing is the end.
        if matches!(reason, EndReason::NoNextPage | EndReason::SinglePage)
            && let Some(place) = plan.next_page_elsewhere(page)
        {
            self.warn(Warning::NextPageElsewhere { place });
        }
        Ok(Turn::End(reason))
    }

    fn check_size(&mut self, page: &PageResponse<'_>) {
        let number = self.state.answered;
        let Some(size) = self.plan.size else { return };
        if page.records > size {
            self.warn(Warning::MoreThanRequested {
                page: number,
                rows: page.records,
                size,
            });
        }
        if let Some((page_before, rows)) = self.state.short_page.take()
            && page.records > 0
        {
            self.warn(Warning::SteppedOverShortPage {
                page: page_before,
                rows,
                size,
            });
        }
    }

    fn note_totals(&mut self, plan: &Plan, page: &PageResponse<'_>) -> Result<()> {
        let number = self.state.answered;
        let count = |at: &Option<Located>| at.as_ref().map_or(Ok(None), |at| at.count(page, number));
        let (rows, pages) = (count(&plan.total_rows)?, count(&plan.total_pages)?);
        for (of, before, now) in [
            ("rows", self.state.total_rows, rows),
            ("pages", self.state.total_pages, pages),
        ] {
            if let (Some(from), Some(to)) = (before, now)
                && from != to
            {
                self.warn(Warning::TotalChanged {
                    of,
                    from,
                    to,
                    page: number,
                });
            }
        }
        self.state.total_rows = rows.or(self.state.total_rows);
        self.state.total_pages = pages.or(self.state.total_pages);
        Ok(())
    }

    /// Rows read, those before the first offset included.
    fn rows_with_skipped(&self, plan: &Plan) -> u64 {
        let skipped = match plan.next {
            NextPage::Count {
                start,
                step: Step::Rows | Step::Size(_),
                ..
            } => start,
            _ => 0,
        };
        skipped.saturating_add(self.state.rows)
    }

    /// Whether everything that a total announced was read. A total that was exceeded is no total: reading goes on, so
    /// that no row is lost.
    fn total_reached(&mut self, plan: &Plan, more: bool) -> Option<EndReason> {
        let mut reached = None;
        let rows = self.rows_with_skipped(plan);
        let pages = self.state.answered;
        if let Some(total) = self.state.total_rows {
            if rows == total && !more {
                reached = Some(EndReason::TotalRows);
                if let Some(size) = plan.size.filter(|size| pages == 1 && *size <= total) {
                    self.warn(Warning::TotalIsOnePage { size });
                }
            } else if rows >= total {
                self.mismatch("rows", total, rows);
            }
        }
        if let Some(total) = self.state.total_pages {
            if pages == total && !more {
                reached = reached.or(Some(EndReason::TotalPages));
            } else if pages >= total {
                self.mismatch("pages", total, pages);
            }
        }
        // If two totals disagree, the larger one counts.
        reached.filter(|_| !self.totals_say_more(plan))
    }

    fn totals_say_more(&self, plan: &Plan) -> bool {
        let rows = self.rows_with_skipped(plan);
        self.state.total_rows.is_some_and(|total| rows < total)
            || self
                .state
                .total_pages
                .is_some_and(|total| self.state.answered < total)
    }

    fn compare_totals(&mut self, plan: &Plan) {
        let rows = self.rows_with_skipped(plan);
        if let Some(total) = self.state.total_rows.filter(|total| *total != rows) {
            self.mismatch("rows", total, rows);
        }
        let pages = self.state.answered;
        if let Some(total) = self.state.total_pages.filter(|total| *total > pages) {
            self.mismatch("pages", total, pages);
        }
    }

    fn mismatch(&mut self, of: &'static str, total: u64, read: u64) {
        self.warn(Warning::TotalMismatch { of, total, read });
    }

    fn warn_of_unused_settings(&mut self, plan: &Plan) {
        if self.state.bodies == 0 {
            return;
        }
        for (located, found) in [
            (&plan.has_more, self.state.has_more_found),
            (&plan.total_rows, self.state.total_rows.is_some()),
            (&plan.total_pages, self.state.total_pages.is_some()),
        ] {
            if let Some(located) = located
                && !found
            {
                self.state.warnings.push(Warning::NeverFound {
                    setting: located.setting,
                    path: located.path.to_string(),
                });
            }
        }
    }

    fn warn(&mut self, warning: Warning) {
        if self.state.warned.insert(discriminant(&warning)) {
            self.state.warnings.push(warning);
        }
    }
}

fn no_next_page(page: u64, why: &str) -> Error {
    Error::input(format!("page {page} says that there is more and {why}: rows would be missing")).with_hint(
        "check `stop.has_more` and where `pagination` reads the next page; remove `stop.has_more` if it is unreliable",
    )
}
