//! A session: concurrent requests over one stream, each with its response.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::packet::{self, Attributes, DirEntry, LIMITS_EXTENSION, Packet, Request, Response, Status};
use crate::{Error, Result};

/// Bytes of a read that every server supports.
const DEFAULT_READ_BYTES: u32 = 32 << 10;
/// Upper bound of a read; OpenSSH's limit is slightly lower.
const MAX_READ_BYTES: u64 = 256 << 10;
/// Bytes of the stream that are buffered at least.
const RECEIVE_BUFFER_BYTES: usize = 64 << 10;
/// Requests that are sent in one write.
const MAX_BATCH: usize = 64;
/// Upper bound of the time for closing the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An SFTP session. Dropping it closes the stream.
#[derive(Debug)]
pub struct Session {
    outgoing: mpsc::UnboundedSender<Bytes>,
    pending: Arc<PendingRequests>,
    next_id: AtomicU32,
    /// Bytes that the server supports in one read.
    pub(crate) read_bytes: u32,
    request_timeout: Duration,
    tasks: JoinSet<()>,
}

/// The requests without a response; `Err` once the connection is unusable.
#[derive(Debug)]
struct PendingRequests(Mutex<Result<HashMap<u32, oneshot::Sender<Response>>>>);

impl PendingRequests {
    fn lock(&self) -> std::sync::MutexGuard<'_, Result<HashMap<u32, oneshot::Sender<Response>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: u32) -> Result<oneshot::Receiver<Response>> {
        let (sender, receiver) = oneshot::channel();
        match &mut *self.lock() {
            Ok(pending) => {
                pending.insert(id, sender);
                Ok(receiver)
            }
            Err(error) => Err(error.clone()),
        }
    }

    fn remove(&self, id: u32) -> Option<oneshot::Sender<Response>> {
        self.lock().as_mut().ok().and_then(|pending| pending.remove(&id))
    }

    /// Fails all pending and later requests; the first error counts.
    fn fail(&self, error: Error) {
        let mut pending = self.lock();
        if pending.is_ok() {
            *pending = Err(error);
        }
    }

    fn error(&self) -> Option<Error> {
        self.lock().as_ref().err().cloned()
    }
}

#[derive(Debug)]
pub(crate) struct PendingResponse {
    response: oneshot::Receiver<Response>,
    pending: Arc<PendingRequests>,
    request_timeout: Duration,
}

impl PendingResponse {
    /// Waits for the response. The timeout starts now, not when the request was sent.
    pub(crate) async fn wait(self) -> Result<Response> {
        match timeout(self.request_timeout, self.response).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(self.pending.error().unwrap_or_else(connection_ended)),
            Err(_) => {
                let error = no_response(self.request_timeout);
                self.pending.fail(error.clone());
                Err(error)
            }
        }
    }
}

fn connection_ended() -> Error {
    Error::Disconnected("the connection ended".to_owned())
}

fn no_response(after: Duration) -> Error {
    Error::Disconnected(format!("no response within {after:?}"))
}

