//! Reads all sequences of pages, in order.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::config::{ColumnKind, RestConfig};
use super::extract::Missing;
use super::fetch::{FetchOutcome, Fetcher, PageContext};
use super::incremental::{self, Seen};
use super::json_path::SinglePath;
use super::mapped_columns::MappedColumns;
use super::page::PageResponse;
use super::pagination::Turn;
use super::partitions::{Partition, Partitioning};
use super::plan::{Plan, Sequence};
use super::rows::{self, Known, Message};
use super::template::Values;
use crate::component::{Delivered, Output, Position, Source, SourceContext};
use crate::config::Problems;
use crate::error::{Error, Result};
use crate::format::json::ColumnType;
use crate::format::{Collector, ReadError};
use crate::secret::SecretFiles;

/// Blocks of records that wait to be decoded, and blocks that a sequence may have ready before its turn.
const WAITING: usize = 4;

/// Sequences that may be ready before their turn, for each that is under way.
const AHEAD: usize = 8;

/// See the [module](self).
pub(super) struct RestSource {
    cx: SourceContext,
    plan: Plan,
    fetcher: Arc<Fetcher>,
    known: Known,
    identity: Vec<(&'static str, String)>,
}

impl RestSource {
    /// Reads secrets and makes the client.
    pub(super) fn new(config: &RestConfig, cx: SourceContext) -> Result<Self> {
        let mut found = Vec::new();
        let plan = Plan::new(config, &mut Problems::new(&mut found));
        let Some(mut plan) = plan else {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(Error::config(found.join("; ")));
        };
        let base: &Path = &cx.run.base;
        plan.sequence
            .request
            .read_secrets(base, &SecretFiles::of(&cx.run))?;
        if let Some(parent) = &mut plan.parent {
            parent.request.read_secrets(base, &SecretFiles::of(&cx.run))?;
        }
        let fetcher = Arc::new(config.fetcher(&cx)?);
        let known = match &config.columns {
            Some(columns) => {
                let declared = columns.iter().map(|(name, kind)| (name.clone(), (*kind).into()));
                // What `each` and `records` add is there whether it is declared or not.
                let each = plan.each.iter().flat_map(|each| each.column_names());
                let each = each.map(|name| name.to_string());
                let added: BTreeSet<String> = each.chain(config.records.column_names()).collect();
                let added = added.into_iter().filter(|name| !columns.contains_key(name));
                let added = added.map(|name| (name, ColumnType::Text));
                Known::Declared(declared.chain(added).collect())
            }
            None if cx.run.partial => Known::Sampled,
            None => Known::Learnt,
        };
        Ok(Self {
            cx,
            plan,
            fetcher,
            known,
            identity: config.identity(),
        })
    }
}

impl From<ColumnKind> for ColumnType {
    fn from(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Text => Self::Text,
            ColumnKind::Integer => Self::Integer,
            ColumnKind::Number => Self::Number,
            ColumnKind::Boolean => Self::Boolean,
        }
    }
}

/// Whether anybody wants more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Wanted,
    Stopped,
}

#[async_trait]
impl Source for RestSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self {
            cx,
            plan,
            fetcher,
            known,
            identity,
        } = *self;
        let name = cx.name.clone();
        let (blocks, waiting) = mpsc::channel(WAITING);
        let (positions, marked) = mpsc::unbounded_channel();
        let feed = Collector {
            name: cx.name.clone(),
            cx: cx.clone(),
            output: out,
            added: Default::default(),
        };
        // Parsing keeps a processor busy, and waits for the receivers: not for the threads that serve everybody. The
        // output goes with it: what waits for delivery below must not keep it open.
        let decoder = tokio::task::spawn_blocking(move || {
            let decoded = rows::decode(waiting, &known, &feed, &positions);
            let more = !feed.output.is_stopped() && feed.output.wanted() != Some(0);
            (decoded, more)
        });
        let saver = owned(save(marked, cx.position.clone()));
        let reader = Reader {
            plan: Arc::new(plan),
            fetcher,
            identity: identity.into(),
            picked: Arc::default(),
            cx,
        };
        let fetcher = reader.fetcher.clone();
        let taken = blocks.clone();
        let read = tokio::select! {
            biased;
            read = reader.read(blocks) => read,
            // Whoever takes rows knows why no more are wanted; a request that nobody needs is not waited for.
            () = taken.closed() => Ok(()),
        };
        drop(taken);
        fetcher.auth.finish().await;
        let (decoded, more) = decoder
            .await
            .map_err(|error| Error::task_failed("decoding answers", &error))?;
        // What stopped the decoder stopped the reading too, so its failure says more.
        match (decoded, read) {
            (Err(ReadError::Failed(error)), _) => return Err(error),
            (Err(ReadError::Stopped) | Ok(()), Err(error)) if more => return Err(error),
            // It is about what was only asked for ahead: nobody wants it any more.
            (Err(ReadError::Stopped) | Ok(()), Err(error)) => {
                tracing::debug!(source = %name, "not wanted any more: {}", error.chain());
            }
            _ => {}
        }
        saver
            .await
            .map_err(|error| Error::task_failed("saving the position", &error))?
    }
}

