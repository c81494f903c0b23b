//! Reads all windows, partitions and pages in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::decode::Message;
use super::extract::OnMissing;
use super::fetch::{Fetched, Fetcher, PageContext};
use super::incremental::{self, Seen};
use super::page::{self, PageResponse, PageRows};
use super::pagination::Turn;
use super::partitions::{Partition, Partitioning};
use super::plan::{Plan, Sequence};
use super::source::{PREFETCH, owned};
use super::template::Values;
use crate::component::SourceContext;
use crate::error::{Error, Result};

/// Partitions that may be ready before their turn, for each that is read at a time.
const PARTITIONS_AHEAD: usize = 8;

/// Reads all pages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    plan: Arc<Plan>,
    fetcher: Arc<Fetcher>,
    identity: Arc<[(&'static str, String)]>,
    mapped: Arc<MappedColumns>,
    cx: SourceContext,
    /// The current run of an incremental source, which reads cursors.
    run: Option<Arc<incremental::Plan>>,
}

/// Rows read, and bits of the mapped columns that one of them has.
#[derive(Default)]
struct MappedColumns {
    rows: AtomicU64,
    found: AtomicU64,
}

/// Whether more rows are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Wanted,
    Stopped,
}

/// How a sequence of pages ended.
enum Ended {
    Read(Totals),
    Skipped(u16),
    Stopped,
}

/// What was read of several sequences.
#[derive(Default)]
struct Totals {
    records: u64,
    without_list: u64,
    seen: Seen,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.without_list += other.without_list;
        self.seen.merge(&other.seen);
    }

    /// Checks a whole window before its position is saved.
    ///
    /// # Errors
    /// No record has the array to explode, and `missing` does not allow that.
    fn check(&self, sequence: &Sequence, source: &str) -> Result<()> {
        let Some((path, missing)) = sequence.extractor.explodes() else {
            return Ok(());
        };
        if self.records == 0 || self.without_list < self.records {
            return Ok(());
        }
        let what = format!(
            "none of {} records of {} has the array `{path}` of `records.explode`",
            self.records,
            sequence.request.named()
        );
        if missing == OnMissing::Empty {
            tracing::warn!(source = %source, "{what}");
            return Ok(());
        }
        Err(Error::input(what)
            .with_hint("check `records.explode.path`: it starts at a record, not at the body")
            .with_hint("if the service omits empty arrays, set `missing: empty` in `records`"))
    }
}

/// A partition that is being read.
struct UnderWay {
    pages: mpsc::Receiver<PageRows>,
    task: AbortOnDropHandle<Result<Ended>>,
}

