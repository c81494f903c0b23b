//! zip: the members of an archive, and a reader of each.

use std::io::{self, Read, Seek, SeekFrom};

use ::zip::read::{ZipFile, ZipFileEntry};
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use super::Reader;
use super::bounds::MaxRatio;
use super::error::{self, TRANSFER_AGAIN, is_ours, listed, printable, refused};
use crate::disk::{SpooledBytes, SpooledReader};
use crate::secret::Secret;

/// Members read of one archive.
const MAX_MEMBERS: usize = 10_000;
/// Bytes read for the member list; that of ten thousand members takes about 2 MiB.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// Which members are read, and how.
#[derive(Debug)]
pub(super) struct MemberFilter {
    pub(super) pattern: Option<glob::Pattern>,
    pub(super) password: Option<Secret>,
}

/// An archive whose member list was read.
#[derive(Debug)]
pub(super) struct Archive {
    archive: ZipArchive<ArchiveReader>,
    password: Option<Secret>,
}

/// A member to read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    index: usize,
    pub(super) name: String,
    size: u64,
    pub(super) encoded_size: u64,
    encrypted: bool,
}

impl Archive {
    /// Reads the list; returns the selected members in the order of their names.
    pub(super) fn open(
        input: &SpooledBytes,
        filter: &MemberFilter,
        max_ratio: MaxRatio,
    ) -> io::Result<(Self, Vec<Entry>)> {
        let reader = ArchiveReader {
            inner: input.reader(),
            remaining: MAX_LIST_BYTES,
        };
        let failed = |error| zip_error(error, None);
        let archive = ZipArchive::new(reader).map_err(failed)?;
        if archive.has_duplicate_names() {
            return Err(refused(
                "two members of the zip archive have the same name",
                "give each file its own name",
            ));
        }
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        for index in 0..archive.len() {
            let member = archive.by_index_data(index).map_err(failed)?;
            let name = member.name().map_err(failed)?.replace('\\', "/");
            if member.is_dir() || is_metadata(&name) {
                continue;
            }
            if !filter.selects(&name) {
                others.push(name);
                continue;
            }
            entries.push(filter.entry(index, name, &member)?);
            if entries.len() > MAX_MEMBERS {
                return Err(refused(
                    format!("the zip archive has more than {MAX_MEMBERS} members to read"),
                    "select some with `zip: {members: …}`, or put fewer files into an archive",
                ));
            }
        }
        if entries.is_empty() {
            return Err(filter.nothing_selected(&others));
        }
        let sizes = entries.iter().map(|entry| entry.size);
        let size = sizes.fold(0, u64::saturating_add);
        max_ratio.check("zip", input.len(), size)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let password = filter.password.clone();
        Ok((Self { archive, password }, entries))
    }

    /// A reader of the member's bytes.
    pub(super) fn read(&self, entry: &Entry) -> io::Result<Reader> {
        let archive = self_cell::MutBorrow::new(self.archive.clone());
        let password = self.password.as_ref();
        let options = ZipReadOptions::new().password(password.map(|password| password.expose().as_bytes()));
        let inner = Member::try_new(archive, |archive| {
            let member = archive.borrow_mut().by_index_with_options(entry.index, options);
            member.map_err(|error| zip_error(error, Some(entry)))
        })?;
        Ok(Box::new(MemberReader {
            inner,
            entry: entry.clone(),
            read: 0,
        }))
    }
}

impl MemberFilter {
    /// A pattern without a folder applies to the last part of the name.
    fn selects(&self, name: &str) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let name = match pattern.as_str().contains('/') {
            true => name,
            false => name.rsplit('/').next().unwrap_or(name),
        };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        pattern.matches_with(name, options)
    }

    fn entry(&self, index: usize, name: String, member: &ZipFileEntry<'_>) -> io::Result<Entry> {
        let method = member.compression();
        let (what, hint) = if !member.is_file() {
            (
                "is a symbolic link".to_owned(),
                "add the file itself to the archive",
            )
        } else if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
            let method = method_name(method);
            (
                format!("is compressed with {method}, which is not supported"),
                "use \"deflate\", which every zip program supports: `zip -Z deflate`, `7z a -mm=Deflate`",
            )
        } else if member.encrypted() && self.password.is_none() {
            (
                "is encrypted".to_owned(),
                "give its password: `zip: {password: {env: …}}`",
            )
        } else {
            return Ok(Entry {
                index,
                size: member.size(),
                encoded_size: member.compressed_size(),
                encrypted: member.encrypted(),
                name,
            });
        };
        let member = printable(&name);
        let message = format!("member `{member}` of the zip archive {what}");
        Err(refused(message, hint))
    }

    fn nothing_selected(&self, names: &[String]) -> io::Error {
        let Some(pattern) = &self.pattern else {
            return refused(
                "the zip archive contains no files",
                "check how the archive is made; an empty archive would mean missed leavers",
            );
        };
        let names = names.iter().map(|name| format!("`{}`", printable(name)));
        let names: Vec<String> = names.collect();
        let hint = match names.as_slice() {
            [] => "the archive contains no files".to_owned(),
            names => format!("it contains {}", listed(names)),
        };
        let message = format!("no member of the zip archive matches `{}`", pattern.as_str());
        refused(message, hint)
    }
}

