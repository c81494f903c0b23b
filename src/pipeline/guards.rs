//! Judges a run's numbers before anything is sent.
//!
//! A wrong number of rows is most often a wrong export, not a change in the company: a file that was still being
//! written when it was read, a join that paired every row with every other, a filter that no longer matches because
//! somebody renamed a status, a new file format whose columns have moved. Each single row looks right. What is sent
//! feeds decisions about people and cannot be taken back, so the numbers of the whole run are judged while all rows
//! are still here ([`stage`](super::stage)), and a person decides about what stands out.
//!
//! Nothing here reads a clock or a file: [`Judge::judge`] maps figures to verdicts. What it guarantees:
//!
//! - A figure exactly at its limit passes. Shares are compared as the quotient of two whole numbers, which is the very
//!   number a person writes: 29 of 100 is no more than `0.29`, though `0.29 * 100` is less than 29.
//! - A guard that cannot be judged (no earlier run to compare with, a run over part of the input) is listed with the
//!   reason; it is never left out.
//! - No text holds a value of a row.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::component::Totals;
use crate::config::{Guard, GuardsConfig};
use crate::error::{Error, ErrorKind};
use crate::ledger::LastRun;

/// What the guards of a run said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct GuardsReport {
    /// Whether all rows were taken in before the first was sent; so it is when any sink has a guard.
    pub staged: bool,
    /// Every guard of every sink, in the pipeline file's order of sinks.
    pub judged: Vec<Judged>,
}

/// One guard of one sink.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Judged {
    /// Name of the sink.
    pub sink: String,
    /// The guard.
    pub guard: Guard,
    /// What it said.
    pub outcome: GuardOutcome,
    /// What was found, in the limit's unit; absent when it was not judged, or when it is a share of nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
    /// The limit from the pipeline file.
    pub limit: Figure,
    /// The run that was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Baseline>,
    /// The same for a person: figure and limit in rows, or why it was not judged.
    pub why: String,
}

/// What a guard said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardOutcome {
    /// Within the limit.
    Passed,
    /// Over the limit: nothing was sent.
    Tripped,
    /// Over the limit, and let through by hand for this run.
    Allowed,
    /// There was nothing to judge it by.
    NotJudged,
}

/// A figure or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    /// A number of rows.
    Rows(u64),
    /// A share of rows: 0.2 is a fifth.
    Share(f64),
}

/// The last complete run of a sink, with which a run is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Baseline {
    /// The run's id.
    pub run: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// Rows that came to the sink.
    pub rows: u64,
}

impl From<&LastRun> for Baseline {
    fn from(last: &LastRun) -> Self {
        Self {
            run: last.run.clone(),
            ended: last.ended.to_string(),
            rows: last.rows,
        }
    }
}

/// A sink and what it is judged by.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    /// Name of the sink.
    pub(crate) sink: Arc<str>,
    /// Its guards, those for every sink included; none is set where it has none.
    pub(crate) guards: GuardsConfig,
    /// Its last complete run.
    pub(crate) last: Option<LastRun>,
}

/// Everything that the guards of a run need to know.
pub(crate) struct Judge {
    /// All sinks of the run, in the pipeline file's order.
    pub(crate) sinks: Vec<Guarded>,
    /// Guards that are let through in this run.
    pub(crate) allowed: BTreeSet<Guard>,
    /// Whether the sources are read only in part.
    pub(crate) partial: bool,
    /// Whether all sources say that there was nothing new to read. Asked once, as `totals`.
    pub(crate) nothing_new: Box<dyn Fn() -> bool + Send + Sync>,
    /// Sums over all components so far. Asked once, when the inputs of all sinks have ended.
    pub(crate) totals: Box<dyn Fn() -> Totals + Send + Sync>,
}

/// What came to a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Rows.
    pub(crate) rows: u64,
    /// Most rows of one person; 0 when they were not counted.
    pub(crate) most_per_person: u64,
    /// Persons with more rows than allowed.
    pub(crate) persons_over: u64,
}

/// A figure beside its limit.
struct Finding {
    figure: Option<Figure>,
    over: bool,
    why: String,
}

impl Judge {
    /// Judges every guard of every sink. `figures` are in the order of the sinks.
    pub(crate) fn judge(&self, figures: &[Figures]) -> Vec<Judged> {
        if (self.nothing_new)() {
            return self.not_judged("no source had anything new to read");
        }
        let totals = (self.totals)();
        self.each(|index, guarded, guard| {
            let figures = figures.get(index).ok_or("nothing came from the sink")?;
            self.find(guarded, guard, figures, &totals)
        })
    }

