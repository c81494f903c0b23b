//! Reads files with many requests in flight, and resumes after a lost connection.
//!
//! The file must be the one that was listed: when it is opened, when it is opened again, and at its end.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sftp_client::Attributes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::SftpError;
use super::server::Server;
use super::storage::modified;
use crate::error::Error;
use crate::storage::FileInfo;
use crate::storage::blocks::{self, Block};

/// Blocks of at most 256 KiB that wait for the decoder.
const MAX_WAITING_BLOCKS: usize = 8;

/// Reads a file sequentially. Called on a thread of the runtime.
pub(super) fn open(
    server: Arc<Server>,
    file: &FileInfo,
    cancel: &CancellationToken,
    to_error: impl Fn(SftpError) -> Error + Send + 'static,
) -> Box<dyn Read + Send> {
    let file = file.clone();
    blocks::reader(MAX_WAITING_BLOCKS, cancel, |sender| async move {
        let download = Download {
            server: &server,
            file,
            offset: AtomicU64::new(0),
            resumed_at: AtomicU64::new(0),
            sender,
        };
        let end = match download.run().await {
            Ok(true) => Block::End,
            Ok(false) => return,
            Err(error) => Block::Failed(io::Error::other(to_error(error))),
        };
        // Fails if nobody reads on.
        let _ = download.sender.send(end).await;
    })
}

struct Download<'s> {
    server: &'s Server,
    file: FileInfo,
    /// Bytes sent to the reader.
    offset: AtomicU64,
    /// The offset when the transfer failed last.
    resumed_at: AtomicU64,
    sender: mpsc::Sender<Block>,
}

impl Download<'_> {
    /// `false` if nobody reads on.
    async fn run(&self) -> Result<bool, SftpError> {
        let has_progressed = || {
            let offset = self.offset.load(Ordering::Relaxed);
            self.resumed_at.swap(offset, Ordering::Relaxed) < offset
        };
        self.server
            .retry_or_resume(|| self.continue_reading(), has_progressed)
            .await
    }

    /// Reads from the current offset, over one connection.
    async fn continue_reading(&self) -> Result<bool, SftpError> {
        let connection = self.server.connection().await?;
        let failed = |error| self.server.convert(error, &connection);
        let offset = self.offset.load(Ordering::Relaxed);
        if offset > 0 {
            tracing::info!(file = %self.file.name, offset, "resuming");
        }
        let open = connection.session.open(&self.file.path).await.map_err(failed)?;
        let attributes = open.stat();
        let range = offset..self.file.size.unwrap_or(u64::MAX);
        let mut reader = open
            .read_ranges([range], self.server.read_ahead)
            .map_err(failed)?;
        require_unchanged(&self.file, attributes.await.map_err(failed)?)?;
        while let Some(bytes) = reader.next().await.map_err(failed)? {
            self.offset.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if self.sender.send(Block::Bytes(bytes)).await.is_err() {
                return Ok(false);
            }
        }
        let is_short = self
            .file
            .size
            .is_some_and(|size| size != self.offset.load(Ordering::Relaxed));
        if is_short {
            return Err(SftpError::Changed);
        }
        require_unchanged(&self.file, open.stat().await.map_err(failed)?)?;
        Ok(true)
    }
}

fn require_unchanged(file: &FileInfo, now: Attributes) -> Result<(), SftpError> {
    match file.size == now.size && file.modified == modified(now) {
        true => Ok(()),
        false => Err(SftpError::Changed),
    }
}

/// Reads byte ranges of a file.
pub(super) async fn ranges(
    server: &Server,
    file: &FileInfo,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>, SftpError> {
    let read = server.query(|session| async move {
        let open = session.open(&file.path).await?;
        let attributes = open.stat();
        let mut reader = open.read_ranges(ranges.iter().cloned(), server.read_ahead)?;
        let attributes = attributes.await?;
        let mut found = Vec::with_capacity(ranges.len());
        for range in ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut bytes = BytesMut::new();
            while bytes.len() < length {
                match reader.next().await? {
                    Some(next) if bytes.is_empty() && next.len() == length => {
                        bytes = next.into();
                    }
                    Some(next) => bytes.extend_from_slice(&next),
                    None => return Ok((attributes, None)),
                }
            }
            found.push(bytes.freeze());
        }
        Ok((attributes, Some(found)))
    });
    let (attributes, found) = read.await?;
    require_unchanged(file, attributes)?;
    found.ok_or(SftpError::Changed)
}