/// Files that macOS and others add.
fn is_metadata(name: &str) -> bool {
    name.split('/')
        .any(|part| part == "__MACOSX" || (part.starts_with('.') && part != "." && part != ".."))
}

fn method_name(method: CompressionMethod) -> String {
    let name = match method {
        CompressionMethod::DEFLATE64 => "Deflate64",
        CompressionMethod::BZIP2 => "bzip2",
        CompressionMethod::LZMA => "LZMA",
        CompressionMethod::ZSTD => "Zstandard",
        CompressionMethod::XZ => "xz",
        CompressionMethod::PPMD => "PPMd",
        other => return format!("a rare method ({other:?})"),
    };
    name.to_owned()
}

fn zip_error(error: ZipError, entry: Option<&Entry>) -> io::Error {
    match error {
        ZipError::Io(error) => damaged(error, entry),
        ZipError::InvalidPassword => {
            let member = entry.map_or_else(String::new, |entry| {
                format!("member `{}` of ", printable(&entry.name))
            });
            refused(
                format!("the password does not open {member}the zip archive"),
                "check `zip.password`: it is used for every member",
            )
        }
        ZipError::UnsupportedArchive(what) => refused(
            format!("unsupported zip archive: {}", what.to_lowercase()),
            "create it as a single file, with \"deflate\"",
        ),
        error => damaged(io::Error::other(error), entry),
    }
}

/// For a failed read. Errors of the operating system (they have a number) and our own are kept; those of the decoders
/// could contain content.
fn damaged(error: io::Error, entry: Option<&Entry>) -> io::Error {
    if is_ours(&error) || error.raw_os_error().is_some() {
        return error;
    }
    let Some(entry) = entry else {
        return error::damaged("zip", Some(error));
    };
    let (or, hint) = match entry.encrypted {
        true => (
            ", or the password is wrong",
            "check `zip.password`; then transfer the file again",
        ),
        false => (" or truncated", TRANSFER_AGAIN),
    };
    let member = printable(&entry.name);
    let message = format!("member `{member}` of the zip archive is damaged{or}");
    refused(message, hint)
}

type OpenMember<'a> = ZipFile<'a, ArchiveReader>;

self_cell::self_cell!(
    /// A member together with the archive that it borrows.
    struct Member {
        owner: self_cell::MutBorrow<ZipArchive<ArchiveReader>>,
        #[not_covariant]
        dependent: OpenMember,
    }
);

/// Checks the length against the list, and names the member in errors.
struct MemberReader {
    inner: Member,
    entry: Entry,
    read: u64,
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.with_dependent_mut(|_, member| member.read(buffer));
        let length = result.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => damaged(error, Some(&self.entry)),
        })?;
        self.read += length as u64;
        if length == 0 && !buffer.is_empty() && self.read != self.entry.size {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into(), Some(&self.entry)));
        }
        Ok(length)
    }
}

/// Reads a limited number of bytes, which is enough for the member list. A clone has no limit.
#[derive(Debug)]
struct ArchiveReader {
    inner: SpooledReader,
    remaining: u64,
}

impl Clone for ArchiveReader {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            remaining: u64::MAX,
        }
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 {
            return Err(refused(
                "the member list of the zip archive is too long",
                "put fewer files into an archive; such a list may be made to exhaust memory",
            ));
        }
        let length = self.inner.read(into)?;
        self.remaining = self.remaining.saturating_sub(length as u64);
        Ok(length)
    }
}

impl Seek for ArchiveReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
