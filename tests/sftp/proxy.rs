//! A way to a server that can be cut, or held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Forwards connections to a port on loopback, until dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Bytes from the server so far, over all connections.
    passed: AtomicU64,
    /// Where the next connection that reaches it stops for good.
    hold_at: AtomicU64,
    /// Cut there instead of held.
    cut: AtomicBool,
    held: Notify,
    connections: AtomicU64,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            hold_at: AtomicU64::new(u64::MAX),
            ..State::default()
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = shared.clone();
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                        forward(client, server, &state).await;
                    }
                });
            }
        });
        Self {
            port: own,
            state,
            task,
        }
    }

    /// After so many more bytes from the server the connection is held: nothing passes any more until the server ends it.
    pub(crate) fn hold_after(&self, bytes: u64) {
        self.state.cut.store(false, Ordering::SeqCst);
        let at = self.state.passed.load(Ordering::SeqCst) + bytes;
        self.state.hold_at.store(at, Ordering::SeqCst);
    }

    /// After so many more bytes from the server the connection is cut, once.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.hold_after(bytes);
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Waits until a connection is held.
    pub(crate) async fn is_held(&self) {
        tokio::time::timeout(Duration::from_secs(120), self.state.held.notified())
            .await
            .expect("so many bytes come");
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, server: TcpStream, state: &State) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok(length @ 1..) = from_server.read(&mut buffer).await else {
                return;
            };
            let passed = state.passed.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
            let at = state.hold_at.load(Ordering::SeqCst);
            let is_reached = passed >= at
                && state
                    .hold_at
                    .compare_exchange(at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if is_reached {
                if state.cut.load(Ordering::SeqCst) {
                    return;
                }
                state.held.notify_one();
                // What the server still sends is lost, as on a line that is down; its end is noticed.
                while from_server.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
                return;
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
