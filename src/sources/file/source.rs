//! Goes through the files.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use encoding_rs::UTF_8;

use super::compression::unpack;
use super::config::Compression;
use super::csv::{self, Dialect};
use super::failure::read_error;
use super::place::Entry;
use super::text::TextReader;
use super::{json, parquet};
use crate::component::{Output, Source, SourceContext};
use crate::decode::{End, Feed, Step};
use crate::error::{Error, Result};

/// One file and how to read it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) compression: Compression,
    pub(super) max_ratio: NonZeroU32,
    pub(super) reading: Reading,
}

/// A format with its checked settings.
#[derive(Debug)]
pub(super) enum Reading {
    Csv(Dialect),
    Parquet,
    Ndjson { max_record: usize },
    Json { max_record: usize },
}

/// Reads files, one after another.
pub(super) struct FileSource {
    cx: SourceContext,
    jobs: Vec<Job>,
}

impl FileSource {
    pub(super) fn new(cx: SourceContext, jobs: Vec<Job>) -> Self {
        Self { cx, jobs }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self { cx, jobs } = *self;
        for job in jobs {
            let name = job.entry.name.clone();
            let feed = Feed {
                name: name.clone(),
                cx: cx.clone(),
                out: out.clone(),
            };
            // Parsing keeps a processor busy, and a read may block: not for the threads that serve everybody.
            let read = tokio::task::spawn_blocking(move || job.read(&feed)).await;
            match read {
                Ok(Ok(())) => {}
                Ok(Err(End::Stopped)) => return Ok(()),
                // Whoever stopped the run has the reason; a read broken off by it is none.
                Ok(Err(End::Failed(_))) if out.is_stopped() => return Ok(()),
                Ok(Err(End::Failed(error))) => return Err(error),
                Err(error) => {
                    return Err(Error::broken_off(&format!("reading `{name}`"), &error));
                }
            }
            // What is to happen to a file once its rows are final (to move it, to delete it) waits for this future;
            // nothing is, so it is let go.
            let Ok(_delivered) = out.checkpoint(&*name).await else {
                return Ok(());
            };
        }
        Ok(())
    }
}

impl Job {
    fn read(&self, feed: &Feed) -> Step {
        match &self.reading {
            Reading::Csv(dialect) => csv::read(self.text(feed, dialect.encoding)?, dialect, feed),
            Reading::Parquet => {
                let Some(file) = self.entry.open_seekable()? else {
                    let problem = format!("Parquet cannot be read from {}", feed.name);
                    return Err(Error::input(problem)
                        .with_hint("it is read from its end: write it to a file first")
                        .into());
                };
                parquet::read(file, feed)
            }
            Reading::Ndjson { max_record } => self.json(json::Layout::Lines, *max_record, feed),
            Reading::Json { max_record } => self.json(json::Layout::Array, *max_record, feed),
        }
    }

    fn json(&self, layout: json::Layout, max_record: usize, feed: &Feed) -> Step {
        let open = || self.text(feed, UTF_8);
        json::read(&open, self.entry.can_be_read_twice(), layout, max_record, feed)
    }

    fn text(&self, feed: &Feed, encoding: &'static encoding_rs::Encoding) -> Result<TextReader> {
        let name: &Arc<str> = &feed.name;
        let packed = self.entry.open(&feed.cx.run.cancel)?;
        let raw = unpack(packed, self.compression, self.max_ratio)
            .map_err(|error| read_error(name, error, None))?;
        TextReader::new(name.clone(), raw, encoding)
    }
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
