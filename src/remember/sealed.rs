//! An encrypted file, written from front to back in frames.
//!
//! ```text
//! header: magic 8 · version 1 · salt 32 · key check 16 · subject check 16 · checksum 8
//! frame:  length 4 · last 1 · ciphertext with its tag 16          (as often as need be, the last one marked)
//! ```
//!
//! Each frame is sealed with AES-256-GCM under the file's own key. The nonce is the frame's number with the mark of the
//! last one, and header and mark are authenticated with it (the construction known as STREAM): a frame that is changed,
//! left out, doubled or moved, a file that is cut off or goes on behind its end, and a file in another's place are all
//! errors. Nothing is decoded that was not authenticated.
//!
//! The checks in the header are there to tell a wrong key from damage; nothing rests on them.

use std::io::{self, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::key::{self, Key, SALT, Subject};

const MAGIC: [u8; 8] = *b"hrsinkRR";
const VERSION: u8 = 1;
const CHECKED: usize = MAGIC.len() + 1 + SALT + 16 + 16;
const HEADER: usize = CHECKED + 8;
const PREFIX: usize = 5;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The system could not read it.
    Io(io::Error),
    /// It is something else.
    Foreign,
    /// Of a version that is not known here.
    Version(u8),
    /// Whole, as far as can be seen, and written with another key.
    Key,
    /// Written with this key, for another source or pipeline.
    Subject,
    /// Not what was written.
    Damaged(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The key of a file, and what every frame is bound to.
struct Cipher {
    key: LessSafeKey,
    header: [u8; HEADER],
    frames: u32,
}

impl Cipher {
    fn new(key: &Key, subject: Subject<'_>, salt: &[u8; SALT], header: [u8; HEADER]) -> io::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &key.for_file(salt, subject))
            .map_err(|_| io::Error::other("the cipher does not take its key"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            header,
            frames: 0,
        })
    }

    /// The next frame's nonce and what is authenticated with it; each comes once.
    fn next(&mut self, prefix: [u8; PREFIX]) -> io::Result<(Nonce, Aad<[u8; HEADER + PREFIX]>)> {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 5..NONCE_LEN - 1].copy_from_slice(&self.frames.to_be_bytes());
        nonce[NONCE_LEN - 1] = prefix[PREFIX - 1];
        self.frames = self
            .frames
            .checked_add(1)
            .ok_or_else(|| io::Error::other("the file has too many frames"))?;
        let mut bound = [0; HEADER + PREFIX];
        bound[..HEADER].copy_from_slice(&self.header);
        bound[HEADER..].copy_from_slice(&prefix);
        Ok((Nonce::assume_unique_for_key(nonce), Aad::from(bound)))
    }
}

/// Writes a file.
pub(super) struct Writer<W> {
    to: W,
    cipher: Cipher,
}

impl<W: Write> Writer<W> {
    /// Begins a file of `subject` under `key`, with a new salt.
    pub(super) fn begin(mut to: W, key: &Key, subject: Subject<'_>) -> io::Result<Self> {
        let salt = key::salt()?;
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
        let cipher = Cipher::new(key, subject, &salt, header)?;
        Ok(Self { to, cipher })
    }

    /// Writes `frame`, and leaves the ciphertext in it.
    pub(super) fn write(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        self.frame(frame, false)
    }

    /// Writes the last frame.
    pub(super) fn end(mut self, mut frame: Vec<u8>) -> io::Result<W> {
        self.frame(&mut frame, true)?;
        Ok(self.to)
    }

    fn frame(&mut self, frame: &mut Vec<u8>, last: bool) -> io::Result<()> {
        let length = u32::try_from(frame.len() + AES_256_GCM.tag_len())
            .map_err(|_| io::Error::other("the rows of a frame are larger than 4 GiB"))?;
        let prefix = prefix(length, last);
        let (nonce, bound) = self.cipher.next(prefix)?;
        self.cipher
            .key
            .seal_in_place_append_tag(nonce, bound, frame)
            .map_err(|_| io::Error::other("a frame could not be encrypted"))?;
        self.to.write_all(&prefix)?;
        self.to.write_all(frame)
    }
}

/// Reads a file.
pub(super) struct Reader<R> {
    from: R,
    cipher: Cipher,
}

/// What a frame holds. No `Debug`: that is rows.
pub(super) enum Frame {
    More(Vec<u8>),
    Last(Vec<u8>),
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header.
    pub(super) fn begin(mut from: R, key: &Key, subject: Subject<'_>) -> Result<Self, Broken> {
        let mut header = [0; HEADER];
        let mut found = Vec::with_capacity(HEADER);
        from.by_ref().take(HEADER as u64).read_to_end(&mut found)?;
        if found.get(..MAGIC.len()).is_none_or(|magic| magic != MAGIC) {
            return Err(Broken::Foreign);
        }
        match found.get(MAGIC.len()) {
            Some(&VERSION) => {}
            Some(&version) => return Err(Broken::Version(version)),
            None => return Err(Broken::Damaged(CUT)),
        }
        if found.len() < HEADER {
            return Err(Broken::Damaged(CUT));
        }
        header.copy_from_slice(&found);
        if header[CHECKED..] != checksum(&header) {
            return Err(Broken::Damaged("its first bytes have changed"));
        }
        let salt: [u8; SALT] = std::array::from_fn(|n| header[MAGIC.len() + 1 + n]);
        let checks = &header[MAGIC.len() + 1 + SALT..CHECKED];
        if checks[..16] != key.check(&salt) {
            return Err(Broken::Key);
        }
        if checks[16..] != key.subject_check(&salt, subject) {
            return Err(Broken::Subject);
        }
        let cipher = Cipher::new(key, subject, &salt, header)?;
        Ok(Self { from, cipher })
    }

    /// The next frame. Nothing may be asked for behind the last one.
    pub(super) fn next(&mut self) -> Result<Frame, Broken> {
        let mut prefix = [0; PREFIX];
        self.from.read_exact(&mut prefix).map_err(cut_off)?;
        let [a, b, c, d, last] = prefix;
        let length = u32::from_le_bytes([a, b, c, d]);
        let mut frame = Vec::new();
        // Grows with what is there: a length that has changed asks for no memory.
        self.from
            .by_ref()
            .take(u64::from(length))
            .read_to_end(&mut frame)?;
        if frame.len() as u64 != u64::from(length) {
            return Err(Broken::Damaged(CUT));
        }
        let (nonce, bound) = self.cipher.next(prefix)?;
        let plain = self
            .cipher
            .key
            .open_in_place(nonce, bound, &mut frame)
            .map_err(|_| Broken::Damaged("a part of it has changed"))?
            .len();
        frame.truncate(plain);
        match last {
            0 => Ok(Frame::More(frame)),
            _ if self.from.read(&mut [0])? > 0 => Err(Broken::Damaged("it goes on behind its end")),
            _ => Ok(Frame::Last(frame)),
        }
    }
}

const CUT: &str = "its end is missing";

fn cut_off(error: io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Damaged(CUT),
        _ => Broken::Io(error),
    }
}

