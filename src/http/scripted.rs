//! A scripted HTTP server for tests: plays a queue of steps, one a request, and records what it was asked.
//!
//! It speaks plain TCP, so that it can do what a proper server library refuses to: close in the middle, stall, trickle,
//! answer garbage. A request that no step is left for, or that it cannot read, is a fault; [`Scripted::finish`] gives
//! the faults back, so that the test asserts on them and not a task in the background.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads the request and answers.
    Answer(Reply),
    /// Reads the head, and closes the connection without reading the body.
    CloseBeforeBody,
    /// Reads the whole request, and closes the connection without an answer.
    CloseAfterBody,
    /// Reads the whole request, and never answers.
    Stall,
    /// Answers byte by byte, with this pause between two of them.
    Trickle(Reply, Duration),
    /// Announces the whole body, sends this many bytes of it, and closes.
    CutOff(Reply, usize),
    /// Writes these bytes in place of an answer, and closes.
    Garbage(Vec<u8>),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// An answer with an empty body and the reason phrase that is usual for the status.
    pub fn new(status: u16) -> Self {
        let usual = reqwest::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason());
        Self {
            status,
            reason: usual.unwrap_or_default().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Sets the reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(self.status, 100..=199 | 204 | 304) {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body; empty when the step did not read it.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    requests: Vec<Recorded>,
    faults: Vec<String>,
}

/// The server. Stops when dropped.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The accepting task; dropping the set stops it and its connections.
    tasks: JoinSet<()>,
}

impl Scripted {
    /// Listens on a free port of the loopback address.
    ///
    /// # Errors
    /// There is none.
    pub async fn start<S: Into<Step>>(steps: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let steps = steps.into_iter().map(Into::into).collect();
        let state = Arc::new(Mutex::new(State {
            steps,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            state,
            tasks,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same server under another host name.
    pub fn other_url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state).requests.clone()
    }

    /// Stops, and gives the requests, in the order in which they came.
    ///
    /// # Errors
    /// Requests that the script does not know or that could not be read, and steps that no request came for.
    pub fn finish(mut self) -> Result<Vec<Recorded>, String> {
        self.tasks.abort_all();
        let mut state = lock(&self.state);
        let mut faults = std::mem::take(&mut state.faults);
        faults.extend(
            state
                .steps
                .iter()
                .map(|step| format!("no request came for {step:?}")),
        );
        if faults.is_empty() {
            Ok(std::mem::take(&mut state.requests))
        } else {
            Err(faults.join("; "))
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays steps on one connection until one of them, or the client, closes it.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        match request(&mut stream, &mut buffer, &state).await {
            Ok(true) => {}
            Ok(false) => return,
            // The client going away is what a test of timeouts does.
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return,
            Err(error) => return lock(&state).faults.push(error.to_string()),
        }
    }
}

/// One request and its step. False when the connection is to be closed.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>, state: &Mutex<State>) -> io::Result<bool> {
    let Some(mut recorded) = read_head(stream, buffer).await? else {
        return Ok(false);
    };
    let step = lock(state).steps.pop_front();
    if matches!(step, Some(Step::CloseBeforeBody)) {
        lock(state).requests.push(recorded);
        return Ok(false);
    }
    recorded.body = read_body(stream, buffer, &recorded).await?;
    let asked = format!("{} {}", recorded.method, recorded.path);
    lock(state).requests.push(recorded);
    match step {
        Some(Step::Answer(reply)) => stream.write_all(&reply.bytes()).await.map(|()| true),
        Some(Step::CloseBeforeBody | Step::CloseAfterBody) => Ok(false),
        Some(Step::Stall) => std::future::pending().await,
        Some(Step::Trickle(reply, pause)) => {
            for byte in reply.bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(pause).await;
            }
            Ok(true)
        }
        Some(Step::CutOff(reply, sent)) => {
            stream.write_all(&reply.head()).await?;
            stream
                .write_all(&reply.body[..sent.min(reply.body.len())])
                .await?;
            stream.shutdown().await.map(|()| false)
        }
        Some(Step::Garbage(bytes)) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await.map(|()| false)
        }
        None => {
            lock(state).faults.push(format!("unscripted request: {asked}"));
            stream
                .write_all(&Reply::new(599).reason("Unscripted").bytes())
                .await
                .map(|()| true)
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Err(invalid("the request line is not one of HTTP/1.1"));
    };
    let headers = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| invalid("a header has no colon"))?;
    Ok(Some(Recorded {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: Vec::new(),
    }))
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, recorded: &Recorded) -> io::Result<Vec<u8>> {
    if recorded.header("transfer-encoding").is_some() {
        return Err(invalid("the body has no length"));
    }
    let length = match recorded.header("content-length") {
        Some(text) => text
            .parse()
            .map_err(|_| invalid("the content length is no number"))?,
        None => 0,
    };
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..length).collect())
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unscripted_request_and_an_unused_step_are_faults() {
        let server = Scripted::start([Reply::new(200)]).await.unwrap();
        assert!(server.finish().unwrap_err().contains("no request came"));

        let server = Scripted::start(Vec::<Step>::new()).await.unwrap();
        let client = crate::http::transport::TransportConfig::default()
            .client()
            .unwrap();
        assert_eq!(client.get(server.url()).send().await.unwrap().status(), 599);
        assert!(server.finish().unwrap_err().contains("unscripted request: GET /"));
    }
}
