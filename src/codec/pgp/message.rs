//! The packets of a message down to its content, and the checks at its end.

use std::io::{self, BufRead, BufReader, Read};

use ::pgp::armor::DearmorOptions;
use ::pgp::composed::{
    DecryptionOptions, Edata, Message, MessageReader, PacketBodyReader, PlainSessionKey, TheRing,
};
use ::pgp::errors::Error as PgpError;
use ::pgp::packet::{Decompressor, PacketParser, ProtectedDataConfig, SymEncryptedProtectedDataConfig};
use ::pgp::types::{Seipdv1ReadMode, Tag};

use super::super::bounds::{BoundedReader, ByteCount, DecoderInput, FirstError, MaxRatio};
use super::super::error::{self, TRANSFER_AGAIN, is_ours, refused};
use super::super::settings::SignaturePolicy;
use super::super::{BUFFER_BYTES, Reader};
use super::{KIND, Pgp, Signers};

/// Size of the text before the armor, and of its headers.
const MAX_ARMOR_HEADER_BYTES: usize = 64 << 10;
/// Depth of nested compressed packets.
const MAX_COMPRESSED: usize = 2;
const AS_GNUPG: &str = "ask the sender to encrypt it with the defaults of GnuPG";

pub(super) fn damaged() -> io::Error {
    error::damaged(KIND, None)
}

pub(super) struct Opening<'a> {
    pub(super) pgp: &'a Pgp,
    pub(super) max_ratio: MaxRatio,
    pub(super) warn_as: Option<&'a str>,
    pub(super) count: ByteCount,
    pub(super) first_error: FirstError,
}

impl Opening<'_> {
    /// The outermost packet.
    pub(super) fn message(&self, bytes: Reader) -> io::Result<Message<'static>> {
        let bytes = DecoderInput {
            inner: bytes,
            count: self.count.clone(),
            first_error: self.first_error.clone(),
        };
        let mut bytes = BufReader::with_capacity(BUFFER_BYTES, bytes);
        let start = bytes.fill_buf().map_err(|error| self.first_error.or(|| error))?;
        if start.is_empty() {
            return Err(refused("the OpenPGP file is empty", TRANSFER_AGAIN));
        }
        if start.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
            return Err(refused(
                "clear-signed text is not supported",
                "ask the sender to use `gpg --sign`, not `--clear-sign`",
            ));
        }
        // The first byte of a packet has the highest bit set; that of armor has not.
        let message = if start[0] & 0x80 != 0 {
            Message::from_bytes(bytes)
        } else {
            let options = DearmorOptions::default().set_limit(MAX_ARMOR_HEADER_BYTES);
            Message::from_armor_with_options(bytes, options).map(|(message, _)| message)
        };
        message.map_err(|error| {
            self.first_error.or(|| match error {
                PgpError::Unsupported { .. } | PgpError::Unimplemented { .. } => refused(
                    "not an OpenPGP message, or one of an unsupported kind",
                    "supported is the output of `gpg --encrypt` and `gpg --sign`, not keys and detached signatures",
                ),
                _ => refused(
                    "not an OpenPGP message, or truncated at its start",
                    "inspect it with `gpg --list-packets`; if its name does not show the encoding, set `compression`",
                ),
            })
        })
    }

    fn failed(&self, error: &PgpError) -> io::Error {
        self.first_error.or(|| match error {
            PgpError::Unsupported { .. } | PgpError::Unimplemented { .. } => {
                refused("the OpenPGP file uses an unsupported feature", AS_GNUPG)
            }
            _ => damaged(),
        })
    }

    pub(super) fn decrypt(&self, message: Message<'static>, key: &PlainSessionKey) -> io::Result<Reader> {
        let aead = match &message {
            Message::Encrypted {
                edata: Edata::SymEncryptedData { .. },
                ..
            } => {
                return Err(refused(
                    "the OpenPGP file is encrypted without integrity protection",
                    "ask the sender to use a current program: GnuPG protects since version 1.0.7, of 2002",
                ));
            }
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
        // The crate computes with the size of the nonce before it checks whether it knows the cipher.
        if aead.is_some_and(|aead| aead.nonce_size() == 0) {
            return Err(self.first_error.or(|| {
                refused(
                    "the OpenPGP file is encrypted in an unknown mode, or damaged at its start",
                    AS_GNUPG,
                )
            }));
        }
        let ring = TheRing {
            session_keys: vec![key.clone()],
            // Bytes come out before the integrity check at their end, so that memory stays flat.
            decrypt_options: DecryptionOptions::new()
                .enable_gnupg_aead()
                .set_seipdv1_read_mode(Seipdv1ReadMode::Streaming),
            ..TheRing::default()
        };
        let (message, _) = message
            .decrypt_the_ring(ring, true)
            .map_err(|error| self.failed(&error))?;
        if message.is_encrypted() {
            return Err(unsupported_order());
        }
        self.content(message)
    }

    /// The content of a message that is not or no longer encrypted.
    pub(super) fn content(&self, mut message: Message<'static>) -> io::Result<Reader> {
        let mut compressed = 0;
        loop {
            message = match message {
                Message::Compressed { reader, .. } if compressed < MAX_COMPRESSED => {
                    compressed += 1;
                    let inner = Decompressor::from_reader(reader.into_inner())
                        .map_err(|error| self.first_error.or(|| not_decompressed(&error)))?;
                    let inner = DecoderInput {
                        inner: self.bounded(Decompressed(Some(inner))),
                        count: ByteCount::default(),
                        first_error: self.first_error.clone(),
                    };
                    Message::from_bytes(BufReader::with_capacity(BUFFER_BYTES, inner))
                        .map_err(|error| self.failed(&error))?
                }
                Message::Signed { reader, is_nested } if reader.get_ref().is_literal() => {
                    return Ok(self.verified(Message::Signed { reader, is_nested }));
                }
                Message::Literal { .. } => {
                    self.accept_unsigned()?;
                    return Ok(self.verified(message));
                }
                _ => return Err(unsupported_order()),
            };
        }
    }

    fn accept_unsigned(&self) -> io::Result<()> {
        match (self.pgp.signature, self.warn_as) {
            _ if !self.pgp.signers.is_set() => {}
            (SignaturePolicy::Required, _) => {
                return Err(refused(
                    "the OpenPGP file is not signed",
                    "ask the sender to sign it with a key in `pgp.signed_by` (`gpg --sign --encrypt`), or set \
                     `pgp: {signature: optional}` to accept it",
                ));
            }
            (SignaturePolicy::Optional, Some(file)) => {
                tracing::warn!(
                    file,
                    "the OpenPGP file is not signed; accepted by `signature: optional`"
                );
            }
            (SignaturePolicy::Optional, None) => {}
        }
        Ok(())
    }

    fn verified(&self, message: Message<'static>) -> Reader {
        let signers = &self.pgp.signers;
        Box::new(self.bounded(Content {
            message: Some(message),
            first_error: self.first_error.clone(),
            signers: signers.is_set().then(|| signers.clone()),
        }))
    }

    fn bounded<R: Read>(&self, inner: R) -> BoundedReader<R> {
        BoundedReader::new(inner, KIND, self.count.clone(), self.max_ratio)
    }
}

