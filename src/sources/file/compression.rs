//! Unpacks compressed files while they are read, within bounds: a small file that was made to unpack without end ends
//! in an error, not in a full disk at the other side, and no header makes the decoder take more than 128 MiB.

use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;

use super::config::Compression;

/// Unpacked bytes from which on the ratio counts: the most regular of small files say nothing.
const JUDGED_FROM: u64 = 16 << 20;

/// Base-two logarithm of the largest window of a zstd frame that is taken: 128 MiB, which is what every level of the
/// `zstd` program, `--ultra -22` and `--long` included, stays within.
const MAX_WINDOW_LOG: u32 = 27;

/// A reader of the unpacked bytes. A gzip file of several members is read to its end, and so is a zstd file of
/// several frames.
///
/// # Errors
/// The decoder cannot be set up. What is wrong with an archive shows later, as a read error holding a [`BadArchive`].
pub(super) fn unpack(
    packed: Box<dyn Read + Send>,
    compression: Compression,
    max_ratio: NonZeroU32,
) -> io::Result<Box<dyn Read + Send>> {
    let read = Arc::new(AtomicU64::new(0));
    let packed = Counted {
        inner: packed,
        read: Arc::clone(&read),
    };
    let (inner, kind): (Box<dyn Read + Send>, _) = match compression {
        Compression::None => return Ok(packed.inner),
        Compression::Gzip => {
            let packed = io::BufReader::with_capacity(crate::decode::READ_BYTES, packed);
            (Box::new(flate2::bufread::MultiGzDecoder::new(packed)), "gzip")
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(packed)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            (Box::new(decoder), "zstd")
        }
    };
    Ok(Box::new(Unpacking {
        inner,
        kind,
        packed: read,
        unpacked: 0,
        max_ratio: u64::from(max_ratio.get()),
    }))
}

/// Why an archive is not read on.
#[derive(Debug)]
pub(super) enum BadArchive {
    /// Its bytes make no sense, or it ends too early.
    Damaged { kind: &'static str, source: io::Error },
    /// It unpacks to more than was allowed for its size.
    RatioExceeded {
        kind: &'static str,
        /// Bytes read of it, which may be somewhat more than those that were unpacked.
        packed: u64,
        unpacked: u64,
        max_ratio: u64,
    },
    /// It asks for more memory than a decoder is given.
    WindowTooLarge,
}

impl BadArchive {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => {
                "transfer the file again: an archive that ends early was often read while it was still being written"
            }
            Self::RatioExceeded { .. } => {
                "look at the file: it may be damaged, or made to do harm; if it is right, give the source a higher \
                 `max_compression_ratio`"
            }
            Self::WindowTooLarge => "pack the file without `--long`, or with at most `--long=27`",
        }
    }
}

impl fmt::Display for BadArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { kind, .. } => write!(f, "the {kind} archive is damaged or cut off"),
            Self::RatioExceeded {
                kind,
                packed,
                unpacked,
                max_ratio,
            } => write!(
                f,
                "{} of the {kind} archive unpacked to {}, {} times as much, where `max_compression_ratio` is {max_ratio}",
                ByteSize(*packed),
                ByteSize(*unpacked),
                unpacked / (*packed).max(1)
            ),
            Self::WindowTooLarge => write!(
                f,
                "the zstd archive needs more than {} of memory to be unpacked",
                ByteSize(1 << MAX_WINDOW_LOG)
            ),
        }
    }
}

impl std::error::Error for BadArchive {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged { source, .. } => Some(source),
            Self::RatioExceeded { .. } | Self::WindowTooLarge => None,
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

struct Unpacking<R> {
    inner: R,
    kind: &'static str,
    /// Bytes read of the archive.
    packed: Arc<AtomicU64>,
    /// Bytes that came out of it.
    unpacked: u64,
    max_ratio: u64,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer).map_err(|source| self.failed(source))?;
        self.unpacked += length as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        if self.unpacked > JUDGED_FROM && self.unpacked > packed.saturating_mul(self.max_ratio) {
            return Err(io::Error::other(BadArchive::RatioExceeded {
                kind: self.kind,
                packed,
                unpacked: self.unpacked,
                max_ratio: self.max_ratio,
            }));
        }
        Ok(length)
    }
}

