//! gzip, zstd, and nested codecs.

use super::super::{MAX_WINDOW_LOG, RATIO_FREE_BYTES};
use super::*;

#[test]
fn detects_codecs_from_extensions_outermost_first() {
    use Codec::{Gzip, Pgp, Zip, Zstd};
    for (name, codecs, rest) in [
        ("x.csv", vec![], "x.csv"),
        ("x.csv.gz.pgp", vec![Pgp, Gzip], "x.csv"),
        ("in/x.CSV.ZST.Asc", vec![Pgp, Zstd], "in/x.CSV"),
        ("x.zip.gpg", vec![Pgp, Zip], "x"),
        // Before `.zip` it is part of the archive's name.
        ("x.csv.gz.zip", vec![Zip], "x.csv.gz"),
        ("in.gz/.gz", vec![], "in.gz/.gz"),
        ("gz", vec![], "gz"),
    ] {
        assert_eq!(codecs_of(name), (codecs, rest), "{name}");
    }
}

#[test]
fn decodes_single_nested_and_concatenated_streams() {
    let content = rows(3 << 20);
    let nested = gzip(&zstd(&content));
    let (start, end) = content.split_at(1 << 20);
    for (name, encoded, settings) in [
        ("x.csv", content.clone(), json!({})),
        ("x.csv.zst.gz", nested.clone(), json!({})),
        ("x", nested, json!({"compression": ["gzip", "zstd"]})),
        ("x.gz", [gzip(start), gzip(end)].concat(), json!({})),
        ("x.zst", [zstd(start), zstd(end)].concat(), json!({})),
    ] {
        let decoded = one(decode(name, &encoded, settings).unwrap());
        assert!(decoded == content, "{name}");
    }
    assert_eq!(one(decode("x.csv", b"", json!({})).unwrap()), b"");
}

#[test]
fn rejects_truncated_and_changed_streams_by_name_and_codec() {
    let content = rows(200_000);
    for (name, encoded) in [("x.csv.gz", gzip(&content)), ("x.csv.zst", zstd(&content))] {
        let lengths = (1..encoded.len()).step_by(encoded.len() / 40);
        for length in lengths.chain([encoded.len() - 1]) {
            let error = decode(name, &encoded[..length], json!({})).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            assert_shows(&shown(&error), &[name, "damaged or truncated"]);
        }
    }
    let inner = gzip(&content);
    let mut changed = inner.clone();
    changed[inner.len() / 2] ^= 1;
    refused("x.csv.gz", &changed, json!({}));

    let (damaged_inside, outer) = (zstd(&inner[..inner.len() / 2]), zstd(&inner));
    let shown = refused("x.csv.gz.zst", &damaged_inside, json!({}));
    assert_shows(&shown, &["gzip data is damaged"]);
    let shown = refused("x.csv.gz.zst", &outer[..outer.len() / 2], json!({}));
    assert_shows(&shown, &["zstd data is damaged"]);
    assert!(!shown.contains("gzip"), "{shown}");
}

#[test]
fn rejects_decompression_bombs_of_each_codec_and_of_all_together() {
    let mib = regular(1);
    for (name, encoded) in [("x.gz", gzip(&mib).repeat(24)), ("x.zst", zstd(&mib).repeat(24))] {
        assert!(RATIO_FREE_BYTES.max(200 * encoded.len() as u64) < 24 << 20);
        let shown = refused(name, &encoded, json!({}));
        assert_shows(&shown, &["`max_compression_ratio` is 200"]);
    }
    // 1,000 times in one codec and some dozens of times in the other: only together they exceed the limit.
    let nested = gzip(&gzip(&mib).repeat(24));
    let shown = refused("x.gz.gz", &nested, json!({"max_compression_ratio": 2_000}));
    assert_shows(&shown, &["the nested data expands"]);
    let decoded = decode("x.gz.gz", &nested, json!({"max_compression_ratio": 1_000_000}));
    assert_eq!(one(decoded.unwrap()).len(), 24 << 20);
    // A small file may have any ratio.
    let settings = json!({"max_compression_ratio": 1});
    let decoded = decode("x.gz", &gzip(&mib).repeat(15), settings);
    assert_eq!(one(decoded.unwrap()).len(), 15 << 20);
}

#[test]
fn rejects_a_zstd_window_above_the_limit_with_a_hint() {
    let encode = |window_log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(b"a,b\n1,2\n").unwrap();
        encoder.finish().unwrap()
    };
    let accepted = decode("a.csv.zst", &encode(MAX_WINDOW_LOG), json!({}));
    assert_eq!(one(accepted.unwrap()), b"a,b\n1,2\n");
    let shown = refused("a.csv.zst", &encode(MAX_WINDOW_LOG + 1), json!({}));
    assert_shows(&shown, &["128.0 MiB", "--long=27"]);
    assert!(!shown.contains("damaged"), "{shown}");
}

#[test]
fn stops_when_the_run_is_cancelled_and_reads_what_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gz");
    std::fs::write(&path, gzip(b"right\n")).unwrap();
    let decoder = decoder_in(folder.path(), json!({})).unwrap();
    let check = |cancel: &CancellationToken| {
        decoder.check("x.gz", SpooledBytes::open(&path).unwrap(), &[Codec::Gzip], cancel)
    };
    let cancel = CancellationToken::new();
    let decoded = check(&cancel).unwrap();
    cancel.cancel();
    assert_eq!(check(&cancel).unwrap_err().kind(), ErrorKind::Interrupted);
    // Another file takes its name.
    std::fs::write(folder.path().join("y"), gzip(b"wrong\n")).unwrap();
    std::fs::rename(folder.path().join("y"), &path).unwrap();
    for mut reader in [decoded[0].open().unwrap(), decoded[0].open().unwrap()] {
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "right\n");
    }
}