impl Reader {
    pub(super) fn new(
        plan: Plan,
        fetcher: Arc<Fetcher>,
        identity: Vec<(&'static str, String)>,
        cx: SourceContext,
    ) -> Self {
        Self {
            plan: Arc::new(plan),
            fetcher,
            identity: identity.into(),
            mapped: Arc::default(),
            cx,
            run: None,
        }
    }

    /// Reads everything and sends it to `out`.
    pub(super) async fn read(&self, out: mpsc::Sender<Message>) -> Result<()> {
        let Some(incremental) = &self.plan.incremental else {
            return match self.window(&Values::default(), &out).await? {
                Some(_) => self.end(&out).await,
                None => Ok(()),
            };
        };
        let saved = self.cx.position.load().await?;
        let settings: Vec<(&str, &str)> = self
            .identity
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut run = incremental.begin(saved.as_deref(), &settings, jiff::Timestamp::now())?;
        tracing::info!(
            source = %self.cx.name, windows = run.len(), full = run.why().is_full(), "{}", run.why()
        );
        let reader = Self {
            run: Some(Arc::new(run.clone())),
            ..self.clone()
        };
        for index in 0..run.len() {
            let window = run.window(index)?;
            tracing::debug!(source = %self.cx.name, "reading {}", window.shown);
            let Some(totals) = reader.window(&window.values, &out).await? else {
                return Ok(());
            };
            run.merge(&totals.seen);
            let position = run.after_window(index)?;
            if out.send(Message::Position(position)).await.is_err() {
                return Ok(());
            }
        }
        let seen = run.seen();
        if seen.without > 0 || seen.future > 0 {
            tracing::warn!(
                source = %self.cx.name, with = seen.with, without = seen.without, future = seen.future,
                "records without a cursor, or with one in the future"
            );
        }
        self.end(&out).await
    }

    /// Marks the end: without it, what was read is incomplete.
    async fn end(&self, out: &mpsc::Sender<Message>) -> Result<()> {
        if !self.cx.run.partial {
            self.warn_of_mapped_columns();
        }
        // The receiver ends early only when the run is stopped.
        let _ = out.send(Message::End).await;
        Ok(())
    }

    /// Warns of mapped columns without any value: their path may be misspelled.
    fn warn_of_mapped_columns(&self) {
        let rows = self.mapped.rows.load(Ordering::Relaxed);
        let found = self.mapped.found.load(Ordering::Relaxed);
        let never: Vec<String> = self
            .plan
            .sequence
            .extractor
            .columns()
            .take(64)
            .enumerate()
            .filter(|(index, _)| found & (1 << index) == 0)
            .map(|(_, (column, path))| format!("`{column}` at `{path}`"))
            .collect();
        if rows > 0 && !never.is_empty() {
            tracing::warn!(
                source = %self.cx.name,
                rows,
                "no row has a value for {} of `records.columns`; check the spelling",
                never.join(", ")
            );
        }
    }

    /// Reads all partitions of a window, several at a time, and sends their rows in the order of the partitions.
    /// `None` if no more rows are needed.
    async fn window(&self, values: &Values, out: &mpsc::Sender<Message>) -> Result<Option<Totals>> {
        let Some(partitioning) = self.plan.partitioning.clone() else {
            let partition = Partition {
                values: values.clone(),
                ..Partition::default()
            };
            let (sender, pages) = mpsc::channel(PREFETCH);
            let read = async {
                let ended = self.pages(&self.plan.sequence, &partition, None, &sender).await;
                drop(sender);
                ended
            };
            let (ended, more) = tokio::join!(read, forward(pages, out));
            return match (ended?, more) {
                (Ended::Read(totals), More::Wanted) => {
                    totals.check(&self.plan.sequence, &self.cx.name)?;
                    Ok(Some(totals))
                }
                _ => Ok(None),
            };
        };
        let (sender, mut coming) = mpsc::channel::<Partition>(PREFETCH);
        let mut maker = {
            let (reader, partitioning, values) = (self.clone(), partitioning.clone(), values.clone());
            owned(async move { reader.make_partitions(&partitioning, &values, &sender).await })
        };
        let mut queue = Queue::new(self, &partitioning);
        let mut skips = partitioning.skips();
        let mut totals = Totals::default();
        while let Some(UnderWay { pages, task }) = queue.next(&mut coming).await {
            if forward(pages, out).await == More::Stopped {
                return Ok(None);
            }
            let ended = task
                .await
                .map_err(|error| Error::task_failed("reading a partition", &error))??;
            match ended {
                Ended::Read(more) => {
                    totals.add(&more);
                    skips.answered += 1;
                }
                Ended::Skipped(status) => skips.skip(status)?,
                Ended::Stopped => return Ok(None),
            }
        }
        let made = (&mut maker)
            .await
            .map_err(|error| Error::task_failed("reading the parent", &error))??;
        if made == More::Stopped {
            return Ok(None);
        }
        skips.finish()?;
        totals.check(&self.plan.sequence, &self.cx.name)?;
        if skips.skipped > 0 {
            tracing::warn!(source = %self.cx.name, skipped = skips.skipped, "partitions were skipped");
        }
        Ok(Some(totals))
    }

    /// Sends every partition: the combinations of values, each with the rows of the parent, if there is one.
    async fn make_partitions(
        &self,
        partitioning: &Arc<Partitioning>,
        values: &Values,
        out: &mpsc::Sender<Partition>,
    ) -> Result<More> {
        let mut totals = Totals::default();
        for outer in &partitioning.partitions {
            let mut outer = outer.clone();
            outer.values = values.with(&outer.values);
            let Some(sequence) = &self.plan.parent else {
                if out.send(outer).await.is_err() {
                    return Ok(More::Stopped);
                }
                continue;
            };
            let mut keys = partitioning.keys(&outer);
            let (sender, pages) = mpsc::channel::<PageRows>(PREFETCH);
            let read = async {
                let ended = self.pages(sequence, &outer, None, &sender).await;
                drop(sender);
                ended
            };
            let take = async {
                // Dropped at the end of this block, so that the reading ends too.
                let mut pages = pages;
                while let Some(page) = pages.recv().await {
                    for block in page.blocks {
                        let block = page.spool.load(block).await?;
                        for row in page::rows(&block) {
                            // The text of serde's error may repeat a value.
                            let row = serde_json::from_slice(row).map_err(|_| {
                                Error::input(format!("a record of {} is not valid JSON", page.name))
                            })?;
                            if let Some(partition) = keys.take(&row)?
                                && out.send(partition).await.is_err()
                            {
                                return Ok::<_, Error>(());
                            }
                        }
                    }
                }
                if let Some(partition) = keys.finish() {
                    let _ = out.send(partition).await;
                }
                Ok(())
            };
            let (ended, taken) = tokio::join!(read, take);
            taken?;
            let Ended::Read(more) = ended? else {
                return Ok(More::Stopped);
            };
            totals.add(&more);
            let counts = keys.counts;
            tracing::info!(
                source = %self.cx.name, rows = counts.rows, without_key = counts.missing, repeated = counts.repeated,
                "parent read"
            );
        }
        if let Some(sequence) = &self.plan.parent {
            totals.check(sequence, &self.cx.name)?;
        }
        Ok(More::Wanted)
    }

    /// Reads the pages of one sequence in order; `partition` is what it is for, with its number.
    async fn pages(
        &self,
        sequence: &Sequence,
        partition: &Partition,
        partitioning: Option<(&Partitioning, u64)>,
        out: &mpsc::Sender<PageRows>,
    ) -> Result<Ended> {
        let is_main = std::ptr::eq(sequence, &raw const self.plan.sequence);
        let (mut totals, mut rows) = (Totals::default(), 0);
        let mut pager = sequence.pager.clone();
        let mut request = pager.first();
        let mut before = None;
        for number in 1_u64.. {
            // Once a page of a sequence was read, the rest cannot be skipped.
            let first = number == 1;
            let context = PageContext {
                sequence,
                values: &partition.values,
                extra: &partition.columns.0,
                request: &request,
                before: before.as_ref(),
                suffix: match partitioning {
                    Some((_, partition)) => format!(" (partition {partition}, page {number})"),
                    None => format!(" (page {number})"),
                },
                run: self.run.as_ref().filter(|_| is_main),
                may_skip: &|status| {
                    first && partitioning.is_some_and(|(partitioning, _)| partitioning.may_skip(status))
                },
                actions_skip: first && partitioning.is_some(),
            };
            let page = match self.fetcher.page(&context).await? {
                Fetched::Page(page) => *page,
                Fetched::Skipped(status) => return Ok(Ended::Skipped(status)),
                Fetched::Stopped => return Ok(Ended::Stopped),
            };
            let extracted = &page.extracted;
            rows += extracted.rows;
            if is_main {
                self.mapped.rows.fetch_add(extracted.rows, Ordering::Relaxed);
                self.mapped
                    .found
                    .fetch_or(extracted.found_columns, Ordering::Relaxed);
            }
            let response = PageResponse {
                url: &page.url,
                status: page.status,
                headers: &page.headers,
                values: &extracted.values,
                records: extracted.records,
            };
            let turn = pager.next(&response, extracted.digest, extracted.last_record.as_ref());
            for warning in pager.take_warnings() {
                tracing::warn!(source = %self.cx.name, "{}: {warning}", sequence.request.shown(&page.url));
            }
            let turn = turn?;
            totals.add(&Totals {
                records: extracted.records,
                without_list: extracted.without_list,
                seen: page.seen,
            });
            if !page.rows.blocks.is_empty() && out.send(page.rows).await.is_err() {
                return Ok(Ended::Stopped);
            }
            match turn {
                Turn::Next(next) => request = next,
                Turn::End(reason) => {
                    tracing::debug!(source = %self.cx.name, pages = pager.pages(), records = pager.rows(), rows, "last page: {reason:?}");
                    break;
                }
            }
            before = Some(page.url);
        }
        Ok(Ended::Read(totals))
    }
}

/// Partitions that are read ahead of their turn.
struct Queue<'r> {
    reader: &'r Reader,
    partitioning: &'r Arc<Partitioning>,
    permits: Arc<Semaphore>,
    under_way: VecDeque<UnderWay>,
    /// Closed when the last partition has started.
    before: Option<oneshot::Receiver<()>>,
    number: u64,
    all: bool,
}

