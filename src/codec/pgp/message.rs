//! Goes through the packets of a message to its content, and looks that nothing is missing at its end.

use std::io::{self, BufRead, BufReader, Read};

use ::pgp::armor::DearmorOptions;
use ::pgp::composed::{
    DecryptionOptions, Edata, Message, MessageReader, PacketBodyReader, PlainSessionKey, TheRing,
};
use ::pgp::errors::Error as PgpError;
use ::pgp::packet::{Decompressor, PacketParser, ProtectedDataConfig, SymEncryptedProtectedDataConfig};
use ::pgp::types::{Seipdv1ReadMode, Tag};

use super::super::bounds::{ByteCount, CapturingReader, FirstError, MaxRatio};
use super::super::error::CodecError;
use super::super::settings::SignaturePolicy;
use super::{BUFFER, KIND, Pgp, bounded};

/// Bytes before the armor of a file, and of its headers, at most.
const MOST_ARMOR_HEADER: usize = 64 << 10;

/// Compressed parts in each other, at most.
const MOST_COMPRESSED: usize = 2;

type Bytes = Box<dyn Read + Send>;

/// The bytes of the message, read once.
pub(super) struct Source {
    bytes: std::cell::RefCell<Option<Bytes>>,
    pub(super) read: ByteCount,
    pub(super) fault: FirstError,
}

impl Source {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes: std::cell::RefCell::new(Some(bytes)),
            read: ByteCount::default(),
            fault: FirstError::default(),
        }
    }

    /// The outermost packet. For one call only.
    pub(super) fn message(&self) -> io::Result<Message<'static>> {
        let bytes = self.bytes.take().unwrap_or_else(|| Box::new(io::empty()));
        let mut bytes =
            BufReader::with_capacity(BUFFER, CapturingReader::new(bytes, &self.read, &self.fault));
        let first = bytes.fill_buf().map_err(|error| self.fault.reason(|| error))?;
        // The first byte of a packet has the highest bit, which text has not.
        let binary = first.first().is_some_and(|byte| byte & 0x80 != 0);
        let clear = first.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----");
        if first.is_empty() {
            return Err(CodecError::refused(
                "the OpenPGP file is empty",
                "transfer the file again: it was often read while it was still being written",
            ));
        }
        if clear {
            return Err(CodecError::refused(
                "the file is signed as text that stays readable, which is not read",
                "have it signed with `gpg --sign`, not `--clear-sign`",
            ));
        }
        let message = if binary {
            Message::from_bytes(bytes)
        } else {
            let options = DearmorOptions::default().set_limit(MOST_ARMOR_HEADER);
            Message::from_armor_with_options(bytes, options).map(|(message, _)| message)
        };
        message.map_err(|error| {
            self.fault.reason(|| match error {
                PgpError::Unsupported { .. } | PgpError::Unimplemented { .. } => CodecError::refused(
                    "the file is no OpenPGP message, or of a kind that is not known",
                    "what is read is what `gpg --encrypt` and `gpg --sign` write; keys and signatures in files of their own are not",
                ),
                _ => no_message(),
            })
        })
    }

    fn failed(&self, error: &PgpError) -> io::Error {
        self.fault.reason(|| match error {
            PgpError::Unsupported { .. } | PgpError::Unimplemented { .. } => CodecError::refused(
                "the OpenPGP file uses something that is not known here",
                "have it encrypted as GnuPG does by default",
            ),
            _ => CodecError::damaged(KIND),
        })
    }
}

fn no_message() -> io::Error {
    CodecError::refused(
        "the file is no OpenPGP message, or cut off at its beginning",
        "look at it with `gpg --list-packets`; `packing` says how the file is packed, if its name does not",
    )
}

/// Goes on from the outermost packet.
pub(super) struct Opening<'a> {
    pub(super) pgp: &'a Pgp,
    pub(super) source: &'a Source,
    pub(super) ratio: MaxRatio,
    pub(super) told: Option<&'a str>,
}

