//! Reads all windows, partitions and pages in order.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::decode::Message;
use super::extract::OnMissing;
use super::fetch::{Fetched, Fetcher, PageContext};
use super::incremental::{self, Seen};
use super::page::{self, PageRows};
use super::pagination::{Pager, Turn};
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
    pub(super) plan: Arc<Plan>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) identity: Arc<[(&'static str, String)]>,
    pub(super) run: Option<Arc<incremental::Plan>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Wanted,
    Stopped,
}

enum Ended {
    Read(Totals),
    Skipped(u16),
    Stopped,
}

#[derive(Default)]
struct Totals {
    records: u64,
    rows: u64,
    without_list: u64,
    found_columns: u64,
    seen: Seen,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.without_list += other.without_list;
        self.found_columns |= other.found_columns;
        self.seen.merge(&other.seen);
    }

    /// Checks a whole window before its position is saved.
    fn check(&self, sequence: &Sequence, source: &str) -> Result<()> {
        let records = &sequence.extractor.config;
        let Some(explode) = &records.explode else {
            return Ok(());
        };
        if self.records == 0 || self.without_list < self.records {
            return Ok(());
        }
        let what = format!(
            "none of {} records of {} has the array `{}` of `records.explode`",
            self.records,
            sequence.request.named(),
            explode.path
        );
        if records.missing == OnMissing::Empty {
            tracing::warn!(source = %source, "{what}");
            return Ok(());
        }
        Err(Error::input(what)
            .with_hint("check `records.explode.path`: it starts at a record, not at the body")
            .with_hint("if the service omits empty arrays, set `missing: empty` in `records`"))
    }
}

struct UnderWay {
    pages: mpsc::Receiver<PageRows>,
    task: AbortOnDropHandle<Result<Ended>>,
}

impl Reader {
    fn cx(&self) -> &SourceContext {
        &self.fetcher.cx
    }

    pub(super) async fn read(&self, out: mpsc::Sender<Message>) -> Result<()> {
        let Some(incremental) = &self.plan.incremental else {
            if let Some(totals) = self.window(&Values::default(), &out).await? {
                self.end(&totals, &out).await;
            }
            return Ok(());
        };
        let saved = self.cx().position.load().await?;
        let settings = self.identity.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<(&str, &str)> = settings.collect();
        let mut run = incremental.begin(saved.as_deref(), &settings, jiff::Timestamp::now())?;
        tracing::info!(
            source = %self.cx().name, windows = run.len(), full = run.is_full(), "{}", run.why
        );
        let reader = Self {
            run: Some(Arc::new(run.clone())),
            ..self.clone()
        };
        let mut all = Totals::default();
        for index in 0..run.len() {
            let (values, shown) = run.window(index)?;
            tracing::debug!(source = %self.cx().name, "reading {shown}");
            let Some(totals) = reader.window(&values, &out).await? else {
                return Ok(());
            };
            run.seen.merge(&totals.seen);
            all.add(&totals);
            let position = run.after_window(index)?;
            if out.send(Message::Position(position)).await.is_err() {
                return Ok(());
            }
        }
        let seen = &run.seen;
        if seen.without > 0 || seen.future > 0 {
            tracing::warn!(
                source = %self.cx().name, with = seen.with, without = seen.without, future = seen.future,
                "records without a cursor, or with one in the future"
            );
        }
        self.end(&all, &out).await;
        Ok(())
    }

