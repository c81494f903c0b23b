//! The sequence of pages: what to request next, and when to stop.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde_json::Value;

use super::super::page::{PageRequest, PageResponse};
use super::values::{count, flag, read};
use super::{NextPage, Plan, Step};
use crate::error::{Error, Result};

/// More pages than this are a loop.
const MAX_PAGES: u64 = 100_000;
/// More empty pages in a row than this are a loop.
const MAX_EMPTY_PAGES: u64 = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Turn {
    Next(PageRequest),
    End(EndReason),
}

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

#[derive(Debug)]
pub(in super::super) struct Pager {
    plan: Arc<Plan>,
    pub(in super::super) pages: u64,
    /// Rows so far, before `explode` and rejects.
    pub(in super::super) rows: u64,
    /// Signs that rows may be missing, since this was last emptied.
    pub(in super::super) warnings: Vec<String>,
    /// Each kind of warning is given once.
    warned: HashSet<&'static str>,
    /// Page number or offset of the last request.
    position: u64,
    /// Hashes of the cursors and URLs requested; with random keys, so that no service can make two collide.
    seen: HashSet<u64>,
    hasher: RandomState,
    last_digest: Option<u64>,
    empty_in_a_row: u64,
    total_rows: Option<u64>,
    total_pages: Option<u64>,
    has_body: bool,
    has_more_found: bool,
    /// Page and rows of a short page that a step by size passed over.
    short_page: Option<(u64, u64)>,
}

impl Pager {
    pub(in super::super) fn start(plan: &Arc<Plan>) -> (Self, PageRequest) {
        let counted = match &plan.next {
            NextPage::Count { param, start, .. } => Some((param.clone(), *start)),
            _ => None,
        };
        let pager = Self {
            plan: plan.clone(),
            pages: 0,
            rows: 0,
            warnings: Vec::new(),
            warned: HashSet::new(),
            position: counted.as_ref().map_or(0, |(_, start)| *start),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            last_digest: None,
            empty_in_a_row: 0,
            total_rows: None,
            total_pages: None,
            has_body: false,
            has_more_found: false,
            short_page: None,
        };
        let position = counted.map(|(param, start)| (param, Value::from(start)));
        let set = position.into_iter().chain(plan.size_to_send(true)).collect();
        (pager, PageRequest { url: None, set })
    }

    /// Takes an answer and returns what follows it. Not to be called after the end or an error.
    pub(in super::super) fn next(&mut self, page: &PageResponse) -> Result<Turn> {
        let plan = self.plan.clone();
        self.pages += 1;
        let turn = self.follow(&plan, page)?;
        match &turn {
            Turn::Next(_) => self.check_limits(page.extracted.records)?,
            Turn::End(reason) => self.check_end(&plan, *reason, page),
        }
        Ok(turn)
    }

    fn follow(&mut self, plan: &Plan, page: &PageResponse) -> Result<Turn> {
        let rows = page.extracted.records;
        if page.status == 204 || !(200..300).contains(&page.status) {
            return Ok(Turn::End(EndReason::NoContent));
        }
        self.has_body = true;
        if rows > 0
            && !matches!(plan.next, NextPage::None)
            && self.last_digest.replace(page.extracted.digest) == Some(page.extracted.digest)
        {
            return Err(Error::input(format!(
                "page {} has the same records as the page before it: the pagination would never end",
                self.pages
            ))
            .with_hint(
                "the service may not know the parameter that `pagination` sends, and return the first page each time: \
                 compare its name with the service's documentation",
            ));
        }
        self.rows = self.rows.saturating_add(rows);
        let has_more = ("stop.has_more", plan.stop.has_more.as_ref());
        let has_more = read(page, self.pages, has_more, "true or false", flag)?;
        self.has_more_found |= has_more.is_some();
        self.check_size(plan, rows);
        self.note_totals(plan, page)?;
        match has_more {
            Some(false) => Ok(Turn::End(EndReason::HasMoreIsFalse)),
            more => self.advance(plan, page, more.is_some()),
        }
    }

