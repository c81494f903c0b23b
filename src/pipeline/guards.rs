//! Evaluates a run's numbers before anything is sent.
//!
//! A wrong number of rows is most often a wrong export: a file still being written, a join that multiplied rows, a
//! renamed status. Each row alone looks right, and what is sent cannot be taken back, so the numbers of the run are
//! checked while all rows are still here ([`staging`](super::staging)).
//!
//! Pure: [`Evaluator::evaluate`] maps figures to results. A figure exactly at its limit passes; ratios are compared as
//! quotients of whole numbers, so 29 of 100 is within `0.29`. A guard that cannot be evaluated is listed with the
//! reason. No text holds a value of a row.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::counters::nothing_new;
use crate::component::{Counts, Totals};
use crate::config::{Guard, GuardsConfig};
use crate::error::{Error, ErrorKind};
use crate::ledger::LastRun;
use crate::settings::bounded::UNBOUNDED;
use crate::settings::{BoundedInt, Ratio};

/// The results of a run's guards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct GuardsReport {
    /// Whether all rows were collected before the first was sent: when any sink has a guard.
    pub staged: bool,
    /// Every guard of every sink, in the pipeline file's order of sinks.
    pub evaluated: Vec<Evaluated>,
}

/// One guard of one sink.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Evaluated {
    /// Name of the sink.
    pub sink: String,
    /// The guard.
    pub guard: Guard,
    /// Its result.
    pub outcome: GuardOutcome,
    /// The value found, in the limit's unit; absent when it was not evaluated, or is a ratio of zero rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
    /// The limit from the pipeline file.
    pub limit: Figure,
    /// The run that was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Baseline>,
    /// The result in words: figure and limit in rows, or why it was not evaluated.
    pub why: String,
}

/// The result of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardOutcome {
    /// Within the limit.
    Passed,
    /// Over the limit: nothing was sent.
    Tripped,
    /// Over the limit, and allowed with `--allow` for this run.
    Allowed,
    /// There was nothing to compare with.
    NotEvaluated,
}

/// A figure or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    /// A number of rows.
    Rows(u64),
    /// A ratio of rows: 0.2 is a fifth.
    Ratio(f64),
}

/// The last complete run of a sink, with which a run is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Baseline {
    /// The run's id.
    pub run: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// Rows that the sink received.
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

#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    /// Name of the sink.
    pub(crate) sink: Arc<str>,
    /// Its guards, including those for every sink.
    pub(crate) guards: GuardsConfig,
    pub(crate) last: Option<LastRun>,
}

pub(crate) struct Evaluator {
    /// All sinks of the run, in the pipeline file's order.
    pub(crate) sinks: Vec<Guarded>,
    /// Guards that may trip in this run.
    pub(crate) allowed: BTreeSet<Guard>,
    /// Whether the sources are read only in part.
    pub(crate) partial: bool,
    pub(crate) sources: Vec<Counts>,
    /// The counters of all components. Read when the inputs of all sinks have ended.
    pub(crate) all: Vec<Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) rows: u64,
    /// Zero when they were not counted.
    pub(crate) people: PeopleFigures,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeopleFigures {
    pub(crate) max_rows: u64,
    /// People with more rows than allowed.
    pub(crate) over: u64,
    /// The rows of those people.
    pub(crate) rows_over: u64,
}

/// A figure beside its limit.
struct Finding {
    figure: Option<Figure>,
    over: bool,
    why: String,
}

impl Evaluator {
    /// Evaluates every guard of every sink. `figures` are in the order of the sinks.
    pub(crate) fn evaluate(&self, figures: &[Figures]) -> Vec<Evaluated> {
        self.each_guard(match nothing_new(&self.sources) {
            true => Err("no source had anything new to read"),
            false => Ok((figures, Counts::sum(&self.all))),
        })
    }

    pub(crate) fn not_evaluated(&self, why: &'static str) -> Vec<Evaluated> {
        self.each_guard(Err(why))
    }