/// Saves positions as they are delivered, in order, up to the first that is not.
async fn save(mut marked: mpsc::UnboundedReceiver<(String, Delivered)>, position: Position) -> Result<()> {
    while let Some((text, delivered)) = marked.recv().await {
        if !delivered.await {
            return Ok(());
        }
        position.save(text).await?;
    }
    Ok(())
}

/// Goes through windows, steps and pages.
#[derive(Clone)]
struct Reader {
    plan: Arc<Plan>,
    fetcher: Arc<Fetcher>,
    identity: Arc<[(&'static str, String)]>,
    picked: Arc<MappedColumns>,
    cx: SourceContext,
}

impl Reader {
    async fn read(&self, blocks: mpsc::Sender<Message>) -> Result<()> {
        let Some(incremental) = &self.plan.incremental else {
            return match self.steps(&Values::default(), None, &blocks).await? {
                More::Wanted => self.end(&blocks).await,
                More::Stopped => Ok(()),
            };
        };
        let saved = self.cx.position.load().await?;
        let settings: Vec<(&str, &str)> = self
            .identity
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut reading = incremental.begin(saved.as_deref(), &settings, jiff::Timestamp::now())?;
        tracing::info!(
            source = %self.cx.name, windows = reading.len(), full = reading.why().is_full(), "{}", reading.why()
        );
        for index in 0..reading.len() {
            let window = reading.window(index)?;
            tracing::debug!(source = %self.cx.name, "reading {}", window.shown);
            let mut watch = incremental.cursor().map(|path| Watch {
                plan: &reading,
                path,
                seen: Seen::default(),
            });
            if self.steps(&window.values, watch.as_mut(), &blocks).await? == More::Stopped {
                return Ok(());
            }
            if let Some(seen) = watch.map(|watch| watch.seen) {
                reading.merge(&seen);
            }
            let position = reading.after_window(index)?;
            if blocks.send(Message::Position(position)).await.is_err() {
                return Ok(());
            }
        }
        let seen = reading.seen();
        if seen.without > 0 || seen.future > 0 {
            tracing::warn!(
                source = %self.cx.name, with = seen.with, without = seen.without, future = seen.future,
                "records without a cursor, or with one in the future"
            );
        }
        self.end(&blocks).await
    }

    /// Says that everything was read: without it, what was read is not all.
    async fn end(&self, blocks: &mpsc::Sender<Message>) -> Result<()> {
        // Of a part, nothing is known of the rest.
        if !self.cx.run.partial {
            self.picked.warn(&self.plan.sequence.extractor, &self.cx.name);
        }
        // Who takes blocks has gone only when nobody wants rows.
        let _ = blocks.send(Message::End).await;
        Ok(())
    }

    /// All steps of a window, several at a time, their rows in the order of the steps.
    async fn steps(
        &self,
        values: &Values,
        mut watch: Option<&mut Watch<'_>>,
        blocks: &mpsc::Sender<Message>,
    ) -> Result<More> {
        let Some(each) = self.plan.each.clone() else {
            let step = Partition {
                values: values.clone(),
                ..Partition::default()
            };
            let (sender, receiver) = mpsc::channel(WAITING);
            let read = async {
                let ended = self.pages(&self.plan.sequence, &step, None, &sender).await;
                drop(sender);
                ended
            };
            let pass = pass_on(receiver, watch.as_deref_mut(), blocks);
            let (ended, more) = tokio::join!(read, pass);
            return match ended? {
                Ended::Read(lists) => {
                    lists.check(&self.plan.sequence, &self.cx.name)?;
                    more
                }
                Ended::Skipped(_) | Ended::Stopped => more.map(|_| More::Stopped),
            };
        };
        let (steps, mut coming) = mpsc::channel::<Partition>(WAITING);
        let mut maker = {
            let (reader, each, values) = (self.clone(), each.clone(), values.clone());
            owned(async move { reader.make_steps(&each, &values, &steps).await })
        };
        let permits = Arc::new(Semaphore::new(each.max_concurrent));
        let mut skips = each.skip.begin();
        let mut lists = Lists::default();
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        let mut number = 0_u64;
        let mut before = None;
        let mut all = false;
        loop {
            while !all && under_way.len() < each.max_concurrent * AHEAD {
                // With something under way, no need to wait for the next step.
                let step = if under_way.is_empty() {
                    coming.recv().await
                } else {
                    match coming.try_recv() {
                        Ok(step) => Some(step),
                        Err(mpsc::error::TryRecvError::Empty) => break,
                        Err(mpsc::error::TryRecvError::Disconnected) => None,
                    }
                };
                let Some(step) = step else {
                    all = true;
                    break;
                };
                number += 1;
                under_way.push_back(self.begin(&each, step, number, &permits, &mut before));
            }
            let Some(UnderWay { blocks: rows, task }) = under_way.pop_front() else {
                break;
            };
            if pass_on(rows, watch.as_deref_mut(), blocks).await? == More::Stopped {
                return Ok(More::Stopped);
            }
            let ended = task
                .await
                .map_err(|error| Error::task_failed("reading a step", &error))??;
            match ended {
                Ended::Read(more) => {
                    lists.add(more);
                    skips.answered();
                }
                Ended::Skipped(status) => skips.skipped(status)?,
                Ended::Stopped => return Ok(More::Stopped),
            }
        }
        let made = (&mut maker)
            .await
            .map_err(|error| Error::task_failed("reading the parents", &error))??;
        if made == More::Stopped {
            return Ok(More::Stopped);
        }
        skips.finish()?;
        lists.check(&self.plan.sequence, &self.cx.name)?;
        if skips.count() > 0 {
            tracing::warn!(source = %self.cx.name, skipped = skips.count(), "left out, since the service gave no answer for them");
        }
        Ok(More::Wanted)
    }

    /// Begins a step; it waits for its turn among those that are under way. Permits are taken in the order of the steps:
    /// a later one that has all of them and waits for its rows to be taken would keep the first from beginning.
    fn begin(
        &self,
        each: &Arc<Partitioning>,
        step: Partition,
        number: u64,
        permits: &Arc<Semaphore>,
        before: &mut Option<oneshot::Receiver<()>>,
    ) -> UnderWay {
        let (has_begun, begun) = oneshot::channel::<()>();
        let before = before.replace(begun);
        let (sender, blocks) = mpsc::channel(WAITING);
        let (reader, each, permits) = (self.clone(), each.clone(), permits.clone());
        let task = owned(async move {
            if let Some(before) = before {
                // An error is that the one before is gone, and its turn with it.
                let _ = before.await;
            }
            let Ok(_permit) = permits.acquire().await else {
                return Ok(Ended::Stopped);
            };
            drop(has_begun);
            reader
                .pages(&reader.plan.sequence, &step, Some((&each, number)), &sender)
                .await
        });
        UnderWay { blocks, task }
    }

    /// Sends every step: the combinations of values, each with the parent's rows if there is one.
    async fn make_steps(
        &self,
        each: &Arc<Partitioning>,
        values: &Values,
        steps: &mpsc::Sender<Partition>,
    ) -> Result<More> {
        let mut lists = Lists::default();
        for outer in each.partitions() {
            let mut outer = outer.clone();
            outer.values = values.with(&outer.values);
            let (Some(parent), Some(sequence)) = (each.parent(), &self.plan.parent) else {
                if steps.send(outer).await.is_err() {
                    return Ok(More::Stopped);
                }
                continue;
            };
            let mut keys = parent.keys(&outer);
            let (sender, rows) = mpsc::channel(WAITING);
            let read = async {
                let ended = self.pages(sequence, &outer, None, &sender).await;
                drop(sender);
                ended
            };
            let take = async {
                // Gone with this block, however it ends: then the reading ends too.
                let mut rows = rows;
                while let Some(block) = rows.recv().await {
                    for row in block.values() {
                        if let Some(step) = keys.take(&row?)?
                            && steps.send(step).await.is_err()
                        {
                            return Ok::<_, Error>(());
                        }
                    }
                }
                if let Some(step) = keys.finish() {
                    let _ = steps.send(step).await;
                }
                Ok(())
            };
            let (ended, taken) = tokio::join!(read, take);
            taken?;
            let Ended::Read(more) = ended? else {
                return Ok(More::Stopped);
            };
            lists.add(more);
            let counts = keys.counts();
            tracing::info!(
                source = %self.cx.name, rows = counts.rows, without_key = counts.missing, repeated = counts.repeated,
                "parents read"
            );
        }
        if let Some(sequence) = &self.plan.parent {
            lists.check(sequence, &self.cx.name)?;
        }
        Ok(More::Wanted)
    }

    /// The pages of one sequence, in order.
    async fn pages(
        &self,
        sequence: &Sequence,
        step: &Partition,
        each: Option<(&Arc<Partitioning>, u64)>,
        out: &mpsc::Sender<Message>,
    ) -> Result<Ended> {
        let (mut lists, mut rows) = (Lists::default(), 0);
        let mut pager = sequence.pager.clone();
        let mut ask = pager.first();
        let mut before = None;
        let mut number = 0_u64;
        loop {
            number += 1;
            let suffix = match each {
                Some((_, step)) => format!(" (step {step}, page {number})"),
                None => format!(" (page {number})"),
            };
            // Once some of a sequence is read, the rest of it cannot be left out.
            let first = number == 1;
            let question = PageContext {
                sequence,
                values: &step.values,
                extra: &step.columns.0,
                ask: &ask,
                before: before.as_ref(),
                suffix,
                may_skip: &|status| first && each.is_some_and(|(each, _)| each.skip.may_skip(status)),
                rules_skip: first && each.is_some(),
            };
            let page = match self.fetcher.page(&question, out).await? {
                FetchOutcome::Page(page) => *page,
                FetchOutcome::Skipped(status) => return Ok(Ended::Skipped(status)),
                FetchOutcome::Stopped => return Ok(Ended::Stopped),
            };
            rows += page.rows;
            if std::ptr::eq(sequence, &raw const self.plan.sequence) {
                self.picked.note(page.rows, page.picked);
            }
            lists.records += page.records;
            lists.without += page.without_list;
            let told = PageResponse {
                url: &page.url,
                status: page.status,
                headers: &page.headers,
                values: &page.values,
                records: page.records,
            };
            let turn = pager.next(&told, page.digest, page.last.as_ref());
            for warning in pager.take_warnings() {
                tracing::warn!(source = %self.cx.name, "{}: {warning}", sequence.request.shown(&page.url));
            }
            let turn = turn?;
            for block in page.rest {
                if out.send(block).await.is_err() {
                    return Ok(Ended::Stopped);
                }
            }
            match turn {
                Turn::Next(next) => ask = next,
                Turn::End(reason) => {
                    tracing::debug!(source = %self.cx.name, pages = pager.pages(), records = pager.rows(), rows, "last page: {reason:?}");
                    return Ok(Ended::Read(lists));
                }
            }
            before = Some(page.url);
        }
    }
}

/// Looks for the cursor of every record of a window.
struct Watch<'a> {
    plan: &'a incremental::Plan,
    path: &'a SinglePath,
    seen: Seen,
}

/// Gives the blocks of one step on, and lets `watch` see the records. The way in is closed however it ends: whoever reads
/// learns of it when nobody takes what it sends.
async fn pass_on(
    mut from: mpsc::Receiver<Message>,
    mut watch: Option<&mut Watch<'_>>,
    to: &mpsc::Sender<Message>,
) -> Result<More> {
    while let Some(block) = from.recv().await {
        if let Some(watch) = watch.as_deref_mut() {
            for row in block.values() {
                watch.plan.observe(&mut watch.seen, watch.path.find(&row?))?;
            }
        }
        if to.send(block).await.is_err() {
            return Ok(More::Stopped);
        }
    }
    Ok(More::Wanted)
}

/// A step that was begun.
struct UnderWay {
    blocks: mpsc::Receiver<Message>,
    task: AbortOnDropHandle<Result<Ended>>,
}

/// How a sequence ended.
#[derive(Debug, Clone, Copy)]
enum Ended {
    Read(Lists),
    Skipped(u16),
    Stopped,
}

/// Records, and those in which there was no list to explode.
#[derive(Debug, Clone, Copy, Default)]
struct Lists {
    records: u64,
    without: u64,
}

impl Lists {
    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.without += more.without;
    }

