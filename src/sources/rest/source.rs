//! The worker of the source: a reader of pages, a decoder of their rows, and a task that saves positions.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::config::RestConfig;
use super::decode::{self, Columns};
use super::plan::Plan;
use super::reader::Reader;
use crate::component::{Delivered, Output, Position, Source, SourceContext};
use crate::error::{Error, Result};
use crate::format::json::ColumnType;
use crate::format::{Collector, ReadError};
use crate::secret::SecretFiles;

/// Pages that wait to be decoded, and pages that a partition may have ready before its turn.
pub(super) const PREFETCH: usize = 4;

pub(super) struct RestSource {
    reader: Reader,
    columns: Columns,
}

impl RestSource {
    /// Reads secrets and makes the client. `plan` is that of `config`.
    pub(super) fn new(config: &RestConfig, mut plan: Plan, cx: &SourceContext) -> Result<Self> {
        let secret_files = SecretFiles::of(&cx.run);
        for sequence in std::iter::once(&mut plan.sequence).chain(&mut plan.parent) {
            let headers = &mut sequence.request.headers;
            headers.read_secrets(&cx.run.base, &secret_files)?;
        }
        let columns = match &config.columns {
            Some(columns) => {
                let declared = columns.iter().map(|(name, kind)| (name.clone(), *kind));
                // Columns that `for_each` and `records` add need no declaration.
                let partitioning = plan.partitioning.iter();
                let partition = partitioning.flat_map(|partitions| partitions.column_names());
                let added: BTreeSet<String> =
                    partition.cloned().chain(config.records.column_names()).collect();
                let added = added.into_iter().filter(|name| !columns.contains_key(name));
                let added = added.map(|name| (name, ColumnType::Text));
                Columns::Declared(declared.chain(added).collect())
            }
            None if cx.run.partial => Columns::Sampled,
            None => Columns::Inferred,
        };
        let reader = Reader {
            plan: Arc::new(plan),
            fetcher: Arc::new(config.fetcher(cx)?),
            identity: config.identity().into(),
            run: None,
        };
        Ok(Self { reader, columns })
    }
}

#[async_trait]
impl Source for RestSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self { reader, columns } = *self;
        let cx = reader.fetcher.cx.clone();
        let (messages, waiting) = mpsc::channel(PREFETCH);
        let (positions, marked) = mpsc::unbounded_channel();
        let collector = Collector {
            name: cx.name.clone(),
            cx: cx.clone(),
            output: out,
            added: Default::default(),
        };
        // The output is dropped with the decoder, so that the wait for delivery below does not keep it open.
        let decoder = tokio::task::spawn_blocking(move || {
            let decoded = decode::decode(waiting, &columns, &collector, &positions);
            let more = !collector.output.is_stopped() && collector.output.wanted() != Some(0);
            (decoded, more)
        });
        let saver = owned(save(marked, cx.position));
        let closed = messages.clone();
        let read = tokio::select! {
            biased;
            read = reader.read(messages) => read,
            // The decoder has enough: a request under way is not awaited.
            () = closed.closed() => Ok(()),
        };
        drop(closed);
        // A token exchange must not be aborted.
        reader.fetcher.client.auth.finish().await;
        let (decoded, more) = decoder
            .await
            .map_err(|error| Error::task_failed("decoding responses", &error))?;
        // If the decoder failed, it stopped the reading too.
        match (decoded, read) {
            (Err(ReadError::Failed(error)), _) => return Err(error),
            (Err(ReadError::Stopped) | Ok(()), Err(error)) if more => return Err(error),
            (Err(ReadError::Stopped) | Ok(()), Err(error)) => {
                tracing::debug!(source = %cx.name, "a prefetched page failed and is not needed: {}", error.chain());
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

/// A task that ends when its handle is dropped.
#[expect(clippy::disallowed_methods, reason = "it does not outlive its owner")]
pub(super) fn owned<F>(work: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(work))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_server::{Reply, Server};

    use super::*;
    use crate::component::contract::{self, Expected};

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract_of_sources() {
        let server = Server::handler(|_| async { Reply::ok(json!([{"id": 1}, {"id": "x"}, {"id": 3}])) });
        let start = |days: i64| {
            let day = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
            day.strftime("%Y-%m-%d").to_string()
        };
        let config: RestConfig = serde_json::from_value(json!({
            "base_url": server.url(), "request": {"path": "{start}/{end}"}, "columns": {"id": "integer"},
            "incremental": {"initial": start(150), "format": "%Y-%m-%d", "window": "100d"},
        }))
        .unwrap();
        let (first, second) = (start(150), start(50));
        let folder = tempfile::tempdir().unwrap();
        let complete = contract::run(&config, contract::context(folder.path(), None), None).await;
        let names: Vec<String> = complete
            .chunks()
            .map(|chunk| chunk.origins.part().name.to_string())
            .collect();
        let holds = names[0].contains(&first) && names[1].contains(&second);
        assert!(holds, "{names:?}");
        let parts: Vec<(&str, usize)> = names.iter().map(|name| (&**name, 2)).collect();
        let rejects: Vec<(&str, u64)> = names.iter().map(|name| (&**name, 2)).collect();
        let expected = Expected {
            parts: &parts,
            rejects: &rejects,
        };
        contract::source(&config, || contract::context(folder.path(), None), expected).await;
    }
}
