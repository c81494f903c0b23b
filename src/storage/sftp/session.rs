//! An SFTP session: many requests under way at once, each with its answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::protocol::{
    self, Attributes, Entry, Frame, Frames, LIMITS, Limits, Malformed, Pieces, Reply, Request, Status,
};
use super::transport::{Client, Ending};

/// What every server gives for a read.
const USUAL_READ: u64 = 32 << 10;

/// More than OpenSSH's, the largest that is met.
const LARGEST_READ: u64 = 256 << 10;

/// Requests that are put into one packet.
const TOGETHER: usize = 64;

/// How long taking leave may take.
const LEAVE: Duration = Duration::from_secs(2);

/// Why a request has no answer of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server says no.
    Status(Status),
    /// The connection is of no use any more; another may be.
    Lost(String),
    /// What comes is no SFTP.
    NoSftp(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Lost(how) | Self::NoSftp(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for Failure {}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// A session over a channel of a connection. When it is dropped, it takes leave of the server.
pub(super) struct Session {
    outgoing: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
    /// Bytes to ask for in one read.
    read_size: u32,
    handles: Option<Arc<Semaphore>>,
    patience: Duration,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("read_size", &self.read_size)
            .finish_non_exhaustive()
    }
}

/// Requests whose answers are awaited; `Err` once none can come any more.
#[derive(Debug)]
struct Waiting(Mutex<std::result::Result<HashMap<u32, oneshot::Sender<Reply>>, Failure>>);

impl Waiting {
    fn add(&self, id: u32) -> Result<oneshot::Receiver<Reply>> {
        let (sender, receiver) = oneshot::channel();
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Ok(waiting) => {
                waiting.insert(id, sender);
                Ok(receiver)
            }
            Err(failure) => Err(failure.clone()),
        }
    }

    fn take(&self, id: u32) -> Option<oneshot::Sender<Reply>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().ok().and_then(|waiting| waiting.remove(&id))
    }

    /// Ends all that wait.
    fn end(&self, failure: Failure) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_ok() {
            *waiting = Err(failure);
        }
    }

    fn ended(&self) -> Option<Failure> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_ref().err().cloned()
    }
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    reply: oneshot::Receiver<Reply>,
    waiting: Arc<Waiting>,
    patience: Duration,
}

impl Pending {
    /// Its answer. The time that it may take begins now: one that waits behind others waits for them too.
    pub(super) async fn answer(self) -> Result<Reply> {
        match timeout(self.patience, self.reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(self
                .waiting
                .ended()
                .unwrap_or_else(|| Failure::Lost("the connection ended".to_owned()))),
            Err(_) => {
                let failure = Failure::Lost(format!("no answer came in {:?}", self.patience));
                self.waiting.end(failure.clone());
                Err(failure)
            }
        }
    }
}

/// A file that is open at the server, until this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    session: Arc<Session>,
    handle: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody waits for the answer.
        self.session.send(Request::Close(&self.handle));
    }
}

