//! zip archives.

use std::io::{Cursor, Write as _};

use ::zip::write::{FileOptions, SimpleFileOptions};
use ::zip::{AesMode, CompressionMethod, ZipWriter};
use serde_json::json;

use super::{gzip, no_settings, regular, rows, said, unpack, unpack_in, zstd};

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn deflated() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

pub(super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    zip_with(
        &members
            .iter()
            .map(|&(name, bytes)| (name, bytes, deflated()))
            .collect::<Vec<_>>(),
    )
}

fn zip_with(members: &[(&str, &[u8], FileOptions<'_, '_, ()>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, options) in members {
        archive.start_file(*name, *options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn names(found: &super::Content) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_deref().unwrap()).collect()
}

#[test]
fn members_come_in_the_order_of_their_names_without_what_others_put_beside_them() {
    let packed = zip(&[
        ("b.csv", b"b"),
        ("__MACOSX/._a.csv", b"no"),
        ("in/.DS_Store", b"no"),
        ("in\\a.csv", b"a"),
        (".hidden.csv", b"no"),
        ("c.ndjson", b"c"),
    ]);
    let found = unpack("x.zip", &packed, no_settings()).unwrap();
    assert_eq!(names(&found), ["b.csv", "c.ndjson", "in/a.csv"]);
    assert_eq!(found[2].1, b"a");
    for (pattern, wanted) in [
        ("*.csv", vec!["b.csv", "in/a.csv"]),
        ("in/*.csv", vec!["in/a.csv"]),
        ("[ab].csv", vec!["b.csv", "in/a.csv"]),
        ("?.ndjson", vec!["c.ndjson"]),
    ] {
        let found = unpack("x.zip", &packed, json!({"zip": {"members": pattern}})).unwrap();
        assert_eq!(names(&found), wanted, "{pattern}");
    }
}

#[test]
fn no_match_is_an_error_that_names_what_is_there() {
    let packed = zip(&[("leavers.txt", b"x"), ("bad\u{1b}[31m\u{202e}.txt", b"x")]);
    let error = unpack("x.zip", &packed, json!({"zip": {"members": "*.csv"}})).unwrap_err();
    let said = said(&error);
    assert!(
        said.contains("matches `*.csv`") && said.contains("`leavers.txt`"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said:?}");
    let error = unpack("x.zip", &zip(&[]), no_settings()).unwrap_err();
    assert!(error.chain().contains("no files in it"), "{}", error.chain());
}

#[test]
fn stored_deflated_encrypted_large_and_streamed_members_are_read() {
    let content = rows(1 << 20);
    let folder = tempfile::tempdir().unwrap();
    super::secret(folder.path(), "password", "zip-secret");
    let settings = || json!({"zip": {"password": {"file": "password"}}});
    let read = |packed: &[u8]| unpack_in(folder.path(), "x.zip", packed, settings()).unwrap();
    for options in [
        stored(),
        deflated(),
        deflated().large_file(true),
        stored().with_aes_encryption(AesMode::Aes256, "zip-secret"),
        deflated().with_aes_encryption(AesMode::Aes128, "zip-secret"),
    ] {
        let packed = zip_with(&[("a.csv", &content, options)]);
        assert!(read(&packed)[0].1 == content, "{options:?}");
    }
    // What is written without a way back has the sizes behind the bytes.
    let mut streamed = ZipWriter::new_stream(Vec::new());
    streamed.start_file("a.csv", deflated()).unwrap();
    streamed.write_all(&content).unwrap();
    let streamed = streamed.finish().unwrap().into_inner();
    assert!(read(&streamed)[0].1 == content);
}

#[test]
fn the_password_is_asked_for_and_a_wrong_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    super::secret(folder.path(), "wrong", "not-it");
    for options in [
        deflated().with_aes_encryption(AesMode::Aes256, "zip-secret"),
        stored().with_aes_encryption(AesMode::Aes256, "zip-secret"),
    ] {
        let packed = zip_with(&[("a.csv", b"x,y\n1,2\n", options)]);
        let error = unpack("x.zip", &packed, no_settings()).unwrap_err();
        assert!(
            said(&error).contains("`a.csv`") && said(&error).contains("encrypted"),
            "{}",
            said(&error)
        );
        let wrong = json!({"zip": {"password": {"file": "wrong"}}});
        let error = unpack_in(folder.path(), "x.zip", &packed, wrong).unwrap_err();
        assert!(
            said(&error).contains("password") && !said(&error).contains("not-it"),
            "{}",
            said(&error)
        );
    }
}

#[test]
fn a_damaged_member_is_named_and_nothing_of_the_others_counts() {
    let content = rows(50_000);
    let packed = zip(&[("a.csv", b"fine"), ("b.csv", &content)]);
    let place = packed.len() / 2;
    let mut damaged = packed.clone();
    damaged[place] ^= 0x55;
    let error = unpack("x.zip", &damaged, no_settings()).unwrap_err();
    assert!(
        said(&error).contains("`b.csv` of the zip archive is damaged"),
        "{}",
        said(&error)
    );
    for cut in (0..packed.len()).step_by(packed.len() / 30) {
        let error = unpack("x.zip", &packed[..cut], no_settings()).unwrap_err();
        assert!(said(&error).contains("`x.zip`"), "{}", said(&error));
    }
}

#[test]
fn what_is_not_read_is_told() {
    let inner = zip(&[("a.csv", b"x")]);
    let error = unpack("x.zip", &zip(&[("inner.zip", &inner)]), no_settings()).unwrap_err();
    assert!(said(&error).contains("inside of another"), "{}", said(&error));

    let mut link = ZipWriter::new(Cursor::new(Vec::new()));
    link.add_symlink("a.csv", "/etc/passwd", stored()).unwrap();
    let link = link.finish().unwrap().into_inner();
    let error = unpack("x.zip", &link, no_settings()).unwrap_err();
    assert!(
        said(&error).contains("`a.csv` of the zip archive is a link"),
        "{}",
        said(&error)
    );

    // Two members of one name: the second's name is written over, in its header and in the list.
    let twice = zip_with(&[("a.csv", b"1", stored()), ("b.csv", b"2", stored())]);
    let twice = replace(&twice, b"b.csv", b"a.csv");
    let error = unpack("x.zip", &twice, no_settings()).unwrap_err();
    assert!(said(&error).contains("same name"), "{}", said(&error));
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(place) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn members_that_unpack_without_end_are_refused_before_they_are_read() {
    let content = regular(17);
    let packed = zip(&[("a.csv", &content)]);
    let error = unpack("x.zip", &packed, no_settings()).unwrap_err();
    assert!(said(&error).contains("max_compression_ratio"), "{}", said(&error));
    // Many that are small each.
    let content = regular(2);
    let many: Vec<_> = (0..10).map(|n| format!("{n}.csv")).collect();
    let packed = zip(&many
        .iter()
        .map(|name| (name.as_str(), &*content))
        .collect::<Vec<_>>());
    assert!(unpack("x.zip", &packed, no_settings()).is_err());
    // One that says it is small: what is more than it says does not come out.
    let packed = zip(&[("a.csv", &regular(1))]);
    let lying = replace(&packed, &(1_u32 << 20).to_le_bytes(), &1_000_u32.to_le_bytes());
    let error = unpack("x.zip", &lying, no_settings()).unwrap_err();
    assert!(said(&error).contains("damaged"), "{}", said(&error));
}

#[test]
fn too_many_members_are_refused() {
    let names: Vec<_> = (0..=10_000).map(|n| format!("{n:05}.csv")).collect();
    let packed = zip_with(
        &names
            .iter()
            .map(|name| (name.as_str(), &b""[..], stored()))
            .collect::<Vec<_>>(),
    );
    let error = unpack("x.zip", &packed, no_settings()).unwrap_err();
    assert!(said(&error).contains("10000"), "{}", said(&error));
}

#[test]
fn members_go_by_their_own_endings_or_by_what_is_set() {
    let content = rows(100_000);
    let packed = zip(&[
        ("a.csv.gz", &gzip(&content)),
        ("b.csv.zst", &zstd(&content)),
        ("c.csv", &content),
    ]);
    let found = unpack("x.zip", &packed, no_settings()).unwrap();
    assert_eq!(names(&found), ["a.csv", "b.csv", "c.csv"]);
    assert!(found.iter().all(|(_, bytes)| *bytes == content));

    let packed = zip(&[("a.csv", &gzip(&content))]);
    let found = unpack("x.zip", &packed, json!({"packing": ["zip", "gzip"]})).unwrap();
    assert!(found[0].1 == content);

    // One that is wrong in itself is named with the archive.
    let packed = zip(&[("a.csv.gz", b"no gzip at all")]);
    let error = unpack("x.zip", &packed, no_settings()).unwrap_err();
    assert!(
        error.chain().contains("`x.zip/a.csv.gz`: the gzip archive"),
        "{}",
        error.chain()
    );
    // A bomb in a member.
    let packed = zip(&[("a.csv.gz", &gzip(&regular(1)).repeat(24))]);
    assert!(said(&unpack("x.zip", &packed, no_settings()).unwrap_err()).contains("max_compression_ratio"));
}

#[test]
fn an_archive_in_another_layer_goes_through_a_file_without_a_name() {
    let content = rows(600_000);
    let packed = gzip(&zip(&[("a.csv", &content), ("b.csv", b"b")]));
    let found = unpack("x.zip.gz", &packed, no_settings()).unwrap();
    assert_eq!(names(&found), ["a.csv", "b.csv"]);
    assert!(found[0].1 == content);
    // A bomb around it is not written out.
    let error = unpack("x.zip.gz", &gzip(&regular(1)).repeat(24), no_settings()).unwrap_err();
    assert!(said(&error).contains("max_compression_ratio"), "{}", said(&error));
}

/// Archives made by Info-ZIP and by Python.
#[cfg(unix)]
#[test]
fn what_other_programs_make_is_read() {
    use std::process::Command;
    if !super::outside::wanted("zip programs (zip, python3)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let content = rows(200_000);
    std::fs::write(folder.path().join("a.csv"), &content).unwrap();
    std::fs::write(folder.path().join("ä b.csv"), b"b").unwrap();
    super::secret(folder.path(), "password", "zip-secret");
    super::secret(folder.path(), "wrong", "not-it");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .output();
        let output = output.unwrap_or_else(|error| panic!("{program} is asked for: {error}"));
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let read = |settings| {
        let packed = std::fs::read(folder.path().join("x.zip")).unwrap();
        unpack_in(folder.path(), "x.zip", &packed, settings)
    };
    let both = |found: super::Content| {
        assert_eq!(names(&found), ["a.csv", "ä b.csv"]);
        assert!(found[0].1 == content && found[1].1 == b"b");
    };
    let clean = || std::fs::remove_file(folder.path().join("x.zip")).unwrap();

    run("zip", &["-q", "x.zip", "a.csv", "ä b.csv"]);
    both(read(no_settings()).unwrap());
    clean();
    // As a stream, with sizes behind the bytes.
    run("sh", &["-c", "zip -q - a.csv 'ä b.csv' | cat > x.zip"]);
    both(read(no_settings()).unwrap());
    clean();
    run(
        "sh",
        &[
            "-c",
            "cat a.csv | zip -q -fz x.zip - && printf '@ -\\n@=a.csv\\n' | zipnote -w x.zip",
        ],
    );
    assert!(read(no_settings()).unwrap()[0].1 == content);
    clean();
    run("zip", &["-q", "-P", "zip-secret", "x.zip", "a.csv", "ä b.csv"]);
    both(read(json!({"zip": {"password": {"file": "password"}}})).unwrap());
    let error = read(json!({"zip": {"password": {"file": "wrong"}}})).unwrap_err();
    assert!(said(&error).contains("password"), "{}", said(&error));
    clean();
    for method in ["ZIP_STORED", "ZIP_DEFLATED"] {
        let script = format!(
            "import zipfile\nwith zipfile.ZipFile('x.zip', 'w', zipfile.{method}) as z:\n z.write('a.csv')\n z.write('ä b.csv')"
        );
        run("python3", &["-c", &script]);
        both(read(no_settings()).unwrap());
        clean();
    }
    let script =
        "import zipfile\nwith zipfile.ZipFile('x.zip', 'w', zipfile.ZIP_LZMA) as z:\n z.write('a.csv')";
    run("python3", &["-c", script]);
    assert!(said(&read(no_settings()).unwrap_err()).contains("is packed with"));
}

#[test]
fn a_member_that_is_packed_in_another_way_is_told_with_what_to_do() {
    // The method is in the member's own header and in the list.
    let mut packed = zip(&[("a.csv", b"x\n1\n")]);
    let list = packed
        .windows(4)
        .position(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    for at in [8, list + 10] {
        packed[at..at + 2].copy_from_slice(&12_u16.to_le_bytes());
    }
    let error = unpack("x.zip", &packed, no_settings()).unwrap_err();
    let told = said(&error);
    assert!(
        told.contains("packed with bzip2") && told.contains("deflate"),
        "{told}"
    );
}
