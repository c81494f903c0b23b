//! Which rows the job already has, as far as the ledger knows, and which of them need not be sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use jiff::Timestamp;

use super::policy::{Mode, OnUnknown, Policy};
use crate::component::{EarlierUnknown, SinkContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{BatchId, Ledger, Lock, RowHash, RowHasher, RowSet, UnknownBatch};

/// Rows of earlier batches of unknown outcome, each with the number of its batch in [`Known::earlier`].
pub(super) type Unknown = Arc<HashMap<RowHash, usize>>;

/// What is remembered of every scenario that the sink has rows of.
pub(super) struct Memory {
    ledger: Ledger,
    hasher: RowHasher,
    mode: Mode,
    scenarios: BTreeMap<&'static str, Known>,
}

/// What is remembered of one scenario.
struct Known {
    /// Keeps other runs from sending rows of this scenario to this job at the same time. None in a dry run.
    _lock: Option<Lock>,
    /// Accepted, or under way in this run.
    seen: RowSet,
    /// Header rows of payloads that the job has accepted.
    headers: HashSet<RowHash>,
    unknown: Unknown,
    earlier: Vec<UnknownBatch>,
    /// Rows of this run that went nowhere, because they are too large or their batch was not sent: a second one is
    /// treated like the first.
    went_nowhere: HashSet<RowHash>,
}

/// What came of looking at rows.
pub(super) struct Screened {
    /// Which rows to send; `None`: all.
    pub(super) keep: Option<BooleanArray>,
    /// The hashes of those to send.
    pub(super) hashes: Vec<RowHash>,
}

impl Memory {
    /// Reads what the job knows of the scenarios `labels`, and holds them for this run. `None` without a ledger: in a
    /// dry run before the first run.
    ///
    /// # Errors
    /// The ledger cannot be read or is damaged; another run holds a scenario of the job
    /// ([`Passing`](ErrorKind::Transient)); with [`OnUnknown::Hold`], there are batches of unknown outcome
    /// ([`Guard`](ErrorKind::Guard)).
    pub(super) async fn open(
        cx: &SinkContext,
        policy: &Policy,
        labels: BTreeSet<&'static str>,
    ) -> Result<Option<Self>> {
        let Some(ledger) = cx.ledger.clone() else {
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
                Mode::Changes => match policy.refresh_after.get(label) {
                    None => None,
                    // A time before the calendar's begin is as good as none.
                    Some(after) => Timestamp::now().checked_sub(*after).ok(),
                },
            };
            let mut remembered = ledger.job_state(&policy.job, label, since, &cx.run.id).await?;
            if policy.on_unknown == OnUnknown::Hold && remembered.unknown.iter().any(|batch| batch.open) {
                for batch in remembered.unknown.iter().filter(|batch| batch.open) {
                    cx.outputs.add_unknown(earlier(cx, label, batch, 0));
                }
                return Err(held(&policy.job, label, &remembered.unknown));
            }
            let mut unknown = HashMap::new();
            for (index, batch) in remembered.unknown.iter_mut().enumerate() {
                // The latest of several is the one that a new upload repeats.
                unknown.extend(
                    std::mem::take(&mut batch.rows)
                        .into_iter()
                        .map(|row| (row, index)),
                );
            }
            tracing::info!(
                sink = %cx.name, scenario = label, accepted = remembered.accepted.len(), unknown = unknown.len(),
                "rows remembered"
            );
            scenarios.insert(
                label,
                Known {
                    _lock: lock,
                    seen: remembered.accepted,
                    headers: remembered.headers,
                    unknown: Arc::new(unknown),
                    earlier: remembered.unknown,
                    went_nowhere: HashSet::new(),
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

    /// Which rows of `batch` to send: with [`Mode::Changes`] those that were not accepted before and are not under way,
    /// so that a row that is twice in the input goes once.
    pub(super) fn screen(&mut self, label: &'static str, batch: &RecordBatch) -> Result<Screened> {
        let mut hashes = Vec::with_capacity(batch.num_rows());
        self.hasher.hash(batch, &mut hashes)?;
        let known = match self.scenarios.get_mut(label) {
            Some(known) if self.mode == Mode::Changes => known,
            _ => return Ok(Screened { keep: None, hashes }),
        };
        let mut keep: Vec<bool> = hashes.iter().map(|row| known.seen.insert(*row)).collect();
        if !known.went_nowhere.is_empty() {
            for (keep, row) in keep.iter_mut().zip(&hashes) {
                *keep |= known.went_nowhere.remove(row);
            }
        }
        if keep.iter().all(|keep| *keep) {
            return Ok(Screened { keep: None, hashes });
        }
        let mut at = keep.iter();
        hashes.retain(|_| at.next().copied().unwrap_or_default());
        Ok(Screened {
            keep: Some(keep.into()),
            hashes,
        })
    }

    /// The hash of a payload's header row, and whether the job has accepted a payload with that one.
    pub(super) fn header(&self, label: &'static str, header: &[u8]) -> (RowHash, bool) {
        let hash = self.hasher.header(header);
        let known = self.scenarios.get(label);
        (hash, known.is_some_and(|known| known.headers.contains(&hash)))
    }

    /// Rows that were to be sent and went nowhere.
    pub(super) fn went_nowhere(&mut self, label: &'static str, rows: &[RowHash]) {
        if let Some(known) = self.scenarios.get_mut(label) {
            known.went_nowhere.extend(rows);
        }
    }

    /// Whether the job has accepted rows of the scenario under other column names only than those of this header row.
    pub(super) fn knows_other_headers(&self, label: &'static str, header: RowHash) -> bool {
        let known = self.scenarios.get(label);
        known.is_some_and(|known| !known.headers.is_empty() && !known.headers.contains(&header))
    }

    /// Rows of earlier batches of unknown outcome.
    pub(super) fn unknown(&self, label: &'static str) -> Unknown {
        self.scenarios
            .get(label)
            .map(|known| known.unknown.clone())
            .unwrap_or_default()
    }

    /// Ends what earlier batches of unknown outcome left open, if `all` that is there was delivered, and reports them:
    /// `resent` says how many rows of each were sent again, by label and index.
    pub(super) async fn close(
        self,
        cx: &SinkContext,
        resent: &HashMap<(&'static str, usize), u64>,
        all: bool,
    ) -> Result<()> {
        let mut settled: Vec<BatchId> = Vec::new();
        let mut said: Vec<BatchId> = Vec::new();
        for (label, known) in &self.scenarios {
            for (index, batch) in known.earlier.iter().enumerate() {
                let resent_rows = resent.get(&(*label, index)).copied().unwrap_or_default();
                if batch.open {
                    settled.push(batch.id);
                } else if resent_rows == 0 {
                    continue;
                }
                // Once all of them were sent again, or some came back later, it has been told.
                if !batch.open || resent_rows + batch.resent_unreported == batch.row_count {
                    said.push(batch.id);
                }
                cx.outputs.add_unknown(earlier(cx, label, batch, resent_rows));
            }
        }
        if all && !(settled.is_empty() && said.is_empty()) && !cx.run.dry_run {
            self.ledger.close_unknown(settled, said, &cx.run.id).await?;
        }
        Ok(())
    }
}

/// For the report: a batch that this run met.
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

/// Rows wait for a decision.
fn held(job: &str, label: &str, batches: &[UnknownBatch]) -> Error {
    let list: Vec<String> = batches
        .iter()
        .filter(|batch| batch.open)
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
    Error::new(
        ErrorKind::Guard,
        format!(
            "nothing is sent while it is unknown whether the job `{job}` took rows of `{label}`: {}",
            list.join(", ")
        ),
    )
    .with_hint("look for the batch in the connector's log in the Purview portal: its file name holds the end of the run's id and the batch's number")
    .with_hint("then say so: `hrsink ledger resolve FILE --run RUN --batch NUMBER --as accepted` or `--as not-accepted`")
    .with_hint("`delivery.on_unknown: resend` sends such rows again without asking")
}