impl Session {
    /// Starts a session on `stream`. `on_close` runs after the stream was closed, for at most two seconds: it can close
    /// what the stream belongs to. Called on a tokio runtime.
    pub async fn start<S, C>(stream: S, request_timeout: Duration, on_close: C) -> Result<Arc<Self>>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = BytesMut::new();
        let hello = timeout(request_timeout, async {
            let init = Request::new(packet::INIT).encode(packet::VERSION);
            if writer.write_all(&init).await.is_err() {
                return Err(connection_ended());
            }
            receive(&mut reader, &mut buffer).await?.hello()
        });
        let (version, extensions) = hello
            .await
            .unwrap_or_else(|_| Err(no_response(request_timeout)))?;
        if version < packet::VERSION {
            let required = packet::VERSION;
            let message = format!("the server supports SFTP {version}, and {required} is required");
            return Err(Error::Protocol(message));
        }
        let (outgoing, requests) = mpsc::unbounded_channel();
        let pending = Arc::new(PendingRequests(Mutex::new(Ok(HashMap::new()))));
        let mut tasks = JoinSet::new();
        tasks.spawn(receive_all(reader, buffer, pending.clone()));
        tasks.spawn(send_all(requests, writer, pending.clone(), on_close));
        let mut session = Self {
            outgoing,
            pending,
            next_id: AtomicU32::new(0),
            read_bytes: DEFAULT_READ_BYTES,
            request_timeout,
            tasks,
        };
        if extensions.iter().any(|name| *name == LIMITS_EXTENSION) {
            let request = Request::new(packet::EXTENDED).bytes(LIMITS_EXTENSION);
            if let Response::Extended(limits) = session.request(request).await?
                && let Ok(bytes @ 1..) = packet::read_limit(limits)
            {
                session.read_bytes = u32::try_from(bytes.min(MAX_READ_BYTES)).unwrap_or(u32::MAX);
            }
        }
        Ok(Arc::new(session))
    }

    /// Whether requests can be sent.
    pub fn is_alive(&self) -> bool {
        self.pending.error().is_none()
    }

    pub(crate) fn post(&self, request: Request) -> Result<PendingResponse> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let response = self.pending.add(id)?;
        if self.outgoing.send(request.encode(id)).is_err() {
            return Err(self.pending.error().unwrap_or_else(connection_ended));
        }
        Ok(PendingResponse {
            response,
            pending: self.pending.clone(),
            request_timeout: self.request_timeout,
        })
    }

    async fn request(&self, request: Request) -> Result<Response> {
        self.post(request)?.wait().await
    }

    async fn execute(&self, request: Request) -> Result<()> {
        match self.request(request).await? {
            Response::Status(status) if status.code == Status::OK => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn open_handle(self: &Arc<Self>, request: Request) -> Result<File> {
        match self.request(request).await? {
            Response::Handle(handle) => Ok(File {
                session: self.clone(),
                handle,
            }),
            other => Err(unexpected(other)),
        }
    }

    /// Opens a file for reading.
    pub async fn open(self: &Arc<Self>, path: &str) -> Result<File> {
        let request = Request::new(packet::OPEN).bytes(path).u32(packet::OPEN_READ);
        self.open_handle(request.u32(packet::NO_ATTRIBUTES)).await
    }

    /// Lists a directory, without `.` and `..`.
    pub async fn read_dir(self: &Arc<Self>, path: &str) -> Result<Vec<DirEntry>> {
        let dir = self
            .open_handle(Request::new(packet::OPENDIR).bytes(path))
            .await?;
        let mut entries = Vec::new();
        loop {
            let request = Request::new(packet::READDIR).bytes(&dir.handle);
            match self.request(request).await? {
                // Some servers end a listing this way.
                Response::Names(names) if names.is_empty() => return Ok(entries),
                Response::Names(names) => {
                    let is_real = |entry: &DirEntry| !matches!(&*entry.name, b"." | b"..");
                    entries.extend(names.into_iter().filter(is_real));
                }
                Response::Status(status) if status.code == Status::END => return Ok(entries),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// The attributes of a file, links followed; `None` if it does not exist.
    pub async fn stat(&self, path: &str) -> Result<Option<Attributes>> {
        self.attributes(Request::new(packet::STAT).bytes(path)).await
    }

    /// The attributes of a file, of a link itself; `None` if it does not exist.
    pub async fn link_stat(&self, path: &str) -> Result<Option<Attributes>> {
        self.attributes(Request::new(packet::LSTAT).bytes(path)).await
    }

    async fn attributes(&self, request: Request) -> Result<Option<Attributes>> {
        match self.request(request).await? {
            Response::Attributes(attributes) => Ok(Some(attributes)),
            Response::Status(status) if status.is_missing() => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// The absolute path, links resolved.
    pub async fn real_path(&self, path: &str) -> Result<String> {
        match self.request(Request::new(packet::REALPATH).bytes(path)).await? {
            Response::Names(names) if names.len() == 1 => {
                Ok(String::from_utf8_lossy(&names[0].name).into_owned())
            }
            other => Err(unexpected(other)),
        }
    }

    /// Renames a file; version 3 does not overwrite.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.execute(Request::new(packet::RENAME).bytes(from).bytes(to))
            .await
    }

    /// Deletes a file.
    pub async fn remove(&self, path: &str) -> Result<()> {
        self.execute(Request::new(packet::REMOVE).bytes(path)).await
    }

    /// Creates a directory.
    pub async fn create_dir(&self, path: &str) -> Result<()> {
        let request = Request::new(packet::MKDIR).bytes(path).u32(packet::NO_ATTRIBUTES);
        self.execute(request).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // They end by themselves after the stream is closed.
        self.tasks.detach_all();
    }
}

/// An open file; closed when dropped.
#[derive(Debug)]
pub struct File {
    pub(crate) session: Arc<Session>,
    pub(crate) handle: Bytes,
}

impl File {
    /// The attributes now. The request is sent by this call, not by the first poll.
    pub fn stat(&self) -> impl Future<Output = Result<Attributes>> + Send + use<> {
        let response = self.session.post(Request::new(packet::FSTAT).bytes(&self.handle));
        async {
            match response?.wait().await? {
                Response::Attributes(attributes) => Ok(attributes),
                other => Err(unexpected(other)),
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let session = &self.session;
        let id = session.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request::new(packet::CLOSE).bytes(&self.handle);
        // Fails only if the session has ended; the response is ignored.
        let _ = session.outgoing.send(request.encode(id));
    }
}

pub(crate) fn unexpected(response: Response) -> Error {
    match response {
        Response::Status(status) => Error::Status(status),
        _ => Error::Protocol("the server sent a response of another request".to_owned()),
    }
}

async fn receive<S: AsyncRead>(reader: &mut ReadHalf<S>, buffer: &mut BytesMut) -> Result<Packet> {
    loop {
        if let Some(packet) = packet::next_packet(buffer)? {
            return Ok(packet);
        }
        if buffer.capacity() == buffer.len() {
            buffer.reserve(RECEIVE_BUFFER_BYTES);
        }
        match reader.read_buf(buffer).await {
            Ok(0) => return Err(Error::Disconnected("the server closed the connection".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(Error::Disconnected(error.to_string())),
        }
    }
}

/// Passes each response to its request.
async fn receive_all<S: AsyncRead>(
    mut reader: ReadHalf<S>,
    mut buffer: BytesMut,
    pending: Arc<PendingRequests>,
) {
    loop {
        let response = receive(&mut reader, &mut buffer).await;
        match response.and_then(Packet::response) {
            Ok((id, response)) => {
                // A response without a pending request is dropped.
                if let Some(sender) = pending.remove(id) {
                    let _ = sender.send(response);
                }
            }
            Err(error) => return pending.fail(error),
        }
    }
}

/// Sends requests until the session is dropped, then closes the stream.
async fn send_all<S: AsyncWrite>(
    mut requests: mpsc::UnboundedReceiver<Bytes>,
    mut writer: WriteHalf<S>,
    pending: Arc<PendingRequests>,
    on_close: impl Future<Output = ()>,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut bytes = BytesMut::new();
    while requests.recv_many(&mut batch, MAX_BATCH).await > 0 {
        bytes.clear();
        for request in batch.drain(..) {
            bytes.extend_from_slice(&request);
        }
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            // The receiving side knows the reason.
            tokio::time::sleep(Duration::from_millis(50)).await;
            pending.fail(connection_ended());
            return;
        }
    }
    let close = async {
        let _ = writer.shutdown().await;
        on_close.await;
    };
    let _ = timeout(CLOSE_TIMEOUT, close).await;
}
