//! Reads the selected files in order.
//!
//! A file is post-processed once its checkpoint comes back, while the next files are read. First the state notes that its
//! rows are final and that it is pending; then it is moved or deleted; then the state notes that. After a crash at any
//! point the next run does what is missing, and no file is moved before its rows are final.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::job::Job;
use super::post_process::{PostProcessor, SentFile};
use crate::component::{Chunk, Origins, Output, Part, Source, SourceContext};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ReadError;
use crate::storage::FileInfo;

pub(super) struct FileSource {
    pub(super) cx: SourceContext,
    pub(super) jobs: Vec<Job>,
    pub(super) processor: PostProcessor,
    /// Whether a file that cannot be read is moved: not in a run that only reads.
    pub(super) moves_failed: bool,
}

#[async_trait]
impl Source for FileSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let (cx, processor, moves_failed) = (self.cx, self.processor, self.moves_failed);
        let failed = moves_failed.then(|| (processor.storage.clone(), processor.actions.clone()));
        let (sent, received) = mpsc::unbounded_channel();
        // Aborted together with this source.
        #[expect(clippy::disallowed_methods, reason = "it does not outlive its owner")]
        let processor = AbortOnDropHandle::new(tokio::spawn(processor.run(received)));
        let read = read_all(&cx, self.jobs, &out, sent).await;
        // While an output is open, a sink waits for more rows to fill its last batch.
        drop(out);
        if let Err((_, file)) = &read {
            // Rows that were not sent yet stay unsent; delivered files are still processed.
            cx.run.cancel.cancel();
            if let (Some((storage, actions)), Some(file)) = (failed, file) {
                actions.failed(&*storage, file).await;
            }
        }
        let processed = processor
            .await
            .map_err(|error| Error::task_failed("post-processing files", &error))?;
        read.map_err(|(error, _)| error)?;
        processed
    }
}

/// Whether the content of a file is the cause; not a network, a login, a disk or another writer.
fn is_bad_content(error: &Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let is_from_system = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.raw_os_error().is_some())
    };
    error.kind() == ErrorKind::Input && !causes.any(is_from_system)
}

/// Small files that are opened before their turn.
const PREFETCH_FILES: usize = 6;

/// An error comes with the file whose content is its cause.
async fn read_all(
    cx: &SourceContext,
    jobs: Vec<Job>,
    out: &Output,
    sent: mpsc::UnboundedSender<SentFile>,
) -> Result<(), (Error, Option<FileInfo>)> {
    let (no_files, mut has_rows) = (jobs.is_empty(), false);
    let mut jobs = VecDeque::from(jobs);
    while let Some(mut job) = jobs.pop_front() {
        // Of many small remote files, the round trip is most of the time.
        job.prefetch(&cx.run.cancel);
        for next in jobs.iter_mut().take(PREFETCH_FILES) {
            next.prefetch(&cx.run.cancel);
        }
        let file = job.file.clone();
        let (source, output) = (cx.clone(), out.clone());
        let before = cx.counts.totals().read;
        // Parsing is CPU-bound, and reads may block.
        let read = tokio::task::spawn_blocking(move || {
            let rows = job.read(&source, &output)?;
            Ok((rows, job.hash.and_then(|hash| hash.get())))
        });
        let hash = match read.await {
            Ok(Ok((rows, hash))) => {
                has_rows |= rows;
                hash
            }
            Ok(Err(ReadError::Stopped)) => return Ok(()),
            // The run was stopped for another reason; a read that was aborted by that is not an error.
            Ok(Err(ReadError::Failed(_))) if out.is_stopped() => return Ok(()),
            Ok(Err(ReadError::Failed(error))) => {
                let file = is_bad_content(&error).then_some(file);
                return Err((error, file));
            }
            Err(error) => {
                let reading = format!("reading `{}`", file.name);
                return Err((Error::task_failed(&reading, &error), None));
            }
        };
        let Ok(delivered) = out.checkpoint(&*file.name).await else {
            return Ok(());
        };
        // A receiver that failed reports that itself.
        let _ = sent.send(SentFile {
            file,
            hash,
            rows: cx.counts.totals().read - before,
            delivered,
        });
    }
    if !has_rows {
        if !no_files {
            // All were modified without a change of content.
            cx.counts.nothing_new();
        }
        send_empty_chunk(cx, out).await;
    }
    Ok(())
}

/// Announces the columns in use if no file was read.
async fn send_empty_chunk(cx: &SourceContext, out: &Output) {
    let columns: Vec<String> = cx.columns.iter().flat_map(|used| used.iter().cloned()).collect();
    if columns.is_empty() {
        return;
    }
    let fields = columns.iter().map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::new_empty(schema);
    let part = Arc::new(Part {
        name: "no file".into(),
        columns,
    });
    // A closed channel means the run was stopped; not an error.
    let _ = out
        .send(Chunk::records(batch, Origins::consecutive(part, 1, 0)))
        .await;
}
