//! A web server as a storage of one file.
//!
//! If the server supports ranges, several are requested concurrently, and a truncated one is continued. If not, the file is
//! read in one response, and a truncated one is an error: the first bytes might differ in a second response.

use std::io::{self, Read};
use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::client::{WebClient, WebError, header_text};
use crate::error::{Error, ErrorKind, Result};
use crate::http::transport::Failure;
use crate::storage::blocks::{self, Block, changed};
use crate::storage::fetch::{self, Fetch, ReadAhead};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

#[derive(Debug, Clone)]
pub(super) struct Web {
    pub(super) client: WebClient,
    pub(super) read_ahead: ReadAhead,
}

impl Web {
    async fn find(&self, path: &str) -> Result<Option<FileInfo>> {
        let url = self.client.display_url(path);
        let cannot_access = |error: WebError| error.error.wrapped(format!("cannot access `{url}`"));
        let status = |error: &WebError| error.status.map(|status| status.as_u16());
        match self.client.request(&Method::HEAD, path, None).await {
            // Servers that generate the file on request report no length, or zero.
            Ok(response) => match length(response.headers()) {
                Some(size) if size > 0 => return Ok(Some(file_info(path, Some(size), response.headers()))),
                _ => {}
            },
            Err(error) => match status(&error) {
                Some(404 | 410) => return Ok(None),
                // A link may be signed for GET only, and not every server supports HEAD.
                Some(400 | 403 | 405 | 501) => {}
                _ => return Err(cannot_access(error)),
            },
        }
        match self.client.request(&Method::GET, path, Some(&(0..1))).await {
            Ok(response) => {
                let headers = response.headers();
                let size = match response.status() {
                    StatusCode::PARTIAL_CONTENT => content_range(headers).and_then(|(_, size)| size),
                    _ => length(headers),
                };
                Ok(Some(file_info(path, size, headers)))
            }
            Err(error) => match status(&error) {
                Some(404 | 410) => Ok(None),
                // The file is empty: the range has no byte.
                Some(416) => Ok(Some(file_info(path, Some(0), &HeaderMap::new()))),
                _ => Err(cannot_access(error)),
            },
        }
    }

