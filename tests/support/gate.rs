//! The way to a server, which can be shut, and on which connections break: what a server that is there cannot do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Reset when the head has come, without the body being read.
    ResetBeforeBody,
    /// Reset when the whole request has come.
    ResetAfterBody,
    /// Nothing of it is ever read.
    Hold,
}

/// See the module. Shut until it is [opened](Self::open).
pub(crate) struct Gate {
    address: SocketAddr,
    /// Bound and not listening: the port is ours, and connections are refused.
    shut: Option<TcpSocket>,
    broken: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Gate {
    pub(crate) fn shut() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            shut: Some(socket),
            broken: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Lets connections through to `target` (`http://HOST:PORT`), after the first ones were broken.
    pub(crate) fn open(&mut self, target: &str, breaks: impl IntoIterator<Item = Break>) {
        let target: SocketAddr = target.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = self.shut.take().unwrap().listen(64).unwrap();
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
                let mut there = TcpStream::connect(target).await.unwrap();
                // Either side may go away first.
                let _ = copy_bidirectional(&mut stream, &mut there).await;
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

/// Reads a request's head, byte by byte so that nothing behind it is read, and its body if it is wanted.
async fn read_request(stream: &mut TcpStream, body: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    if body {
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let (_, length) = head.split_once("content-length:").unwrap();
        let length: u64 = length.lines().next().unwrap().trim().parse().unwrap();
        tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink())
            .await
            .unwrap();
    }
}
