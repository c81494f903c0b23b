//! What every source must do. Each source calls [`source`] in a unit test of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Chunk, Counts, Item, Output, Reject, RunInfo, SourceConfig, SourceContext, Totals, channel};
use crate::error::Result;

/// A run in `base` that uses these columns, or all.
pub(crate) fn context(base: &Path, columns: Option<&[&str]>) -> SourceContext {
    let mut cx = SourceContext::new("export", RunInfo::new(base));
    cx.columns = columns.map(|columns| Arc::new(columns.iter().map(|&name| name.to_owned()).collect()));
    cx
}

/// A chunk, or the position of a checkpoint.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
#[derive(Debug)]
pub(crate) enum Received {
    Chunk(Chunk),
    Checkpoint(String),
}

/// What a source sent.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) items: Vec<Received>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) totals: Totals,
    pub(crate) result: Result<()>,
}

impl Outcome {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.items.iter().filter_map(|item| match item {
            Received::Chunk(chunk) => Some(chunk),
            Received::Checkpoint(_) => None,
        })
    }

    /// The position of each checkpoint, and the number of rows before it.
    pub(crate) fn checkpoints(&self) -> Vec<(usize, &str)> {
        let mut rows = 0;
        let mut checkpoints = Vec::new();
        for item in &self.items {
            match item {
                Received::Chunk(chunk) => rows += chunk.num_rows(),
                Received::Checkpoint(position) => checkpoints.push((rows, position.as_str())),
            }
        }
        checkpoints
    }
}

/// Runs a source to its end, or until `stop_after` items were received.
pub(crate) async fn run(config: &dyn SourceConfig, cx: SourceContext, stop_after: Option<usize>) -> Outcome {
    let (sender, mut input) = channel(1, Counts::default());
    let output = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
    let source = async { config.build(cx.clone()).await?.run(output).await };
    let receive = async {
        let mut items = Vec::new();
        while stop_after.is_none_or(|limit| items.len() < limit)
            && let Some((_, item)) = input.next().await
        {
            items.push(match item {
                Item::Chunk(chunk) => Received::Chunk(chunk),
                Item::Checkpoint(checkpoint) => {
                    let position = checkpoint.position().to_owned();
                    checkpoint.done();
                    Received::Checkpoint(position)
                }
            });
        }
        drop(input);
        items
    };
    let run = async { tokio::join!(source, receive) };
    let (result, items) = tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .expect("the source does not end");
    Outcome {
        items,
        rejects: cx.rejects.kept(),
        totals: cx.counts.totals(),
        result,
    }
}

/// What a source reads.
pub(crate) struct Expected<'a> {
    /// Name and number of valid rows of each part, in order.
    pub(crate) parts: &'a [(&'a str, usize)],
    /// Part and row number of each reject.
    pub(crate) rejects: &'a [(&'a str, u64)],
}

/// Checks a source whose input has at least two parts.
///
/// # Panics
/// It breaks the contract.
pub(crate) async fn source(
    config: &dyn SourceConfig,
    cx: impl Fn() -> SourceContext,
    expected: Expected<'_>,
) {
    let complete = run(config, cx(), None).await;
    assert!(complete.result.is_ok(), "{:?}", complete.result);

    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut is_open = false;
    for item in &complete.items {
        match item {
            Received::Chunk(chunk) => {
                let name = &*chunk.origins.part().name;
                if order.last() != Some(&name) {
                    assert!(!is_open, "no checkpoint between the parts {order:?} and `{name}`");
                    order.push(name);
                }
                *rows.entry(name).or_default() += chunk.num_rows();
                is_open = true;
            }
            Received::Checkpoint(_) => is_open = false,
        }
    }
    assert!(!is_open, "no checkpoint after the last part");
    let parts: Vec<(&str, usize)> = order.iter().map(|&name| (name, rows[name])).collect();
    assert_eq!(
        parts, expected.parts,
        "at least one chunk of each part, also of an empty one"
    );

    let rejects: Vec<(&str, u64)> = complete
        .rejects
        .iter()
        .map(|reject| (&*reject.origin.file, reject.origin.row))
        .collect();
    assert_eq!(rejects, expected.rejects, "rejects with their origin");
    let valid: usize = expected.parts.iter().map(|(_, rows)| rows).sum();
    let totals = complete.totals;
    assert_eq!(totals.read, (valid + expected.rejects.len()) as u64, "{totals:?}");
    assert_eq!(totals.rejected, expected.rejects.len() as u64, "{totals:?}");

    // Nobody wants more rows: not an error, and no further item blocks the source.
    for items in 0..complete.items.len() {
        let stopped = run(config, cx(), Some(items)).await;
        assert!(
            stopped.result.is_ok(),
            "after {items} items: {:?}",
            stopped.result
        );
        assert_eq!(stopped.items.len(), items);
    }
}
