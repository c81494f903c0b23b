//! zip: which members there are, and a reader of each.

use std::io::{self, Read};

use ::zip::read::ZipFile;
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use super::bounds::MaxRatio;
use super::error::{CodecError, shown};
use super::input::{InputFile, InputReader};
use crate::secret::Secret;

/// Members that are read of one archive at most.
const MOST_MEMBERS: usize = 10_000;

/// Bytes that are read for the list of members at most; that of ten thousand takes some 2 MiB.
const MOST_LIST_BYTES: u64 = 16 << 20;

/// Which members are read, and how.
#[derive(Debug)]
pub(super) struct MemberFilter {
    pub(super) pattern: Option<glob::Pattern>,
    pub(super) password: Option<Secret>,
}

/// An archive whose list was read.
#[derive(Debug)]
pub(super) struct Archive {
    archive: ZipArchive<InputReader>,
    password: Option<Secret>,
}

/// A member to read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    index: usize,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) packed_size: u64,
    encrypted: bool,
}

impl Archive {
    /// Reads the list, and gives the wanted members in the order of their names.
    ///
    /// # Errors
    /// The archive is damaged, no member is wanted, or one that is cannot be read.
    pub(super) fn open(
        packed: &InputFile,
        wanted: &MemberFilter,
        ratio: MaxRatio,
    ) -> io::Result<(Self, Vec<Entry>)> {
        let mut reader = packed.open();
        reader.set_limit(MOST_LIST_BYTES);
        let archive = ZipArchive::new(reader).map_err(|error| damaged(error, None))?;
        if archive.has_duplicate_names() {
            return Err(CodecError::refused(
                "two members of the zip archive have the same name",
                "pack each file under a name of its own",
            ));
        }
        let mut entries = Vec::new();
        let mut names = Vec::new();
        for index in 0..archive.len() {
            let member = archive
                .by_index_data(index)
                .map_err(|error| damaged(error, None))?;
            let name = member
                .name()
                .map_err(|error| damaged(error, None))?
                .replace('\\', "/");
            if member.is_dir() || is_left_out(&name) {
                continue;
            }
            if !wanted.wants(&name) {
                names.push(name);
                continue;
            }
            if !member.is_file() {
                return Err(CodecError::refused(
                    format!("member `{}` of the zip archive is a link", shown(&name)),
                    "pack the file itself",
                ));
            }
            let method = member.compression();
            if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
                return Err(CodecError::refused(
                    format!(
                        "member `{}` of the zip archive is packed with {}, which is not read",
                        shown(&name),
                        method_name(method)
                    ),
                    "pack it with \"deflate\", which every zip program knows: `zip -Z deflate`, `7z a -mm=Deflate`",
                ));
            }
            if member.encrypted() && wanted.password.is_none() {
                return Err(CodecError::refused(
                    format!("member `{}` of the zip archive is encrypted", shown(&name)),
                    "give its password: `zip: {password: {env: …}}`",
                ));
            }
            entries.push(Entry {
                index,
                size: member.size(),
                packed_size: member.compressed_size(),
                encrypted: member.encrypted(),
                name,
            });
            if entries.len() > MOST_MEMBERS {
                return Err(CodecError::refused(
                    format!("the zip archive has more than {MOST_MEMBERS} members to read"),
                    "pick some with `zip: {members: …}`, or pack fewer files together",
                ));
            }
        }
        if entries.is_empty() {
            return Err(nothing_wanted(wanted, &names));
        }
        let size = entries
            .iter()
            .fold(0, |sum: u64, entry| sum.saturating_add(entry.size));
        ratio.check("zip", packed.len(), size)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((
            Self {
                archive,
                password: wanted.password.clone(),
            },
            entries,
        ))
    }

    /// A reader of the member's bytes, from the first on.
    ///
    /// # Errors
    /// The password is wrong, or the member is not where the list says.
    pub(super) fn read(&self, entry: &Entry) -> io::Result<Box<dyn Read + Send>> {
        let archive = self.archive.clone();
        let options = ZipReadOptions::new().password(self.password.as_ref().map(|p| p.expose().as_bytes()));
        let inner = Member::try_new(self_cell::MutBorrow::new(archive), |archive| {
            archive
                .borrow_mut()
                .by_index_with_options(entry.index, options)
                .map_err(|error| damaged(error, Some(entry)))
        })?;
        Ok(Box::new(Checked {
            inner,
            entry: entry.clone(),
            read: 0,
        }))
    }
}

