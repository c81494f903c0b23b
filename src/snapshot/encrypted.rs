//! The encrypted file format: frames in the STREAM construction, implemented by `aead-stream`.
//!
//! ```text
//! header: magic 8 · version 1 · salt 32 · key check 16 · subject check 16 · checksum 8
//! frame:  length 4 · last 1 · AES-256-GCM ciphertext with its tag 16     (the last frame is marked)
//! ```
//!
//! The header, the length and the mark are authenticated with each frame. A changed, missing, repeated or moved frame, a
//! truncated file, bytes after the end and a file of another source are errors. The checks in the header only tell
//! a wrong key from damage.

use std::io::{self, Read, Write};

use aead_stream::{DecryptorBE32, EncryptorBE32};
use aes_gcm::Aes256Gcm;

use super::key::{self, Key, SALT, Subject};

const MAGIC: [u8; 8] = *b"hrsinkSN";
const VERSION: u8 = 1;
const CHECKED: usize = MAGIC.len() + 1 + SALT + 16 + 16;
const HEADER: usize = CHECKED + 8;
const PREFIX: usize = 5;
const TAG: usize = 16;

#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    NotASnapshot,
    /// Of a version that this program does not support.
    Version(u8),
    WrongKey,
    /// Written with this key for another source or pipeline.
    WrongSubject,
    Damaged(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) struct Writer<W> {
    to: W,
    header: [u8; HEADER],
    stream: EncryptorBE32<Aes256Gcm>,
}

impl<W: Write> Writer<W> {
    /// Starts a file of `subject` under `key`, with a new salt.
    pub(super) fn start(mut to: W, key: &Key, subject: Subject<'_>) -> io::Result<Self> {
        let salt = key::new_salt()?;
        let mut header = [0; HEADER];
        let mut rest = &mut header[..];
        for part in [
            &MAGIC[..],
            &[VERSION],
            &salt,
            &key.check(&salt),
            &key.subject_check(&salt, subject),
        ] {
            rest.write_all(part)?;
        }
        let sum = checksum(&header);
        header[CHECKED..].copy_from_slice(&sum);
        to.write_all(&header)?;
        // The file's key is used for this one stream, so the nonce's prefix may be constant.
        let stream = EncryptorBE32::new(&key.for_file(&salt, subject).into(), &Default::default());
        Ok(Self { to, header, stream })
    }

    pub(super) fn write(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        let prefix = prefix(frame.len(), false)?;
        self.stream
            .encrypt_next_in_place(&[&self.header[..], &prefix].concat(), frame)
            .map_err(cannot_encrypt)?;
        self.to.write_all(&prefix)?;
        self.to.write_all(frame)
    }

    pub(super) fn finish(self, mut frame: Vec<u8>) -> io::Result<W> {
        let Self {
            mut to,
            header,
            stream,
        } = self;
        let prefix = prefix(frame.len(), true)?;
        stream
            .encrypt_last_in_place(&[&header[..], &prefix].concat(), &mut frame)
            .map_err(cannot_encrypt)?;
        to.write_all(&prefix)?;
        to.write_all(&frame)?;
        Ok(to)
    }
}

fn cannot_encrypt(_: aead_stream::aead::Error) -> io::Error {
    io::Error::other("cannot encrypt a frame: the file has too many")
}

fn prefix(plain: usize, last: bool) -> io::Result<[u8; PREFIX]> {
    let length = u32::try_from(plain + TAG)
        .map_err(|_| io::Error::other("the rows of a frame are larger than 4 GiB"))?;
    let [a, b, c, d] = length.to_le_bytes();
    Ok([a, b, c, d, u8::from(last)])
}

pub(super) struct Reader<R> {
    from: R,
    header: [u8; HEADER],
    /// `None` after the last frame.
    stream: Option<DecryptorBE32<Aes256Gcm>>,
}

/// No `Debug`: the content is rows.
pub(super) enum Frame {
    More(Vec<u8>),
    Last(Vec<u8>),
}

impl<R: Read> Reader<R> {
    pub(super) fn start(mut from: R, key: &Key, subject: Subject<'_>) -> Result<Self, ReadError> {
        let mut found = Vec::with_capacity(HEADER);
        from.by_ref().take(HEADER as u64).read_to_end(&mut found)?;
        if !found.starts_with(&MAGIC) {
            return Err(ReadError::NotASnapshot);
        }
        match found.get(MAGIC.len()) {
            None | Some(&VERSION) => {}
            Some(&version) => return Err(ReadError::Version(version)),
        }
        let header: [u8; HEADER] = found.try_into().map_err(|_| ReadError::Damaged(TRUNCATED))?;
        if header[CHECKED..] != checksum(&header) {
            return Err(ReadError::Damaged("its header has changed"));
        }
        let salt: [u8; SALT] = std::array::from_fn(|n| header[MAGIC.len() + 1 + n]);
        let (key_check, subject_check) = header[MAGIC.len() + 1 + SALT..CHECKED].split_at(16);
        if key_check != key.check(&salt) {
            return Err(ReadError::WrongKey);
        }
        if subject_check != key.subject_check(&salt, subject) {
            return Err(ReadError::WrongSubject);
        }
        let stream = DecryptorBE32::new(&key.for_file(&salt, subject).into(), &Default::default());
        Ok(Self {
            from,
            header,
            stream: Some(stream),
        })
    }

