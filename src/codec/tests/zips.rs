//! zip archives.

use std::io::Cursor;

use ::zip::write::{FileOptions, SimpleFileOptions};
use ::zip::{AesMode, CompressionMethod, ZipWriter};

use super::*;

type Options<'a> = FileOptions<'a, 'a, ()>;

fn options<'a>(method: CompressionMethod) -> Options<'a> {
    SimpleFileOptions::default().compression_method(method)
}

const STORED: CompressionMethod = CompressionMethod::Stored;
const DEFLATED: CompressionMethod = CompressionMethod::Deflated;

pub(super) fn zip<N: AsRef<str>>(members: &[(N, &[u8])]) -> Vec<u8> {
    zip_with(members, options(DEFLATED))
}

fn zip_with<N: AsRef<str>>(members: &[(N, &[u8])], options: Options<'_>) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(name.as_ref(), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn names(content: &Content) -> Vec<&str> {
    content.iter().map(|(name, _)| name.as_deref().unwrap()).collect()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn reads_selected_members_in_the_order_of_their_names() {
    let names_in = [
        "b.csv",
        "__MACOSX/._a.csv",
        "in/.DS_Store",
        "in\\a.csv",
        ".hidden.csv",
        "c.ndjson",
    ];
    let archive = zip(&names_in.map(|name| (name, &b"x"[..])));
    for (pattern, selected) in [
        (None, &["b.csv", "c.ndjson", "in/a.csv"][..]),
        (Some("*.csv"), &["b.csv", "in/a.csv"]),
        (Some("in/*.csv"), &["in/a.csv"]),
        (Some("[ab].csv"), &["b.csv", "in/a.csv"]),
        (Some("?.ndjson"), &["c.ndjson"]),
    ] {
        let content = decode("x.zip", &archive, json!({"zip": {"members": pattern}})).unwrap();
        assert_eq!(names(&content), selected, "{pattern:?}");
    }
    let members = [("leavers.txt", &b"x"[..]), ("bad\u{1b}[31m\u{202e}.txt", b"x")];
    let shown = refused("x.zip", &zip(&members), json!({"zip": {"members": "*.csv"}}));
    assert_shows(&shown, &["matches `*.csv`", "`leavers.txt`"]);
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    let shown = refused("x.zip", &zip::<&str>(&[]), json!({}));
    assert_shows(&shown, &["contains no files"]);
}

#[test]
fn reads_large_and_encrypted_members() {
    let content = rows(1 << 20);
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "right", "zip-secret");
    secret(folder.path(), "wrong", "not-it");
    let read = |archive: &[u8], password: &str| {
        let settings = json!({"zip": {"password": {"file": password}}});
        decode_in(folder.path(), "x.zip", archive, settings)
    };
    let aes = |method, mode| options(method).with_aes_encryption(mode, "zip-secret");
    for (options, encrypted) in [
        (options(DEFLATED).large_file(true), false),
        (aes(STORED, AesMode::Aes256), true),
        (aes(DEFLATED, AesMode::Aes128), true),
    ] {
        let archive = zip_with(&[("a.csv", &*content)], options);
        assert!(read(&archive, "right").unwrap()[0].1 == content);
        if encrypted {
            assert_shows(&refused("x.zip", &archive, json!({})), &["`a.csv`", "encrypted"]);
            let shown = shown(&read(&archive, "wrong").unwrap_err());
            assert!(shown.contains("password") && !shown.contains("not-it"), "{shown}");
        }
    }
}

