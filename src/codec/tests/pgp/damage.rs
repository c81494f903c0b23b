//! Truncated, changed and foreign files.

use super::*;

fn forms(content: &[u8], signed: bool) -> Vec<Vec<u8>> {
    use CompressionAlgorithm::{BZip2, ZIP, ZLIB};
    let forms = [None, Some(ZIP), Some(ZLIB), Some(BZip2)].map(|compression| {
        let mut make = Make::to_us();
        (make.compression, make.v2) = (compression, matches!(compression, Some(ZLIB | BZip2)));
        match signed {
            true => make.signed_by(&SENDER.primary_key).of(content),
            false => make.of(content),
        }
    });
    forms.into()
}

#[test]
fn rejects_a_message_truncated_anywhere() {
    let strict = Fixture::strict().decoder();
    for encoded in forms(&rows(20_000), true) {
        let steps = (0..encoded.len()).step_by(encoded.len() / 40);
        for length in steps.chain(encoded.len() - 40..encoded.len()) {
            let error = read(&strict, &encoded[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input, "{length}: {}", shown(&error));
        }
    }
}

/// A content, with a decoder and messages: unsigned, signed, and signed without encryption.
type Forms = (Vec<u8>, [(Decoder, Vec<Vec<u8>>); 3]);
static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let content = rows(12_000);
    let plain = Make {
        compression: Some(CompressionAlgorithm::ZIP),
        ..Make::default()
    };
    let plain = plain.signed_by(&SENDER.primary_key).of(&content);
    let lenient = Fixture::strict().set("encrypted", json!("optional"));
    let forms = [
        (Fixture::new().decoder(), forms(&content, false)),
        (Fixture::strict().decoder(), forms(&content, true)),
        (lenient.decoder(), vec![plain]),
    ];
    (content, forms)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_or_yields_other_rows_for_a_changed_byte(kind in 0_usize..3, form in 0_usize..4, place in 0.0..1.0_f64, bit in 0_u32..8, length in 0.0..5.0_f64) {
        let (content, forms) = &*FORMS;
        let (decoder, forms) = &forms[kind];
        let mut encoded = forms[form % forms.len()].clone();
        let at = ((encoded.len() - 1) as f64 * place) as usize;
        encoded[at] ^= 1 << bit;
        encoded.truncate((encoded.len() as f64 * length) as usize);
        match read(decoder, &encoded) {
            Ok(found) => prop_assert!(one(found) == *content, "byte {} gave other rows", at),
            Err(error) => prop_assert!(error.kind() == ErrorKind::Input && !shown(&error).contains("contoso"), "{}", shown(&error)),
        }
    }
}

fn header(tag: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[0xc0 | tag, 0xff], &length[..]].concat()
}

/// The recipients of a small message, and the encrypted body.
fn parts(encoded: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let recipients = encoded[..2 + usize::from(encoded[1])].to_vec();
    let mut parser = ::pgp::packet::PacketParser::new(&encoded[recipients.len()..]);
    let mut packet = parser.next_ref().unwrap().unwrap();
    let mut body = Vec::new();
    packet.read_to_end(&mut body).unwrap();
    (recipients, body)
}

#[test]
fn rejects_missing_or_removed_integrity_protection() {
    let fixture = Fixture::new();
    let content = rows(4_000);
    let (recipients, body) = parts(&Make::to_us().of(&content));
    // The old packet: the same without the version, and never checked.
    let old = [&recipients[..], &header(9, body.len() - 1), &body[1..]].concat();
    fixture.refuses(&old, &["without integrity protection"]);
    let complete = [&recipients[..], &header(18, body.len()), &body].concat();
    assert!(fixture.content(&complete) == content);
    // Truncated where a partial length ends, with and without a change before.
    for power in 9..12 {
        for flip in [0, 1] {
            let mut truncated = [&recipients[..], &[0xc0 | 18, 0xe0 | power], &body[..1 << power]].concat();
            let last = truncated.len() - 30;
            truncated[last] ^= flip;
            fixture.refuses(&truncated, &[]);
        }
    }
    // Content that ends where the decrypted bytes end: no byte of the missing part is needed, so a change before would
    // go unnoticed.
    let decrypted = 2 * (8 * 1024 - 22);
    for length in decrypted - 40..decrypted {
        let (recipients, mut body) = parts(&Make::to_us().of(&rows(17_000)[..length]));
        body[1_000] ^= 1;
        body.truncate(1 + 18 + decrypted);
        body.resize(1 << 14, 0x55);
        let truncated = [&recipients[..], &[0xc0 | 18, 0xe0 | 14], &body].concat();
        fixture.refuses(&truncated, &[]);
    }
}

#[test]
fn reports_what_is_not_a_message() {
    let fixture = Fixture::strict();
    let signed = Make::to_us().signed_by(&SENDER.primary_key).of(b"x");
    let key = SENDER.to_public_key();
    for (encoded, expected) in [
        (b"".to_vec(), "is empty"),
        (b"upn,resigned\nx,y\n".to_vec(), "not an OpenPGP message"),
        (regular(1), "not an OpenPGP message"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----\n".to_vec(), "clear-signed"),
        (key.to_bytes().unwrap(), "not an OpenPGP message"),
        (armored_public(&key).into_bytes(), "not an OpenPGP message"),
        ([&signed[..], &signed].concat(), "more than one message"),
        ([&signed[..], b"junk"].concat(), "damaged"),
    ] {
        fixture.refuses(&encoded, &[expected]);
    }
    let shown = refused("x.pgp", &signed, json!({}));
    assert_shows(&shown, &["there are no keys", "pgp: {keys"]);
}