impl Session {
    /// Begins a session on a connection that has logged in.
    pub(super) async fn begin(
        ssh: Handle<Client>,
        ending: Arc<Ending>,
        patience: Duration,
    ) -> Result<Arc<Self>> {
        let opened = timeout(patience, async {
            let channel = ssh.channel_open_session().await.map_err(|error| match error {
                russh::Error::ChannelOpenFailure(reason) => {
                    Failure::NoSftp(format!("the server opens no session: {reason:?}"))
                }
                other => Failure::Lost(other.to_string()),
            })?;
            let (mut from, to) = channel.split();
            to.request_subsystem(true, "sftp")
                .await
                .map_err(|error| Failure::Lost(error.to_string()))?;
            loop {
                match from.wait().await {
                    Some(ChannelMsg::Success) => break,
                    Some(ChannelMsg::Failure) => {
                        return Err(Failure::NoSftp(
                            "the server has no SFTP for this account".to_owned(),
                        ));
                    }
                    Some(ChannelMsg::Close | ChannelMsg::Eof) | None => {
                        return Err(Failure::Lost(ending.text()));
                    }
                    Some(_) => {}
                }
            }
            Ok((from, to))
        });
        let (mut from, to) = opened
            .await
            .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer came in {patience:?}"))))?;
        let mut frames = Frames::default();
        let hello = timeout(patience, async {
            to.data_bytes(protocol::init())
                .await
                .map_err(|error| Failure::Lost(error.to_string()))?;
            next_frame(&mut from, &mut frames, &ending)
                .await?
                .hello()
                .map_err(no_sftp)
        });
        let hello = hello
            .await
            .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer came in {patience:?}"))))?;
        if hello.version < protocol::VERSION {
            return Err(Failure::NoSftp(format!(
                "the server speaks SFTP {}, and 3 is needed",
                hello.version
            )));
        }
        let (outgoing, requests) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting(Mutex::new(Ok(HashMap::new()))));
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(from, frames, waiting.clone(), ending));
        tasks.spawn(send(requests, to, ssh, waiting.clone()));
        let mut session = Self {
            outgoing,
            waiting,
            next: AtomicU32::new(0),
            read_size: u32::try_from(USUAL_READ).unwrap_or(u32::MAX),
            handles: None,
            patience,
            tasks,
        };
        if hello.extensions.iter().any(|name| **name == *LIMITS.as_bytes())
            && let Reply::Extended(reply) = session.ask(Request::Limits).await?
            && let Ok(limits) = Limits::read(reply)
        {
            if limits.read > 0 {
                session.read_size = u32::try_from(limits.read.min(LARGEST_READ)).unwrap_or(u32::MAX);
            }
            // Of a number as large as this no one ever sees the end.
            if let Ok(handles @ 1..=4096) = usize::try_from(limits.handles) {
                session.handles = Some(Arc::new(Semaphore::new(handles)));
            }
        }
        Ok(Arc::new(session))
    }

    /// Whether it is of use still.
    pub(super) fn is_alive(&self) -> bool {
        self.waiting.ended().is_none()
    }

    /// Bytes to ask for in one read.
    pub(super) fn read_size(&self) -> u32 {
        self.read_size
    }

    /// Sends a request whose answer is nobody's business.
    fn send(&self, request: Request<'_>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // A session that has ended has nobody to send to.
        let _ = self.outgoing.send(request.packet(id));
    }

    /// Sends a request.
    pub(super) fn post(&self, request: Request<'_>) -> Result<Pending> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let reply = self.waiting.add(id)?;
        if self.outgoing.send(request.packet(id)).is_err() {
            let gone = Failure::Lost("the connection ended".to_owned());
            return Err(self.waiting.ended().unwrap_or(gone));
        }
        Ok(Pending {
            reply,
            waiting: self.waiting.clone(),
            patience: self.patience,
        })
    }

    /// Sends a request and waits for its answer.
    async fn ask(&self, request: Request<'_>) -> Result<Reply> {
        self.post(request)?.answer().await
    }

    async fn do_it(&self, request: Request<'_>) -> Result<()> {
        match self.ask(request).await? {
            Reply::Status(status) if status.code == Status::OK => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn open_handle(self: &Arc<Self>, request: Request<'_>) -> Result<Open> {
        let permit = match &self.handles {
            Some(handles) => handles.clone().acquire_owned().await.ok(),
            None => None,
        };
        match self.ask(request).await? {
            Reply::Handle(handle) => Ok(Open {
                session: self.clone(),
                handle,
                _permit: permit,
            }),
            other => Err(unexpected(other)),
        }
    }

    /// Opens a file to be read.
    pub(super) async fn open(self: &Arc<Self>, path: &str) -> Result<Open> {
        self.open_handle(Request::Open(path)).await
    }

    /// What is in a folder, without itself and the one above.
    pub(super) async fn entries(self: &Arc<Self>, folder: &str) -> Result<Vec<Entry>> {
        let open = self.open_handle(Request::OpenFolder(folder)).await?;
        let mut found = Vec::new();
        loop {
            match self.ask(Request::ReadFolder(&open.handle)).await? {
                // Some servers end a folder this way.
                Reply::Names(names) if names.is_empty() => return Ok(found),
                Reply::Names(names) => {
                    let real = |entry: &Entry| !matches!(&*entry.name, b"." | b"..");
                    found.extend(names.into_iter().filter(real));
                }
                Reply::Status(status) if status.code == Status::END => return Ok(found),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// What a path leads to; `None` if nothing is there.
    pub(super) async fn stat(&self, path: &str) -> Result<Option<Attributes>> {
        self.attributes(Request::Stat(path)).await
    }

    /// What is at a path, links not followed; `None` if nothing is there.
    pub(super) async fn link_stat(&self, path: &str) -> Result<Option<Attributes>> {
        self.attributes(Request::LinkStat(path)).await
    }

    async fn attributes(&self, request: Request<'_>) -> Result<Option<Attributes>> {
        match self.ask(request).await? {
            Reply::Attributes(attributes) => Ok(Some(attributes)),
            Reply::Status(status) if status.is_missing() => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// The path behind all links.
    pub(super) async fn real_path(&self, path: &str) -> Result<String> {
        match self.ask(Request::RealPath(path)).await? {
            Reply::Names(names) if names.len() == 1 => {
                Ok(String::from_utf8_lossy(&names[0].name).into_owned())
            }
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.do_it(Request::Rename { from, to }).await
    }

    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        self.do_it(Request::Remove(path)).await
    }

    pub(super) async fn make_folder(&self, path: &str) -> Result<()> {
        self.do_it(Request::MakeFolder(path)).await
    }
}

impl Open {
    /// Asks for bytes.
    pub(super) fn read(&self, offset: u64, length: u32) -> Result<Pending> {
        self.session.post(Request::Read {
            handle: &self.handle,
            offset,
            length,
        })
    }

    /// Asks what the file is now.
    pub(super) fn stat(&self) -> Result<Pending> {
        self.session.post(Request::HandleStat(&self.handle))
    }
}

/// The answer to [`Open::read`]; `None` at the end of the file.
pub(super) async fn data(pending: Pending) -> Result<Option<Pieces>> {
    match pending.answer().await? {
        Reply::Data(pieces) if pieces.length == 0 => Ok(None),
        Reply::Data(pieces) => Ok(Some(pieces)),
        Reply::Status(status) if status.code == Status::END => Ok(None),
        other => Err(unexpected(other)),
    }
}

/// The answer to [`Open::stat`].
pub(super) async fn attributes(pending: Pending) -> Result<Attributes> {
    match pending.answer().await? {
        Reply::Attributes(attributes) => Ok(attributes),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Failure {
    match reply {
        Reply::Status(status) => Failure::Status(status),
        _ => Failure::NoSftp("the server answers another question than it was asked".to_owned()),
    }
}

fn no_sftp(malformed: Malformed) -> Failure {
    Failure::NoSftp(format!("what the server sends is no SFTP: {malformed}"))
}

impl Drop for Session {
    fn drop(&mut self) {
        // They end by themselves, once leave is taken.
        self.tasks.detach_all();
    }
}

async fn next_frame(from: &mut ChannelReadHalf, frames: &mut Frames, ending: &Ending) -> Result<Frame> {
    loop {
        if let Some(frame) = frames.next().map_err(no_sftp)? {
            return Ok(frame);
        }
        match from.wait().await {
            Some(ChannelMsg::Data { data }) => frames.push(data),
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                tracing::debug!(
                    "the server writes: {}",
                    crate::http::redact::clean_bytes(&data, 200)
                );
            }
            Some(ChannelMsg::Eof | ChannelMsg::Close) => {
                return Err(Failure::Lost("the server ended the session".to_owned()));
            }
            None => return Err(Failure::Lost(ending.text())),
            Some(_) => {}
        }
    }
}

/// Brings answers to those that wait for them.
async fn receive(mut from: ChannelReadHalf, mut frames: Frames, waiting: Arc<Waiting>, ending: Arc<Ending>) {
    loop {
        let reply = match next_frame(&mut from, &mut frames, &ending).await {
            Ok(frame) => frame.reply().map_err(no_sftp),
            Err(failure) => Err(failure),
        };
        match reply {
            Ok((id, reply)) => {
                // Of what nobody waits for any more, or never did, nothing is kept.
                if let Some(waits) = waiting.take(id) {
                    let _ = waits.send(reply);
                }
            }
            Err(failure) => return waiting.end(failure),
        }
    }
}

/// Sends requests until the session is dropped, and then takes leave.
async fn send(
    mut requests: mpsc::UnboundedReceiver<Bytes>,
    to: ChannelWriteHalf<Msg>,
    ssh: Handle<Client>,
    waiting: Arc<Waiting>,
) {
    let mut together = Vec::with_capacity(TOGETHER);
    while requests.recv_many(&mut together, TOGETHER).await > 0 {
        let packet = match &mut together[..] {
            [one] => std::mem::take(one),
            several => {
                let mut packet = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
                several
                    .iter()
                    .for_each(|request| packet.extend_from_slice(request));
                packet.freeze()
            }
        };
        together.clear();
        if to.data_bytes(packet).await.is_err() {
            // Whoever receives knows why.
            tokio::time::sleep(Duration::from_millis(50)).await;
            waiting.end(Failure::Lost("the connection ended".to_owned()));
            return;
        }
    }
    let leave = async {
        let _ = to.close().await;
        let _ = ssh.disconnect(Disconnect::ByApplication, "", "").await;
    };
    let _ = timeout(LEAVE, leave).await;
}