    /// Every guard, as not judged.
    pub(crate) fn not_judged(&self, why: &'static str) -> Vec<Judged> {
        self.each(|_, _, _| Err(why))
    }

    /// The most rows with which the sink at `index` can pass: with more, keeping them is of no use.
    pub(crate) fn most_rows(&self, index: usize) -> u64 {
        let Some(guarded) = self.sinks.get(index) else {
            return u64::MAX;
        };
        let binds = |guard: Guard| !self.allowed.contains(&guard);
        let most = guarded.guards.max_rows.filter(|_| binds(Guard::MaxRows));
        let grown = guarded.guards.max_growth.filter(|_| binds(Guard::MaxGrowth));
        let grown = grown
            .zip(guarded.last.as_ref())
            .map(|(limit, last)| last.rows.saturating_add(within(limit, last.rows)));
        most.into_iter().chain(grown).min().unwrap_or(u64::MAX)
    }

    fn each(&self, find: impl Fn(usize, &Guarded, Guard) -> Result<Finding, &'static str>) -> Vec<Judged> {
        let mut judged = Vec::new();
        for (index, guarded) in self.sinks.iter().enumerate() {
            for (guard, limit) in limits(&guarded.guards) {
                let found = find(index, guarded, guard);
                let compares = matches!(guard, Guard::MaxShrink | Guard::MaxGrowth);
                judged.push(Judged {
                    sink: guarded.sink.to_string(),
                    guard,
                    outcome: match &found {
                        Err(_) => GuardOutcome::NotJudged,
                        Ok(found) if !found.over => GuardOutcome::Passed,
                        Ok(_) if self.allowed.contains(&guard) => GuardOutcome::Allowed,
                        Ok(_) => GuardOutcome::Tripped,
                    },
                    figure: found.as_ref().ok().and_then(|found| found.figure),
                    limit,
                    last: guarded.last.as_ref().filter(|_| compares).map(Baseline::from),
                    why: found.map_or_else(str::to_owned, |found| found.why),
                });
            }
        }
        judged
    }

    fn find(
        &self,
        guarded: &Guarded,
        guard: Guard,
        figures: &Figures,
        totals: &Totals,
    ) -> Result<Finding, &'static str> {
        let (guards, came) = (&guarded.guards, figures.rows);
        if self.partial && matches!(guard, Guard::MinRows | Guard::MaxShrink) {
            return Err("the run reads its sources only in part");
        }
        let last = || {
            guarded
                .last
                .as_ref()
                .ok_or("there is no complete run of this sink yet to compare with")
        };
        Ok(match guard {
            Guard::MinRows => {
                let limit = guards.min_rows.unwrap_or(0);
                Finding {
                    figure: Some(Figure::Rows(came)),
                    over: came < limit,
                    why: format!("{}, at least {limit} wanted", rows(came)),
                }
            }
            Guard::MaxRows => {
                let limit = guards.max_rows.unwrap_or(u64::MAX);
                Finding {
                    figure: Some(Figure::Rows(came)),
                    over: came > limit,
                    why: format!("{}, at most {limit} allowed", rows(came)),
                }
            }
            Guard::MaxShrink => {
                let last = last()?;
                let fewer = last.rows.saturating_sub(came);
                let limit = guards.max_shrink.unwrap_or(1.0);
                changed(came, last, fewer, limit, "fewer")
            }
            Guard::MaxGrowth => {
                let last = last()?;
                let more = came.saturating_sub(last.rows);
                let limit = guards.max_growth.unwrap_or(f64::INFINITY);
                changed(came, last, more, limit, "more")
            }
            Guard::MaxRejectRatio => {
                let came = totals.read + totals.copied + totals.derived;
                let to_send = came.saturating_sub(totals.filtered + totals.combined);
                let limit = guards.max_reject_ratio.unwrap_or(1.0);
                Finding {
                    figure: share(totals.rejected, to_send),
                    over: is_over(totals.rejected, to_send, limit),
                    why: format!(
                        "{} of {} put aside, at most {} allowed",
                        totals.rejected,
                        rows(to_send),
                        within(limit, to_send)
                    ),
                }
            }
            Guard::MaxRowsPerPerson => {
                let limit = guards.max_rows_per_person.unwrap_or(u64::MAX);
                let mut why = format!(
                    "up to {} of one person, at most {limit} allowed",
                    rows(figures.most_per_person)
                );
                match figures.persons_over {
                    0 => {}
                    1 => why.push_str("; one person has more"),
                    over => why.push_str(&format!("; {over} persons have more")),
                }
                Finding {
                    figure: Some(Figure::Rows(figures.most_per_person)),
                    over: figures.most_per_person > limit,
                    why,
                }
            }
        })
    }
}