fn prefix(length: u32, last: bool) -> [u8; PREFIX] {
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, u8::from(last)]
}

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
        let mut writer = Writer::begin(Vec::new(), &Key::of(1), SUBJECT).unwrap();
        for frame in frames {
            writer.write(&mut frame.clone()).unwrap();
        }
        writer.end(last.to_owned()).unwrap()
    }

    fn read_as(file: &[u8], key: &Key, subject: Subject<'_>) -> Result<Vec<Vec<u8>>, Broken> {
        let mut reader = Reader::begin(file, key, subject)?;
        let mut frames = Vec::new();
        loop {
            match reader.next()? {
                Frame::More(frame) => frames.push(frame),
                Frame::Last(frame) => {
                    frames.push(frame);
                    return Ok(frames);
                }
            }
        }
    }

    fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
        read_as(file, &Key::of(1), SUBJECT)
    }

    /// Where each frame begins, and the end.
    fn bounds(file: &[u8]) -> Vec<usize> {
        let mut bounds = vec![HEADER];
        while let Some(at) = bounds.last().copied().filter(|&at| at < file.len()) {
            let length = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            bounds.push(at + PREFIX + length as usize);
        }
        bounds
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_is_read(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)) {
            let mut frames = frames;
            let file = write(&frames, b"end");
            frames.push(b"end".to_vec());
            prop_assert_eq!(read(&file).unwrap(), frames);
        }

        #[test]
        fn a_changed_byte_is_an_error(place in any::<prop::sample::Index>(), with in 1u8..=255, rows in 0usize..4) {
            let mut file = write(&vec![b"a row".to_vec(); rows], b"end");
            let place = place.index(file.len());
            file[place] ^= with;
            prop_assert!(read(&file).is_err());
        }

        #[test]
        fn a_file_that_is_cut_off_is_an_error(place in any::<prop::sample::Index>(), rows in 0usize..4) {
            let file = write(&vec![b"a row".to_vec(); rows], b"end");
            prop_assert!(read(&file[..place.index(file.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            let mut file = write(&[], b"end");
            file.truncate(if magic { HEADER } else { 0 });
            file.extend(bytes);
            prop_assert!(read(&file).is_err());
        }
    }

    #[test]
    fn frames_cannot_be_moved_doubled_left_out_or_added() {
        let frames = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        let file = write(&frames, b"end");
        let bounds = bounds(&file);
        let piece = |n: usize| &file[bounds[n]..bounds[n + 1]];
        let build = |order: &[usize]| {
            let mut built = file[..HEADER].to_vec();
            for &n in order {
                built.extend(piece(n));
            }
            built
        };
        assert!(read(&build(&[0, 1, 2, 3])).is_ok());
        for order in [
            &[0, 2, 1, 3][..],
            &[0, 1, 1, 2, 3],
            &[0, 2, 3],
            &[0, 1, 3],
            &[1, 2, 3],
            &[3],
            &[0, 1, 2],
            &[0, 1, 2, 3, 3],
            &[0, 1, 2, 3, 0],
        ] {
            assert!(
                matches!(read(&build(order)), Err(Broken::Damaged(_))),
                "{order:?}"
            );
        }
        // The mark of the last frame is no more to be moved.
        let mut marked = build(&[0, 1]);
        marked[bounds[1] + 4] = 1;
        assert!(matches!(read(&marked), Err(Broken::Damaged(_))));
        // Nor does a frame of another file under the same key fit in.
        let other = write(&frames, b"end");
        let mut mixed = build(&[0]);
        mixed.extend(&other[bounds[1]..]);
        assert!(matches!(read(&mixed), Err(Broken::Damaged(_))));
    }

    #[test]
    fn a_wrong_key_another_place_and_another_file_are_told_apart() {
        let file = write(&[], b"end");
        assert!(matches!(read_as(&file, &Key::of(2), SUBJECT), Err(Broken::Key)));
        for (pipeline, source) in [("/etc/hr.yaml", "other"), ("/etc/other.yaml", "directory")] {
            let read = read_as(&file, &Key::of(1), Subject { pipeline, source });
            assert!(matches!(read, Err(Broken::Subject)));
        }
        assert!(matches!(read(b"SQLite format 3\0"), Err(Broken::Foreign)));
        assert!(matches!(read(b""), Err(Broken::Foreign)));
        let mut newer = file.clone();
        newer[MAGIC.len()] = 2;
        assert!(matches!(read(&newer), Err(Broken::Version(2))));
        let mut salt = file;
        salt[MAGIC.len() + 3] ^= 1;
        assert!(matches!(read(&salt), Err(Broken::Damaged(_))), "no key is blamed");
    }

    #[test]
    fn two_files_of_the_same_rows_have_nothing_in_common() {
        let frames = [vec![b'x'; 4096]];
        let (one, two) = (write(&frames, b""), write(&frames, b""));
        let same = one[HEADER + PREFIX..]
            .iter()
            .zip(&two[HEADER + PREFIX..])
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 64, "{same} of {} bytes", one.len());
        assert!(!one.windows(8).any(|window| window == [b'x'; 8]));
    }
}
