//! The counters of a run's components.

use super::ComponentReport;
use crate::component::{Counts, Role, Totals};
use crate::config::PipelineConfig;
use crate::ledger::SinkEnd;

/// The counters of every component.
pub(super) struct Counters {
    pub(super) sources: Vec<Counts>,
    pub(super) transforms: Vec<Counts>,
    pub(super) sinks: Vec<Counts>,
}

impl Counters {
    pub(super) fn new(config: &PipelineConfig) -> Self {
        let counts = |len: usize| std::iter::repeat_with(Counts::default).take(len).collect();
        Self {
            sources: counts(config.sources.len()),
            transforms: counts(config.transforms.len()),
            sinks: counts(config.sinks.len()),
        }
    }

    /// All, in the order sources, transforms, sinks.
    pub(super) fn all(&self) -> Vec<Counts> {
        [&self.sources, &self.transforms, &self.sinks]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Sums over all components so far.
    pub(super) fn totals(&self) -> Totals {
        Counts::sum(&self.all())
    }

    /// How each sink ended, given whether the run succeeded.
    pub(super) fn sinks(&self, config: &PipelineConfig, success: bool) -> Vec<SinkEnd> {
        // Guards of later runs compare with complete inputs only.
        let complete = success && !nothing_new(&self.sources);
        let sinks = config.sinks.iter().zip(&self.sinks);
        sinks
            .map(|(sink, counts)| SinkEnd {
                sink: sink.name.clone(),
                rows: counts.totals().finished(),
                complete,
            })
            .collect()
    }

    pub(super) fn report(&self, config: &PipelineConfig) -> Vec<ComponentReport> {
        let names = config
            .sources
            .iter()
            .map(|source| (Role::Source, &source.name))
            .chain(
                config
                    .transforms
                    .iter()
                    .map(|transform| (Role::Transform, &transform.name)),
            )
            .chain(config.sinks.iter().map(|sink| (Role::Sink, &sink.name)));
        names
            .zip(self.all())
            .map(|((role, name), counts)| ComponentReport {
                name: name.clone(),
                role,
                rows: counts.totals(),
            })
            .collect()
    }
}

/// Whether no source had anything new to read.
pub(super) fn nothing_new(sources: &[Counts]) -> bool {
    !sources.is_empty() && sources.iter().all(Counts::is_nothing_new)
}

/// The ratio of rejected rows to the rows that were to be sent.
#[expect(clippy::cast_precision_loss, reason = "a ratio of row counts")]
pub(super) fn reject_ratio(rows: &Totals) -> f64 {
    match rows.finished().saturating_sub(rows.filtered) {
        0 => 0.0,
        to_send => rows.rejected as f64 / to_send as f64,
    }
}
