//! A bucket or container as a storage.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    BackoffConfig, CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    RetryConfig,
};
use tokio_util::sync::CancellationToken;

use super::connector::Connector;
use super::explain::{Action, Service, cause, explain};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::blocks::{self, changed};
use crate::storage::fetch::{self, Fetch, ReadAhead};
use crate::storage::transport::{TransportSettings, endpoint_problem};
use crate::storage::{Context, FileInfo, FilePattern, RenameOutcome, Storage};

/// Upper bound of the keys listed for a pattern: a million takes a thousand requests.
const MAX_KEYS: usize = 1_000_000;
const MAX_SIBLINGS: usize = 1000;
/// Polls of a copy that the store makes asynchronously.
const COPY_CHECKS: u32 = 20;
const COPY_WAIT: Duration = Duration::from_millis(250);
/// Requests are signed once, and signatures expire.
const MAX_RETRY_TIME: Duration = Duration::from_secs(4 * 60);

#[derive(Clone)]
pub(super) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    pages: Arc<dyn PaginatedListStore>,
    service: Service,
    /// As in `s3://bucket`, for messages.
    name: Arc<str>,
    read_ahead: ReadAhead,
}

impl fmt::Debug for Bucket {
    /// Without the clients, which contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An endpoint from the environment must meet the rules for one in the settings.
pub(super) fn check_endpoint(variable: &str, endpoint: Option<&str>, allow_http: bool) -> Result<()> {
    match endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
        Some((message, hint)) => {
            Err(Error::config(format!("the endpoint in `{variable}` {message}")).with_hint(hint))
        }
        None => Ok(()),
    }
}

impl TransportSettings {
    pub(super) fn connector(&self, service: Service, cx: &Context) -> Result<Connector> {
        let (transport, key) = (self.client_config(cx)?, service.key());
        Ok(Connector { transport, key })
    }

    pub(super) fn retry_config(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.retry.initial_backoff.get(),
                max_backoff: self.retry.max_backoff.get(),
                ..BackoffConfig::default()
            },
            max_retries: self.retry.max_attempts.as_usize() - 1,
            retry_timeout: self.retry.max_elapsed.get().min(MAX_RETRY_TIME),
        }
    }
}

impl Bucket {
    /// The storage over the client of a service. `name` is the bucket in messages.
    pub(super) fn storage<S: ObjectStore + PaginatedListStore>(
        built: object_store::Result<S>,
        service: Service,
        name: String,
        transport: &TransportSettings,
    ) -> Result<Arc<dyn Storage>> {
        let store = Arc::new(built.map_err(|error| {
            Error::config(format!("cannot set up the client of {name}"))
                .with_source(cause(&error, service, Action::Stat).chain())
        })?);
        Ok(Arc::new(Self {
            objects: store.clone(),
            pages: store,
            service,
            name: name.into(),
            read_ahead: ReadAhead::new(transport.read_ahead.get()),
        }))
    }

    fn explain(&self, error: &object_store::Error, action: Action, key: &str) -> Error {
        explain(error, self.service, &self.name, action, key)
    }

    /// The key for the client, not encoded.
    fn key(&self, path: &str) -> Result<Path> {
        Path::parse(path.trim_start_matches('/')).map_err(|source| {
            let error = object_store::Error::InvalidPath { source };
            self.explain(&error, Action::Stat, path)
        })
    }

    fn file_info(meta: &ObjectMeta) -> FileInfo {
        let key = meta.location.as_ref();
        FileInfo {
            name: key.into(),
            path: key.to_owned(),
            size: Some(meta.size),
            // Listings contain fractions of seconds, other responses do not.
            modified: Timestamp::from_second(meta.last_modified.timestamp()).ok(),
            // Listings of Azure omit the quotes.
            version: meta.e_tag.as_ref().map(|tag| tag.trim_matches('"').to_owned()),
        }
    }

