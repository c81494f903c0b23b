//! A file on a web server as a place: the one that the address names, for no such server says which others it has.
//!
//! A server that gives parts of files is asked for several at a time, and one that breaks off is asked again from there.
//! One that does not is read in one go, and what breaks off then is an error: nobody can say that the begin would be
//! the same again.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::config::HttpsConfig;
use super::failure::{Note, Said, passes, transport};
use super::fetch::{self, Ahead, Fetch};
use crate::component::RunInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::http::retry::Backoff;
use crate::http::retry_after::parse_retry_after;
use crate::http::transport::{Failure, read_limited};
use crate::secret::{Secret, SecretFiles, SecretRef};
use crate::storage::blocks::{Block, changed, failed};
use crate::storage::location::RemoteLocation;
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A web server.
#[derive(Clone)]
struct Web {
    client: reqwest::Client,
    origin: Url,
    headers: HeaderMap,
    /// What follows the `?`: a signed link has its login there.
    query: Option<Secret>,
    retries: u32,
    backoff: Backoff,
    ahead: Ahead,
}

impl fmt::Debug for Web {
    /// Without headers and query, which hold the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("origin", &self.origin.as_str())
            .finish_non_exhaustive()
    }
}

/// Makes the client of a web server.
///
/// # Errors
/// A secret cannot be read or cannot go into a header, or the client cannot be made.
pub(super) fn connect(
    remote: &RemoteLocation,
    config: Option<&HttpsConfig>,
    run: &RunInfo,
) -> Result<Arc<dyn Storage>> {
    let default = HttpsConfig::default();
    let config = config.unwrap_or(&default);
    let tuning = config.tuning();
    let read = |secret: &SecretRef| secret.read(&run.base, &SecretFiles::of(run));
    let origin = Url::parse(&remote.origin())
        .map_err(|error| Error::config(format!("`{}` is no address", remote.origin())).with_source(error))?;
    let mut headers = HeaderMap::new();
    // Bytes are counted as the server keeps them.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut add = |name: HeaderName, value: String| -> Result<()> {
        let mut header = HeaderValue::try_from(value).map_err(|_| {
            Error::config(format!("what is kept for the header `{name}` cannot go into one"))
                .with_hint("look for line breaks and other characters that cannot be seen")
        })?;
        header.set_sensitive(true);
        headers.insert(name, header);
        Ok(())
    };
    if let Some(token) = &config.bearer {
        add(AUTHORIZATION, format!("Bearer {}", read(token)?.expose()))?;
    }
    if let Some(basic) = &config.basic {
        let login = format!("{}:{}", basic.user, read(&basic.password)?.expose());
        add(AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(login)))?;
    }
    for (name, value) in &config.headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| Error::config(format!("`{name}` is no name of a header")))?;
        add(name, read(value)?.expose().to_owned())?;
    }
    let query = match &config.query {
        Some(secret) => Some(Secret::new(read(secret)?.expose().trim_start_matches('?'))),
        None => None,
    };
    let mut transport = tuning.transport(run);
    transport.tls = origin.scheme() == "https";
    Ok(Arc::new(Web {
        client: transport.client()?,
        origin,
        headers,
        query,
        retries: tuning.retries,
        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(15)),
        ahead: Ahead::new(tuning.read_ahead),
    }))
}

/// Why a request brought no file.
enum Trouble {
    Transport(Failure),
    Answer {
        note: Note,
        wait: Option<Duration>,
        /// Where a redirect leads, without what may be secret there.
        leads: Option<String>,
    },
}

