//! Reads files: many requests under way at once, so that the way to the server does not set the speed.
//!
//! ```text
//! ask ahead ──▶ answers in order ──▶ blocks ──▶ the thread that decodes
//!     ▲                │ the connection breaks: again from the first byte that has not come
//!     └────────────────┘
//! ```
//!
//! The file must be the one that was found, when it is opened, when it is opened again, and at its end.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::protocol::{Attributes, Pieces};
use super::server::{Server, Tries, Undone};
use super::session::{self, Failure, Open, Pending, Session};
use super::storage::{modified, refusal};
use crate::error::Error;
use crate::storage::FileInfo;
use crate::storage::blocks::{Block, Blocks, changed, failed};

/// Pieces of at most 64 KiB each that wait for the thread that decodes.
const WAITING: usize = 16;

/// The bytes of a file, as they come. What fetches them ends with it.
pub(super) struct Reader {
    blocks: Blocks,
    _task: JoinSet<()>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blocks.read(buffer)
    }
}

/// Reads all of a file, in order. Called on a thread of the runtime.
pub(super) fn open(server: Arc<Server>, file: &FileInfo, cancel: &CancellationToken) -> Reader {
    let (sender, receiver) = mpsc::channel(WAITING);
    let fetch = Fetch {
        server,
        file: file.clone(),
        offset: 0,
        sender,
    };
    let stop = cancel.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = fetch.run() => {}
        }
    });
    Reader {
        blocks: Blocks::new(receiver, cancel.clone()),
        _task: task,
    }
}

struct Fetch {
    server: Arc<Server>,
    file: FileInfo,
    /// What was passed on.
    offset: u64,
    sender: mpsc::Sender<Block>,
}

/// Why the fetching of a file came to an end before its own.
enum Stop {
    /// Nobody reads on.
    Unwanted,
    Changed,
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Fetch {
    async fn run(mut self) {
        let end = match self.fetch().await {
            Ok(()) => Block::End,
            Err(None) => return,
            Err(Some(error)) => Block::Failed(error),
        };
        // Nobody may be there any more.
        let _ = self.sender.send(end).await;
    }

    /// `Err(None)` if nobody reads on.
    async fn fetch(&mut self) -> Result<(), Option<io::Error>> {
        let server = self.server.clone();
        let mut tries = Tries::new(&server);
        loop {
            let before = self.offset;
            let lost = match server.session().await {
                Ok(session) => match self.fetch_on(&session).await {
                    Ok(()) => return Ok(()),
                    Err(Stop::Unwanted) => return Err(None),
                    Err(Stop::Changed) => return Err(Some(failed(changed()))),
                    Err(Stop::Failure(Failure::Status(status))) => {
                        let error = refusal(&server, "read", &self.file.name, status);
                        return Err(Some(failed(error)));
                    }
                    Err(Stop::Failure(failure)) => server.broken(failure),
                },
                Err(undialled) => undialled,
            };
            if self.offset > before {
                tries.reset();
            }
            tries.again(lost).await.map_err(|error| Some(failed(error)))?;
            if self.offset > 0 {
                tracing::info!(file = %self.file.name, offset = self.offset, "reading on");
            }
        }
    }

    /// Reads on from where it is, over one session.
    async fn fetch_on(&mut self, session: &Arc<Session>) -> Result<(), Stop> {
        let open = session.open(&self.file.path).await?;
        let first = open.stat()?;
        let mut ahead = Ahead::new(&open, session.read_size(), self.server.read_ahead);
        ahead.ask(self.offset..self.file.size.unwrap_or(u64::MAX))?;
        if !is_as_found(&self.file, session::attributes(first).await?) {
            return Err(Stop::Changed);
        }
        while let Some(pieces) = ahead.next().await? {
            for piece in pieces.pieces {
                self.offset += piece.len() as u64;
                if self.sender.send(Block::Bytes(piece)).await.is_err() {
                    return Err(Stop::Unwanted);
                }
            }
        }
        let is_short = self.file.size.is_some_and(|size| size != self.offset);
        if is_short || !is_as_found(&self.file, session::attributes(open.stat()?).await?) {
            return Err(Stop::Changed);
        }
        Ok(())
    }
}

fn is_as_found(file: &FileInfo, now: Attributes) -> bool {
    file.size == now.size && file.modified == modified(now)
}

/// Reads of an open file that are under way.
struct Ahead<'o> {
    open: &'o Open,
    size: u32,
    /// Bytes that may be under way.
    most: u64,
    under_way: u64,
    reads: VecDeque<(u64, u32, Pending)>,
    /// What is not asked for yet, in this order.
    wanted: VecDeque<Range<u64>>,
}

