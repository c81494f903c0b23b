//! gzip, zstd, and layers in each other.

use std::io::Read as _;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::InputFile;
use super::super::settings::{Codec, codecs_of};
use super::{gzip, no_settings, one, regular, rows, said, unpack, unpacker_in, zstd};
use crate::error::ErrorKind;

#[test]
fn endings_tell_the_layers_from_the_outermost_on() {
    use Codec::{Gzip, Pgp, Zip, Zstd};
    for (name, layers, rest) in [
        ("x.csv", vec![], "x.csv"),
        ("x.csv.gz", vec![Gzip], "x.csv"),
        ("x.csv.gz.pgp", vec![Pgp, Gzip], "x.csv"),
        ("in/x.CSV.ZST.Asc", vec![Pgp, Zstd], "in/x.CSV"),
        ("x.zip.gpg", vec![Pgp, Zip], "x"),
        // Left of `.zip` it is the name of the archive alone.
        ("x.csv.gz.zip", vec![Zip], "x.csv.gz"),
        (".gz", vec![], ".gz"),
        ("in.gz/.gz", vec![], "in.gz/.gz"),
        ("in.gz/x", vec![], "in.gz/x"),
        ("gz", vec![], "gz"),
    ] {
        assert_eq!(codecs_of(name), (layers, rest), "{name}");
    }
}

#[test]
fn each_layer_and_layers_in_each_other_give_the_content() {
    let content = rows(3 << 20);
    assert_eq!(one(unpack("x.csv", &content, no_settings()).unwrap()), content);
    assert_eq!(
        one(unpack("x.csv.gz", &gzip(&content), no_settings()).unwrap()),
        content
    );
    assert_eq!(
        one(unpack("x.csv.zst", &zstd(&content), no_settings()).unwrap()),
        content
    );
    let stacked = gzip(&zstd(&content));
    assert_eq!(
        one(unpack("x.csv.zst.gz", &stacked, no_settings()).unwrap()),
        content
    );
    let settings = json!({"packing": ["gzip", "zstd"]});
    assert_eq!(one(unpack("x", &stacked, settings).unwrap()), content);
    // Several members, and several frames, are one file.
    let two = [gzip(&content), gzip(b"end\n")].concat();
    assert_eq!(
        one(unpack("x.gz", &two, no_settings()).unwrap()).len(),
        content.len() + 4
    );
    assert_eq!(one(unpack("x.csv", b"", no_settings()).unwrap()), b"");
}

#[test]
fn one_that_is_cut_off_or_changed_is_an_error_that_names_it() {
    let content = rows(200_000);
    for (name, packed) in [("x.csv.gz", gzip(&content)), ("x.csv.zst", zstd(&content))] {
        for cut in (0..packed.len())
            .step_by(packed.len() / 40)
            .chain([packed.len() - 1])
            .skip(1)
        {
            let error = unpack(name, &packed[..cut], no_settings()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            let said = said(&error);
            assert!(
                said.contains(name) && said.contains("damaged or cut off"),
                "{cut}: {said}"
            );
        }
    }
    let mut packed = gzip(&content);
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    assert!(unpack("x.csv.gz", &packed, no_settings()).is_err());
}

#[test]
fn what_is_wrong_inside_is_said_by_the_layer_it_is_in() {
    let inner = gzip(&rows(100_000));
    let error = unpack("x.csv.gz.zst", &zstd(&inner[..inner.len() / 2]), no_settings()).unwrap_err();
    assert!(
        error.chain().contains("gzip archive is damaged"),
        "{}",
        error.chain()
    );
    let outer = zstd(&inner);
    let error = unpack("x.csv.gz.zst", &outer[..outer.len() / 2], no_settings()).unwrap_err();
    assert!(
        error.chain().contains("zstd archive is damaged"),
        "{}",
        error.chain()
    );
    assert!(!error.chain().contains("gzip"), "{}", error.chain());
}

#[test]
fn a_bomb_is_found_in_each_layer_and_in_the_whole() {
    let mib = regular(1);
    for (name, packed) in [
        ("x.csv.gz", gzip(&mib).repeat(24)),
        ("x.csv.zst", zstd(&mib).repeat(24)),
    ] {
        let error = unpack(name, &packed, no_settings()).unwrap_err();
        assert!(
            said(&error).contains("`max_compression_ratio`"),
            "{}",
            said(&error)
        );
    }
    // A thousand times in one layer, some dozens of times in the other: neither passes the bound by itself, both
    // together do.
    let stacked = gzip(&gzip(&mib).repeat(24));
    let error = unpack("x.gz.gz", &stacked, json!({"max_compression_ratio": 2_000})).unwrap_err();
    assert!(
        error.chain().contains("of the whole archive"),
        "{}",
        error.chain()
    );
    let found = unpack("x.gz.gz", &stacked, json!({"max_compression_ratio": 1_000_000})).unwrap();
    assert_eq!(one(found).len(), 24 << 20);
}

#[test]
fn a_cancelled_run_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gz");
    std::fs::write(&path, gzip(&rows(1 << 20))).unwrap();
    let unpacker = unpacker_in(folder.path(), &no_settings()).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let packed = InputFile::from_path(&path).unwrap();
    let error = unpacker
        .check("x.gz", packed, &[Codec::Gzip], &cancel)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn what_was_checked_is_read_whatever_takes_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gz");
    std::fs::write(&path, gzip(b"right\n")).unwrap();
    let unpacker = unpacker_in(folder.path(), &no_settings()).unwrap();
    let packed = InputFile::from_path(&path).unwrap();
    let unpacked = unpacker
        .check("x.gz", packed, &[Codec::Gzip], &CancellationToken::new())
        .unwrap();
    std::fs::write(folder.path().join("y"), gzip(b"wrong\n")).unwrap();
    std::fs::rename(folder.path().join("y"), &path).unwrap();
    // Two readers at once do not share a place.
    let (mut first, mut second) = (unpacked.open(0).unwrap(), unpacked.open(0).unwrap());
    let (mut a, mut b) = (String::new(), String::new());
    first.read_to_string(&mut a).unwrap();
    second.read_to_string(&mut b).unwrap();
    assert_eq!((a.as_str(), b.as_str()), ("right\n", "right\n"));
}
