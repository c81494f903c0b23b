//! The counters of a run's components.

use super::ComponentReport;
use crate::component::{Counts, Role, Totals};
use crate::config::PipelineConfig;
use crate::ledger::SinkEnd;

/// The counters of every component, in the order sources, transforms, sinks.
pub(super) struct Counters(Vec<(Role, String, Counts)>);

impl Counters {
    pub(super) fn new(config: &PipelineConfig) -> Self {
        let sources = config.sources.iter().map(|source| (Role::Source, &source.name));
        let transforms = config
            .transforms
            .iter()
            .map(|transform| (Role::Transform, &transform.name));
        let sinks = config.sinks.iter().map(|sink| (Role::Sink, &sink.name));
        let all = sources.chain(transforms).chain(sinks);
        Self(
            all.map(|(role, name)| (role, name.clone(), Counts::default()))
                .collect(),
        )
    }

    pub(super) fn of(&self, role: Role, name: &str) -> Counts {
        let found = self.0.iter().find(|(other, of, _)| *other == role && of == name);
        found.map(|(_, _, counts)| counts.clone()).unwrap_or_default()
    }

    pub(super) fn all(&self) -> Vec<Counts> {
        self.0.iter().map(|(_, _, counts)| counts.clone()).collect()
    }

    pub(super) fn sources(&self) -> Vec<Counts> {
        let sources = self.0.iter().filter(|(role, _, _)| *role == Role::Source);
        sources.map(|(_, _, counts)| counts.clone()).collect()
    }

    /// Sums over all components so far.
    pub(super) fn totals(&self) -> Totals {
        Counts::sum(self.0.iter().map(|(_, _, counts)| counts))
    }

    /// How each sink ended, given whether the run succeeded.
    pub(super) fn sinks(&self, success: bool) -> Vec<SinkEnd> {
        // Guards of later runs compare with complete inputs only.
        let complete = success && !nothing_new(&self.sources());
        let sinks = self.0.iter().filter(|(role, _, _)| *role == Role::Sink);
        sinks
            .map(|(_, name, counts)| SinkEnd {
                sink: name.clone(),
                rows: counts.totals().finished(),
                complete,
            })
            .collect()
    }

    pub(super) fn report(&self) -> Vec<ComponentReport> {
        let components = self.0.iter();
        components
            .map(|(role, name, counts)| ComponentReport {
                name: name.clone(),
                role: *role,
                rows: counts.totals(),
            })
            .collect()
    }
}

pub(super) fn nothing_new(sources: &[Counts]) -> bool {
    !sources.is_empty() && sources.iter().all(Counts::is_nothing_new)
}