#[test]
fn rejects_damaged_unsupported_and_malicious_archives() {
    let content = rows(50_000);
    let valid = zip(&[("a.csv", b"fine"), ("b.csv", &*content)]);
    for length in (0..valid.len()).step_by(valid.len() / 30) {
        assert_shows(&refused("x.zip", &valid[..length], json!({})), &["`x.zip`"]);
    }
    let mut damaged = valid.clone();
    damaged[valid.len() / 2] ^= 0x55;
    let mut link = ZipWriter::new(Cursor::new(Vec::new()));
    link.add_symlink("a.csv", "/etc/passwd", options(STORED)).unwrap();
    let link = link.finish().unwrap().into_inner();
    let twice = zip_with(&[("a.csv", b"1"), ("b.csv", b"2")], options(STORED));
    // The method is in the member's own header and in the list.
    let mut bzip2 = zip(&[("a.csv", b"x\n1\n")]);
    let list = bzip2.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    for at in [8, list + 10] {
        bzip2[at..at + 2].copy_from_slice(&12_u16.to_le_bytes());
    }
    let (mib, two_mib) = (regular(1), regular(2));
    let small: Vec<_> = (0..10).map(|n| (format!("{n}.csv"), &*two_mib)).collect();
    let sizes = [1_u32 << 20, 1_000].map(u32::to_le_bytes);
    let lying = replace(&zip(&[("a.csv", &*mib)]), &sizes[0], &sizes[1]);
    let many: Vec<_> = (0..=10_000).map(|n| (format!("{n:05}.csv"), &b""[..])).collect();
    let bomb = gzip(&mib).repeat(24);
    for (archive, expected) in [
        (damaged, "`b.csv` of the zip archive is damaged"),
        (zip(&[("inner.zip", &*valid)]), "contains another one"),
        (link, "`a.csv` of the zip archive is a symbolic link"),
        (replace(&twice, b"b.csv", b"a.csv"), "same name"),
        (bzip2, "compressed with bzip2"),
        (zip(&[("a.csv", &*regular(17))]), "max_compression_ratio"),
        (zip(&small), "max_compression_ratio"),
        (zip(&[("a.csv.gz", &*bomb)]), "max_compression_ratio"),
        // More than the list says does not come out.
        (lying, "damaged"),
        (zip_with(&many, options(STORED)), "10000"),
        (zip(&[("a.csv.gz", b"not gzip")]), "`x.zip/a.csv.gz`: the gz"),
    ] {
        assert_shows(&refused("x.zip", &archive, json!({})), &[expected]);
    }
    assert_shows(&refused("x.zip.gz", &bomb, json!({})), &["max_compression_ratio"]);
}

#[test]
fn combines_with_other_codecs() {
    let content = rows(600_000);
    let (zipped, zstd) = (gzip(&content), zstd(&content));
    let archive = zip(&[("a.csv.gz", &*zipped), ("b.csv.zst", &zstd), ("c.csv", &content)]);
    let one = zip(&[("a.csv", &*zipped)]);
    for (name, archive, compression, members) in [
        ("x.zip", &archive, None, &["a.csv", "b.csv", "c.csv"][..]),
        ("x.zip.gz", &gzip(&archive), None, &["a.csv", "b.csv", "c.csv"]),
        ("x.zip", &one, Some(["zip", "gzip"]), &["a.csv"]),
    ] {
        let decoded = decode(name, archive, json!({"compression": compression})).unwrap();
        assert_eq!(names(&decoded), members);
        assert!(decoded.iter().all(|(_, bytes)| *bytes == content));
    }
}

/// Info-ZIP and Python.
#[cfg(unix)]
#[test]
fn reads_archives_of_other_programs() {
    if !crate::external::enabled("zip programs (zip, python3)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let content = rows(200_000);
    std::fs::write(folder.path().join("a.csv"), &content).unwrap();
    std::fs::write(folder.path().join("ä b.csv"), b"b").unwrap();
    secret(folder.path(), "right", "zip-secret");
    secret(folder.path(), "wrong", "not-it");
    let python = |method: &str| {
        format!(
            "python3 -c \"import zipfile\nwith zipfile.ZipFile('x.zip', 'w', zipfile.{method}) as z:\n \
             z.write('a.csv')\n z.write('ä b.csv')\""
        )
    };
    for (script, password, expected) in [
        ("zip -q x.zip a.csv 'ä b.csv'", None, None),
        // Streamed: the sizes follow the bytes.
        ("zip -q - a.csv 'ä b.csv' | cat > x.zip", None, None),
        ("zip -q -P zip-secret x.zip a.csv 'ä b.csv'", Some("right"), None),
        (
            "zip -q -P zip-secret x.zip a.csv",
            Some("wrong"),
            Some("password"),
        ),
        (&python("ZIP_STORED"), None, None),
        (&python("ZIP_DEFLATED"), None, None),
        (&python("ZIP_LZMA"), None, Some("compressed with LZMA")),
    ] {
        let _ = std::fs::remove_file(folder.path().join("x.zip"));
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-c", script]).current_dir(folder.path()).status();
        assert!(status.unwrap().success(), "{script}");
        let archive = std::fs::read(folder.path().join("x.zip")).unwrap();
        let settings = json!({"zip": {"password": password.map(|name| json!({"file": name}))}});
        let decoded = decode_in(folder.path(), "x.zip", &archive, settings);
        match expected {
            Some(expected) => assert_shows(&shown(&decoded.unwrap_err()), &[expected]),
            None => {
                let decoded = decoded.unwrap();
                assert_eq!(names(&decoded), ["a.csv", "ä b.csv"], "{script}");
                assert!(decoded[0].1 == content && decoded[1].1 == b"b", "{script}");
            }
        }
    }
}
