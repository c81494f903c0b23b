//! Standard input and pipes: reads cannot be interrupted, and a run must be able to stop while no data arrives.

use std::io::{self, Read};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::storage::blocks::{Block, BlockReader};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

#[derive(Debug)]
pub(super) struct StandardInput;

#[async_trait]
impl Storage for StandardInput {
    async fn list(&self, _: &FilePattern) -> Result<Vec<FileInfo>> {
        Ok(vec![FileInfo {
            name: "standard input".into(),
            path: super::STANDARD_INPUT.to_owned(),
            size: None,
            modified: None,
            version: None,
        }])
    }

    async fn sibling_names(&self, _: &FilePattern) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn stat(&self, _: &str) -> Result<Option<FileInfo>> {
        Ok(None)
    }

    fn open(&self, _: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(piped(cancel.clone(), || Ok(io::stdin().lock()))))
    }

    async fn rename(&self, _: &str, _: &str) -> Result<RenameOutcome> {
        Err(not_supported("moved"))
    }

    async fn delete(&self, _: &str) -> Result<()> {
        Err(not_supported("removed"))
    }

    fn is_rereadable(&self, _: &FileInfo) -> bool {
        false
    }
}

fn not_supported(what: &str) -> Error {
    Error::input(format!("standard input cannot be {what}"))
}

/// Reads from `open` on a thread of its own. Called on a thread of the runtime.
pub(super) fn piped<R: Read>(
    cancel: CancellationToken,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> BlockReader {
    const BLOCK_BYTES: usize = 64 << 10;
    let (sender, blocks) = mpsc::channel(4);
    // Ends with the input, the reader or the process.
    std::thread::spawn(move || {
        let mut input = match open() {
            Ok(input) => input,
            Err(error) => {
                // Fails only if the reader was dropped.
                let _ = sender.blocking_send(Block::Failed(error));
                return;
            }
        };
        loop {
            let mut block = vec![0; BLOCK_BYTES];
            let next = match input.read(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) => Block::End,
                Ok(length) => {
                    block.truncate(length);
                    Block::Bytes(block.into())
                }
                Err(error) => Block::Failed(error),
            };
            let is_last = !matches!(next, Block::Bytes(_));
            if sender.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    BlockReader::new(blocks, cancel)
}