impl Trouble {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Transport(_) => None,
            Self::Answer { note, .. } => Some(note.status()),
        }
    }

    fn passes(&self) -> bool {
        match self {
            Self::Transport(failure) => failure.is_transient(),
            Self::Answer { note, .. } => passes(note.status()),
        }
    }

    fn into_error(self) -> Error {
        let (note, leads) = match self {
            Self::Transport(failure) => {
                let (kind, hint) = transport(&failure, "https");
                let error = Error::new(kind, failure.to_string());
                return match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                };
            }
            Self::Answer { note, leads, .. } => (note, leads),
        };
        let status = note.status();
        let (kind, hint) = match status.as_u16() {
            401 | 403 | 407 => (
                ErrorKind::Refused,
                "check how `https` logs in (`bearer`, `basic`, `headers`); a signed link may be no longer valid".to_owned(),
            ),
            404 | 410 => (
                ErrorKind::Input,
                "the file was there when it was looked for: it was moved or removed since".to_owned(),
            ),
            300..=399 => (
                ErrorKind::Config,
                match leads {
                    Some(host) => format!(
                        "redirects are not followed, so that a login never goes elsewhere; this one leads to {host}: give \
                         `path` the address behind it"
                    ),
                    None => "redirects are not followed: give `path` the address behind it".to_owned(),
                },
            ),
            _ if passes(status) => return Error::new(ErrorKind::Transient, note.said()),
            _ => return Error::new(ErrorKind::Refused, note.said()),
        };
        Error::new(kind, note.said()).with_hint(hint)
    }
}

impl Web {
    fn url(&self, path: &str) -> Result<Url> {
        let mut url = self
            .origin
            .join(path)
            .map_err(|error| Error::config(format!("`{path}` is no path on a server")).with_source(error))?;
        // `//elsewhere` is another server.
        if url.origin() != self.origin.origin() {
            return Err(Error::config(format!("`{path}` is no path on {}", self.origin)));
        }
        url.set_query(self.query.as_ref().map(Secret::expose));
        Ok(url)
    }

    fn named(&self, path: &str) -> String {
        format!("{}{path}", self.origin.as_str().trim_end_matches('/'))
    }