impl<R> Unpacking<R> {
    fn failed(&self, source: io::Error) -> io::Error {
        // The system's errors carry a number, the decoders' do not.
        if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::Interrupted {
            return source;
        }
        // zstd tells this by its text alone; a test holds it to that.
        if self.kind == "zstd" && source.to_string().contains("too much memory") {
            return io::Error::other(BadArchive::WindowTooLarge);
        }
        let kind = self.kind;
        io::Error::new(source.kind(), BadArchive::Damaged { kind, source })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::{Value, json};

    use super::super::testing::{Outcome, read};
    use super::*;
    use crate::error::ErrorKind;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 3).unwrap()
    }

    const MIB: u64 = 1 << 20;
    const ROWS_PER_MIB: u64 = 1 << 10;

    /// A header and so many MiB of rows, all the same.
    fn bomb(pack: fn(&[u8]) -> Vec<u8>, mib: u64) -> Vec<u8> {
        let row = format!("{},8901234\n", "x".repeat(1015));
        assert_eq!(row.len() as u64 * ROWS_PER_MIB, MIB);
        let block = pack(row.repeat(ROWS_PER_MIB as usize).as_bytes());
        [pack(b"a,b\n"), block.repeat(mib as usize)].concat()
    }

    async fn read_packed(name: &str, content: &[u8], more: Value) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
        let mut config = json!({"path": name});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        read(folder.path(), config, None).await
    }

    #[tokio::test]
    async fn a_bomb_ends_the_run_where_the_ratio_is_passed() {
        for (name, packed) in [("bomb.csv.gz", bomb(gzip, 64)), ("bomb.csv.zst", bomb(zstd, 64))] {
            let found = read_packed(name, &packed, json!({})).await;
            let error = found.error();
            assert_eq!(error.kind(), ErrorKind::Input);
            let text = error.chain();
            assert!(text.contains(&format!("`{name}`")), "{text}");
            assert!(text.contains("`max_compression_ratio` is 200"), "{text}");
            assert!(
                error.hints().any(|hint| hint.contains("max_compression_ratio")),
                "{error:?}"
            );
            // Nothing behind the bound: the first 16 MiB, or 200 times the file, and the block that passed it.
            let bound = JUDGED_FROM.max(200 * packed.len() as u64) / MIB + 1;
            assert!(bound < 32, "the bomb is one: {}", packed.len());
            assert!(
                found.totals.read <= bound * ROWS_PER_MIB,
                "{} rows",
                found.totals.read
            );
            assert!(found.checkpoints.is_empty(), "the file was not finished");
        }
    }

    #[tokio::test]
    async fn the_bound_is_a_setting_and_small_files_never_reach_it() {
        let packed = bomb(zstd, 17);
        assert!(read_packed("a.csv.zst", &packed, json!({})).await.result.is_err());
        let all = read_packed("a.csv.zst", &packed, json!({"max_compression_ratio": 1_000_000})).await;
        assert_eq!((all.result.is_ok(), all.totals.read), (true, 17 * ROWS_PER_MIB));

        // Below where it begins to count, however strict.
        for (name, packed) in [("a.csv.gz", bomb(gzip, 15)), ("a.csv.zst", bomb(zstd, 15))] {
            let found = read_packed(name, &packed, json!({"max_compression_ratio": 1})).await;
            assert_eq!(
                (found.result.is_ok(), found.totals.read),
                (true, 15 * ROWS_PER_MIB)
            );
        }
    }

    #[tokio::test]
    async fn an_ordinary_large_export_passes() {
        // Names and dates that repeat, numbers that do not: some ten times smaller when packed.
        let mut rows = 0_u64;
        let mut block = String::new();
        while (block.len() as u64) < MIB {
            rows += 1;
            let number = rows.wrapping_mul(2_654_435_761) % 1_000_000;
            block.push_str(&format!(
                "user{number}@contoso.com,Operations,Germany,2026-03-02,2026-04-01\n"
            ));
        }
        let header = b"upn,department,country,resigned,last_day\n";
        for (name, pack) in [("a.csv.gz", gzip as fn(&[u8]) -> Vec<u8>), ("a.csv.zst", zstd)] {
            let packed = [pack(header), pack(block.as_bytes()).repeat(17)].concat();
            let found = read_packed(name, &packed, json!({})).await;
            assert!(found.result.is_ok(), "{:?}", found.result);
            assert_eq!(found.totals.read, 17 * rows);
        }
    }

    #[tokio::test]
    async fn a_zstd_window_beyond_the_bound_is_refused_and_not_called_damage() {
        let pack = |window_log: u32| {
            let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            packed.window_log(window_log).unwrap();
            packed.write_all(b"a,b\n1,2\n").unwrap();
            packed.finish().unwrap()
        };
        let found = read_packed("a.csv.zst", &pack(MAX_WINDOW_LOG), json!({})).await;
        assert_eq!(found.rows(), [["1", "2"]]);
        let found = read_packed("a.csv.zst", &pack(MAX_WINDOW_LOG + 1), json!({})).await;
        let text = found.error().chain();
        assert!(text.contains("128.0 MiB") && !text.contains("damaged"), "{text}");
        assert!(found.error().hints().next().unwrap().contains("--long=27"));
        assert_eq!(found.error().kind(), ErrorKind::Input);
    }
}
