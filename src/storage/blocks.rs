//! Between the tasks that fetch bytes and the threads that decode them.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};

/// Blocks from a task or a thread, as a reader for a blocking thread. Without [`Block::End`] a closed channel is an error:
/// the sender failed.
pub(super) struct BlockReader {
    receiver: mpsc::Receiver<Block>,
    block: Bytes,
    ended: bool,
    cancel: CancellationToken,
    runtime: Handle,
    /// The sender; it ends with the reader.
    _task: JoinSet<()>,
}

#[derive(Debug)]
pub(super) enum Block {
    Bytes(Bytes),
    End,
    Failed(io::Error),
}

/// A reader of what the task sends, with a channel of `capacity` blocks. Called on a thread of the runtime.
#[allow(dead_code, reason = "only remote backends use it")]
pub(super) fn reader<Task>(
    capacity: usize,
    cancel: &CancellationToken,
    task: impl FnOnce(mpsc::Sender<Block>) -> Task,
) -> Box<dyn Read + Send>
where
    Task: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(capacity);
    let mut reader = BlockReader::new(receiver, cancel.clone());
    let (task, stop) = (task(sender), cancel.clone());
    reader._task.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = task => {}
        }
    });
    Box::new(reader)
}

impl BlockReader {
    /// Reads from `receiver` until the run is cancelled. Called on a thread of the runtime.
    pub(super) fn new(receiver: mpsc::Receiver<Block>, cancel: CancellationToken) -> Self {
        Self {
            receiver,
            block: Bytes::new(),
            ended: false,
            cancel,
            runtime: Handle::current(),
            _task: JoinSet::new(),
        }
    }
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stopping = || io::Error::other("the run is stopping");
        while self.block.is_empty() && !self.ended {
            if self.cancel.is_cancelled() {
                return Err(stopping());
            }
            let next = match self.receiver.try_recv() {
                Ok(block) => Some(block),
                Err(_) => self.runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => Err(stopping()),
                        block = self.receiver.recv() => Ok(block),
                    }
                })?,
            };
            match next {
                Some(Block::Bytes(block)) => self.block = block,
                Some(Block::End) => self.ended = true,
                Some(Block::Failed(error)) => return Err(error),
                None => return Err(io::Error::other("the transfer ended without a result")),
            }
        }
        let length = self.block.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.block.split_to(length));
        Ok(length)
    }
}

/// The error of a file that changed since it was listed.
pub(super) fn changed() -> Error {
    // Not the file's fault, and solved once its writer has finished.
    Error::new(ErrorKind::Transient, "the file changed while it was read").with_hint(
        "no rows of this file were delivered; run again when the writer has finished, or set `select.quiet_period`",
    )
}