    /// Marks the end: without it, what was read is incomplete. Warns of mapped columns without any value: their path may
    /// be misspelled.
    async fn end(&self, totals: &Totals, out: &mpsc::Sender<Message>) {
        let columns = &self.plan.sequence.extractor.config.columns;
        let never = columns.iter().take(64).enumerate();
        let never = never.filter(|(index, _)| totals.found_columns & (1 << index) == 0);
        let never = never.map(|(_, (column, path))| format!("`{column}` at `{path}`"));
        let never: Vec<String> = never.collect();
        if !self.cx().run.partial && totals.rows > 0 && !never.is_empty() {
            tracing::warn!(
                source = %self.cx().name,
                rows = totals.rows,
                "no row has a value for {} of `records.columns`; check the spelling",
                never.join(", ")
            );
        }
        // The receiver ends early only when the run is stopped.
        let _ = out.send(Message::End).await;
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
            let read = self.pages(&self.plan.sequence, &partition, None, sender);
            let (ended, more) = tokio::join!(read, forward(pages, out));
            return match (ended?, more) {
                (Ended::Read(totals), More::Wanted) => {
                    totals.check(&self.plan.sequence, &self.cx().name)?;
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
        let max_concurrent = partitioning.config.max_concurrent.as_usize();
        let mut queue = Queue {
            reader: self,
            partitioning: &partitioning,
            max_concurrent,
            permits: Arc::new(Semaphore::new(max_concurrent)),
            under_way: VecDeque::new(),
            before: None,
            number: 0,
            all: false,
        };
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
        totals.check(&self.plan.sequence, &self.cx().name)?;
        if skips.skipped > 0 {
            tracing::warn!(source = %self.cx().name, skipped = skips.skipped, "partitions were skipped");
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
            let read = self.pages(sequence, &outer, None, sender);
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
            tracing::info!(
                source = %self.cx().name, rows = keys.rows, without_key = keys.missing, repeated = keys.repeated,
                "parent read"
            );
        }
        if let Some(sequence) = &self.plan.parent {
            totals.check(sequence, &self.cx().name)?;
        }
        Ok(More::Wanted)
    }

    /// Reads the pages of one sequence in order; `partition` is what it is for, with its number.
    async fn pages(
        &self,
        sequence: &Sequence,
        partition: &Partition,
        partitioning: Option<(&Partitioning, u64)>,
        out: mpsc::Sender<PageRows>,
    ) -> Result<Ended> {
        let is_main = std::ptr::eq(sequence, &raw const self.plan.sequence);
        let mut totals = Totals::default();
        let (mut pager, mut request) = Pager::start(&sequence.pagination);
        let mut before = None;
        for number in 1_u64.. {
            let context = PageContext {
                sequence,
                partition,
                partitioning,
                number,
                request: &request,
                before: before.as_ref(),
                run: self.run.as_ref().filter(|_| is_main),
            };
            let page = match self.fetcher.page(&context).await? {
                Fetched::Page(page) => *page,
                Fetched::Skipped(status) => return Ok(Ended::Skipped(status)),
                Fetched::Stopped => return Ok(Ended::Stopped),
            };
            let extracted = &page.response.extracted;
            let turn = pager.next(&page.response);
            for warning in pager.warnings.drain(..) {
                let url = sequence.request.shown(&page.response.url);
                tracing::warn!(source = %self.cx().name, "{url}: {warning}");
            }
            let turn = turn?;
            totals.add(&Totals {
                records: extracted.records,
                rows: extracted.rows,
                without_list: extracted.without_list,
                found_columns: extracted.found_columns,
                seen: page.seen,
            });
            if !page.rows.blocks.is_empty() && out.send(page.rows).await.is_err() {
                return Ok(Ended::Stopped);
            }
            match turn {
                Turn::Next(next) => request = next,
                Turn::End(reason) => {
                    let (pages, records, rows) = (pager.pages, pager.rows, totals.rows);
                    tracing::debug!(source = %self.cx().name, pages, records, rows, "last page: {reason:?}");
                    break;
                }
            }
            before = Some(page.response.url);
        }
        Ok(Ended::Read(totals))
    }
}

struct Queue<'r> {
    reader: &'r Reader,
    partitioning: &'r Arc<Partitioning>,
    max_concurrent: usize,
    permits: Arc<Semaphore>,
    under_way: VecDeque<UnderWay>,
    /// Closed when the last partition has started.
    before: Option<oneshot::Receiver<()>>,
    number: u64,
    all: bool,
}

impl Queue<'_> {
    /// Starts partitions as far as there is room, and returns the first.
    async fn next(&mut self, coming: &mut mpsc::Receiver<Partition>) -> Option<UnderWay> {
        while !self.all && self.under_way.len() < self.max_concurrent * PARTITIONS_AHEAD {
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
            let partitioning = Some((&*partitioning, number));
            reader.pages(sequence, &partition, partitioning, sender).await
        });
        self.under_way.push_back(UnderWay { pages, task });
    }
}

async fn forward(mut pages: mpsc::Receiver<PageRows>, out: &mpsc::Sender<Message>) -> More {
    while let Some(page) = pages.recv().await {
        if out.send(Message::Page(page)).await.is_err() {
            return More::Stopped;
        }
    }
    More::Wanted
}