    /// What follows a page; `more`: it says that there is more, which is believed before its rows are counted.
    fn advance(&mut self, plan: &Plan, page: &PageResponse, more: bool) -> Result<Turn> {
        let (number, rows) = (self.pages, page.extracted.records);
        let short = plan.size.filter(|size| rows < *size);
        let counted = plan.is_counted();
        if rows == 0 && counted && !more {
            return Ok(Turn::End(EndReason::EmptyPage));
        }
        if short.is_some() && plan.stop.short_page && !more {
            return Ok(Turn::End(EndReason::ShortPage));
        }
        if counted && let Some(reason) = self.total_reached(plan, more) {
            return Ok(Turn::End(reason));
        }
        let (request, announced) = match &plan.next {
            NextPage::None => return Ok(Turn::End(EndReason::SinglePage)),
            NextPage::Count { param, step, .. } => {
                let advance = match step {
                    Step::Page => 1,
                    Step::Size(size) => *size,
                    Step::Rows if rows == 0 => {
                        let why = "has no rows, so the next offset would be the same";
                        return Err(no_next_page(number, why));
                    }
                    Step::Rows => rows,
                };
                if matches!(step, Step::Size(_)) {
                    self.short_page = short.map(|_| (number, rows));
                }
                self.position = self.position.saturating_add(advance);
                let position = (param.clone(), Value::from(self.position));
                let size = plan.size_to_send(false);
                let set = std::iter::once(position).chain(size).collect();
                (PageRequest { url: None, set }, more || self.totals_say_more(plan))
            }
            NextPage::Cursor { .. } | NextPage::Url(_) | NextPage::LinkHeader => {
                let Some(token) = plan.next.token(page, number)? else {
                    return match more {
                        true => Err(no_next_page(number, "names no next page")),
                        false => Ok(Turn::End(EndReason::NoNextPage)),
                    };
                };
                (self.with_token(plan, token, page)?, true)
            }
        };
        if announced && rows == 0 {
            let text = format!("page {number} is empty and says that there is more");
            self.warn("empty page", text);
        } else if announced && let Some(size) = short {
            let text = format!(
                "page {number} has {rows} rows, {size} were requested, and it says that there is more"
            );
            self.warn("short page", text);
        }
        Ok(Turn::Next(request))
    }

