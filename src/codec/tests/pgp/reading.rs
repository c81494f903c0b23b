//! Accepted messages, and decompression bombs.

use super::zips::zip;
use super::*;

#[test]
fn reads_every_form_of_a_message() {
    use CompressionAlgorithm::{BZip2, ZIP, ZLIB};
    let (strict, plain) = (Fixture::strict(), Fixture::new());
    for content in [b"".to_vec(), b"upn\n1\n".to_vec(), rows(200_000)] {
        for compression in [None, Some(ZIP), Some(ZLIB), Some(BZip2)] {
            for v2 in [false, true] {
                let mut make = Make::to_us();
                (make.compression, make.v2) = (compression, v2);
                let signed = make.clone().signed_by(&SENDER.primary_key).of(&content);
                assert!(strict.content(&signed) == content, "{compression:?} {v2}");
                assert!(strict.content(&armor(&signed)) == content, "{compression:?} {v2}");
                let unsigned = make.of(&content);
                assert!(plain.content(&unsigned) == content, "{compression:?} {v2}");
            }
        }
    }
    // Ends of buffers of the crate.
    for end in [8192 - 21, 8192, 16384, 65536, 512 << 10] {
        for length in [end - 1, end, end + 1] {
            let content = &rows(length)[..length];
            let encoded = Make::to_us().signed_by(&SENDER.primary_key).of(content);
            assert!(strict.content(&encoded) == content, "{length}");
        }
    }
}

#[test]
fn rejects_decompression_bombs_in_a_message() {
    let fixture = Fixture::new();
    for compression in [CompressionAlgorithm::ZLIB, CompressionAlgorithm::BZip2] {
        let mut make = Make::to_us();
        make.compression = Some(compression);
        fixture.refuses(&make.of(&regular(24)), &["max_compression_ratio"]);
    }
    let bomb = Make::to_us().of(&gzip(&regular(1)).repeat(24));
    let error = fixture.read("x.csv.gz.pgp", &bomb).unwrap_err();
    assert_shows(&shown(&error), &["gzip data expands"]);
}

#[test]
fn reads_messages_nested_with_other_codecs() {
    let content = rows(200_000);
    let fixture = Fixture::strict();
    let make = |bytes: &[u8]| Make::to_us().signed_by(&SENDER.primary_key).of(bytes);
    let archive = zip(&[("a.csv", &*content), ("b.csv", b"b")]);
    for (name, encoded, member) in [
        ("x.csv.gz.gpg", make(&gzip(&content)), None),
        ("x.csv.asc.gz", gzip(&make(&content)), None),
        ("x.csv.pgp.pgp", make(&make(&content)), None),
        ("x.zip.pgp", make(&archive), Some("a.csv")),
        ("x.zip", zip(&[("a.csv.pgp", &*make(&content))]), Some("a.csv")),
    ] {
        let read = fixture.read(name, &encoded).unwrap();
        assert_eq!(read[0].0.as_deref(), member, "{name}");
        assert!(read[0].1 == content, "{name}");
    }
    // Damage outside the message is not attributed to it.
    let encoded = gzip(&make(&content));
    let error = fixture.read("x.csv.asc.gz", &encoded[..encoded.len() / 2]);
    assert_shows(&shown(&error.unwrap_err()), &["gzip data is damaged"]);
}
