//! Goes through the files.
//!
//! ```text
//! files ──one after another──▶ decoder ──rows, checkpoint──▶ output
//!                                            │ delivered
//!                 memory ◀── note, act, note ◀┘ finisher
//! ```
//!
//! What is to happen to a file waits until the file's checkpoint comes back, while the next files are read. First the
//! memory notes that its rows are final and something is still to be done; then it is done; then the memory notes that. A
//! crash at any point makes the next run do what is missing, and no file is moved before its rows are final.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::hash::ContentHash;
use super::job::Job;
use super::post_process::finisher::{InFlightFile, PostProcessing, PostProcessor};
use crate::component::{Chunk, Origins, Output, Part, Source, SourceContext};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ReadError;
use crate::storage::{FileInfo, Storage};

/// Reads files, one after another.
pub(super) struct FileSource {
    cx: SourceContext,
    place: Arc<dyn Storage>,
    jobs: Vec<Job>,
    keeping: PostProcessing,
}

impl FileSource {
    pub(super) fn new(
        cx: SourceContext,
        place: Arc<dyn Storage>,
        jobs: Vec<Job>,
        keeping: PostProcessing,
    ) -> Self {
        Self {
            cx,
            place,
            jobs,
            keeping,
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self {
            cx,
            place,
            jobs,
            keeping,
        } = *self;
        let (sent, waiting) = mpsc::unbounded_channel();
        let active = keeping.active;
        let afterwards = keeping.acts.then(|| keeping.afterwards.clone());
        let finisher = PostProcessor {
            place: place.clone(),
            keeping,
            position: cx.position.clone(),
            rejects: cx.rejects.clone(),
        };
        // Ended with this source, should the run be broken off.
        #[expect(clippy::disallowed_methods, reason = "it does not outlive its owner")]
        let finisher = AbortOnDropHandle::new(tokio::spawn(finisher.run(waiting)));
        let read = read_all(&cx, jobs, active, &out, sent).await;
        // While there is an open output, a sink waits for more rows to fill its last batch.
        drop(out);
        if let Err(failure) = &read {
            // What is not on its way yet is not sent; files that are delivered are still finished.
            cx.run.cancel.cancel();
            if let (Some(afterwards), Some(file)) = (afterwards, &failure.file) {
                afterwards.failed(&*place, file).await;
            }
        }
        let finished = finisher
            .await
            .map_err(|error| Error::task_failed("finishing files", &error))?;
        read.map_err(|failure| failure.error)?;
        finished
    }
}

/// Why the files are not read on.
struct ReadFailure {
    error: Error,
    /// The file, if it is to blame.
    file: Option<FileInfo>,
}

impl From<Error> for ReadFailure {
    fn from(error: Error) -> Self {
        Self { error, file: None }
    }
}

/// Whether an error says that a file's content is wrong: not that of a network, a login, a disk or somebody who writes.
fn is_to_blame(error: &Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let of_the_system = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.raw_os_error().is_some())
    };
    error.kind() == ErrorKind::Input && !causes.any(of_the_system)
}

/// Small files that are asked for before their turn.
const FILES_AHEAD: usize = 6;

async fn read_all(
    cx: &SourceContext,
    jobs: Vec<Job>,
    hashing: bool,
    out: &Output,
    sent: mpsc::UnboundedSender<InFlightFile>,
) -> Result<(), ReadFailure> {
    let (none, mut any) = (jobs.is_empty(), false);
    let mut jobs = VecDeque::from(jobs);
    while let Some(mut job) = jobs.pop_front() {
        // Of many small files from afar, the way there and back is most of the time. This one is first in line.
        job.open_ahead(&cx.run.cancel);
        for next in jobs.iter_mut().take(FILES_AHEAD) {
            next.open_ahead(&cx.run.cancel);
        }
        let file = job.file.clone();
        let name = file.name.clone();
        let (source, output) = (cx.clone(), out.clone());
        let before = cx.counts.totals().read;
        // Parsing keeps a processor busy, and a read may block: not for the threads that serve everybody.
        let read = tokio::task::spawn_blocking(move || {
            let hash = hashing.then(ContentHash::default);
            job.read(&source, &output, hash.as_ref())
                .map(|rows| (rows, hash.and_then(|hash| hash.finish())))
        })
        .await;
        let hash = match read {
            Ok(Ok((rows, hash))) => {
                any |= rows;
                hash
            }
            Ok(Err(ReadError::Stopped)) => return Ok(()),
            // Whoever stopped the run has the reason; a read broken off by it is none.
            Ok(Err(ReadError::Failed(_))) if out.is_stopped() => return Ok(()),
            Ok(Err(ReadError::Failed(error))) => {
                let file = is_to_blame(&error).then_some(file);
                return Err(ReadFailure { error, file });
            }
            Err(error) => {
                return Err(Error::task_failed(&format!("reading `{name}`"), &error).into());
            }
        };
        let Ok(delivered) = out.checkpoint(&*name).await else {
            return Ok(());
        };
        // Whoever listens has failed, and says so.
        let _ = sent.send(InFlightFile {
            file,
            hash,
            rows: cx.counts.totals().read - before,
            delivered,
        });
    }
    if !any {
        if !none {
            // All of them had another time and the same content.
            cx.counts.nothing_new();
        }
        no_rows(cx, out).await?;
    }
    Ok(())
}