impl<'r> Queue<'r> {
    fn new(reader: &'r Reader, partitioning: &'r Arc<Partitioning>) -> Self {
        Self {
            reader,
            partitioning,
            permits: Arc::new(Semaphore::new(partitioning.config.max_concurrent.as_usize())),
            under_way: VecDeque::new(),
            before: None,
            number: 0,
            all: false,
        }
    }

    /// Starts partitions as far as there is room, and returns the first.
    async fn next(&mut self, coming: &mut mpsc::Receiver<Partition>) -> Option<UnderWay> {
        while !self.all
            && self.under_way.len() < self.partitioning.config.max_concurrent.as_usize() * PARTITIONS_AHEAD
        {
            // Only an empty queue has to wait for the next partition.
            let partition = if self.under_way.is_empty() {
                coming.recv().await
            } else {
                match coming.try_recv() {
                    Ok(partition) => Some(partition),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                }
            };
            match partition {
                Some(partition) => self.start(partition),
                None => self.all = true,
            }
        }
        self.under_way.pop_front()
    }

    /// Starts a partition. Permits are taken in order: if later partitions held all of them and waited for their rows to
    /// be sent, the first could not start.
    fn start(&mut self, partition: Partition) {
        self.number += 1;
        let number = self.number;
        let (has_started, started) = oneshot::channel::<()>();
        let before = self.before.replace(started);
        let (sender, pages) = mpsc::channel(PREFETCH);
        let (reader, partitioning) = (self.reader.clone(), self.partitioning.clone());
        let permits = self.permits.clone();
        let task = owned(async move {
            if let Some(before) = before {
                // An error means that the partition before is gone, and its turn with it.
                let _ = before.await;
            }
            let Ok(_permit) = permits.acquire().await else {
                return Ok(Ended::Stopped);
            };
            drop(has_started);
            let sequence = &reader.plan.sequence;
            reader
                .pages(sequence, &partition, Some((&partitioning, number)), &sender)
                .await
        });
        self.under_way.push_back(UnderWay { pages, task });
    }
}

/// Sends the pages of a partition on.
async fn forward(mut pages: mpsc::Receiver<PageRows>, out: &mpsc::Sender<Message>) -> More {
    while let Some(page) = pages.recv().await {
        if out.send(Message::Page(page)).await.is_err() {
            return More::Stopped;
        }
    }
    More::Wanted
}