/// The guards that are set, with their limits.
fn limits(guards: &GuardsConfig) -> impl Iterator<Item = (Guard, Figure)> {
    [
        (Guard::MinRows, guards.min_rows.map(Figure::Rows)),
        (Guard::MaxRows, guards.max_rows.map(Figure::Rows)),
        (Guard::MaxShrink, guards.max_shrink.map(Figure::Share)),
        (Guard::MaxGrowth, guards.max_growth.map(Figure::Share)),
        (Guard::MaxRejectRatio, guards.max_reject_ratio.map(Figure::Share)),
        (
            Guard::MaxRowsPerPerson,
            guards.max_rows_per_person.map(Figure::Rows),
        ),
    ]
    .into_iter()
    .filter_map(|(guard, limit)| Some((guard, limit?)))
}

/// A number of rows beside the last run's.
fn changed(came: u64, last: &LastRun, by: u64, limit: f64, how: &str) -> Finding {
    Finding {
        figure: share(by, last.rows),
        over: is_over(by, last.rows, limit),
        why: format!(
            "{} after {} in the last complete run (ended {:.0}): {by} {how}, at most {} {how} allowed",
            rows(came),
            last.rows,
            last.ended,
            within(limit, last.rows)
        ),
    }
}

/// Whether `part` is a larger share of `whole` than `limit`. Of nothing, any part is.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 rows")]
fn is_over(part: u64, whole: u64, limit: f64) -> bool {
    part > 0 && part as f64 / whole as f64 > limit
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 rows")]
fn share(part: u64, whole: u64) -> Option<Figure> {
    match (part, whole) {
        (0, _) => Some(Figure::Share(0.0)),
        (_, 0) => None,
        _ => Some(Figure::Share(part as f64 / whole as f64)),
    }
}

/// How many rows the share `limit` of `whole` allows: the most that are not [over](is_over) it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit is not negative; what a cast gets wrong is put right below, up to 2^53 rows"
)]
fn within(limit: f64, whole: u64) -> u64 {
    let near = (limit * whole as f64) as u64;
    if is_over(near, whole, limit) {
        near - 1
    } else if near < u64::MAX && !is_over(near + 1, whole, limit) {
        near + 1
    } else {
        near
    }
}

fn rows(count: u64) -> String {
    if count == 1 {
        "1 row".to_owned()
    } else {
        format!("{count} rows")
    }
}

/// The error of a sink whose guards stopped the run, if any of `judged` did.
pub(crate) fn tripped(sink: &str, judged: &[Judged]) -> Option<Error> {
    let tripped: Vec<&Judged> = judged
        .iter()
        .filter(|judged| judged.sink == sink && judged.outcome == GuardOutcome::Tripped)
        .collect();
    if tripped.is_empty() {
        return None;
    }
    let list = |one: &dyn Fn(&Judged) -> String, between: &str| {
        let all: Vec<String> = tripped.iter().map(|judged| one(judged)).collect();
        all.join(between)
    };
    let message = format!(
        "guards of the sink `{sink}` stopped the run, nothing was sent: {}",
        list(&|judged| format!("`{}`: {}", judged.guard, judged.why), "; ")
    );
    let mut error = Error::new(ErrorKind::Guard, message);
    let mut said = BTreeSet::new();
    for judged in &tripped {
        let cause = usual_cause(judged.guard);
        if said.insert(cause) {
            error = error.with_hint(cause);
        }
    }
    let flags = list(&|judged| format!("--allow {}", judged.guard), " ");
    Some(
        error
            .with_hint("look at the rows with `hrsink preview`")
            .with_hint(format!(
                "if the numbers are right, let this one run through with `{flags}`"
            )),
    )
}

/// What most often is behind it.
fn usual_cause(guard: Guard) -> &'static str {
    match guard {
        Guard::MinRows | Guard::MaxShrink => {
            "too few rows: look for an export that was still being written when it was read, a file that is missing, a `where` that no longer matches, or a new file format"
        }
        Guard::MaxRows | Guard::MaxGrowth => {
            "too many rows: look for a join that multiplied rows, a `where` that lets everything through, or files of earlier days that are still there"
        }
        Guard::MaxRejectRatio => {
            "too many rows put aside: look at their reasons in the rejects file; all for one field is most often a new file format"
        }
        Guard::MaxRowsPerPerson => {
            "too many rows of one person: look for a join that multiplied rows, or an export that is in the folder twice"
        }
    }
}

#[cfg(test)]
mod tests;
