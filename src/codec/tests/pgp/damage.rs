//! Files that are cut off, changed or something else.

use super::*;

#[test]
fn one_that_is_cut_off_anywhere_is_an_error() {
    let content = rows(20_000);
    let strict = Stand::strict().reader();
    let signed = strict_forms(&content);
    for packed in &signed {
        for cut in (0..packed.len())
            .step_by(packed.len() / 40)
            .chain(packed.len() - 40..packed.len())
        {
            let error = strict.read(&packed[..cut]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input, "{cut}: {}", said(&error));
        }
    }
}

/// Where the keys of a message are, and how it is encrypted: too few bytes for chance to find them all.
#[test]
fn no_change_of_its_head_is_more_than_an_error() {
    let content = rows(200);
    let strict = Stand::strict().reader();
    for packed in strict_forms(&content) {
        for at in 0..packed.len().min(220) {
            for bit in 0..8 {
                let mut packed = packed.clone();
                packed[at] ^= 1 << bit;
                match strict.read(&packed) {
                    Ok(found) => assert_eq!(one(found), content, "byte {at}, bit {bit}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Input, "byte {at}, bit {bit}"),
                }
            }
        }
    }
}

fn strict_forms(content: &[u8]) -> Vec<Vec<u8>> {
    let make = |compression, v2| {
        Make {
            compression,
            v2,
            ..Make::to_us()
        }
        .signed_by(&SENDER.primary_key)
        .of(content)
    };
    vec![
        make(None, false),
        make(Some(CompressionAlgorithm::ZLIB), false),
        make(None, true),
        make(Some(CompressionAlgorithm::BZip2), true),
    ]
}

/// Takes what is signed and not encrypted.
static PLAIN: LazyLock<Reader> =
    LazyLock::new(|| Stand::strict().set("encrypted", json!("optional")).reader());

/// A content, and messages of it with a signature and without.
type Forms = (Vec<u8>, Vec<Vec<u8>>, Vec<Vec<u8>>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_gives_an_error_and_never_other_rows(form in 0_usize..8, place in 0.0..1.0_f64, bit in 0_u32..8) {
        static FORMS: LazyLock<Forms> = LazyLock::new(|| {
            let content = rows(12_000);
            let strict = strict_forms(&content);
            let unsigned = [(None, false), (Some(CompressionAlgorithm::ZIP), false), (None, true), (Some(CompressionAlgorithm::ZLIB), true)]
                .map(|(compression, v2)| Make { compression, v2, ..Make::to_us() }.of(&content));
            (content, strict, unsigned.into())
        });
        static READERS: LazyLock<[Reader; 2]> = LazyLock::new(|| [Stand::strict().reader(), Stand::new().reader()]);
        let (content, strict, unsigned) = &*FORMS;
        let (reader, mut packed) = match strict.get(form) {
            Some(packed) => (&READERS[0], packed.clone()),
            None => (&READERS[1], unsigned[form - 4].clone()),
        };
        let at = ((packed.len() - 1) as f64 * place) as usize;
        packed[at] ^= 1 << bit;
        match reader.read(&packed) {
            Ok(found) => prop_assert!(one(found) == *content, "byte {} gave other rows", at),
            Err(error) => prop_assert!(error.kind() == ErrorKind::Input && !said(&error).contains("contoso"), "{}", said(&error)),
        }
    }

    #[test]
    fn a_changed_byte_without_encryption_is_no_panic(place in 0.0..1.0_f64, byte in any::<u8>(), cut in 0.0..1.2_f64) {
        static PACKED: LazyLock<Vec<u8>> = LazyLock::new(|| {
            Make { compression: Some(CompressionAlgorithm::ZIP), ..Make::default() }
                .signed_by(&SENDER.primary_key)
                .of(&rows(600))
        });
        let mut packed = PACKED.clone();
        let at = ((packed.len() - 1) as f64 * place) as usize;
        packed[at] = byte;
        packed.truncate(((packed.len() as f64) * cut) as usize);
        match PLAIN.read(&packed) {
            Ok(found) => prop_assert!(one(found) == rows(600)),
            Err(error) => prop_assert!(error.kind() == ErrorKind::Input),
        }
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), first in 0xc0_u8..) {
        let packed = [&[first], &bytes[..]].concat();
        prop_assert!(PLAIN.read(&packed).is_err());
    }
}

fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0xc0 | tag, 0xff];
    header.extend(u32::try_from(length).unwrap().to_be_bytes());
    header
}

/// The recipients of a message, and the body of what they can decrypt. The message must be small.
fn parts(packed: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let recipients = packed[..2 + usize::from(packed[1])].to_vec();
    let mut parser = ::pgp::packet::PacketParser::new(&packed[recipients.len()..]);
    let mut body = parser.next_ref().unwrap().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut body, &mut bytes).unwrap();
    (recipients, bytes)
}

#[test]
fn one_without_protection_against_changes_is_refused() {
    let packed = Make::to_us().of(&rows(2_000));
    let (recipients, body) = parts(&packed);
    // The packet of old: the same without the version, and never checked.
    let old = [&recipients[..], &header(9, body.len() - 1), &body[1..]].concat();
    let said = Stand::new().refused(&old);
    assert!(said.contains("without protection against changes"), "{said}");
}

#[test]
fn protection_cannot_be_cut_off_between_two_lengths() {
    let content = rows(4_000);
    let packed = Make::to_us().of(&content);
    let (recipients, body) = parts(&packed);
    let whole = [&recipients[..], &header(18, body.len()), &body].concat();
    assert!(Stand::new().content(&whole) == content);
    // As much as fits a length of a power of two, of a message whose content ends there, and then the file's end.
    for power in 9..12 {
        let part = 1_usize << power;
        for flip in [false, true] {
            let mut cut = [&recipients[..], &[0xc0 | 18, 0xe0 | power], &body[..part]].concat();
            if flip {
                let last = cut.len() - 30;
                cut[last] ^= 1;
            }
            Stand::new().refused(&cut);
        }
    }
    // A content that ends where what was decrypted so far ends, so that nobody needs a byte of what is missing: then
    // what was changed before would not be noticed.
    let decrypted = 2 * (8 * 1024 - 22);
    for length in decrypted - 40..decrypted {
        let content = &rows(17_000)[..length];
        let (recipients, mut body) = parts(&Make::to_us().of(content));
        body[1_000] ^= 1;
        body.truncate(1 + 18 + decrypted);
        body.resize(1 << 14, 0x55);
        let cut = [&recipients[..], &[0xc0 | 18, 0xe0 | 14], &body].concat();
        Stand::new().refused(&cut);
    }
}

#[test]
fn what_is_no_message_is_told() {
    let stand = Stand::strict();
    let signed = Make::to_us().signed_by(&SENDER.primary_key).of(b"x");
    let key = SENDER.to_public_key();
    for (packed, expected) in [
        (b"".to_vec(), "is empty"),
        (b"upn,resigned\nx,y\n".to_vec(), "no OpenPGP message"),
        (regular(1), "no OpenPGP message"),
        (
            b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx".to_vec(),
            "stays readable",
        ),
        (key.to_bytes().unwrap(), "no OpenPGP message"),
        (armored_public(&key).into_bytes(), "no OpenPGP message"),
        ([&signed[..], &signed].concat(), "more in it than one message"),
        ([&signed[..], b"junk"].concat(), "damaged"),
    ] {
        let said = stand.refused(&packed);
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // Keys of another packing are no use, but say so.
    let error = unpack_in(stand.path(), "x.pgp", &signed, json!({})).unwrap_err();
    assert!(
        said(&error).contains("there are no keys") && said(&error).contains("pgp: {keys"),
        "{}",
        said(&error)
    );
}
