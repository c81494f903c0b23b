//! Runs the source as the engine does and collects what comes out.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use tokio_util::sync::CancellationToken;

use super::FileConfig;
use crate::component::{
    Chunk, Counts, Item, Output, Rejects, RunInfo, SourceConfig, SourceContext, Totals, channel,
};
use crate::error::{Error, Result};
use crate::secret::SecretFiles;

/// What came out of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) chunks: Vec<Chunk>,
    /// Chunk counts and positions: how many rows came before each checkpoint.
    pub(super) checkpoints: Vec<(usize, String)>,
    pub(super) totals: Totals,
    pub(super) result: Result<()>,
}

pub(super) fn context(base: &Path, columns: Option<&[&str]>) -> SourceContext {
    SourceContext {
        name: "export".into(),
        run: RunInfo {
            id: "test".into(),
            base: Arc::new(base.to_owned()),
            dry_run: false,
            secret_files: SecretFiles::default(),
            partial: false,
            record: None,
            grace: Duration::ZERO,
            cancel: CancellationToken::new(),
            services: Default::default(),
            state: std::path::Path::new("").into(),
        },
        columns: columns.map(|columns| {
            let columns: BTreeSet<String> = columns.iter().map(|&name| name.to_owned()).collect();
            Arc::new(columns)
        }),
        counts: Counts::default(),
        rejects: Rejects::in_memory(usize::MAX, false),
        position: crate::component::Position::nowhere(),
        pages: Default::default(),
    }
}

/// Reads with the settings given, all columns or some.
pub(super) async fn read(base: &Path, config: serde_json::Value, columns: Option<&[&str]>) -> Outcome {
    let config: FileConfig = serde_json::from_value(config).unwrap();
    let cx = context(base, columns);
    let (sender, mut input) = channel(2, Counts::default());
    let output = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
    let run = async {
        let source = config.build(cx.clone()).await?;
        source.run(output).await
    };
    let (mut chunks, mut checkpoints, mut rows) = (Vec::new(), Vec::new(), 0);
    let collect = async {
        while let Some((_, item)) = input.next().await {
            match item {
                Item::Chunk(chunk) => {
                    rows += chunk.num_rows();
                    chunks.push(chunk);
                }
                Item::Checkpoint(checkpoint) => checkpoints.push((rows, checkpoint.position().to_owned())),
            }
        }
    };
    let (result, ()) = tokio::join!(run, collect);
    Outcome {
        chunks,
        checkpoints,
        totals: cx.counts.totals(),
        result,
    }
}

impl Outcome {
    /// The rows as text, null as `-`, after the run was found to have gone well.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        assert!(self.result.is_ok(), "{:?}", self.result);
        rows(&self.chunks)
    }

    /// The error, which there must be.
    pub(super) fn error(&self) -> &Error {
        self.result.as_ref().unwrap_err()
    }
}

pub(super) fn rows(chunks: &[Chunk]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for chunk in chunks {
        let columns: Vec<ArrayFormatter<'_>> = chunk
            .batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..chunk.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    rows
}
