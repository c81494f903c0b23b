//! The server: one thread, one task for each connection.

#![allow(clippy::disallowed_methods, reason = "tasks end with the server")]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::{Reply, Request, Step};

/// How the server speaks TLS; texts are PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    /// The authority that signs the client certificates to require.
    pub client_ca: Option<String>,
    pub only_tls12: bool,
}

impl Tls {
    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = match self.only_tls12 {
            true => &[&rustls::version::TLS12][..],
            false => rustls::ALL_VERSIONS,
        };
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider has these versions");
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(certificate(authority)).expect("an authority");
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a private key");
        let config = config.with_single_cert(vec![certificate(&self.certificate)], key);
        Arc::new(config.expect("the key belongs to the certificate")).into()
    }
}

type Answer = Pin<Box<dyn Future<Output = Step> + Send>>;
type Handler = dyn Fn(Request) -> Answer + Send + Sync;

#[derive(Default)]
struct State {
    /// With the line that the request must have, where one is given.
    steps: VecDeque<(Option<String>, Step)>,
    requests: Vec<Request>,
    faults: Vec<String>,
}

struct Shared {
    /// Without one, the steps are played.
    handler: Option<Box<Handler>>,
    url: String,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Builder {
    tls: Option<Tls>,
}

impl Builder {
    /// Speaks TLS. The certificate must be one for `localhost`.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub fn script<S: Into<Step>>(self, steps: impl IntoIterator<Item = S>) -> Server {
        let steps = steps.into_iter().map(|step| (None, step.into()));
        self.start(None, steps.collect())
    }

    pub fn handler<S, F>(self, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Server
    where
        S: Into<Step>,
        F: Future<Output = S> + Send + 'static,
    {
        let handler = move |request| -> Answer {
            let answer = handler(request);
            Box::pin(async { answer.await.into() })
        };
        self.start(Some(Box::new(handler)), VecDeque::new())
    }

    fn start(self, handler: Option<Box<Handler>>, steps: VecDeque<(Option<String>, Step)>) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let acceptor = self.tls.as_ref().map(Tls::acceptor);
        let url = match acceptor {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let state = Mutex::new(State {
            steps,
            ..State::default()
        });
        let shared = Arc::new(Shared { handler, url, state });
        let accepting = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (Arc::clone(&accepting), acceptor.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(stream, &shared).await;
                    };
                    match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => serve(stream, &shared).await,
                        Err((_, mut stream)) => {
                            // Closed at once, the connection would be reset and the TLS alert might be lost.
                            let _ = stream.shutdown().await;
                            let _ = stream.read_to_end(&mut Vec::new()).await;
                        }
                    }
                });
            }
        });
        Server {
            address,
            shared,
            runtime: Some(runtime),
        }
    }
}

/// A server on a free port of the loopback address. Stops when dropped, and then fails the test if a request was not
/// expected.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Plays one step for each request, in order.
    pub fn script<S: Into<Step>>(steps: impl IntoIterator<Item = S>) -> Self {
        Self::builder().script(steps)
    }

    /// Plays steps in order, each only for a request with this [line](Request::line).
    pub fn expect<L: Into<String>, S: Into<Step>>(steps: impl IntoIterator<Item = (L, S)>) -> Self {
        let steps = steps
            .into_iter()
            .map(|(line, step)| (Some(line.into()), step.into()));
        Self::builder().start(None, steps.collect())
    }

    /// Asks `handler` for each request; `None` means that the request is not expected.
    pub fn handler<S, F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        S: Into<Step>,
        F: Future<Output = S> + Send + 'static,
    {
        Self::builder().handler(handler)
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// The same server under another host name.
    pub fn other_url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The [lines](Request::line) of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }

    /// Stops, and returns the requests in the order of their arrival.
    ///
    /// # Panics
    /// A request was not expected or not readable, or a step was not used.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Request> {
        self.stop();
        let mut state = std::mem::take(&mut *self.shared.state());
        let unused = std::mem::take(&mut state.steps);
        let unused = unused.iter().map(|step| format!("no request came for {step:?}"));
        state.faults.extend(unused);
        assert!(state.faults.is_empty(), "{}", state.faults.join("; "));
        state.requests
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let faults = std::mem::take(&mut self.shared.state().faults);
        let holds = faults.is_empty() || std::thread::panicking();
        assert!(holds, "{}", faults.join("; "));
    }
}

