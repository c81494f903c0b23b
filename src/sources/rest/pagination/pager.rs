//! The sequence of pages: what to ask, and when to stop.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem::Discriminant;
use std::sync::Arc;

use serde_json::Value;

use super::super::page::{PageRequest, PageResponse};
use super::config::{OnDoubt, OnLimit};
use super::facts::{Facts, count, flag};
use super::plan::{Goes, Kind, Looked, Plan, Stride};
use super::token;
use super::warning::Warning;
use crate::error::{Error, Result};

/// So many pages without a row, one after the other, and the paging leads nowhere.
const EMPTY_IN_A_ROW: u64 = 1_000;

/// What comes after a page.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::sources::rest) enum Turn {
    /// Another one.
    Next(PageRequest),
    /// Nothing.
    End(EndReason),
}

/// Why a page was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::rest) enum EndReason {
    /// There is one answer only.
    OnlyPage,
    /// It has no rows.
    EmptyPage,
    /// It has fewer rows than asked for.
    ShortPage,
    /// Its status is that of the end.
    Status(u16),
    /// It names no next page.
    NoToken,
    /// It says that there is no more.
    NoMore,
    /// All rows of the total are there.
    TotalRows,
    /// All pages of the total are there.
    TotalPages,
    /// A bound was reached, and is set to stop.
    Bound,
    /// It names a page that was read, and that is set to stop.
    Repeated,
    /// It has the records of the page before it, and that is set to stop. Its own are to be left out.
    DuplicatePage,
}

impl EndReason {
    /// Whether rows may be left unread behind it, on purpose.
    pub(in crate::sources::rest) fn cuts(self) -> bool {
        matches!(self, Self::Bound | Self::Repeated | Self::DuplicatePage)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyPage => "there is one page only",
            Self::EmptyPage => "the page is empty",
            Self::ShortPage => "the page is short",
            Self::Status(status) => return write!(f, "the status is {status}"),
            Self::NoToken => "no next page is named",
            Self::NoMore => "the service says that there is no more",
            Self::TotalRows => "all rows of the total are there",
            Self::TotalPages => "all pages of the total are there",
            Self::Bound => "a bound is reached",
            Self::Repeated => "the next page was read before",
            Self::DuplicatePage => "the page is the one before it again",
        })
    }
}

/// One sequence of pages. A clone of one that has not begun begins anew.
#[derive(Debug, Clone)]
pub(in crate::sources::rest) struct Pager {
    pub(super) plan: Arc<Plan>,
    /// Of a hasher with random keys: no service can make two tokens look the same.
    keys: RandomState,
    pub(super) state: State,
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Requests given out.
    pub(super) asked: u64,
    /// Answers taken.
    pub(super) answered: u64,
    /// Answers with a body to look into.
    pub(super) bodies: u64,
    pub(super) rows: u64,
    /// Page number or offset of the last request given out.
    pub(super) position: u64,
    /// Tokens and URLs asked for.
    pub(super) seen: HashSet<u64>,
    pub(super) last_digest: Option<u64>,
    pub(super) empty_in_a_row: u64,
    /// The last totals told.
    pub(super) total_rows: Option<u64>,
    pub(super) total_pages: Option<u64>,
    pub(super) has_more_told: bool,
    /// A short page that a step of the limit went over.
    pub(super) short: Option<(u64, u64)>,
    pub(super) ended: bool,
    pub(super) said: HashSet<Discriminant<Warning>>,
    pub(super) warnings: Vec<Warning>,
}

