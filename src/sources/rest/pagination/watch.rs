//! What a sequence of pages is watched for: sizes, totals, and an end that comes too early.

use std::mem::discriminant;
use std::sync::Arc;

use serde_json::Value;

use super::super::page::PageResponse;
use super::config::OnMismatch;
use super::facts::Facts;
use super::pager::{EndReason, Pager};
use super::plan::Plan;
use super::warning::Warning;
use crate::error::{Error, Result};

impl Pager {
    pub(super) fn look_at_size(&mut self, told: &PageResponse<'_>) {
        let page = self.state.answered;
        let Some(size) = self.plan.size else { return };
        if told.records > size {
            self.say(Warning::MoreThanAsked {
                page,
                rows: told.records,
                size,
            });
        }
        if let Some((page, rows)) = self.state.short.take()
            && told.records > 0
        {
            self.say(Warning::SteppedOverShortPage { page, rows, size });
        }
    }

    pub(super) fn look_at_totals(&mut self, facts: Facts) -> Result<()> {
        let page = self.state.answered;
        for (of, before, now) in [
            ("rows", self.state.total_rows, facts.total_rows),
            ("pages", self.state.total_pages, facts.total_pages),
        ] {
            if let (Some(from), Some(to)) = (before, now)
                && from != to
            {
                self.mismatch(Warning::TotalChanged { of, from, to, page })?;
            }
        }
        self.state.total_rows = facts.total_rows.or(self.state.total_rows);
        self.state.total_pages = facts.total_pages.or(self.state.total_pages);
        Ok(())
    }

    /// Whether all of a total is there.
    pub(super) fn total_reached(&mut self, plan: &Plan, more: bool) -> Result<Option<EndReason>> {
        let read = plan.skipped().saturating_add(self.state.rows);
        let mut reached = None;
        if let Some(total) = self.state.total_rows {
            if read == total && !more {
                reached = Some(EndReason::TotalRows);
                let size = plan
                    .size
                    .filter(|size| self.state.answered == 1 && *size <= total);
                if let Some(size) = size {
                    self.say(Warning::TotalIsOnePage { size });
                }
            } else if read >= total {
                // The total cannot be one: go on, lest rows be lost.
                self.mismatch(Warning::TotalMissed {
                    of: "rows",
                    total,
                    read,
                })?;
            }
        }
        if let Some(total) = self.state.total_pages {
            let read = self.state.answered;
            if read == total && !more {
                reached = reached.or(Some(EndReason::TotalPages));
            } else if read >= total {
                self.mismatch(Warning::TotalMissed {
                    of: "pages",
                    total,
                    read,
                })?;
            }
        }
        // Two totals that do not agree: the larger one counts.
        Ok(reached.filter(|_| !self.totals_say_more()))
    }

    pub(super) fn totals_say_more(&self) -> bool {
        let (plan, state) = (&*self.plan, &self.state);
        let rows = plan.skipped().saturating_add(state.rows);
        state.total_rows.is_some_and(|total| rows < total)
            || state.total_pages.is_some_and(|total| state.answered < total)
    }

    pub(super) fn compare_totals(&mut self) -> Result<()> {
        let read = self.plan.skipped().saturating_add(self.state.rows);
        if let Some(total) = self.state.total_rows.filter(|total| *total != read) {
            self.mismatch(Warning::TotalMissed {
                of: "rows",
                total,
                read,
            })?;
        }
        let read = self.state.answered;
        if let Some(total) = self.state.total_pages.filter(|total| *total > read) {
            self.mismatch(Warning::TotalMissed {
                of: "pages",
                total,
                read,
            })?;
        }
        Ok(())
    }

    pub(super) fn look_for_what_was_never_told(&mut self) {
        let plan = Arc::clone(&self.plan);
        let state = &mut self.state;
        if state.bodies == 0 {
            return;
        }
        for (looked, was_told) in [
            (&plan.has_more, state.has_more_told),
            (&plan.total_rows, state.total_rows.is_some()),
            (&plan.total_pages, state.total_pages.is_some()),
        ] {
            if let Some(looked) = looked
                && !was_told
            {
                state.warnings.push(Warning::NeverTold {
                    setting: looked.setting,
                    path: looked.path.to_string(),
                });
            }
        }
    }

    /// A path with a slip of the pen finds nothing, and nothing is the end: what looks like a next page elsewhere is
    /// worth a word.
    pub(super) fn look_elsewhere(&mut self, told: &PageResponse<'_>) {
        let plan = Arc::clone(&self.plan);
        let link = (plan.find_link)(told.headers, "next").is_some_and(|link| !link.trim().is_empty());
        let place = plan
            .usual
            .iter()
            .find(|(probe, _)| told.values.get(*probe).is_some_and(names_a_page))
            .map(|(_, path)| format!("`{path}`"))
            .or_else(|| link.then(|| "the `Link` header".to_owned()));
        if let Some(place) = place {
            self.say(Warning::NextElsewhere { place });
        }
    }

    fn mismatch(&mut self, warning: Warning) -> Result<()> {
        match self.plan.checks.on_total_mismatch {
            OnMismatch::Ignore => Ok(()),
            OnMismatch::Warn => {
                self.say(warning);
                Ok(())
            }
            OnMismatch::Error => Err(Error::input(warning.to_string())
                .with_hint("run again: what changed while it was read comes whole the next time")
                .with_hint(
                    "check that the path of the total leads to that of all pages, and not to that of one",
                )),
        }
    }

    pub(super) fn say(&mut self, warning: Warning) {
        if self.state.said.insert(discriminant(&warning)) {
            self.state.warnings.push(warning);
        }
    }
}

/// Whether a value looks like the name of a next page.
fn names_a_page(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Bool(more) => *more,
        Value::Object(link) => link.get("href").is_some_and(names_a_page),
        _ => false,
    }
}