    /// Sends the complete file, in ranges if the server supports them.
    async fn send(&self, file: &FileInfo, blocks: &mpsc::Sender<Block>) -> Result<()> {
        let request_bytes = self.read_ahead.request_bytes;
        let first = 0..file.size.map_or(request_bytes, |size| size.min(request_bytes));
        if first.is_empty() {
            let _ = blocks.send(Block::End).await;
            return Ok(());
        }
        let response = self.client.request(&Method::GET, &file.path, Some(&first)).await;
        let response = response.map_err(read_error)?;
        check_type(response.headers())?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return self.send_stream(file, response, blocks).await;
        }
        let (received, size) = content_range(response.headers()).ok_or_else(|| no_ranges(file))?;
        let size = size.or(file.size).ok_or_else(|| no_ranges(file))?;
        // Without a known size, the first range may be the complete file.
        let first = 0..first.end.min(size);
        if received != first || (file.size.is_some() && file.size != Some(size)) {
            return Err(changed());
        }
        // Later responses must match the first.
        let mut file = match file.version.is_none() && file.modified.is_none() {
            true => file_info(&file.path, None, response.headers()),
            false => file.clone(),
        };
        file.size = Some(size);
        let bytes = self.read_range(&file, first.clone(), Some(response)).await?;
        if blocks.send(Block::Bytes(bytes)).await.is_ok() {
            fetch::send(self, &file, first.end..size, self.read_ahead, blocks).await;
        }
        Ok(())
    }

    /// Sends the body of a server that does not support ranges.
    async fn send_stream(
        &self,
        file: &FileInfo,
        mut response: Response,
        blocks: &mpsc::Sender<Block>,
    ) -> Result<()> {
        require_unchanged(file, response.headers())?;
        let mut received = 0_u64;
        loop {
            let chunk = response.chunk().await.map_err(|error| {
                let failure = Failure::of(error);
                let message = format!("the server closed the connection after {received} bytes: {failure}");
                Error::new(ErrorKind::Transient, message).with_hint(
                    "run again: the server does not support ranges, so the transfer cannot be resumed",
                )
            })?;
            let Some(bytes) = chunk else {
                break;
            };
            received += bytes.len() as u64;
            if blocks.send(Block::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
        if file.size.is_some_and(|size| size != received) {
            return Err(changed());
        }
        let _ = blocks.send(Block::End).await;
        Ok(())
    }

    /// Reads a range, whose first response may be given; a truncated response is continued.
    async fn read_range(&self, file: &FileInfo, range: Range<u64>, first: Option<Response>) -> Result<Bytes> {
        let length = usize::try_from(range.end - range.start).map_err(|_| no_ranges(file))?;
        let state = Mutex::new((BytesMut::with_capacity(length), first));
        let attempt = || async {
            let (bytes, first) = &mut *state.lock().await;
            self.continue_range(file, &range, first.take(), bytes).await
        };
        self.client.retry(&file.path, attempt).await.map_err(read_error)?;
        Ok(state.into_inner().0.freeze())
    }

    /// Appends the rest of `range` to `bytes`.
    async fn continue_range(
        &self,
        file: &FileInfo,
        range: &Range<u64>,
        response: Option<Response>,
        bytes: &mut BytesMut,
    ) -> Result<(), WebError> {
        let rest = range.start + bytes.len() as u64..range.end;
        let mut response = match response {
            Some(response) => response,
            None => self.client.send(&Method::GET, &file.path, Some(&rest)).await?,
        };
        let Some((received, size)) = content_range(response.headers()) else {
            check_type(response.headers())?;
            return Err(no_ranges(file).into());
        };
        require_unchanged(file, response.headers())?;
        if received != rest || (size.is_some() && file.size.is_some() && size != file.size) {
            return Err(changed().into());
        }
        let mut missing = usize::try_from(rest.end - rest.start).map_err(|_| no_ranges(file))?;
        while missing > 0 {
            let chunk = response.chunk().await.map_err(|error| {
                let failure = Failure::of(error);
                WebError::truncated(format!("the server closed the connection: {failure}"))
            })?;
            let Some(chunk) = chunk else {
                return Err(WebError::truncated(
                    "the server truncated its response".to_owned(),
                ));
            };
            let length = chunk.len().min(missing);
            bytes.extend_from_slice(&chunk[..length]);
            missing -= length;
        }
        Ok(())
    }
}

/// A range that cannot be satisfied: the file is shorter now.
fn read_error(error: WebError) -> Error {
    match error.status {
        Some(StatusCode::RANGE_NOT_SATISFIABLE) => changed(),
        _ => error.error,
    }
}

fn no_ranges(file: &FileInfo) -> Error {
    Error::input(format!("the server does not support ranges for `{}`", file.name)).with_hint(
        "Parquet files and archives are read in ranges: use another storage, or download the file before the run",
    )
}

/// Rejects a web page: a login form or an error.
fn check_type(headers: &HeaderMap) -> Result<()> {
    let is_page = header_text(headers, CONTENT_TYPE)
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"));
    if is_page {
        return Err(
            Error::input("the server answered with a web page, not with a file")
                .with_hint("open the URL in a browser: if a login page appears, set `https.auth`"),
        );
    }
    Ok(())
}

/// Rejects a response for another version of the file.
fn require_unchanged(file: &FileInfo, headers: &HeaderMap) -> Result<()> {
    let now = file_info(&file.path, file.size, headers);
    let is_unchanged = match (&file.version, &now.version) {
        (Some(then), Some(now)) => then == now,
        // Not every response has all headers.
        _ => match (file.modified, now.modified) {
            (Some(then), Some(now)) => then == now,
            _ => true,
        },
    };
    if is_unchanged { Ok(()) } else { Err(changed()) }
}

fn file_info(path: &str, size: Option<u64>, headers: &HeaderMap) -> FileInfo {
    FileInfo {
        name: path.trim_start_matches('/').into(),
        path: path.to_owned(),
        size,
        modified: header_text(headers, LAST_MODIFIED)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .and_then(|date| Timestamp::try_from(date).ok()),
        // Weak tags identify the same file in another encoding.
        version: header_text(headers, ETAG)
            .map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned()),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    header_text(headers, CONTENT_LENGTH)?.trim().parse().ok()
}

/// The range of a response, and the size of the file if it is known.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let value = header_text(headers, CONTENT_RANGE)?;
    let (range, size) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.trim().parse().ok()?, last.trim().parse().ok()?);
    let end = last.checked_add(1)?;
    (start < end).then(|| (start..end, size.trim().parse().ok()))
}

#[async_trait]
impl Storage for Web {
    async fn list(&self, pattern: &FilePattern) -> Result<Vec<FileInfo>> {
        Ok(self.find(pattern.glob()).await?.into_iter().collect())
    }

    async fn sibling_names(&self, _: &FilePattern) -> Result<Vec<String>> {
        Err(Error::input("web servers do not list their files"))
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        match path.starts_with('/') {
            true => self.find(path).await,
            false => self.find(&format!("/{path}")).await,
        }
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let (web, file) = (self.clone(), file.clone());
        Ok(blocks::reader(1, cancel, |blocks| async move {
            if let Err(error) = web.send(&file, &blocks).await {
                // Fails if nobody reads on.
                let _ = blocks.send(Block::Failed(io::Error::other(error))).await;
            }
        }))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        fetch::ranges(self, file, ranges, self.read_ahead).await
    }

    async fn rename(&self, from: &str, _: &str) -> Result<RenameOutcome> {
        Err(read_only("moved", from))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        Err(read_only("deleted", path))
    }
}

fn read_only(action: &str, path: &str) -> Error {
    Error::input(format!("`{path}` cannot be {action}: web servers are read-only"))
        .with_hint("set `on_success: keep`; processed files are not read again")
}

#[async_trait]
impl Fetch for Web {
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
        self.read_range(file, range, None).await
    }
}