/// Says which columns there would be, where there is no file: those that are used.
async fn no_rows(cx: &SourceContext, out: &Output) -> Result<()> {
    let Some(used) = &cx.columns else {
        return Ok(());
    };
    let columns: Vec<String> = used.iter().cloned().collect();
    let fields: Vec<Field> = columns
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true))
        .collect();
    if fields.is_empty() {
        return Ok(());
    }
    let arrays = fields.iter().map(|_| new_empty_array(&DataType::Utf8)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Error::unexpected("cannot make a chunk without rows").with_source(error))?;
    let part = Arc::new(Part {
        name: "no file".into(),
        columns,
    });
    // Nobody wanting rows is no failure.
    let _ = out
        .send(Chunk::records(batch, Origins::consecutive(part, 1, 0)))
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::super::FileConfig;
    use super::super::testing::{context, read};
    use super::*;
    use crate::component::{Counts, SourceConfig, channel};

    #[tokio::test]
    async fn files_are_read_in_order_each_with_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("b.csv", "x\n3\n"), ("a.csv", "x\n1\n2\n"), ("c.csv", "x\n")] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let found = read(folder.path(), json!({"path": "*.csv"}), None).await;
        assert_eq!(found.rows(), [["1"], ["2"], ["3"]]);
        let expected = [(2, "a.csv"), (3, "b.csv"), (3, "c.csv")];
        assert_eq!(
            found.checkpoints,
            expected.map(|(rows, name)| (rows, name.to_owned())).to_vec()
        );
        assert_eq!(found.chunks.len(), 3);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_told_is_an_error_before_any_row() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "x\n1\n").unwrap();
        std::fs::write(folder.path().join("b.dat"), "x\n1\n").unwrap();
        let found = read(folder.path(), json!({"path": "*"}), None).await;
        let error = found.error();
        assert!(error.to_string().contains("`b.dat`"), "{error}");
        assert!(error.hints().next().unwrap().contains(".parquet"));
        assert_eq!(found.totals.read, 0);
    }

    #[tokio::test]
    async fn rows_before_a_broken_file_have_their_checkpoint_and_the_run_fails() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "x\n1\n").unwrap();
        std::fs::write(folder.path().join("b.csv"), "").unwrap();
        let found = read(folder.path(), json!({"path": "*.csv"}), None).await;
        assert!(found.error().to_string().contains("`b.csv`"));
        assert_eq!(found.checkpoints, [(1, "a.csv".to_owned())]);
    }

    #[tokio::test]
    async fn parquet_from_standard_input_is_refused_without_waiting_for_it() {
        let config = json!({"path": "-", "format": "parquet"});
        let found = read(std::path::Path::new(""), config, None).await;
        assert!(
            found.error().to_string().contains("standard input"),
            "{}",
            found.error()
        );
    }

    #[cfg(unix)]
    fn make_pipe(path: &std::path::Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_is_read_and_as_parquet_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        make_pipe(&path);
        let writer = std::thread::spawn(move || std::fs::write(path, "{\"x\":1}\n{\"x\":2}\n").unwrap());
        let found = read(folder.path(), json!({"path": "a.ndjson"}), None).await;
        assert_eq!(found.rows(), [["1"], ["2"]]);
        writer.join().unwrap();
        let config = json!({"path": "a.ndjson", "format": "parquet"});
        let found = read(folder.path(), config, None).await;
        let message = found.error().to_string();
        assert!(
            message.contains("Parquet") && message.contains("a.ndjson"),
            "{message}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_run_stops_while_nobody_writes_to_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        make_pipe(&folder.path().join("a.csv"));
        let config: FileConfig = serde_json::from_value(json!({"path": "a.csv"})).unwrap();
        let cx = context(folder.path(), None);
        let (sender, _input) = channel(1, Counts::default());
        let out = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
        let source = config.build(cx.clone()).await.unwrap();
        cx.run.cancel.cancel();
        source.run(out).await.unwrap();
    }

    #[tokio::test]
    async fn a_limit_ends_the_reading() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("a.csv"),
            "x\n".to_owned() + &"1\n".repeat(50_000),
        )
        .unwrap();
        let config: FileConfig = serde_json::from_value(json!({"path": "a.csv"})).unwrap();
        let cx = context(folder.path(), None);
        let (sender, mut input) = channel(1, Counts::default());
        let cancel = CancellationToken::new();
        let out = Output::source(vec![(sender, 0)], cx.counts.clone(), cancel, Some(10));
        let source = config.build(cx.clone()).await.unwrap();
        let (result, ()) = tokio::join!(source.run(out), async { while input.next().await.is_some() {} });
        result.unwrap();
        assert_eq!(cx.counts.totals().read, 10);
    }
}