    /// The most rows with which the sink at `index` can pass.
    pub(crate) fn max_rows(&self, index: usize) -> u64 {
        let Some(Guarded { guards, last, .. }) = self.sinks.get(index) else {
            return u64::MAX;
        };
        let binds = |guard: Guard| !self.allowed.contains(&guard);
        let most = guards.max_rows.filter(|_| binds(Guard::MaxRows));
        let growth = guards.max_growth.filter(|_| binds(Guard::MaxGrowth));
        let grown = growth.zip(last.as_ref());
        let grown = grown.map(|(limit, last)| last.rows.saturating_add(within(limit.get(), last.rows)));
        most.map(BoundedInt::get)
            .into_iter()
            .chain(grown)
            .min()
            .unwrap_or(u64::MAX)
    }

    fn each_guard(&self, received: Result<(&[Figures], Totals), &'static str>) -> Vec<Evaluated> {
        let mut evaluated = Vec::new();
        for (index, guarded) in self.sinks.iter().enumerate() {
            for (guard, limit) in limits(&guarded.guards) {
                let found = received.and_then(|(figures, totals)| {
                    let figures = figures.get(index).ok_or("the sink reported no figures")?;
                    self.find(guarded, guard, figures, &totals)
                });
                let compares = matches!(guard, Guard::MaxShrink | Guard::MaxGrowth);
                evaluated.push(Evaluated {
                    sink: guarded.sink.to_string(),
                    guard,
                    outcome: match &found {
                        Err(_) => GuardOutcome::NotEvaluated,
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
        evaluated
    }

    fn find(
        &self,
        guarded: &Guarded,
        guard: Guard,
        figures: &Figures,
        totals: &Totals,
    ) -> Result<Finding, &'static str> {
        let (guards, received) = (&guarded.guards, figures.rows);
        if self.partial && matches!(guard, Guard::MinRows | Guard::MaxShrink) {
            return Err("the run reads only part of its sources");
        }
        let last = || {
            guarded
                .last
                .as_ref()
                .ok_or("this sink has no earlier complete run to compare with")
        };
        let count = |figure, over, why| Finding {
            figure: Some(Figure::Rows(figure)),
            over,
            why,
        };
        Ok(match guard {
            Guard::MinRows => {
                let limit = guards.min_rows.unwrap_or(0);
                let why = format!("{}, at least {limit} required", rows(received));
                count(received, received < limit, why)
            }
            Guard::MaxRows => {
                let limit = guards.max_rows.map_or(u64::MAX, BoundedInt::get);
                let why = format!("{}, at most {limit} allowed", rows(received));
                count(received, received > limit, why)
            }
            Guard::MaxShrink => {
                let last = last()?;
                let fewer = last.rows.saturating_sub(received);
                let limit = guards.max_shrink.map_or(1.0, Ratio::get);
                changed(received, last, fewer, limit, "fewer")
            }
            Guard::MaxGrowth => {
                let last = last()?;
                let more = received.saturating_sub(last.rows);
                let limit = guards.max_growth.map_or(f64::INFINITY, Ratio::get);
                changed(received, last, more, limit, "more")
            }
            Guard::MaxRejectRatio => {
                let received = totals.read + totals.copied + totals.derived;
                let to_send = received.saturating_sub(totals.filtered + totals.combined);
                let limit = guards.max_reject_ratio.map_or(1.0, Ratio::get);
                let (rejected, allowed) = (totals.rejected, within(limit, to_send));
                Finding {
                    figure: ratio(rejected, to_send),
                    over: is_over(rejected, to_send, limit),
                    why: format!(
                        "{rejected} of {} rejected, at most {allowed} allowed",
                        rows(to_send)
                    ),
                }
            }
            Guard::MaxRowsPerPerson => {
                let limit = guards.max_rows_per_person.map_or(u64::MAX, BoundedInt::get);
                let PeopleFigures {
                    max_rows,
                    over,
                    rows_over,
                } = figures.people;
                let mut why = format!("up to {} of one person, at most {limit} allowed", rows(max_rows));
                if over > 0 {
                    let people = match over {
                        1 => "1 person has".to_owned(),
                        _ => format!("{over} people have"),
                    };
                    why.push_str(&format!("; {people} more, {} in all", rows(rows_over)));
                }
                count(max_rows, max_rows > limit, why)
            }
        })
    }
}

/// The guards that are set, with their limits.
fn limits(guards: &GuardsConfig) -> impl Iterator<Item = (Guard, Figure)> {
    let rows = |limit: BoundedInt<1, UNBOUNDED>| Figure::Rows(limit.get());
    let ratio = |limit: Ratio| Figure::Ratio(limit.get());
    let growth = guards.max_growth.map(|limit| Figure::Ratio(limit.get()));
    let limits = [
        (Guard::MinRows, guards.min_rows.map(Figure::Rows)),
        (Guard::MaxRows, guards.max_rows.map(rows)),
        (Guard::MaxShrink, guards.max_shrink.map(ratio)),
        (Guard::MaxGrowth, growth),
        (Guard::MaxRejectRatio, guards.max_reject_ratio.map(ratio)),
        (Guard::MaxRowsPerPerson, guards.max_rows_per_person.map(rows)),
    ];
    let set = limits.into_iter();
    set.filter_map(|(guard, limit)| Some((guard, limit?)))
}

/// A number of rows compared with the last run's.
fn changed(received: u64, last: &LastRun, by: u64, limit: f64, how: &str) -> Finding {
    Finding {
        figure: ratio(by, last.rows),
        over: is_over(by, last.rows, limit),
        why: format!(
            "{} after {} in the last complete run (ended {:.0}): {by} {how}, at most {} {how} allowed",
            rows(received),
            last.rows,
            last.ended,
            within(limit, last.rows)
        ),
    }
}

/// Whether `part` of `total` is more than `limit`. Any part of zero is.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 rows")]
fn is_over(part: u64, total: u64, limit: f64) -> bool {
    part > 0 && part as f64 / total as f64 > limit
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 rows")]
fn ratio(part: u64, total: u64) -> Option<Figure> {
    match (part, total) {
        (0, _) => Some(Figure::Ratio(0.0)),
        (_, 0) => None,
        _ => Some(Figure::Ratio(part as f64 / total as f64)),
    }
}

/// The most rows of `total` that are not [over](is_over) `limit`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit is not negative; the rounding of casts is corrected below, up to 2^53 rows"
)]
fn within(limit: f64, total: u64) -> u64 {
    let near = (limit * total as f64) as u64;
    if is_over(near, total, limit) {
        near - 1
    } else if near < u64::MAX && !is_over(near + 1, total, limit) {
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

/// The error of a sink, if a guard of it tripped.
pub(crate) fn tripped(sink: &str, evaluated: &[Evaluated]) -> Option<Error> {
    let tripped: Vec<&Evaluated> = evaluated
        .iter()
        .filter(|evaluated| evaluated.sink == sink && evaluated.outcome == GuardOutcome::Tripped)
        .collect();
    if tripped.is_empty() {
        return None;
    }
    let reasons: Vec<String> = tripped
        .iter()
        .map(|evaluated| format!("`{}`: {}", evaluated.guard, evaluated.why))
        .collect();
    let message = format!(
        "guards of the sink `{sink}` stopped the run and nothing was sent: {}",
        reasons.join("; ")
    );
    let mut error = Error::new(ErrorKind::Guard, message);
    for evaluated in &tripped {
        let cause = usual_cause(evaluated.guard);
        if error.hints().all(|hint| hint != cause) {
            error = error.with_hint(cause);
        }
    }
    let flags: Vec<String> = tripped
        .iter()
        .map(|evaluated| format!("--allow {}", evaluated.guard))
        .collect();
    Some(
        error
            .with_hint("look at the rows with `hrsink preview`")
            .with_hint(format!(
                "if the numbers are right, allow them in this run with `{}`",
                flags.join(" ")
            )),
    )
}

fn usual_cause(guard: Guard) -> &'static str {
    match guard {
        Guard::MinRows | Guard::MaxShrink => {
            "too few rows: look for an export that was still being written, a missing file, a `where` that no longer matches, or a changed file format"
        }
        Guard::MaxRows | Guard::MaxGrowth => {
            "too many rows: look for a join that multiplied rows, a `where` that matches everything, or files of earlier days that were not moved"
        }
        Guard::MaxRejectRatio => {
            "too many rejects: see the reasons in the rejects file; if all are for one field, the file format has most often changed"
        }
        Guard::MaxRowsPerPerson => {
            "too many rows of one person: look for a join that multiplied rows, or an export that is in the folder twice"
        }
    }
}

#[cfg(test)]
mod tests;