    async fn ask_once(
        &self,
        method: &Method,
        path: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Result<Response, Trouble>> {
        let mut request = reqwest::Request::new(method.clone(), self.url(path)?);
        request.headers_mut().clone_from(&self.headers);
        if let Some(range) = range {
            let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            if let Ok(range) = HeaderValue::try_from(range) {
                request.headers_mut().insert(RANGE, range);
            }
        }
        let response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Err(Trouble::Transport(Failure::of(error)))),
        };
        if response.status().is_success() {
            return Ok(Ok(response));
        }
        let status = response.status();
        let headers = response.headers().clone();
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| HeaderValue::to_str(value).ok())
        };
        let wait = text(RETRY_AFTER).and_then(|wait| parse_retry_after(wait, SystemTime::now()));
        let leads = text(LOCATION)
            .and_then(|to| self.origin.join(to).ok())
            .map(|to| to.origin().ascii_serialization());
        let host = self.origin.host_str().unwrap_or_default().to_owned();
        let (body, _) = read_limited(response, 4 << 10).await;
        Ok(Err(Trouble::Answer {
            note: Note::new(status, host, &headers, &body),
            wait,
            leads,
        }))
    }

    /// Asks, and again after what passes.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        range: Option<Range<u64>>,
    ) -> Result<Result<Response, Trouble>> {
        let mut retry = 0;
        loop {
            let trouble = match self.ask_once(&method, path, range.as_ref()).await? {
                Err(trouble) if trouble.passes() && retry < self.retries => trouble,
                end => return Ok(end),
            };
            let asked = match &trouble {
                Trouble::Answer { wait, .. } => wait.map(|wait| wait.min(LONGEST_WAIT)),
                Trouble::Transport(_) => None,
            };
            let wait = asked.unwrap_or_else(|| self.backoff.delay(retry, rand::random()));
            retry += 1;
            tracing::debug!(
                retry,
                wait_ms = wait.as_millis() as u64,
                "a request failed, trying again"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn find(&self, path: &str) -> Result<Option<FileInfo>> {
        let cannot = |trouble: Trouble| {
            let error = trouble.into_error();
            let hints: Vec<String> = error.hints().map(str::to_owned).collect();
            let outer = Error::new(error.kind(), format!("cannot look at `{}`", self.named(path)))
                .with_source(Said(error.chain()));
            hints.into_iter().fold(outer, Error::with_hint)
        };
        match self.ask(Method::HEAD, path, None).await? {
            // Nothing, or no length, is what some say that make the file when it is asked for.
            Ok(response) => match length(response.headers()) {
                Some(size) if size > 0 => return Ok(Some(found(path, Some(size), response.headers()))),
                _ => {}
            },
            Err(trouble) => match trouble.status().map(|status| status.as_u16()) {
                Some(404 | 410) => return Ok(None),
                // A link may be signed for GET alone, and not everybody knows HEAD.
                Some(400 | 403 | 405 | 501) => {}
                _ => return Err(cannot(trouble)),
            },
        }
        match self.ask(Method::GET, path, Some(0..1)).await? {
            Ok(response) => {
                let headers = response.headers();
                let size = if response.status() == StatusCode::PARTIAL_CONTENT {
                    content_range(headers).and_then(|(_, size)| size)
                } else {
                    length(headers)
                };
                Ok(Some(found(path, size, headers)))
            }
            Err(trouble) => match trouble.status().map(|status| status.as_u16()) {
                Some(404 | 410) => Ok(None),
                // There is no first byte.
                Some(416) => Ok(Some(found(path, Some(0), &HeaderMap::new()))),
                _ => Err(cannot(trouble)),
            },
        }
    }

    /// Reads the whole file, in whichever way the server gives it.
    async fn send(&self, file: &FileInfo, blocks: &mpsc::Sender<Block>) -> Result<()> {
        let first = 0..file
            .size
            .map_or(self.ahead.piece(), |size| size.min(self.ahead.piece()));
        if first.is_empty() {
            let _ = blocks.send(Block::End).await;
            return Ok(());
        }
        let response = match self.ask(Method::GET, &file.path, Some(first.clone())).await? {
            Ok(response) => response,
            Err(trouble) if trouble.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                return Err(changed());
            }
            Err(trouble) => return Err(trouble.into_error()),
        };
        check_type(response.headers())?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return self.stream(file, response, blocks).await;
        }
        let Some((given, size)) = content_range(response.headers()) else {
            return Err(no_ranges(file));
        };
        let size = size.or(file.size).ok_or_else(|| no_ranges(file))?;
        // Without a size the first piece may be all of it, and less.
        let first = 0..first.end.min(size);
        let begun = FileInfo {
            size: Some(size),
            ..file.clone()
        };
        if given != first || (file.size.is_some() && file.size != Some(size)) {
            return Err(changed());
        }
        // What the first answer says is what the others must say.
        let begun = if file.version.is_none() && file.modified.is_none() {
            found(&file.path, Some(size), response.headers())
        } else {
            begun
        };
        let bytes = self.fill(&begun, first.clone(), Some(response)).await?;
        if blocks.send(Block::Bytes(bytes)).await.is_ok() {
            fetch::send(self, &begun, first.end..size, self.ahead, blocks).await;
        }
        Ok(())
    }

    /// Passes on the body of a server that gives no parts.
    async fn stream(
        &self,
        file: &FileInfo,
        mut response: Response,
        blocks: &mpsc::Sender<Block>,
    ) -> Result<()> {
        check_same(file, response.headers())?;
        let mut read = 0_u64;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    read += bytes.len() as u64;
                    if blocks.send(Block::Bytes(bytes)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let failure = Failure::of(error);
                    return Err(Error::new(
                        ErrorKind::Transient,
                        format!("the server broke off after {read} bytes: {failure}"),
                    )
                    .with_hint(
                        "it gives no parts of files, so that it cannot be asked for the rest: run again",
                    ));
                }
            }
        }
        if file.size.is_some_and(|size| size != read) {
            return Err(changed());
        }
        let _ = blocks.send(Block::End).await;
        Ok(())
    }

    /// Reads a range, of which `answer` may be the begin; what breaks off is asked for again from there.
    async fn fill(&self, file: &FileInfo, range: Range<u64>, mut answer: Option<Response>) -> Result<Bytes> {
        let length = usize::try_from(range.end - range.start).map_err(|_| no_ranges(file))?;
        let mut bytes = BytesMut::with_capacity(length);
        let mut retry = 0;
        loop {
            let rest = range.start + bytes.len() as u64..range.end;
            let mut response = match answer.take() {
                Some(response) => response,
                None => match self.ask(Method::GET, &file.path, Some(rest.clone())).await? {
                    Ok(response) => response,
                    Err(trouble) if trouble.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                        return Err(changed());
                    }
                    Err(trouble) => return Err(trouble.into_error()),
                },
            };
            let Some((given, size)) = content_range(response.headers()) else {
                check_type(response.headers())?;
                return Err(no_ranges(file));
            };
            check_same(file, response.headers())?;
            if given != rest || (size.is_some() && file.size.is_some() && size != file.size) {
                return Err(changed());
            }
            let broken = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => {
                        let room = length - bytes.len();
                        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    }
                    Ok(None) => break "the server ended its answer early".to_owned(),
                    Err(error) => break format!("the server broke off: {}", Failure::of(error)),
                }
                if bytes.len() == length {
                    return Ok(bytes.freeze());
                }
            };
            if retry >= self.retries {
                return Err(Error::new(ErrorKind::Transient, broken));
            }
            tokio::time::sleep(self.backoff.delay(retry, rand::random())).await;
            retry += 1;
        }
    }
}

