//! The ledger's part in a run.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::run::Run;
use crate::component::{PositionStore, RunInfo};
use crate::config::PipelineConfig;
use crate::error::Result;
use crate::ledger::{LastRun, Ledger, Lock, NewRun, RunEnd};

/// The ledger's part in a run, from start to end. Holds the pipeline's lock.
#[derive(Default)]
pub(super) struct LedgerRecord {
    pub(super) ledger: Option<Ledger>,
    /// By sink, its last complete run, for its guards.
    pub(super) last: HashMap<String, LastRun>,
    /// By source, its position at the start.
    positions: Vec<(String, Option<String>)>,
    _lock: Option<Lock>,
    /// Whether the start is recorded, and the end has to be.
    started: bool,
}

impl LedgerRecord {
    /// Opens the ledger if a component needs it, and records the start. A dry run only reads.
    pub(super) async fn start(run: &Run<'_>) -> Result<Self> {
        let (config, info) = (run.config, &run.info);
        let sources = config.sources.iter();
        let with_position: Vec<_> = sources
            .filter(|source| source.config.traits().keeps_position && !run.options.from_start)
            .map(|source| source.name.as_str())
            .collect();
        let mut sinks = config.sinks.iter();
        let needs_ledger = !with_position.is_empty()
            // For the lock: two runs at once would each miss the rows of the other.
            || !config.snapshots.is_empty()
            || sinks.any(|sink| sink.config.uses_ledger() || !sink.guards.over(&config.guards).is_empty());
        if !needs_ledger {
            return Ok(Self::default());
        }
        let path = info.base.join(&config.state.path);
        if info.dry_run {
            let ledger = Ledger::open_read_only(&path).await?;
            let last = match &ledger {
                Some(ledger) => last_runs(config, ledger, &info.pipeline).await?,
                None => HashMap::new(),
            };
            return Ok(Self {
                ledger,
                last,
                ..Self::default()
            });
        }
        let ledger = Ledger::open(&path).await?;
        let lock = ledger.lock_pipeline(&info.pipeline, &info.id)?;
        let allowed = run.options.allow.iter();
        let allowed = allowed.map(|guard| guard.id().to_owned()).collect();
        ledger
            .begin_run(NewRun {
                id: info.id.to_string(),
                pipeline: info.pipeline.to_string(),
                started: run.started,
                allowed,
                partial: info.partial,
            })
            .await?;
        let last = last_runs(config, &ledger, &info.pipeline).await?;
        let mut positions = Vec::new();
        for source in with_position {
            positions.push((source.to_owned(), ledger.position(&info.pipeline, source).await?));
        }
        Ok(Self {
            ledger: Some(ledger),
            last,
            positions,
            _lock: Some(lock),
            started: true,
        })
    }

    pub(super) fn position_of(&self, run: &RunInfo, source: &str) -> Option<Arc<dyn PositionStore>> {
        let ledger = self.ledger.clone()?;
        Some(Arc::new(LedgerPosition {
            ledger,
            pipeline: run.pipeline.clone(),
            source: source.into(),
        }))
    }

    /// Rewinds every source, so that the next run reads again what this one rejected. Returns the sources that had
    /// moved.
    pub(super) async fn rewind(&self, config: &PipelineConfig, run: &RunInfo) -> Result<Vec<&str>> {
        let mut moved = Vec::new();
        let Some(ledger) = &self.ledger else {
            return Ok(moved);
        };
        for (source, before) in &self.positions {
            let after = ledger.position(&run.pipeline, source).await?;
            let component = config.sources.iter().find(|component| component.name == *source);
            if let Some(component) = component
                && after != *before
            {
                let position = component.config.rewind(before.clone(), after.as_deref())?;
                ledger.restore_position(&run.pipeline, source, position).await?;
                moved.push(source.as_str());
            }
        }
        Ok(moved)
    }

    pub(super) async fn end(&self, run: &str, end: RunEnd) -> Result<()> {
        match &self.ledger {
            Some(ledger) if self.started => ledger.end_run(run, end).await,
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct LedgerPosition {
    ledger: Ledger,
    pipeline: Arc<str>,
    source: Arc<str>,
}

#[async_trait]
impl PositionStore for LedgerPosition {
    async fn load(&self) -> Result<Option<String>> {
        self.ledger.position(&self.pipeline, &self.source).await
    }

    async fn save(&self, position: String) -> Result<()> {
        self.ledger
            .save_position(&self.pipeline, &self.source, position)
            .await
    }
}

async fn last_runs(
    config: &PipelineConfig,
    ledger: &Ledger,
    pipeline: &str,
) -> Result<HashMap<String, LastRun>> {
    let mut last = HashMap::new();
    for sink in &config.sinks {
        if let Some(run) = ledger.last_run(pipeline, &sink.name).await? {
            last.insert(sink.name.clone(), run);
        }
    }
    Ok(last)
}