impl Opening<'_> {
    /// The content of an encrypted message.
    pub(super) fn decrypt(&self, message: Message<'static>, key: &PlainSessionKey) -> io::Result<Bytes> {
        if let Message::Encrypted {
            edata: Edata::SymEncryptedData { .. },
            ..
        } = &message
        {
            return Err(CodecError::refused(
                "the OpenPGP file is encrypted without protection against changes",
                "have it encrypted by a program of this century: GnuPG protects since version 1.0.7, of 2002",
            ));
        }
        // The library computes with the size of its nonce before it looks whether it knows the cipher.
        let aead = match &message {
            Message::Encrypted {
                edata: Edata::SymEncryptedProtectedData { reader } | Edata::GnupgAeadData { reader },
                ..
            } => match reader.config() {
                ProtectedDataConfig::Seipd(SymEncryptedProtectedDataConfig::V2 { aead, .. }) => Some(*aead),
                ProtectedDataConfig::Seipd(SymEncryptedProtectedDataConfig::V1) => None,
                ProtectedDataConfig::GnupgAead(config) => Some(config.aead),
            },
            _ => None,
        };
        if aead.is_some_and(|aead| aead.nonce_size() == 0) {
            return Err(self.source.fault.reason(|| {
                CodecError::refused(
                    "the OpenPGP file is encrypted with a mode that is not known, or damaged at its beginning",
                    "have it encrypted as GnuPG does by default",
                )
            }));
        }
        let ring = TheRing {
            session_keys: vec![key.clone()],
            // Bytes come out before the check at the end of them, so memory does not grow; nobody uses them before it.
            decrypt_options: DecryptionOptions::new()
                .enable_gnupg_aead()
                .set_seipdv1_read_mode(Seipdv1ReadMode::Streaming),
            ..TheRing::default()
        };
        let (message, _) = message
            .decrypt_the_ring(ring, true)
            .map_err(|error| self.source.failed(&error))?;
        if message.is_encrypted() {
            return Err(unknown_order());
        }
        self.content(message)
    }

    /// The content of a message that is not encrypted, or not any more.
    pub(super) fn content(&self, mut message: Message<'static>) -> io::Result<Bytes> {
        let mut compressed = 0;
        loop {
            message = match message {
                Message::Compressed { reader, .. } if compressed < MOST_COMPRESSED => {
                    compressed += 1;
                    let inflated = Inflated::new(reader.into_inner())
                        .map_err(|error| self.source.fault.reason(|| not_inflated(&error)))?;
                    let inflated = CapturingReader::uncounted(
                        bounded(inflated, self.source, self.ratio),
                        &self.source.fault,
                    );
                    let inflated = BufReader::with_capacity(BUFFER, inflated);
                    Message::from_bytes(inflated).map_err(|error| self.source.failed(&error))?
                }
                Message::Signed { reader, is_nested } if reader.get_ref().is_literal() => {
                    let message = Message::Signed { reader, is_nested };
                    return Ok(self.verified(message));
                }
                Message::Literal { .. } => {
                    if let (SignaturePolicy::Optional, Some(name)) = (self.pgp.signature, self.told) {
                        tracing::warn!(
                            file = name,
                            "the OpenPGP file is not signed, and is taken (`pgp: {{signature: optional}}`)"
                        );
                    }
                    if self.pgp.signature == SignaturePolicy::Required {
                        return Err(CodecError::refused(
                            "the OpenPGP file is not signed",
                            "have it signed by a key in `pgp.signed_by` (`gpg --sign --encrypt`); `pgp: {signature: \
                             optional}` takes it as it is",
                        ));
                    }
                    return Ok(self.verified(message));
                }
                _ => return Err(unknown_order()),
            };
        }
    }

    fn verified(&self, message: Message<'static>) -> Bytes {
        let content = Content {
            message: Some(message),
            fault: self.source.fault.clone(),
            check: match self.pgp.signature {
                SignaturePolicy::Ignored => None,
                _ => Some(self.pgp.signers.clone()),
            },
        };
        Box::new(bounded(content, self.source, self.ratio))
    }
}

fn unknown_order() -> io::Error {
    CodecError::refused(
        "the OpenPGP file has its parts in an order that is not read",
        "what is read is what `gpg --sign --encrypt` writes: encrypted, in that compressed, in that signed",
    )
}

fn not_inflated(error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => CodecError::refused(
            "the OpenPGP file is compressed in a way that is not known",
            "have it compressed with zip, zlib or bzip2, or not at all",
        ),
        _ => CodecError::damaged(KIND),
    }
}

