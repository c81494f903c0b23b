//! zip archives.

use std::io::Cursor;

use ::zip::write::{FileOptions, SimpleFileOptions};
use ::zip::{AesMode, CompressionMethod, ZipWriter};

use super::*;

type Options<'a> = FileOptions<'a, 'a, ()>;

fn stored<'a>() -> Options<'a> {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn deflated<'a>() -> Options<'a> {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

pub(super) fn zip<N: AsRef<str>>(members: &[(N, &[u8])]) -> Vec<u8> {
    zip_with(members, deflated())
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
    let members: [(&str, &[u8]); 6] = [
        ("b.csv", b"b"),
        ("__MACOSX/._a.csv", b"no"),
        ("in/.DS_Store", b"no"),
        ("in\\a.csv", b"a"),
        (".hidden.csv", b"no"),
        ("c.ndjson", b"c"),
    ];
    for (settings, selected) in [
        (json!({}), &["b.csv", "c.ndjson", "in/a.csv"][..]),
        (json!({"zip": {"members": "*.csv"}}), &["b.csv", "in/a.csv"]),
        (json!({"zip": {"members": "in/*.csv"}}), &["in/a.csv"]),
        (json!({"zip": {"members": "[ab].csv"}}), &["b.csv", "in/a.csv"]),
        (json!({"zip": {"members": "?.ndjson"}}), &["c.ndjson"]),
    ] {
        let content = decode("x.zip", &zip(&members), settings.clone()).unwrap();
        assert_eq!(names(&content), selected, "{settings}");
    }
}

#[test]
fn reports_the_members_when_none_is_selected() {
    let members = [("leavers.txt", &b"x"[..]), ("bad\u{1b}[31m\u{202e}.txt", b"x")];
    let shown = refused("x.zip", &zip(&members), json!({"zip": {"members": "*.csv"}}));
    assert_shows(&shown, &["matches `*.csv`", "`leavers.txt`"]);
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    assert_shows(
        &refused("x.zip", &zip::<&str>(&[]), json!({})),
        &["contains no files"],
    );
}

#[test]
fn reads_stored_deflated_encrypted_large_and_streamed_members() {
    let content = rows(1 << 20);
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "password", "zip-secret");
    let mut streamed = ZipWriter::new_stream(Vec::new());
    streamed.start_file("a.csv", deflated()).unwrap();
    streamed.write_all(&content).unwrap();
    let mut archives = vec![streamed.finish().unwrap().into_inner()];
    archives.extend(
        [
            stored(),
            deflated(),
            deflated().large_file(true),
            stored().with_aes_encryption(AesMode::Aes256, "zip-secret"),
            deflated().with_aes_encryption(AesMode::Aes128, "zip-secret"),
        ]
        .map(|options| zip_with(&[("a.csv", &*content)], options)),
    );
    for (index, archive) in archives.iter().enumerate() {
        let settings = json!({"zip": {"password": {"file": "password"}}});
        let read = decode_in(folder.path(), "x.zip", archive, settings).unwrap();
        assert!(read[0].1 == content, "{index}");
    }
}

#[test]
fn requires_the_right_password() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "wrong", "not-it");
    for options in [deflated(), stored()] {
        let options = options.with_aes_encryption(AesMode::Aes256, "zip-secret");
        let archive = zip_with(&[("a.csv", b"x,y\n1,2\n")], options);
        assert_shows(&refused("x.zip", &archive, json!({})), &["`a.csv`", "encrypted"]);
        let wrong = json!({"zip": {"password": {"file": "wrong"}}});
        let shown = shown(&decode_in(folder.path(), "x.zip", &archive, wrong).unwrap_err());
        assert!(shown.contains("password") && !shown.contains("not-it"), "{shown}");
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
    link.add_symlink("a.csv", "/etc/passwd", stored()).unwrap();
    let twice = zip_with(&[("a.csv", b"1"), ("b.csv", b"2")], stored());
    // The method is in the member's own header and in the list.
    let mut bzip2 = zip(&[("a.csv", b"x\n1\n")]);
    let list = bzip2.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    for at in [8, list + 10] {
        bzip2[at..at + 2].copy_from_slice(&12_u16.to_le_bytes());
    }
    let (mib, two_mib) = (regular(1), regular(2));
    let small: Vec<_> = (0..10).map(|n| (format!("{n}.csv"), &*two_mib)).collect();
    let lying = replace(
        &zip(&[("a.csv", &*mib)]),
        &(1_u32 << 20).to_le_bytes(),
        &1_000_u32.to_le_bytes(),
    );
    let many: Vec<_> = (0..=10_000).map(|n| (format!("{n:05}.csv"), &b""[..])).collect();
    for (archive, expected) in [
        (damaged, "`b.csv` of the zip archive is damaged"),
        (zip(&[("inner.zip", &*valid)]), "contains another one"),
        (
            link.finish().unwrap().into_inner(),
            "`a.csv` of the zip archive is a symbolic link",
        ),
        (replace(&twice, b"b.csv", b"a.csv"), "same name"),
        (bzip2, "compressed with bzip2"),
        (zip(&[("a.csv", &*regular(17))]), "max_compression_ratio"),
        (zip(&small), "max_compression_ratio"),
        (
            zip(&[("a.csv.gz", &*gzip(&mib).repeat(24))]),
            "max_compression_ratio",
        ),
        // More than the list says does not come out.
        (lying, "damaged"),
        (zip_with(&many, stored()), "10000"),
        (
            zip(&[("a.csv.gz", b"not gzip")]),
            "`x.zip/a.csv.gz`: the gzip data",
        ),
    ] {
        assert_shows(&refused("x.zip", &archive, json!({})), &[expected]);
    }
}

