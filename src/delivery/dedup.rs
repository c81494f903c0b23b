//! The dedup index: which rows the job has accepted, according to the ledger, so that they are not sent again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use jiff::Timestamp;

use super::policy::{Mode, OnUnknown, Policy};
use crate::component::{EarlierUnknown, SinkContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{BatchId, Ledger, Lock, RowHash, RowHasher, RowSet, UnknownBatch};

/// Rows of earlier batches of unknown outcome, each with the index of its batch.
pub(super) type UnknownRows = Arc<HashMap<RowHash, usize>>;

/// One index for each scenario that the sink receives.
pub(super) struct DedupIndex {
    ledger: Ledger,
    hasher: RowHasher,
    mode: Mode,
    scenarios: BTreeMap<&'static str, ScenarioIndex>,
}

struct ScenarioIndex {
    /// Keeps other runs from sending this scenario to the job. `None` in a dry run.
    _lock: Option<Lock>,
    /// Accepted, or in progress in this run.
    seen: RowSet,
    headers: HashSet<RowHash>,
    unknown: UnknownRows,
    earlier: Vec<UnknownBatch>,
    /// Rows of this run that were not sent, for their size or because their batch failed. A duplicate of one is not
    /// skipped.
    unsent: HashSet<RowHash>,
}

impl DedupIndex {
    /// Loads the index of the scenarios `labels` and locks them for this run. `None` without a ledger: in a dry run
    /// before the first run.
    pub(super) async fn open(
        cx: &SinkContext,
        policy: &Policy,
        labels: BTreeSet<&'static str>,
    ) -> Result<Option<Self>> {
        let Some(ledger) = cx.run.services.get::<Ledger>() else {
            return Ok(None);
        };
        let mut scenarios = BTreeMap::new();
        for label in labels {
            let lock = if cx.run.dry_run {
                None
            } else {
                Some(ledger.lock_job(&policy.job, label, &cx.run.id)?)
            };
            let since = match policy.mode {
                Mode::All => Some(Timestamp::MAX),
                Mode::Changes => policy
                    .refresh_after
                    .get(label)
                    .and_then(|after| Timestamp::now().checked_sub(*after).ok()),
            };
            let mut state = ledger.job_state(&policy.job, label, since, &cx.run.id).await?;
            if policy.on_unknown == OnUnknown::Hold && state.unknown.iter().any(|batch| batch.open) {
                for batch in state.unknown.iter().filter(|batch| batch.open) {
                    cx.outputs.add_unknown(earlier(cx, label, batch, 0));
                }
                return Err(held(policy, label, &state.unknown));
            }
            let mut unknown = HashMap::new();
            for (index, batch) in state.unknown.iter_mut().enumerate() {
                // The latest of several batches is the one that a new upload repeats.
                let rows = std::mem::take(&mut batch.rows).into_iter();
                unknown.extend(rows.map(|row| (row, index)));
            }
            tracing::info!(
                sink = %cx.name, scenario = label, accepted = state.accepted.len(), unknown = unknown.len(),
                "dedup index loaded"
            );
            scenarios.insert(
                label,
                ScenarioIndex {
                    _lock: lock,
                    seen: state.accepted,
                    headers: state.headers,
                    unknown: Arc::new(unknown),
                    earlier: state.unknown,
                    unsent: HashSet::new(),
                },
            );
        }
        Ok(Some(Self {
            hasher: ledger.hasher(),
            ledger,
            mode: policy.mode,
            scenarios,
        }))
    }

    /// Selects the rows to send (`None`: all), and their hashes: with [`Mode::Changes`], those neither accepted nor in
    /// progress, so that a duplicate in the input is sent once.
    pub(super) fn select(
        &mut self,
        label: &'static str,
        rows: &RecordBatch,
    ) -> Result<(Option<BooleanArray>, Vec<RowHash>)> {
        let mut hashes = Vec::with_capacity(rows.num_rows());
        self.hasher.hash(rows, &mut hashes)?;
        let index = match self.scenarios.get_mut(label) {
            Some(index) if self.mode == Mode::Changes => index,
            _ => return Ok((None, hashes)),
        };
        let mut selected: Vec<bool> = hashes.iter().map(|row| index.seen.insert(*row)).collect();
        if !index.unsent.is_empty() {
            for (selected, row) in selected.iter_mut().zip(&hashes) {
                *selected |= index.unsent.remove(row);
            }
        }
        if selected.iter().all(|selected| *selected) {
            return Ok((None, hashes));
        }
        let mut next = selected.iter();
        hashes.retain(|_| next.next().copied().unwrap_or_default());
        Ok((Some(selected.into()), hashes))
    }

    /// The hash of a payload's header row, and whether the job has accepted a payload with it.
    pub(super) fn header(&self, label: &'static str, header: &[u8]) -> (RowHash, bool) {
        let hash = self.hasher.header(header);
        let index = self.scenarios.get(label);
        (hash, index.is_some_and(|index| index.headers.contains(&hash)))
    }

    pub(super) fn mark_unsent(&mut self, label: &'static str, rows: &[RowHash]) {
        if let Some(index) = self.scenarios.get_mut(label) {
            index.unsent.extend(rows);
        }
    }

    /// Whether the job has accepted rows of the scenario, but only under other header rows.
    pub(super) fn has_only_other_headers(&self, label: &'static str, header: RowHash) -> bool {
        let index = self.scenarios.get(label);
        index.is_some_and(|index| !index.headers.is_empty() && !index.headers.contains(&header))
    }

    pub(super) fn unknown(&self, label: &'static str) -> UnknownRows {
        let index = self.scenarios.get(label);
        index.map(|index| index.unknown.clone()).unwrap_or_default()
    }

    /// Reports the earlier batches of unknown outcome, with the number of rows resent by label and index, and closes
    /// them if the run `delivered_all`.
    pub(super) async fn close(
        self,
        cx: &SinkContext,
        resent: &HashMap<(&'static str, usize), u64>,
        delivered_all: bool,
    ) -> Result<()> {
        let mut closed: Vec<BatchId> = Vec::new();
        let mut reported: Vec<BatchId> = Vec::new();
        for (label, index) in &self.scenarios {
            for (number, batch) in index.earlier.iter().enumerate() {
                let resent_rows = resent.get(&(*label, number)).copied().unwrap_or_default();
                if batch.open {
                    closed.push(batch.id);
                } else if resent_rows == 0 {
                    continue;
                }
                // Nothing is left to report once all rows were resent, or some returned later.
                if !batch.open || resent_rows + batch.resent_unreported == batch.row_count {
                    reported.push(batch.id);
                }
                cx.outputs.add_unknown(earlier(cx, label, batch, resent_rows));
            }
        }
        if delivered_all && !(closed.is_empty() && reported.is_empty()) && !cx.run.dry_run {
            self.ledger.close_unknown(closed, reported, &cx.run.id).await?;
        }
        Ok(())
    }
}

fn earlier(cx: &SinkContext, label: &str, batch: &UnknownBatch, resent_rows: u64) -> EarlierUnknown {
    EarlierUnknown {
        sink: cx.name.to_string(),
        scenario: label.to_owned(),
        run: batch.run.clone(),
        number: batch.number,
        part: batch.part,
        sent: batch.intended.to_string(),
        rows: batch.row_count,
        resent_rows,
        resent_unreported: batch.resent_unreported,
    }
}

fn held(policy: &Policy, label: &str, batches: &[UnknownBatch]) -> Error {
    let open = batches.iter().filter(|batch| batch.open);
    let list: Vec<String> = open
        .map(|batch| {
            let part = match batch.part {
                0 => String::new(),
                part => format!(".{part}"),
            };
            format!(
                "batch {}{part} of run {} ({} rows, sent {})",
                batch.number, batch.run, batch.row_count, batch.intended
            )
        })
        .collect();
    let message = format!(
        "nothing was sent: it is unknown whether the job `{}` accepted these rows of `{label}`: {}",
        policy.job,
        list.join(", ")
    );
    Error::new(ErrorKind::Guard, message)
        .with_hint(format!("find the batch in {}", policy.evidence))
        .with_hint("record what you found: `hrsink ledger resolve FILE --run RUN --batch NUMBER --as accepted` or `--as not-accepted`")
        .with_hint("or set `delivery.on_unknown: resend` to send such rows again automatically")
}
