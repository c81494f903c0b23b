//! The ledger's part in a run.

use std::collections::HashMap;

use jiff::Timestamp;

use super::RunOptions;
use crate::component::RunInfo;
use crate::config::PipelineConfig;
use crate::error::Result;
use crate::ledger::{LastRun, Ledger, Lock, NewRun, RunEnd};

/// The ledger's part in a run, from its begin to its end.
#[derive(Default)]
pub(super) struct Record {
    pub(super) ledger: Option<Ledger>,
    /// By sink, its last complete run: the measure for its guards.
    pub(super) last: HashMap<String, LastRun>,
    pipeline: String,
    /// By source, where it was when the run began.
    positions: Vec<(String, Option<String>)>,
    /// Keeps a second run of the pipeline out.
    _lock: Option<Lock>,
    /// Whether the run's begin is written down, and its end is to be.
    begun: bool,
}

impl Record {
    /// Opens the ledger, if a component wants one, and notes that the run begins. A dry run only looks.
    ///
    /// # Errors
    /// The ledger cannot be used; another run of the pipeline is under way.
    pub(super) async fn begin(
        config: &PipelineConfig,
        options: &RunOptions,
        run: &RunInfo,
        pipeline: &str,
        started: Timestamp,
    ) -> Result<Self> {
        let wanted = config
            .sinks
            .iter()
            .any(|sink| sink.config.uses_ledger() || !sink.guards.over(&config.guards).is_empty())
            || config.sources.iter().any(|source| source.config.keeps_position())
            // For the lock: two runs at once would each write a snapshot without the rows of the other.
            || !config.snapshots.is_empty();
        if !wanted {
            return Ok(Self::default());
        }
        let path = run.base.join(&config.state.path);
        if run.dry_run {
            let ledger = Ledger::open_read_only(&path).await?;
            let last = match &ledger {
                Some(ledger) => last_runs(config, ledger, pipeline).await?,
                None => HashMap::new(),
            };
            return Ok(Self {
                ledger,
                last,
                ..Self::default()
            });
        }
        let ledger = Ledger::open(&path).await?;
        let lock = ledger.lock_pipeline(pipeline, &run.id)?;
        ledger
            .begin_run(NewRun {
                id: run.id.to_string(),
                pipeline: pipeline.to_owned(),
                started,
                allowed: options.allow.iter().map(|guard| guard.id().to_owned()).collect(),
                partial: run.partial,
            })
            .await?;
        let last = last_runs(config, &ledger, pipeline).await?;
        let mut positions = Vec::new();
        for source in &config.sources {
            if source.config.keeps_position() {
                let position = ledger.position(pipeline, &source.name).await?;
                positions.push((source.name.clone(), position));
            }
        }
        Ok(Self {
            last,
            pipeline: pipeline.to_owned(),
            positions,
            ledger: Some(ledger),
            _lock: Some(lock),
            begun: true,
        })
    }

    /// Puts every source back to where it was, as the source [has it](crate::component::SourceConfig::rewound): what this run put aside would otherwise not be read again once the
    /// mapping is mended. Says which sources had moved.
    ///
    /// # Errors
    /// The ledger cannot be written to, or holds a position that is none.
    pub(super) async fn rewind(&self, config: &PipelineConfig) -> Result<Vec<&str>> {
        let mut moved = Vec::new();
        let Some(ledger) = &self.ledger else {
            return Ok(moved);
        };
        for (source, before) in &self.positions {
            let after = ledger.position(&self.pipeline, source).await?;
            let Some(component) = config.sources.iter().find(|component| component.name == *source) else {
                continue;
            };
            if after != *before {
                let position = component.config.rewound(before.clone(), after.as_deref())?;
                ledger.restore_position(&self.pipeline, source, position).await?;
                moved.push(source.as_str());
            }
        }
        Ok(moved)
    }

    /// Notes how the run ended.
    ///
    /// # Errors
    /// The ledger cannot be written to.
    pub(super) async fn end(&self, run: &str, end: RunEnd) -> Result<()> {
        match &self.ledger {
            Some(ledger) if self.begun => ledger.end_run(run, end).await,
            _ => Ok(()),
        }
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