impl Pager {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan: Arc::new(plan),
            keys: RandomState::new(),
            state: State::default(),
        }
    }

    /// What the first page is asked with. Begins the sequence, whatever was before.
    pub(in crate::sources::rest) fn first(&mut self) -> PageRequest {
        self.state = State {
            asked: 1,
            ..State::default()
        };
        let mut ask = PageRequest {
            url: None,
            set: Vec::new(),
        };
        match &self.plan.kind {
            Kind::Count { param, start, .. } => {
                self.state.position = *start;
                ask.set.push((param.clone(), Value::from(*start)));
            }
            Kind::Token {
                goes:
                    Goes::Into {
                        place,
                        start: Some(start),
                    },
                ..
            } => {
                self.state.seen.insert(self.key(start));
                ask.set.push((place.clone(), Value::from(start.as_str())));
            }
            Kind::Single | Kind::Token { .. } => {}
        }
        ask.set.extend(self.plan.first.iter().cloned());
        ask
    }

    /// Takes an answer and says what comes after it. `digest` stands for the page's records; `last_record` is the last
    /// of them.
    ///
    /// # Errors
    /// The paging would never end, or rows would be lost: a page or token comes again, more is announced and nothing
    /// leads there, a bound is passed, a value is none. The page itself is counted.
    pub(in crate::sources::rest) fn next(
        &mut self,
        told: &PageResponse<'_>,
        digest: u64,
        last_record: Option<&Value>,
    ) -> Result<Turn> {
        if self.state.ended || self.state.answered >= self.state.asked {
            return Err(
                Error::unexpected("a page was given to a sequence that did not ask for it")
                    .with_hint("please report this: it should not happen"),
            );
        }
        let plan = Arc::clone(&self.plan);
        self.state.answered += 1;
        if told.status == 204 || plan.stops.status.contains(&told.status) {
            return self.end(EndReason::Status(told.status), told);
        }
        self.state.bodies += 1;
        if self.is_duplicate(told, digest)? {
            return self.end(EndReason::DuplicatePage, told);
        }
        self.state.rows = self.state.rows.saturating_add(told.records);
        let facts = self.facts(&plan, told)?;
        self.look_at_size(told);
        self.look_at_totals(facts)?;
        if let Some(most) = plan.bounds.max_rows
            && plan.bounds.on_limit == OnLimit::Error
            && self.state.rows > most.get()
        {
            return Err(self.bound_passed("max_rows", most.get()));
        }
        if facts.has_more == Some(false) {
            return self.end(EndReason::NoMore, told);
        }
        match self.onward(&plan, told, facts, last_record)? {
            Turn::End(reason) => self.end(reason, told),
            Turn::Next(ask) => self.go_on(ask, told),
        }
    }

    /// What was noticed since the last call.
    pub(in crate::sources::rest) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.state.warnings)
    }

    /// Rows so far, before any of them was exploded or put aside.
    pub(in crate::sources::rest) fn rows(&self) -> u64 {
        self.state.rows
    }

    /// Pages so far.
    pub(in crate::sources::rest) fn pages(&self) -> u64 {
        self.state.answered
    }

    fn facts(&mut self, plan: &Plan, told: &PageResponse<'_>) -> Result<Facts> {
        let page = self.state.answered;
        let facts = Facts {
            has_more: read(plan.has_more.as_ref(), told, page, "true or false", flag)?,
            total_rows: read(plan.total_rows.as_ref(), told, page, "a count", count)?,
            total_pages: read(plan.total_pages.as_ref(), told, page, "a count", count)?,
        };
        self.state.has_more_told |= facts.has_more.is_some();
        Ok(facts)
    }

    /// Whether the page is to end the sequence because it is the one before it again.
    fn is_duplicate(&mut self, told: &PageResponse<'_>, digest: u64) -> Result<bool> {
        if told.records == 0 || matches!(self.plan.kind, Kind::Single) {
            return Ok(false);
        }
        let page = self.state.answered;
        if self.state.last_digest.replace(digest) != Some(digest) {
            return Ok(false);
        }
        match self.plan.checks.on_duplicate_page {
            OnDoubt::Ignore => Ok(false),
            OnDoubt::Stop => {
                self.say(Warning::Duplicate { page });
                Ok(true)
            }
            OnDoubt::Error => Err(Error::input(format!(
                "page {page} has the very records of the page before it: the paging would never end"
            ))
            .with_hint("the service may not know the paging parameter as it is written, and give the first page each time: compare it with the service's documentation")
            .with_hint("if the service gives its last page again after the end, give `checks: {on_duplicate_page: stop}`")),
        }
    }

    /// What comes next, bounds set aside.
    fn onward(
        &mut self,
        plan: &Plan,
        told: &PageResponse<'_>,
        facts: Facts,
        last_record: Option<&Value>,
    ) -> Result<Turn> {
        let page = self.state.answered;
        let empty = told.records == 0;
        let more = facts.has_more == Some(true);
        let short = plan.size.filter(|size| told.records < *size);
        if matches!(plan.kind, Kind::Single) {
            return Ok(Turn::End(EndReason::OnlyPage));
        }
        // A page that says that there is more is believed before it is counted.
        if empty && plan.empty_page && !more {
            return Ok(Turn::End(EndReason::EmptyPage));
        }
        if short.is_some() && plan.stops.short_page && !more {
            return Ok(Turn::End(EndReason::ShortPage));
        }
        if plan.ends_by_total()
            && let Some(reason) = self.total_reached(plan, more)?
        {
            return Ok(Turn::End(reason));
        }
        let (ask, announced) = match &plan.kind {
            Kind::Single => return Ok(Turn::End(EndReason::OnlyPage)),
            Kind::Count { step, .. } => {
                let step = match step {
                    Stride::Page => 1,
                    Stride::Limit(limit) => *limit,
                    Stride::Rows => told.records,
                };
                if step == 0 {
                    return Err(leads_nowhere(
                        page,
                        "has no rows, and the next offset would be the same again",
                    ));
                }
                let position = self.state.position.checked_add(step).ok_or_else(|| {
                    Error::input(format!("page {page}: the next position is too large a number"))
                })?;
                self.state.position = position;
                (self.counted(position), more || self.totals_say_more())
            }
            Kind::Token { from, goes } => {
                if empty && plan.ends_by_total() {
                    return Err(leads_nowhere(page, "has no last record to go on after"));
                }
                let whole_url = matches!(goes, Goes::Url);
                let token = token::find(from, whole_url, told, last_record, page, plan.find_link)?;
                let Some(token) = token else {
                    if more {
                        return Err(leads_nowhere(page, "names no next page"));
                    }
                    return Ok(Turn::End(EndReason::NoToken));
                };
                match self.with_token(goes, token, told)? {
                    Some(ask) => (ask, more || !plan.ends_by_total()),
                    None => return Ok(Turn::End(EndReason::Repeated)),
                }
            }
        };
        if announced && empty {
            self.say(Warning::EmptyPageWithMore { page });
        } else if let Some(size) = short.filter(|_| announced) {
            let rows = told.records;
            self.say(Warning::ShortPageWithMore { page, rows, size });
        }
        if let Kind::Count {
            step: Stride::Limit(_),
            ..
        } = plan.kind
        {
            self.state.short = short.map(|_| (page, told.records));
        }
        Ok(Turn::Next(ask))
    }

    /// The request with a token; `None` if it was made before and that is set to stop.
    fn with_token(
        &mut self,
        goes: &Goes,
        token: Value,
        told: &PageResponse<'_>,
    ) -> Result<Option<PageRequest>> {
        let page = self.state.answered;
        let text = match &token {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let key = match goes {
            Goes::Into { .. } => self.key(&text),
            Goes::Url => {
                // The page that was just asked for is one that was read, however it came to its URL.
                let here = self.key(told.url.as_str());
                self.state.seen.insert(here);
                // A link that leads nowhere is refused where it is followed.
                let target = told.url.join(&text).map(String::from);
                self.key(target.as_deref().unwrap_or(&text))
            }
        };
        if !self.state.seen.insert(key) {
            return match self.plan.checks.on_repeat {
                OnLimit::Stop => {
                    self.say(Warning::Repeated { page });
                    Ok(None)
                }
                OnLimit::Error => Err(Error::input(format!(
                    "page {page} names a next page that was read before: the paging would never end"
                ))
                .with_hint("compare `pagination` with the service's documentation: the cursor may have to go into another place of the request")
                .with_hint("if the service names its last page again at the end, give `checks: {on_repeat: stop}`")),
            };
        }
        let mut ask = PageRequest {
            url: None,
            set: self.plan.later.clone(),
        };
        match goes {
            Goes::Url => ask.url = Some(text),
            Goes::Into { place, .. } => ask.set.insert(0, (place.clone(), token)),
        }
        Ok(Some(ask))
    }

    /// The request for a position.
    fn counted(&self, position: u64) -> PageRequest {
        let mut set = self.plan.later.clone();
        if let Kind::Count { param, .. } = &self.plan.kind {
            set.insert(0, (param.clone(), Value::from(position)));
        }
        PageRequest { url: None, set }
    }

    /// Gives out another request, if the bounds allow for one.
    fn go_on(&mut self, ask: PageRequest, told: &PageResponse<'_>) -> Result<Turn> {
        let bounds = &self.plan.bounds;
        let max_pages = bounds.max_pages.get();
        let bound = if self.state.asked >= max_pages {
            Some(("max_pages", max_pages))
        } else {
            bounds
                .max_rows
                .filter(|most| bounds.on_limit == OnLimit::Stop && self.state.rows >= most.get())
                .map(|most| ("max_rows", most.get()))
        };
        if let Some((bound, at)) = bound {
            if bounds.on_limit == OnLimit::Error {
                return Err(self.bound_passed(bound, at));
            }
            self.say(Warning::Bounded { bound, at });
            return self.end(EndReason::Bound, told);
        }
        self.state.empty_in_a_row = match told.records {
            0 => self.state.empty_in_a_row + 1,
            _ => 0,
        };
        if self.state.empty_in_a_row >= EMPTY_IN_A_ROW {
            return Err(Error::input(format!(
                "{EMPTY_IN_A_ROW} pages in a row are empty, and each says that there is more: the paging leads nowhere"
            ))
            .with_hint("check that `records` finds the rows, and `pagination` against the service's documentation"));
        }
        self.state.asked += 1;
        Ok(Turn::Next(ask))
    }

    fn end(&mut self, reason: EndReason, told: &PageResponse<'_>) -> Result<Turn> {
        self.state.ended = true;
        if !reason.cuts() {
            self.compare_totals()?;
            self.look_for_what_was_never_told();
        }
        if matches!(reason, EndReason::NoToken | EndReason::OnlyPage) {
            self.look_elsewhere(told);
        }
        Ok(Turn::End(reason))
    }

    fn bound_passed(&self, bound: &'static str, at: u64) -> Error {
        let (pages, rows) = (self.state.answered, self.state.rows);
        Error::input(format!(
            "there is more than `bounds.{bound}` allows: {at}; read were {pages} pages with {rows} rows"
        ))
        .with_hint(format!(
            "if so much is right, give a larger `bounds.{bound}`; if not, the paging may go round in circles"
        ))
    }

    fn key(&self, text: &str) -> u64 {
        self.keys.hash_one(text)
    }
}

fn read<T>(
    looked: Option<&Looked>,
    told: &PageResponse<'_>,
    page: u64,
    wanted: &str,
    read: fn(&Value) -> Result<Option<T>, &'static str>,
) -> Result<Option<T>> {
    let Some(looked) = looked else { return Ok(None) };
    let Some(value) = told.values.get(looked.probe) else {
        return Ok(None);
    };
    read(value).map_err(|found| {
        Error::input(format!(
            "page {page}: at `{}`, where `{}` looks, is {found} and not {wanted}",
            looked.path, looked.setting
        ))
    })
}

fn leads_nowhere(page: u64, why: &str) -> Error {
    Error::input(format!("page {page} says that there is more and {why}: rows would be missing"))
        .with_hint("check `stop.has_more` and where `pagination` looks for the next page; take `stop.has_more` out if it cannot be relied on")
}