#[test]
fn decodes_members_by_their_extensions_or_as_set() {
    let content = rows(100_000);
    let archive = zip(&[
        ("a.csv.gz", &*gzip(&content)),
        ("b.csv.zst", &zstd(&content)),
        ("c.csv", &content),
    ]);
    let decoded = decode("x.zip", &archive, json!({})).unwrap();
    assert_eq!(names(&decoded), ["a.csv", "b.csv", "c.csv"]);
    assert!(decoded.iter().all(|(_, bytes)| *bytes == content));
    let archive = zip(&[("a.csv", &*gzip(&content))]);
    let decoded = decode("x.zip", &archive, json!({"compression": ["zip", "gzip"]})).unwrap();
    assert!(decoded[0].1 == content);
}

#[test]
fn reads_an_archive_inside_another_codec() {
    let content = rows(600_000);
    let encoded = gzip(&zip(&[("a.csv", &*content), ("b.csv", b"b")]));
    let decoded = decode("x.zip.gz", &encoded, json!({})).unwrap();
    assert_eq!(names(&decoded), ["a.csv", "b.csv"]);
    assert!(decoded[0].1 == content);
    let bomb = gzip(&regular(1)).repeat(24);
    assert_shows(&refused("x.zip.gz", &bomb, json!({})), &["max_compression_ratio"]);
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
    secret(folder.path(), "password", "zip-secret");
    secret(folder.path(), "wrong", "not-it");
    let python = |method: &str| {
        format!(
            "python3 -c \"import zipfile\nwith zipfile.ZipFile('x.zip', 'w', zipfile.{method}) as z:\n \
             z.write('a.csv')\n z.write('ä b.csv')\""
        )
    };
    let password = json!({"zip": {"password": {"file": "password"}}});
    let wrong = json!({"zip": {"password": {"file": "wrong"}}});
    for (script, settings, expected) in [
        ("zip -q x.zip a.csv 'ä b.csv'".to_owned(), json!({}), None),
        // Streamed: the sizes follow the bytes.
        (
            "zip -q - a.csv 'ä b.csv' | cat > x.zip".to_owned(),
            json!({}),
            None,
        ),
        (
            "zip -q -P zip-secret x.zip a.csv 'ä b.csv'".to_owned(),
            password,
            None,
        ),
        (
            "zip -q -P zip-secret x.zip a.csv".to_owned(),
            wrong,
            Some("password"),
        ),
        (python("ZIP_STORED"), json!({}), None),
        (python("ZIP_DEFLATED"), json!({}), None),
        (python("ZIP_LZMA"), json!({}), Some("compressed with LZMA")),
    ] {
        let _ = std::fs::remove_file(folder.path().join("x.zip"));
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-c", &script]).current_dir(folder.path()).status();
        assert!(status.unwrap().success(), "{script}");
        let archive = std::fs::read(folder.path().join("x.zip")).unwrap();
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