    async fn head(&self, path: &str, action: Action) -> Result<Option<ObjectMeta>> {
        match self.objects.head(&self.key(path)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.explain(&error, action, path.trim_start_matches('/'))),
        }
    }

    /// Lists the keys that start with `prefix`, in one folder or also below it, until `take` returns `false`.
    async fn keys(
        &self,
        prefix: &str,
        in_folder: bool,
        mut take: impl FnMut(ObjectMeta) -> Result<bool> + Send,
    ) -> Result<()> {
        let mut page_token = None;
        loop {
            let options = PaginatedListOptions {
                delimiter: in_folder.then_some("/".into()),
                page_token,
                ..PaginatedListOptions::default()
            };
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page = self.pages.list_paginated(prefix, options).await;
            let page =
                page.map_err(|error| self.explain(&error, Action::List, prefix.unwrap_or_default()))?;
            for meta in page.result.objects {
                if !take(meta)? {
                    return Ok(());
                }
            }
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether it is a file; the marker of a folder is listed like an empty file.
    async fn is_file(&self, meta: &ObjectMeta) -> Result<bool> {
        Ok(meta.size > 0 || self.head(meta.location.as_ref(), Action::Stat).await?.is_some())
    }

    async fn is_copied(&self, to: &str, size: u64) -> Result<bool> {
        for _ in 0..COPY_CHECKS {
            match self.head(to, Action::Move).await? {
                Some(meta) if meta.size == size => return Ok(true),
                Some(_) => tokio::time::sleep(COPY_WAIT).await,
                None => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// The prefix of all matching keys, and whether they are in one folder.
fn prefix(text: &str) -> (&str, bool) {
    let end = text.find(['*', '?', '[']).unwrap_or(text.len());
    let in_folder = !text[end..].contains('/') && !text[end..].contains("**");
    let begin = &text[..end];
    // Azure omits the key that equals the prefix.
    let end = match begin.char_indices().last() {
        Some((at, character)) if character != '/' => at,
        _ => end,
    };
    (&text[..end], in_folder)
}

#[async_trait]
impl Storage for Bucket {
    async fn list(&self, pattern: &FilePattern) -> Result<Vec<FileInfo>> {
        let text = pattern.glob();
        let slash = if text.starts_with('/') { "/" } else { "" };
        let text = text.trim_start_matches('/');
        if !pattern.is_pattern() {
            if let Some(meta) = self.head(text, Action::Stat).await? {
                return Ok(vec![Self::file_info(&meta)]);
            }
            // A missing bucket is not a missing file; the response to HEAD is the same for both.
            let folder = text.rfind('/').map_or("", |at| &text[..=at]);
            return match self.keys(folder, true, |_| Ok(false)).await {
                Err(error) if error.kind() == ErrorKind::Input => Err(error),
                _ => Ok(Vec::new()),
            };
        }
        let (prefix, in_folder) = prefix(text);
        let (mut matching, mut seen) = (Vec::new(), 0_usize);
        self.keys(prefix, in_folder, |meta| {
            seen += 1;
            if seen > MAX_KEYS {
                let message = format!("more than {MAX_KEYS} keys of {} start with `{prefix}`", self.name);
                return Err(Error::input(message)
                    .with_hint("use a `path` with a longer part in front of the first wildcard"));
            }
            if pattern.matches(&format!("{slash}{}", meta.location)) {
                matching.push(meta);
            }
            Ok(true)
        })
        .await?;
        let mut files = Vec::with_capacity(matching.len());
        for meta in matching {
            if self.is_file(&meta).await? {
                files.push(Self::file_info(&meta));
            } else {
                tracing::warn!(folder = %meta.location, "skipping a folder that matches the pattern");
            }
        }
        tracing::debug!(store = %self.name, prefix, seen, found = files.len(), "listed");
        Ok(files)
    }

    async fn sibling_names(&self, pattern: &FilePattern) -> Result<Vec<String>> {
        let folder = match pattern.folder().trim_start_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let mut names = Vec::new();
        self.keys(&folder, true, |meta| {
            let key: &str = meta.location.as_ref();
            names.push(key.strip_prefix(&folder).unwrap_or(key).to_owned());
            Ok(names.len() < MAX_SIBLINGS)
        })
        .await?;
        Ok(names)
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        let meta = self.head(path, Action::Stat).await?;
        Ok(meta.as_ref().map(Self::file_info))
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let (bucket, file) = (self.clone(), file.clone());
        Ok(blocks::reader(1, cancel, |blocks| async move {
            let size = file.size.unwrap_or_default();
            fetch::send(&bucket, &file, 0..size, bucket.read_ahead, &blocks).await;
        }))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        fetch::ranges(self, file, ranges, self.read_ahead).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome> {
        let (from, to) = (from.trim_start_matches('/'), to.trim_start_matches('/'));
        let failed = |error: object_store::Error| self.explain(&error, Action::Move, from);
        let Some(source) = self.head(from, Action::Move).await? else {
            let name = &self.name;
            return Err(Error::input(format!("`{name}/{from}` does not exist any more")));
        };
        let (source_key, target_key) = (self.key(from)?, self.key(to)?);
        match self.head(to, Action::Move).await? {
            None => {}
            // A copy of an earlier attempt, which could not delete the file.
            Some(there)
                if there.size == source.size && there.e_tag.is_some() && there.e_tag == source.e_tag =>
            {
                self.objects.delete(&source_key).await.map_err(failed)?;
                return Ok(RenameOutcome::Renamed);
            }
            Some(_) => return Ok(RenameOutcome::Exists),
        }
        let mode = match self.service {
            // Conditional copies are not standard: each store has its own header.
            Service::S3 => CopyMode::Overwrite,
            Service::Azure | Service::Gcs => CopyMode::Create,
        };
        let options = CopyOptions {
            mode,
            ..CopyOptions::default()
        };
        match self.objects.copy_opts(&source_key, &target_key, options).await {
            Ok(()) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(RenameOutcome::Exists),
            Err(error) => return Err(failed(error)),
        }
        // Until the copy is complete, the file exists nowhere else.
        if !self.is_copied(to, source.size).await? {
            return Err(Error::new(
                ErrorKind::Transient,
                format!("the copy of `{}/{from}` at `{to}` is incomplete", self.name),
            )
            .with_hint("the file was not deleted; delete the copy if you do not need it"));
        }
        if let Err(error) = self.objects.delete(&source_key).await {
            let error = failed(error);
            // Otherwise every run would add a copy.
            return Err(match self.objects.delete(&target_key).await {
                Ok(()) => error,
                Err(_) => error.with_hint(format!("the copy at `{to}` remains")),
            });
        }
        Ok(RenameOutcome::Renamed)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        match self.objects.delete(&self.key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.explain(&error, Action::Delete, path)),
        }
    }
}

#[async_trait]
impl Fetch for Bucket {
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: file.version.as_ref().map(|tag| format!("\"{tag}\"")),
            ..GetOptions::default()
        };
        let failed = |error: object_store::Error| self.explain(&error, Action::Read, &file.path);
        let key = self.key(&file.path)?;
        let answer = self.objects.get_opts(&key, options).await.map_err(failed)?;
        let now = Self::file_info(&answer.meta);
        if !file.is_unchanged(&now) || answer.range != range {
            return Err(changed());
        }
        let bytes = answer.bytes().await.map_err(failed)?;
        if bytes.len() as u64 != range.end - range.start {
            let message = format!("{} truncated its response", self.name);
            return Err(Error::new(ErrorKind::Transient, message));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_the_longest_prefix() {
        for (path, expected) in [
            ("exports/leavers-*.csv", ("exports/leavers", true)),
            ("exports/*.csv", ("exports/", true)),
            ("exports/**/*.csv", ("exports/", false)),
            ("exports/*/a.csv", ("exports/", false)),
            ("exports/2026-??/*.csv", ("exports/2026", false)),
            ("*.csv", ("", true)),
            ("Übergabe[1].csv", ("Übergab", true)),
        ] {
            assert_eq!(prefix(path), expected, "{path}");
        }
    }

    #[test]
    fn rejects_unencrypted_endpoints_in_the_environment() {
        assert!(check_endpoint("X", Some("http://127.0.0.1:9000"), false).is_ok());
        assert!(check_endpoint("X", Some("http://minio.contoso.com"), true).is_ok());
        let error = check_endpoint("X", Some("http://minio.contoso.com"), false).unwrap_err();
        assert!(error.to_string().contains("http://"), "{error}");
    }
}