    pub(super) fn next(&mut self) -> Result<Frame, ReadError> {
        let damaged = |_| ReadError::Damaged("a part of it has changed");
        let Some(mut stream) = self.stream.take() else {
            return Err(ReadError::Damaged(TRAILING));
        };
        let mut prefix = [0; PREFIX];
        self.from
            .read_exact(&mut prefix)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ReadError::Damaged(TRUNCATED),
                _ => ReadError::Io(error),
            })?;
        let [a, b, c, d, last] = prefix;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        let mut frame = Vec::new();
        // Grows with the bytes read, so that a damaged length does not allocate 4 GiB.
        self.from.by_ref().take(length).read_to_end(&mut frame)?;
        if frame.len() as u64 != length {
            return Err(ReadError::Damaged(TRUNCATED));
        }
        let data = [&self.header[..], &prefix].concat();
        if last == 0 {
            stream.decrypt_next_in_place(&data, &mut frame).map_err(damaged)?;
            self.stream = Some(stream);
            return Ok(Frame::More(frame));
        }
        stream.decrypt_last_in_place(&data, &mut frame).map_err(damaged)?;
        match self.from.read(&mut [0])? {
            0 => Ok(Frame::Last(frame)),
            _ => Err(ReadError::Damaged(TRAILING)),
        }
    }
}

const TRUNCATED: &str = "it is truncated";
const TRAILING: &str = "it has bytes after its end";

fn checksum(header: &[u8; HEADER]) -> [u8; HEADER - CHECKED] {
    let hash = blake3::hash(&header[..CHECKED]);
    std::array::from_fn(|n| hash.as_bytes()[n])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUBJECT: Subject<'_> = Subject {
        pipeline: "/etc/hr.yaml",
        source: "directory",
    };

    fn write(frames: &[Vec<u8>], last: &[u8]) -> Vec<u8> {
        let mut writer = Writer::start(Vec::new(), &Key::of(1), SUBJECT).unwrap();
        for frame in frames {
            writer.write(&mut frame.clone()).unwrap();
        }
        writer.finish(last.to_owned()).unwrap()
    }

    fn read_as(file: &[u8], subject: Subject<'_>) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut reader = Reader::start(file, &Key::of(1), subject)?;
        let mut frames = Vec::new();
        loop {
            let (frame, is_last) = match reader.next()? {
                Frame::More(frame) => (frame, false),
                Frame::Last(frame) => (frame, true),
            };
            frames.push(frame);
            if is_last {
                return Ok(frames);
            }
        }
    }

    fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, ReadError> {
        read_as(file, SUBJECT)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn reads_what_it_wrote_only_unchanged(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            at in any::<prop::sample::Index>(),
            with in 1u8..=255,
        ) {
            let mut frames = frames;
            let mut file = write(&frames, b"end");
            frames.push(b"end".to_vec());
            prop_assert_eq!(read(&file).unwrap(), frames);
            let at = at.index(file.len());
            prop_assert!(read(&file[..at]).is_err());
            file[at] ^= with;
            prop_assert!(read(&file).is_err());
        }
    }

    #[test]
    fn rejects_moved_repeated_missing_and_added_frames() {
        let frames = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        let file = write(&frames, b"end");
        let mut bounds = vec![HEADER];
        while let Some(at) = bounds.last().copied().filter(|&at| at < file.len()) {
            let length = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            bounds.push(at + PREFIX + length as usize);
        }
        let build = |order: &[usize]| {
            let mut built = file[..HEADER].to_vec();
            for &n in order {
                built.extend(&file[bounds[n]..bounds[n + 1]]);
            }
            built
        };
        let damaged = |file: &[u8]| matches!(read(file), Err(ReadError::Damaged(_)));
        assert!(read(&build(&[0, 1, 2, 3])).is_ok());
        for order in "0213 01123 023 013 123 3 012 01233 01230".split(' ') {
            let order: Vec<usize> = order.bytes().map(|digit| usize::from(digit - b'0')).collect();
            assert!(damaged(&build(&order)), "{order:?}");
        }
        let mut marked = build(&[0, 1]);
        marked[bounds[1] + 4] = 1;
        assert!(damaged(&marked), "a frame marked as the last one");
        let other = write(&frames, b"end");
        let mut mixed = build(&[0]);
        mixed.extend(&other[bounds[1]..]);
        assert!(damaged(&mixed), "frames of another file with the same key");
    }

    #[test]
    fn tells_versions_and_other_sources_from_damage() {
        let file = write(&[], b"end");
        let changed = |at: usize| {
            let mut changed = file.clone();
            changed[at] ^= 3;
            read(&changed).unwrap_err()
        };
        assert!(matches!(changed(MAGIC.len()), ReadError::Version(2)));
        let salt = changed(MAGIC.len() + 3);
        assert!(matches!(salt, ReadError::Damaged(_)), "not a wrong key");
        let (pipeline, source) = ("/etc/other.yaml", SUBJECT.source);
        let other = read_as(&file, Subject { pipeline, source }).unwrap_err();
        assert!(matches!(other, ReadError::WrongSubject));
    }

    /// Files are kept for months: another version must not change the format.
    #[test]
    fn matches_the_documented_stream_construction() {
        use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
        let file = write(&[b"one".to_vec()], b"end");
        let salt: [u8; SALT] = file[9..9 + SALT].try_into().unwrap();
        let key = UnboundKey::new(&AES_256_GCM, &Key::of(1).for_file(&salt, SUBJECT)).unwrap();
        let key = LessSafeKey::new(key);
        let mut at = HEADER;
        for (number, last, text) in [(0u32, 0, b"one"), (1, 1, b"end")] {
            let end = at + PREFIX + 3 + TAG;
            let mut nonce = [0; 12];
            nonce[7..11].copy_from_slice(&number.to_be_bytes());
            nonce[11] = last;
            let data = [&file[..HEADER], &file[at..at + PREFIX]].concat();
            let mut frame = file[at + PREFIX..end].to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let plain = key.open_in_place(nonce, Aad::from(data), &mut frame).unwrap();
            assert_eq!(plain, text);
            at = end;
        }
    }
}
