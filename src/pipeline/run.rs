//! Runs a pipeline and reports how it ended. See the [module](super).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::counters::Counters;
use super::graph::{Failures, Graph};
use super::ledger::LedgerRecord;
use super::recorder::PageRecorder;
use super::report::ReasonCount;
use super::snapshots::{self, Named};
use super::{
    ErrorReport, ExitCode, GuardsReport, Observer, RejectsFile, RejectsReport, RunOptions, RunReport,
};
use crate::component::{BatchReport, Outputs, Rejects, RunInfo, SinkContext, SourceContext};
use crate::config::{PipelineConfig, wiring};
use crate::error::{Error, ErrorKind};
use crate::ledger::{RunEnd, pipeline_name};
use crate::snapshot::Recorder;

/// Runs `config` to its end. There is always a report; [`RunReport::exit_code`] says how the run ended.
pub async fn run(config: &PipelineConfig, options: RunOptions, observer: &Observer) -> RunReport {
    let clock = Instant::now();
    let run = Run::new(config, &options, observer);
    tracing::info!(run = %run.info.id, pipeline = %config.path.display(), "run started");
    for advice in crate::config::advice::advice(config) {
        tracing::warn!("{advice}");
    }
    let mut results = Results::default();
    let record = match LedgerRecord::start(&run).await {
        Ok(record) => {
            results = run.execute(&record).await;
            record
        }
        // A run that the ledger cannot record reads and sends nothing.
        Err(error) => {
            results.failures.push((None, error));
            LedgerRecord::default()
        }
    };
    let rejects_path = run.close_rejects(&mut results.failures);
    let recorded = std::mem::take(&mut results.recorded);
    let exit = run.close(&record, recorded, &mut results.failures).await;
    run.report(exit, results, rejects_path, clock)
}

/// A run, and what its components share.
pub(super) struct Run<'r> {
    pub(super) config: &'r PipelineConfig,
    pub(super) options: &'r RunOptions,
    pub(super) observer: &'r Observer,
    pub(super) info: RunInfo,
    pub(super) started: Timestamp,
    pub(super) counters: Counters,
    pub(super) rejects: Rejects,
    pub(super) rejects_file: Option<RejectsFile>,
    pub(super) outputs: Outputs,
    recorder: Option<Arc<PageRecorder>>,
}

#[derive(Default)]
struct Results {
    failures: Failures,
    guards: GuardsReport,
    batches: Vec<BatchReport>,
    /// Dropped, they leave no file.
    recorded: Vec<Named<Recorder>>,
}

impl<'r> Run<'r> {
    fn new(config: &'r PipelineConfig, options: &'r RunOptions, observer: &'r Observer) -> Self {
        let started = Timestamp::now();
        let mut info = run_info(config, options);
        let folder = options.record.as_ref();
        let recorder = folder.map(|folder| Arc::new(PageRecorder::new(folder.join(&*info.id))));
        info.record = recorder.clone().map(|recorder| recorder as _);
        let (rejects, rejects_file) = options.rejects.open(config, &info);
        let counters = Counters::new(config);
        let _ = observer.counts.set(counters.all());
        rejects.set_limit(counters.all(), config.rejects.max_ratio.get());
        Self {
            config,
            options,
            observer,
            info,
            started,
            counters,
            rejects,
            rejects_file,
            outputs: Outputs::default(),
            recorder,
        }
    }

    async fn execute(&self, record: &LedgerRecord) -> Results {
        if let Some(ledger) = &record.ledger {
            self.info.services.insert(ledger.clone());
        }
        let (batches_in, mut batches_out) = mpsc::unbounded_channel::<BatchReport>();
        let collect = async {
            let mut batches = Vec::new();
            while let Some(batch) = batches_out.recv().await {
                self.observer.sent_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
                batches.push(batch);
            }
            batches
        };
        let work = async {
            match Graph::build(self, record, batches_in).await {
                Ok(graph) => graph.run(&self.info).await,
                Err(failures) => (failures, GuardsReport::default(), Vec::new()),
            }
        };
        let ((failures, guards, recorded), batches) = tokio::join!(work, collect);
        Results {
            failures,
            guards,
            batches,
            recorded,
        }
    }

    /// Completes the rejects file; returns its path, if there are rejects.
    fn close_rejects(&self, failures: &mut Failures) -> Option<PathBuf> {
        let file = self.rejects_file.as_ref();
        let closed = self
            .rejects
            .flush()
            .and_then(|()| file.map_or(Ok(None), |file| file.finish(self.rejects.summary().is_empty())));
        closed.unwrap_or_else(|error| {
            failures.push((None, error));
            None
        })
    }