/// Plays steps on one connection until one of them, or the client, closes it.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut buffer = Vec::new();
    let result = loop {
        match exchange(&mut stream, &mut buffer, shared).await {
            Ok(true) => {}
            result => break result,
        }
    };
    // A client that goes away is what a test of time-outs does.
    if let Err(error) = result
        && error.kind() == io::ErrorKind::InvalidData
    {
        shared.state().faults.push(error.to_string());
    }
    let _ = stream.shutdown().await;
}

/// The next step for `request`, which it records.
async fn step(shared: &Shared, request: Request) -> Step {
    let line = request.line();
    shared.state().requests.push(request.clone());
    let step = match &shared.handler {
        Some(handler) => handler(request).await,
        None => {
            let mut state = shared.state();
            match state.steps.front() {
                Some((expected, _)) if expected.as_ref().is_none_or(|expected| *expected == line) => {
                    state.steps.pop_front().map_or(Step::Unexpected, |(_, step)| step)
                }
                _ => Step::Unexpected,
            }
        }
    };
    if matches!(step, Step::Unexpected) {
        let mut state = shared.state();
        let expected = state.steps.front().and_then(|(line, _)| line.clone());
        let instead = expected.map_or_else(String::new, |line| format!(" instead of `{line}`"));
        state.faults.push(format!("unexpected request `{line}`{instead}"));
    }
    step
}

/// One request and its step. False when the connection is to be closed.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    shared: &Shared,
) -> io::Result<bool> {
    let Some(mut request) = read_head(stream, buffer).await? else {
        return Ok(false);
    };
    {
        let mut state = shared.state();
        if matches!(state.steps.front(), Some((None, Step::CloseBeforeBody))) {
            state.steps.pop_front();
            state.requests.push(request);
            return Ok(false);
        }
    }
    request.body = read_body(stream, buffer, &request).await?;
    let head_only = request.method == "HEAD";
    let (reply, length, pause) = match step(shared, request).await {
        Step::Reply(reply) => (reply, None, None),
        Step::Trickle(reply, pause) => (reply, None, Some(pause)),
        Step::Truncated { reply, length } => (reply, Some(length), None),
        Step::CloseBeforeBody | Step::CloseAfterBody => return Ok(false),
        Step::Stall => return std::future::pending().await,
        Step::Garbage(bytes) => return stream.write_all(&bytes).await.map(|()| false),
        Step::Unexpected => (Reply::new(599).reason("Unexpected request"), None, None),
    };
    let reply = reply.at(&shared.url);
    let mut bytes = reply.head(length.unwrap_or(reply.body.len()));
    if !head_only {
        bytes.extend(&reply.body);
    }
    match pause {
        None => stream.write_all(&bytes).await?,
        Some(pause) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
    }
    stream.flush().await?;
    Ok(length.is_none())
}

async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return match buffer.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
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
        return Err(invalid("not a request line of HTTP/1.1"));
    };
    let headers = lines.map(|line| {
        let field = line.split_once(':');
        let (name, value) = field.ok_or_else(|| invalid("a header without a colon"))?;
        Ok((name.to_lowercase(), value.trim().to_owned()))
    });
    let headers = headers.collect::<io::Result<_>>()?;
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: Vec::new(),
    }))
}

async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    request: &Request,
) -> io::Result<Vec<u8>> {
    if request.header("transfer-encoding").is_some() {
        return Err(invalid("the request's body has no length"));
    }
    let length = request.header("content-length").map_or(Ok(0), str::parse);
    let length: usize = length.map_err(|_| invalid("the content length is not a number"))?;
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
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    #[should_panic(expected = "no request came for")]
    fn fails_on_unused_steps() {
        Server::script([Reply::new(200)]).finish();
    }

    #[test]
    #[should_panic(expected = "unexpected request `GET /x` instead of `GET /y`")]
    fn fails_on_unexpected_requests() {
        let server = Server::expect([("GET /y", Reply::new(200))]);
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 599");
        drop(server);
    }
}