    /// The request with a cursor or URL that was not requested before.
    fn with_token(&mut self, plan: &Plan, token: Value, page: &PageResponse) -> Result<PageRequest> {
        let text = match &token {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let size = plan.size_to_send(false);
        let (key, request) = match &plan.next {
            NextPage::Cursor { into, .. } => {
                let set = std::iter::once((into.clone(), token)).chain(size).collect();
                (text, PageRequest { url: None, set })
            }
            _ => {
                // The page just read counts as requested, however its URL came about.
                self.seen.insert(self.hasher.hash_one(page.url.as_str()));
                let target = page.url.join(&text).map(String::from);
                let set = size.into_iter().collect();
                let url = Some(text.clone());
                (target.unwrap_or(text), PageRequest { url, set })
            }
        };
        if self.seen.insert(self.hasher.hash_one(key.as_str())) {
            return Ok(request);
        }
        Err(Error::input(format!(
            "page {} names a next page that was read before: the pagination would never end",
            self.pages
        ))
        .with_hint(
            "compare `pagination` with the service's documentation: the cursor may belong in another place of the \
             request",
        ))
    }

    /// Rejects a sequence that is a loop before its next request.
    fn check_limits(&mut self, rows: u64) -> Result<()> {
        if self.pages >= MAX_PAGES {
            return Err(Error::input(format!(
                "there are more than {MAX_PAGES} pages: the pagination may be a loop; {} pages with {} rows were read",
                self.pages, self.rows
            ))
            .with_hint(
                "set a larger page `size`, or read less at a time with `incremental.window` or `for_each`",
            ));
        }
        self.empty_in_a_row = if rows == 0 { self.empty_in_a_row + 1 } else { 0 };
        if self.empty_in_a_row >= MAX_EMPTY_PAGES {
            return Err(Error::input(format!(
                "{MAX_EMPTY_PAGES} pages in a row are empty, and each says that there is more"
            ))
            .with_hint(
                "check that `records` finds the rows, and `pagination` against the service's documentation",
            ));
        }
        Ok(())
    }

    fn check_size(&mut self, plan: &Plan, rows: u64) {
        let Some(size) = plan.size else { return };
        if rows > size {
            let text = format!(
                "page {} has {rows} rows, {size} were requested: the service may not page this request",
                self.pages
            );
            self.warn("more than requested", text);
        }
        if let Some((page, before)) = self.short_page.take()
            && rows > 0
        {
            let text = format!(
                "page {page} has {before} rows, {size} were requested, and another page follows: with `step: size` \
                 rows are skipped if the service gives fewer than requested"
            );
            self.warn("stepped over a short page", text);
        }
    }

    fn note_totals(&mut self, plan: &Plan, page: &PageResponse) -> Result<()> {
        let rows = ("stop.total_rows", plan.stop.total_rows.as_ref());
        let pages = ("stop.total_pages", plan.stop.total_pages.as_ref());
        let rows = read(page, self.pages, rows, "a count", count)?;
        let pages = read(page, self.pages, pages, "a count", count)?;
        for (of, before, now) in [
            ("rows", self.total_rows, rows),
            ("pages", self.total_pages, pages),
        ] {
            if let (Some(from), Some(to)) = (before, now)
                && from != to
            {
                let text = format!(
                    "the total number of {of} was {from} and is {to} on page {}: records changed during the run, and \
                     some may be missing or duplicated",
                    self.pages
                );
                self.warn("total changed", text);
            }
        }
        self.total_rows = rows.or(self.total_rows);
        self.total_pages = pages.or(self.total_pages);
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
        skipped.saturating_add(self.rows)
    }

    /// Whether everything that a total announced was read. A total that was exceeded is no total: reading goes on, so
    /// that no row is lost.
    fn total_reached(&mut self, plan: &Plan, more: bool) -> Option<EndReason> {
        let mut reached = None;
        let rows = self.rows_with_skipped(plan);
        if let Some(total) = self.total_rows {
            if rows == total && !more {
                reached = Some(EndReason::TotalRows);
                if let Some(size) = plan.size.filter(|size| self.pages == 1 && *size <= total) {
                    let text = format!(
                        "the first page is full with {size} rows, and the total number of rows is the same: if \
                         `stop.total_rows` is the count of the page, all other pages are missing"
                    );
                    self.warn("total is one page", text);
                }
            } else if rows >= total {
                self.mismatch("rows", total, rows);
            }
        }
        if let Some(total) = self.total_pages {
            if self.pages == total && !more {
                reached = reached.or(Some(EndReason::TotalPages));
            } else if self.pages >= total {
                self.mismatch("pages", total, self.pages);
            }
        }
        // If two totals disagree, the larger one counts.
        reached.filter(|_| !self.totals_say_more(plan))
    }

    fn totals_say_more(&self, plan: &Plan) -> bool {
        let rows = self.rows_with_skipped(plan);
        self.total_rows.is_some_and(|total| rows < total)
            || self.total_pages.is_some_and(|total| self.pages < total)
    }

    /// Warns at the end if rows may be missing or settings have found nothing.
    fn check_end(&mut self, plan: &Plan, reason: EndReason, page: &PageResponse) {
        let rows = self.rows_with_skipped(plan);
        if let Some(total) = self.total_rows.filter(|total| *total != rows) {
            self.mismatch("rows", total, rows);
        }
        if let Some(total) = self.total_pages.filter(|total| *total > self.pages) {
            self.mismatch("pages", total, self.pages);
        }
        let (rows_found, pages_found) = (self.total_rows.is_some(), self.total_pages.is_some());
        for (setting, path, found) in [
            ("stop.has_more", &plan.stop.has_more, self.has_more_found),
            ("stop.total_rows", &plan.stop.total_rows, rows_found),
            ("stop.total_pages", &plan.stop.total_pages, pages_found),
        ] {
            if let Some(path) = path.as_ref().filter(|_| self.has_body && !found) {
                self.warn(
                    setting,
                    format!("no answer has a value at `{path}` (`{setting}`)"),
                );
            }
        }
        // A misspelled path finds nothing, and nothing is the end.
        if matches!(reason, EndReason::NoNextPage | EndReason::SinglePage)
            && let Some(place) = plan.next_page_elsewhere(page)
        {
            let text = format!(
                "the last page names a next page at {place}, which `pagination` does not read: there may be more"
            );
            self.warn("next page elsewhere", text);
        }
    }

    fn mismatch(&mut self, of: &'static str, total: u64, read: u64) {
        let text =
            format!("the service announced {total} {of} and gave {read}: some may be missing or duplicated");
        self.warn("total mismatch", text);
    }

    fn warn(&mut self, kind: &'static str, text: String) {
        if self.warned.insert(kind) {
            self.warnings.push(text);
        }
    }
}

fn no_next_page(page: u64, why: &str) -> Error {
    Error::input(format!("page {page} says that there is more and {why}: rows would be missing")).with_hint(
        "check `stop.has_more` and where `pagination` reads the next page; remove `stop.has_more` if it is unreliable",
    )
}
