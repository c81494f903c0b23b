//! The counters of a run's components.

use super::ComponentReport;
use crate::component::{Counts, Role};
use crate::config::PipelineConfig;
use crate::ledger::SinkEnd;

/// The counters of every component, in the order sources, transforms, sinks.
pub(super) struct Members {
    pub(super) sources: Vec<Counts>,
    pub(super) transforms: Vec<Counts>,
    pub(super) sinks: Vec<Counts>,
}

impl Members {
    pub(super) fn new(config: &PipelineConfig) -> Self {
        let fresh = |len: usize| std::iter::repeat_with(Counts::default).take(len).collect();
        Self {
            sources: fresh(config.sources.len()),
            transforms: fresh(config.transforms.len()),
            sinks: fresh(config.sinks.len()),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Counts> {
        self.sources.iter().chain(&self.transforms).chain(&self.sinks)
    }

    /// How each sink ended, given whether the whole run went `well`.
    pub(super) fn sinks(&self, config: &PipelineConfig, well: bool) -> Vec<SinkEnd> {
        // Later runs are compared with what a whole input is.
        let complete = well && !super::run::nothing_new(&self.sources);
        let sinks = config.sinks.iter().zip(&self.sinks);
        sinks
            .map(|(sink, counts)| SinkEnd {
                sink: sink.name.clone(),
                // What a sink settles is what came to it.
                rows: counts.totals().finished(),
                complete,
            })
            .collect()
    }

    pub(super) fn report(&self, config: &PipelineConfig) -> Vec<ComponentReport> {
        let one = |name: &str, role, counts: &Counts| ComponentReport {
            name: name.to_owned(),
            role,
            rows: counts.totals(),
        };
        let sources = config
            .sources
            .iter()
            .zip(&self.sources)
            .map(|(c, counts)| one(&c.name, Role::Source, counts));
        let transforms = config
            .transforms
            .iter()
            .zip(&self.transforms)
            .map(|(c, counts)| one(&c.name, Role::Transform, counts));
        let sinks = config
            .sinks
            .iter()
            .zip(&self.sinks)
            .map(|(c, counts)| one(&c.name, Role::Sink, counts));
        sources.chain(transforms).chain(sinks).collect()
    }
}