    /// Rewinds sources after too many rejects, records the end and replaces snapshots.
    async fn close(
        &self,
        record: &LedgerRecord,
        recorded: Vec<Named<Recorder>>,
        failures: &mut Failures,
    ) -> ExitCode {
        // After a cancel from outside, components may have returned without a failure.
        if failures.is_empty() && self.options.cancel.is_cancelled() {
            failures.push((None, Error::interrupted()));
        }
        // First the failure that ended the run, then those that followed from stopping it.
        failures.sort_by_key(|(_, error)| error.kind() == ErrorKind::Interrupted);
        let rows = self.counters.totals();
        let success = self.exit_code(failures) == ExitCode::Delivered;
        let sinks = self.counters.sinks(success);
        // Unused recorders are dropped while the run still holds its lock: they remove their files.
        let finished = if success && rows.not_sent == 0 {
            snapshots::finish(recorded).await.unwrap_or_else(|failure| {
                failures.push(failure);
                Vec::new()
            })
        } else {
            drop(recorded);
            Vec::new()
        };
        if self.exit_code(failures) == ExitCode::TooManyRejects {
            match record.rewind(self.config, &self.info).await {
                Ok(moved) if moved.is_empty() => {}
                Ok(moved) => tracing::warn!(
                    sources = moved.join(", "),
                    "too many rejects: the next run reads these sources again from their earlier position"
                ),
                Err(error) => failures.push((None, error)),
            }
        }
        let end = RunEnd {
            ended: Timestamp::now(),
            exit_code: self.exit_code(failures) as u8,
            rows,
            sinks,
            error: failures.first().map(|(_, error)| error.to_string()),
        };
        if let Err(error) = record.end(&self.info.id, end).await {
            failures.push((None, error));
        }
        // A crash before this keeps the old snapshots, although the rows are recorded as delivered.
        if failures.is_empty()
            && let Err(failure) = snapshots::replace(finished, &self.outputs).await
        {
            failures.push(failure);
        }
        self.exit_code(failures)
    }

    fn exit_code(&self, failures: &Failures) -> ExitCode {
        match failures.first() {
            Some((_, error)) => error.kind().into(),
            None if self.counters.totals().reject_ratio() > self.config.rejects.max_ratio.get() => {
                ExitCode::TooManyRejects
            }
            None => ExitCode::Delivered,
        }
    }

    fn report(
        self,
        exit: ExitCode,
        results: Results,
        rejects_path: Option<PathBuf>,
        clock: Instant,
    ) -> RunReport {
        if let Some(recorder) = &self.recorder {
            recorder.report(&self.outputs);
        }
        let (run, failures) = (&self.info.id, &results.failures);
        for (component, error) in failures {
            tracing::error!(%run, component = component.as_deref(), kind = ?error.kind(), "{}", error.chain());
        }
        let rows = self.counters.totals();
        let conserved = rows.conserved();
        if !conserved {
            tracing::error!(%run, ?rows, "rows do not add up; please report this");
        }
        tracing::info!(%run, read = rows.read, accepted = rows.accepted, rejected = rows.rejected, "run ended");
        let mut errors = failures
            .iter()
            .enumerate()
            // An interrupt behind another failure is a consequence of it.
            .filter(|(index, (_, error))| *index == 0 || error.kind() != ErrorKind::Interrupted)
            .map(|(_, (component, error))| ErrorReport::new(component.as_deref(), error));
        let reasons = self.rejects.summary().into_iter();
        RunReport {
            report_version: 1,
            hrsink_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: run.to_string(),
            pipeline: self.config.path.clone(),
            dry_run: self.options.dry_run,
            started: self.started.to_string(),
            finished: Timestamp::now().to_string(),
            duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            exit_code: exit as u8,
            rows,
            conserved,
            components: self.counters.report(),
            batches: results.batches,
            rejects: RejectsReport {
                path: rejects_path,
                ratio: rows.reject_ratio(),
                max_ratio: self.config.rejects.max_ratio.get(),
                by_reason: reasons
                    .map(|(field, code, rows)| ReasonCount { field, code, rows })
                    .collect(),
            },
            outputs: self.outputs.all(),
            earlier_unknown: self.outputs.unknown(),
            not_saved: self.outputs.not_saved(),
            guards: results.guards,
            error: errors.next(),
            further_errors: errors.collect(),
        }
    }
}

fn run_info(config: &PipelineConfig, options: &RunOptions) -> RunInfo {
    let base = match config.base.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => config.base.clone(),
    };
    let state = config.base.join(&config.state.path);
    let mut run = RunInfo::new(base);
    run.id = uuid::Uuid::now_v7().to_string().into();
    run.pipeline = pipeline_name(&config.path).into();
    run.dry_run = options.dry_run;
    run.partial = options.partial || options.limit.is_some();
    run.grace = options.grace;
    run.cancel = options.cancel.child_token();
    run.state = state.parent().unwrap_or(Path::new(".")).into();
    run.services.insert(options.secret_files.clone());
    run
}

/// The context of a sink for `check`, outside a run.
pub(crate) fn sink_context(
    config: &PipelineConfig,
    name: &str,
    inputs: &[String],
    options: &RunOptions,
) -> SinkContext {
    let inputs = wiring::describe(inputs, &wiring::kinds(config));
    SinkContext::new(name, run_info(config, options), inputs)
}

/// The context of a source for `check`, outside a run.
pub(crate) fn source_context(config: &PipelineConfig, name: &str, options: &RunOptions) -> SourceContext {
    SourceContext::new(name, run_info(config, options))
}