fn no_ranges(file: &FileInfo) -> Error {
    Error::input(format!("the server gives no parts of `{}`", file.name))
        .with_hint("Parquet and archives are read by parts: take the file from another place, or fetch it in a step before the run")
}

/// A page is no file of any format: somebody wants a login, or shows an error.
fn check_type(headers: &HeaderMap) -> Result<()> {
    let page = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"));
    if page {
        return Err(
            Error::input("the server answered with a web page, not with a file")
                .with_hint("open the address in a browser: where a page asks for a login, `https` needs one"),
        );
    }
    Ok(())
}

/// Whether the server shows the file that was found.
fn check_same(file: &FileInfo, headers: &HeaderMap) -> Result<()> {
    let now = found(&file.path, file.size, headers);
    let same = match (&file.version, &now.version) {
        (Some(then), Some(now)) => then == now,
        // Not every answer has all headers.
        _ => match (file.modified, now.modified) {
            (Some(then), Some(now)) => then == now,
            _ => true,
        },
    };
    if same { Ok(()) } else { Err(changed()) }
}

fn found(path: &str, size: Option<u64>, headers: &HeaderMap) -> FileInfo {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| HeaderValue::to_str(value).ok())
    };
    FileInfo {
        name: path.trim_start_matches('/').into(),
        path: path.to_owned(),
        size,
        modified: text(LAST_MODIFIED)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .and_then(|date| Timestamp::try_from(date).ok()),
        // Weak ones tell the same of a file that is not packed for the way.
        version: text(ETAG).map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned()),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The range that an answer has, and the size of the whole if it is known.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.trim().parse().ok()?, last.trim().parse().ok()?);
    let end = last.checked_add(1)?;
    (start < end).then(|| (start..end, size.trim().parse().ok()))
}

#[async_trait]
impl Storage for Web {
    async fn list(&self, wanted: &FilePattern) -> Result<Vec<FileInfo>> {
        Ok(self.find(wanted.glob()).await?.into_iter().collect())
    }

    async fn sibling_names(&self, _: &FilePattern) -> Result<Vec<String>> {
        Err(Error::input("a web server does not say which files it has"))
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        if path.starts_with('/') {
            self.find(path).await
        } else {
            self.find(&format!("/{path}")).await
        }
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let (web, file) = (self.clone(), file.clone());
        Ok(fetch::reader(cancel, |blocks| async move {
            if let Err(error) = web.send(&file, &blocks).await {
                // Fails only when nobody reads any more.
                let _ = blocks.send(Block::Failed(failed(error))).await;
            }
        }))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        fetch::ranges(self, file, ranges, self.ahead).await
    }

    async fn rename(&self, from: &str, _: &str) -> Result<RenameOutcome> {
        Err(cannot_write("moved", from))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        Err(cannot_write("removed", path))
    }
}

fn cannot_write(what: &str, path: &str) -> Error {
    Error::input(format!("`{path}` cannot be {what}: web servers are only read"))
        .with_hint("set `after: leave`, which keeps in mind what was read")
}

#[async_trait]
impl Fetch for Web {
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
        self.fill(file, range, None).await
    }
}