impl MemberFilter {
    /// A pattern without a folder is for the last part of the name.
    fn wants(&self, name: &str) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let name = if pattern.as_str().contains('/') {
            name
        } else {
            name.rsplit_once('/').map_or(name, |(_, last)| last)
        };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        pattern.matches_with(name, options)
    }
}

/// What macOS and others put beside the files.
fn is_left_out(name: &str) -> bool {
    name.split('/')
        .any(|part| part == "__MACOSX" || (part.starts_with('.') && part != "." && part != ".."))
}

/// What people call a way of packing.
fn method_name(method: CompressionMethod) -> String {
    let name = match method {
        CompressionMethod::DEFLATE64 => "Deflate64",
        CompressionMethod::BZIP2 => "bzip2",
        CompressionMethod::LZMA => "LZMA",
        CompressionMethod::ZSTD => "Zstandard",
        CompressionMethod::XZ => "xz",
        CompressionMethod::PPMD => "PPMd",
        other => return format!("a method of its own ({other:?})"),
    };
    name.to_owned()
}

fn nothing_wanted(wanted: &MemberFilter, names: &[String]) -> io::Error {
    const SHOWN: usize = 10;
    let Some(pattern) = &wanted.pattern else {
        return CodecError::refused(
            "the zip archive has no files in it",
            "look at what was packed; nothing read would be leavers missed",
        );
    };
    let message = format!("no member of the zip archive matches `{}`", pattern.as_str());
    if names.is_empty() {
        return CodecError::refused(message, "the archive has no files in it");
    }
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    CodecError::refused(message, format!("there are {}{more}", names.join(", ")))
}

fn damaged(error: ZipError, entry: Option<&Entry>) -> io::Error {
    match error {
        ZipError::Io(error) => broken(error, entry),
        ZipError::InvalidPassword => CodecError::refused(
            match entry {
                Some(entry) => format!(
                    "the password does not open member `{}` of the zip archive",
                    shown(&entry.name)
                ),
                None => "the password does not open the zip archive".to_owned(),
            },
            "look at `zip.password`: it is used for every member",
        ),
        ZipError::UnsupportedArchive(what) => CodecError::refused(
            format!("the zip archive cannot be read: {}", what.to_lowercase()),
            "pack it anew as one file, with \"deflate\"",
        ),
        error => broken(io::Error::other(error), entry),
    }
}

/// For a failed read. The system's errors carry a number, the decoders' do not; our own come through.
fn broken(error: io::Error, entry: Option<&Entry>) -> io::Error {
    let own = error.get_ref().is_some_and(|inner| inner.is::<CodecError>());
    if own || error.raw_os_error().is_some() {
        return error;
    }
    match entry {
        Some(entry) if entry.encrypted => CodecError::refused(
            format!(
                "member `{}` of the zip archive is damaged, or the password is wrong",
                shown(&entry.name)
            ),
            "look at `zip.password`; then transfer the file again",
        ),
        Some(entry) => CodecError::Refused {
            message: format!(
                "member `{}` of the zip archive is damaged or cut off",
                shown(&entry.name)
            ),
            hint: CodecError::Damaged {
                kind: "zip",
                source: None,
            }
            .hint(),
        }
        .into(),
        None => CodecError::Damaged {
            kind: "zip",
            source: Some(error),
        }
        .into(),
    }
}

type Opened<'a> = ZipFile<'a, InputReader>;

self_cell::self_cell!(
    /// A member together with the archive that it borrows.
    struct Member {
        owner: self_cell::MutBorrow<ZipArchive<InputReader>>,
        #[not_covariant]
        dependent: Opened,
    }
);

/// Holds a member to the length that the list gave, and names it in errors.
struct Checked {
    inner: Member,
    entry: Entry,
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self
            .inner
            .with_dependent_mut(|_, member| member.read(buffer))
            .map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => error,
                _ => broken(error, Some(&self.entry)),
            })?;
        self.read += length as u64;
        if length == 0 && !buffer.is_empty() && self.read != self.entry.size {
            return Err(broken(io::ErrorKind::UnexpectedEof.into(), Some(&self.entry)));
        }
        Ok(length)
    }
}