    /// Judges the whole of a window, before its position is saved.
    ///
    /// # Errors
    /// There were records, none of them had the list, and `missing` does not allow for that.
    fn check(self, sequence: &Sequence, source: &str) -> Result<()> {
        let Some((path, missing)) = sequence.extractor.explodes() else {
            return Ok(());
        };
        if self.records == 0 || self.without < self.records {
            return Ok(());
        }
        let what = format!(
            "none of {} records of {} has anything at `{path}`, where `explode` looks for a list",
            self.records,
            sequence.request.named()
        );
        if missing == Missing::Empty {
            tracing::warn!(source = %source, "{what}");
            return Ok(());
        }
        Err(Error::input(what)
            .with_hint("check `records.explode.path`: it begins at a record, not at the body")
            .with_hint(
                "if the service leaves the list out where it is empty, set `missing: empty` in `records`",
            ))
    }
}

/// A task that ends when nobody waits for it any more.
#[expect(clippy::disallowed_methods, reason = "it does not outlive its owner")]
fn owned<F>(work: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(work))
}

impl Message {
    /// The records as values.
    fn values(&self) -> impl Iterator<Item = Result<Value>> {
        let records = match self {
            Self::Records { text, ends, page } => Some((text, ends, page)),
            Self::Position(_) | Self::End => None,
        };
        records.into_iter().flat_map(|(text, ends, page)| {
            rows::cut(text, ends).map(move |record| {
                // serde's own text may repeat a value.
                serde_json::from_slice(record)
                    .map_err(|_| Error::input(format!("a record of {page} is not valid JSON")))
            })
        })
    }
}