impl<'o> Ahead<'o> {
    fn new(open: &'o Open, size: u32, most: u64) -> Self {
        Self {
            open,
            size: size.min(u32::try_from(most).unwrap_or(size)),
            most,
            under_way: 0,
            reads: VecDeque::new(),
            wanted: VecDeque::new(),
        }
    }

    /// Asks for `range` behind what was asked for before.
    fn ask(&mut self, range: Range<u64>) -> Result<(), Failure> {
        self.wanted.push_back(range);
        self.fill()
    }

    fn fill(&mut self) -> Result<(), Failure> {
        while self.under_way < self.most
            && let Some(range) = self.wanted.front_mut()
        {
            if range.is_empty() {
                self.wanted.pop_front();
                continue;
            }
            let length = u32::try_from((range.end - range.start).min(self.size.into())).unwrap_or(self.size);
            let pending = self.open.read(range.start, length)?;
            self.reads.push_back((range.start, length, pending));
            self.under_way += u64::from(length);
            range.start += u64::from(length);
        }
        Ok(())
    }

    /// The next bytes, in the order in which they were asked for; `None` when all have come, or the file has ended.
    async fn next(&mut self) -> Result<Option<Pieces>, Failure> {
        let Some((offset, length, pending)) = self.reads.pop_front() else {
            return Ok(None);
        };
        let data = session::data(pending).await?;
        self.under_way -= u64::from(length);
        let Some(pieces) = data else {
            return Ok(None);
        };
        let came = u32::try_from(pieces.length).unwrap_or(u32::MAX);
        if came > length {
            return Err(Failure::NoSftp(
                "the server sends more than it was asked for".to_owned(),
            ));
        }
        if came < length {
            // Servers may give less than was asked for; the rest comes before what is under way.
            let offset = offset + u64::from(came);
            let missing = length - came;
            self.reads
                .push_front((offset, missing, self.open.read(offset, missing)?));
            self.under_way += u64::from(missing);
        }
        self.fill()?;
        Ok(Some(pieces))
    }
}

/// Reads parts of a file.
pub(super) async fn ranges(
    server: &Server,
    file: &FileInfo,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>, Error> {
    let read = server.ask(|session| async move {
        let open = session.open(&file.path).await?;
        let first = open.stat()?;
        let mut ahead = Ahead::new(&open, session.read_size(), server.read_ahead);
        for range in ranges {
            ahead.ask(range.clone())?;
        }
        if !is_as_found(file, session::attributes(first).await?) {
            return Ok(None);
        }
        let mut found = Vec::with_capacity(ranges.len());
        for range in ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut bytes = BytesMut::with_capacity(length);
            while bytes.len() < length {
                let Some(pieces) = ahead.next().await? else {
                    return Ok(None);
                };
                for piece in pieces.pieces {
                    bytes.extend_from_slice(&piece);
                }
            }
            found.push(bytes.freeze());
        }
        Ok(Some(found))
    });
    match read.await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(changed()),
        Err(Undone::Status(status)) => Err(refusal(server, "read", &file.name, status)),
        Err(Undone::Error(error)) => Err(error),
    }
}
