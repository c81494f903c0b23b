//! A forwarder in front of a server: refuses connections until it is opened, and breaks the first ones.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Reset after the head was read, before the body.
    ResetBeforeBody,
    /// Reset after the complete request was read.
    ResetAfterBody,
    /// Nothing is ever read.
    Hold,
}

pub(crate) struct Barrier {
    address: SocketAddr,
    /// Bound but not listening: reserves the port, and connections are refused.
    closed: Option<TcpSocket>,
    broken: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Barrier {
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            closed: Some(socket),
            broken: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Breaks the first connections and forwards the others to `target` (`http://HOST:PORT`).
    pub(crate) fn open(&mut self, target: &str, breaks: impl IntoIterator<Item = Break>) {
        let target: SocketAddr = target.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = self.closed.take().unwrap().listen(64).unwrap();
        let breaks = Mutex::new(breaks.into_iter().collect());
        self.tasks
            .spawn(accept(listener, target, breaks, self.broken.clone()));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections broken so far.
    pub(crate) fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    breaks: Mutex<VecDeque<Break>>,
    broken: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let next = breaks.lock().unwrap().pop_front();
        let broken = broken.clone();
        connections.spawn(async move {
            let Some(how) = next else {
                let mut server = TcpStream::connect(target).await.unwrap();
                // Either end may close first.
                let _ = copy_bidirectional(&mut stream, &mut server).await;
                return;
            };
            if how == Break::Hold {
                broken.fetch_add(1, Ordering::Relaxed);
                return std::future::pending().await;
            }
            read_request(&mut stream, how == Break::ResetAfterBody).await;
            broken.fetch_add(1, Ordering::Relaxed);
            stream.set_zero_linger().unwrap();
        });
    }
}

/// Reads the head of a request, byte by byte so that nothing behind it is read, and its body if requested.
async fn read_request(stream: &mut TcpStream, body: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    if body {
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let (_, length) = head.split_once("content-length:").unwrap();
        let length: u64 = length.lines().next().unwrap().trim().parse().unwrap();
        let read = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await;
        assert_eq!(read.unwrap(), length);
    }
}