pub(super) fn unsupported_order() -> io::Error {
    refused(
        "the OpenPGP file nests its parts in an unsupported order",
        "supported is the output of `gpg --sign --encrypt`: encrypted, then compressed, then signed",
    )
}

fn not_decompressed(error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => refused(
            "the OpenPGP file is compressed in an unsupported way",
            "ask the sender to compress it with zip, zlib or bzip2, or not at all",
        ),
        _ => damaged(),
    }
}

/// The content of a literal packet. At its end it checks everything around it: integrity, what follows, the signature.
struct Content {
    message: Option<Message<'static>>,
    first_error: FirstError,
    /// The accepted signers, if signatures are checked.
    signers: Option<Signers>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(message) = self.message.as_mut().filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        // Not through the message: at its end that looks at what follows, and takes a part that is truncated between two
        // lengths for complete, or panics.
        let read = match message {
            Message::Literal { reader, .. } => reader.read(buffer),
            Message::Signed { reader, .. } => reader.read(buffer),
            Message::Compressed { .. } | Message::Encrypted { .. } => Err(unsupported_order()),
        };
        match read {
            Ok(length) if length > 0 => return Ok(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let Some(mut message) = self.message.take() else {
            return Ok(0);
        };
        read.and_then(|_| check_end(message.get_mut().get_mut()))
            .map_err(|error| self.first_error.or(|| ours(error)))?;
        if let Some(signers) = &self.signers {
            signers.verify(&message)?;
        }
        Ok(0)
    }
}

/// The error if it is from a reader of this module; else that of damage.
fn ours(error: io::Error) -> io::Error {
    match is_ours(&error) {
        true => error,
        false => damaged(),
    }
}

/// Reads the rest of what contains a message: only at its end is known that it was not changed.
fn check_end(reader: &mut MessageReader<'static>) -> io::Result<()> {
    match reader {
        MessageReader::Reader(reader) => check_nothing_follows(reader),
        MessageReader::Edata(edata) => {
            check_nothing_follows(&mut **edata)?;
            let verified = match &**edata {
                Edata::SymEncryptedProtectedData { reader } | Edata::GnupgAeadData { reader } => {
                    reader.is_done()
                }
                Edata::SymEncryptedData { .. } => false,
            };
            if !verified {
                return Err(damaged());
            }
            check_end(edata.get_mut().get_mut())
        }
        // Compressed packets are decompressed here, not by the crate.
        MessageReader::Compressed(_) => Err(damaged()),
    }
}

/// Accepts only packets without meaning.
fn check_nothing_follows<R: BufRead>(reader: &mut R) -> io::Result<()> {
    while !reader.fill_buf()?.is_empty() {
        let mut packets = PacketParser::new(&mut *reader);
        let Some(Ok(mut packet)) = packets.next_ref() else {
            return Err(damaged());
        };
        match packet.packet_header().tag() {
            Tag::Padding | Tag::Marker | Tag::UnassignedNonCritical(_) | Tag::Experimental(_) => {
                io::copy(&mut packet, &mut io::sink())?;
            }
            _ => {
                return Err(refused(
                    "the OpenPGP file contains more than one message",
                    "ask the sender to encrypt each file on its own",
                ));
            }
        }
    }
    Ok(())
}

/// The content of a compressed packet. At its end it checks what contains the packet.
#[derive(Debug)]
struct Decompressed(Option<Decompressor<PacketBodyReader<MessageReader<'static>>>>);

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decompressor) = &mut self.0 else {
            return Ok(0);
        };
        let length = match decompressor.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => read.map_err(ours)?,
        };
        if length == 0
            && !buffer.is_empty()
            && let Some(decompressor) = self.0.take()
        {
            let mut body = decompressor.into_inner();
            // Old programs leave a byte after the end.
            io::copy(&mut body, &mut io::sink()).map_err(ours)?;
            check_end(body.get_mut()).map_err(ours)?;
        }
        Ok(length)
    }
}
