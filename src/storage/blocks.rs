//! Between the tasks that fetch bytes and the threads that decode them.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};

/// The blocks that a task or a thread sends, as a reader for a thread that may block. The end of the channel is the end of
/// the bytes only after [`Block::End`]: a task that dies has not read all.
pub(super) struct Blocks {
    receiver: mpsc::Receiver<Block>,
    block: Bytes,
    ended: bool,
    cancel: CancellationToken,
    runtime: Handle,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Block {
    /// The next bytes.
    Bytes(Bytes),
    /// There are no more.
    End,
    /// They cannot be read on.
    Failed(io::Error),
}

impl Blocks {
    /// Reads what comes from `receiver`, until the run is cancelled. Made on a thread of the runtime.
    pub(super) fn new(receiver: mpsc::Receiver<Block>, cancel: CancellationToken) -> Self {
        Self {
            receiver,
            block: Bytes::new(),
            ended: false,
            cancel,
            runtime: Handle::current(),
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() && !self.ended {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("the run is stopping"));
            }
            let next = match self.receiver.try_recv() {
                Ok(block) => Some(block),
                Err(_) => self.runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => Err(io::Error::other("the run is stopping")),
                        block = self.receiver.recv() => Ok(block),
                    }
                })?,
            };
            match next {
                Some(Block::Bytes(block)) => self.block = block,
                Some(Block::End) => self.ended = true,
                Some(Block::Failed(error)) => return Err(error),
                None => return Err(io::Error::other("whoever reads it has given up without a word")),
            }
        }
        let length = self.block.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.block.split_to(length));
        Ok(length)
    }
}

/// An error with its kind and its advice, on its way through a reader.
pub(super) fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The error of a file that is not what it was when it was found.
pub(super) fn changed() -> Error {
    // Not the file's fault, and over once whoever writes it has finished.
    Error::new(ErrorKind::Transient, "the file was changed while it was read").with_hint(
        "nothing of it counts as delivered: run again once whoever writes it has finished; `select.quiet_period` waits for that",
    )
}
