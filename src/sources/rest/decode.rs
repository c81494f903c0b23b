//! Turns the rows of all pages into chunks, in order, on a blocking thread.
//!
//! With declared columns, the rows of a page are sent at once. Otherwise columns are inferred from all rows, which wait
//! until the last page is read: only then is a key that first occurs there a column. For a preview or a row limit,
//! columns are inferred from as many rows as are requested, and from more while a used column is in none of them, since
//! services omit empty values; a later row that does not fit is rejected.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::page::{self, Block, PageRows};
use crate::component::Delivered;
use crate::disk::spool::Spool;
use crate::error::Result;
use crate::format::json::{ColumnType, RecordDecoder, RecordSchema, SchemaOrigin};
use crate::format::{Collector, ReadError, ReadResult};

/// Bytes of rows in memory while columns are inferred; more wait in a file.
const MAX_MEMORY: usize = 32 << 20;

/// Rows of a partial run in which used columns are searched.
const SAMPLE_ROWS: u64 = 1000;

pub(super) enum Message {
    Page(PageRows),
    /// All rows of the windows so far were sent; see [`super::incremental`].
    Position(String),
    /// Everything was read. Without it, reading failed, and rows that wait are not sent.
    End,
}

/// Positions to save once everything before them is delivered, in order.
pub(super) type Positions = mpsc::UnboundedSender<(String, Delivered)>;

#[derive(Debug, Clone)]
pub(super) enum Columns {
    Declared(Vec<(String, ColumnType)>),
    Inferred,
    Sampled,
}

pub(super) fn decode(
    mut messages: mpsc::Receiver<Message>,
    columns: &Columns,
    out: &Collector,
    positions: &Positions,
) -> ReadResult {
    let partial = out.cx.run.partial;
    let sampled = matches!(columns, Columns::Sampled);
    let mut stage = match columns {
        Columns::Declared(columns) => {
            let wants = |column: &str| out.uses(column);
            let schema = RecordSchema::declared(columns.iter().cloned(), &wants);
            Stage::Sending(Box::new(RecordDecoder::new(schema, SchemaOrigin::Declared, out)?))
        }
        Columns::Inferred | Columns::Sampled => Stage::Inferring(Box::new(Waiting::new(out))),
    };
    loop {
        let message = messages.blocking_recv().ok_or(ReadError::Stopped)?;
        out.check_stopped()?;
        match (&mut stage, message) {
            (Stage::Sending(rows), Message::Page(page)) => {
                send(rows, page.name, &page.spool, page.blocks, false)?;
                // A partial run may have enough rows: no further page is then requested.
                if partial {
                    rows.flush()?;
                }
            }
            // A partial run does not move the position.
            (Stage::Sending(_), Message::Position(_)) if sampled => {}
            (Stage::Sending(rows), Message::Position(position)) => {
                rows.flush()?;
                checkpoint(position, out, positions)?;
            }
            (Stage::Inferring(waiting), Message::Page(page)) => {
                waiting.add(page, out)?;
                if sampled && waiting.is_enough(out) {
                    let waiting = std::mem::replace(&mut **waiting, Waiting::new(out));
                    let mut rows = waiting.send(SchemaOrigin::FirstRecords, out)?;
                    rows.flush()?;
                    stage = Stage::Sending(Box::new(rows));
                }
            }
            // Only the last one counts: no row is sent before.
            (Stage::Inferring(waiting), Message::Position(position)) => waiting.position = Some(position),
            (_, Message::End) => break,
        }
    }
    match stage {
        Stage::Sending(rows) => {
            if let Columns::Declared(columns) = columns
                && !partial
            {
                let unseen = rows.unseen(columns.iter().map(|(name, _)| name.as_str()));
                if !unseen.is_empty() {
                    tracing::warn!(
                        source = %out.name, columns = ?unseen,
                        "no record has these declared columns; check their spelling"
                    );
                }
            }
            rows.finish()
        }
        Stage::Inferring(mut waiting) => {
            let position = waiting.position.take().filter(|_| !sampled || waiting.rows == 0);
            waiting.send(SchemaOrigin::AllRecords, out)?.finish()?;
            position.map_or(Ok(()), |position| checkpoint(position, out, positions))
        }
    }
}

enum Stage<'a> {
    Inferring(Box<Waiting>),
    Sending(Box<RecordDecoder<'a>>),
}

fn checkpoint(position: String, out: &Collector, positions: &Positions) -> ReadResult {
    let delivered = futures::executor::block_on(out.output.checkpoint(&*position))?;
    // The receiver ends only with the run.
    let _ = positions.send((position, delivered));
    Ok(())
}

/// Sends the rows of a page; `fit` if all are known to fit the schema.
fn send(
    rows: &mut RecordDecoder<'_>,
    page: Arc<str>,
    spool: &Spool,
    blocks: Vec<Block>,
    fit: bool,
) -> ReadResult {
    rows.start_page(page)?;
    for block in blocks {
        let block = spool.load_blocking(block)?;
        page::rows(&block).try_for_each(|row| match fit {
            true => rows.push_fitting(row, None),
            false => rows.push(row, None),
        })?;
    }
    Ok(())
}

struct Waiting {
    schema: RecordSchema,
    spool: Spool,
    /// With whether all of their rows fit the schema.
    pages: Vec<(Arc<str>, Vec<Block>, bool)>,
    rows: u64,
    position: Option<String>,
}

impl Waiting {
    fn new(out: &Collector) -> Self {
        let folder: Arc<Path> = out.cx.run.scratch_folder();
        Self {
            schema: RecordSchema::default(),
            spool: Spool::new(folder, MAX_MEMORY, "rows whose columns are inferred"),
            pages: Vec::new(),
            rows: 0,
            position: None,
        }
    }

    fn add(&mut self, page: PageRows, out: &Collector) -> Result<()> {
        let wants = |column: &str| out.uses(column);
        let mut blocks = Vec::with_capacity(page.blocks.len());
        let mut fit = true;
        for block in page.blocks {
            let block = page.spool.load_blocking(block)?;
            for row in page::rows(&block) {
                self.rows += 1;
                // A row that does not fit is rejected when it is decoded.
                fit &= std::str::from_utf8(row).is_ok_and(|row| self.schema.infer(row, &wants).is_ok());
            }
            let bytes = block.len();
            blocks.push(self.spool.store_blocking(block, bytes)?);
        }
        self.pages.push((page.name, blocks, fit));
        Ok(())
    }

    fn is_enough(&self, out: &Collector) -> bool {
        if self.rows < out.output.wanted().unwrap_or(SAMPLE_ROWS).max(1) {
            return false;
        }
        let used = out.cx.columns.as_ref();
        self.rows >= SAMPLE_ROWS || used.is_none_or(|used| used.iter().all(|name| self.schema.has(name)))
    }

    fn send(self, origin: SchemaOrigin, out: &Collector) -> ReadResult<RecordDecoder<'_>> {
        let mut rows = RecordDecoder::new(self.schema, origin, out)?;
        for (name, blocks, fit) in self.pages {
            send(&mut rows, name, &self.spool, blocks, fit)?;
        }
        Ok(rows)
    }
}