/// The content of a literal packet. At its end everything around it is looked at: what protects it, what follows it,
/// who signed it.
struct Content {
    message: Option<Message<'static>>,
    fault: FirstError,
    /// Who may have signed it, if that matters.
    check: Option<super::Signers>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(message) = &mut self.message else {
            return Ok(0);
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        // Not through the message: at the end that looks at what follows, and takes a part that is cut off between two
        // lengths for one that has ended, or panics.
        let read = match message {
            Message::Literal { reader, .. } => reader.read(buffer),
            Message::Signed { reader, .. } => reader.read(buffer),
            Message::Compressed { .. } | Message::Encrypted { .. } => Err(unknown_order()),
        };
        match read {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.message = None;
                return Err(self.damaged(error));
            }
            read => return read,
        }
        let Some(mut message) = self.message.take() else {
            return Ok(0);
        };
        ends_well(message.get_mut().get_mut()).map_err(|error| self.damaged(error))?;
        if let Some(signers) = &self.check {
            signers.verify(&message)?;
        }
        Ok(0)
    }
}

impl Content {
    /// Those of this module's readers come through as they are.
    fn damaged(&self, error: io::Error) -> io::Error {
        self.fault
            .reason(|| own(error).unwrap_or_else(|| CodecError::damaged(KIND)))
    }
}

/// The error of a reader of ours that came through the crate's.
fn own(error: io::Error) -> Option<io::Error> {
    let ours = error
        .get_ref()
        .is_some_and(|inner| inner.downcast_ref::<CodecError>().is_some());
    ours.then_some(error)
}

/// Goes to the end of what a message lies in: only there is known that it was not changed.
fn ends_well(reader: &mut MessageReader<'static>) -> io::Result<()> {
    match reader {
        MessageReader::Reader(reader) => nothing_follows(reader),
        MessageReader::Edata(edata) => {
            nothing_follows(&mut **edata)?;
            let checked = match &**edata {
                Edata::SymEncryptedProtectedData { reader } | Edata::GnupgAeadData { reader } => {
                    reader.is_done()
                }
                Edata::SymEncryptedData { .. } => false,
            };
            if !checked {
                return Err(CodecError::damaged(KIND));
            }
            ends_well(edata.get_mut().get_mut())
        }
        // Those are unpacked here.
        MessageReader::Compressed(_) => Err(CodecError::damaged(KIND)),
    }
}

/// An error if there is more than packets without a meaning.
fn nothing_follows<R: BufRead>(reader: &mut R) -> io::Result<()> {
    while !reader.fill_buf()?.is_empty() {
        let mut packets = PacketParser::new(&mut *reader);
        let Some(Ok(mut packet)) = packets.next_ref() else {
            return Err(CodecError::damaged(KIND));
        };
        match packet.packet_header().tag() {
            Tag::Padding | Tag::Marker | Tag::UnassignedNonCritical(_) | Tag::Experimental(_) => {
                io::copy(&mut packet, &mut io::sink())?;
            }
            _ => {
                return Err(CodecError::refused(
                    "the OpenPGP file has more in it than one message",
                    "encrypt each file on its own",
                ));
            }
        }
    }
    Ok(())
}

type Body = PacketBodyReader<MessageReader<'static>>;

/// What a compressed packet holds. At its end, looks at what it lies in.
#[derive(Debug)]
struct Inflated(Option<Decompressor<Body>>);

impl Inflated {
    fn new(body: Body) -> io::Result<Self> {
        Ok(Self(Some(Decompressor::from_reader(body)?)))
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decompressor) = &mut self.0 else {
            return Ok(0);
        };
        // What is damaged below is damaged here too; our own errors come through.
        let damaged = |error: io::Error| own(error).unwrap_or_else(|| CodecError::damaged(KIND));
        let length = match decompressor.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => read.map_err(damaged)?,
        };
        if length == 0
            && !buffer.is_empty()
            && let Some(decompressor) = self.0.take()
        {
            let mut body = decompressor.into_inner();
            // Old programs leave a byte behind the end.
            io::copy(&mut body, &mut io::sink()).map_err(damaged)?;
            ends_well(body.get_mut()).map_err(damaged)?;
        }
        Ok(length)
    }
}
