//! What to do with files that the configured format cannot be: of another format, or of a type that is not read.

use super::{extensions, formats};

/// Types that no format reads: extensions, first bytes, name, hint. A format that claims one of them comes first.
const FOREIGN: [(&[&str], &[u8], &str, &str); 10] = {
    const EXPORT: &str = "have the HR system export CSV";
    const SAVE_AS_CSV: &str =
        "save it as \"CSV UTF-8\" in the program it comes from, or have the HR system export CSV";
    const ZIP: &str =
        "an archive: set `compression: zip`; an Excel workbook (.xlsx) must be saved as \"CSV UTF-8\"";
    const OTHER: &str = "extract it before the run, or compress it with gzip, zstd or zip";
    const PGP: &str = "set `compression: pgp` and give the key in `pgp`";
    [
        (&[], b"\x1f\x8b", "a gzip archive", "set `compression: gzip`"),
        (
            &[],
            b"\x28\xb5\x2f\xfd",
            "a zstd archive",
            "set `compression: zstd`",
        ),
        (&[], b"PK\x03\x04", "a ZIP archive or an Excel workbook", ZIP),
        (
            &["xlsx", "xlsm", "xls", "ods"],
            b"\xd0\xcf\x11\xe0",
            "an old Excel workbook",
            SAVE_AS_CSV,
        ),
        (&["bz2"], b"BZh", "a bzip2 archive", OTHER),
        (&["xz"], b"\xfd7zXZ", "an xz archive", OTHER),
        (&["7z"], b"7z\xbc\xaf", "a 7-Zip archive", OTHER),
        (&["rar"], b"Rar!", "a RAR archive", OTHER),
        (&["pdf"], b"%PDF-", "a PDF document", EXPORT),
        (&[], b"-----BEG", "a PGP message or a key", PGP),
    ]
};

/// What a file that starts like this is, and what to do with it, if it is not text.
pub(super) fn not_text(head: &[u8]) -> Option<(String, String)> {
    let is_magic = |magic: &[u8]| !magic.is_empty() && head.starts_with(magic);
    if let Some(format) = formats().iter().find(|format| is_magic(format.magic)) {
        let name = format.name;
        return Some((
            format!("a file of the format `{name}`"),
            format!("set `format: {name}`"),
        ));
    }
    let (_, _, what, hint) = FOREIGN.into_iter().find(|(_, magic, ..)| is_magic(magic))?;
    Some((what.to_owned(), hint.to_owned()))
}

/// What to do with a file whose extension names no format, if the extension is known.
pub(crate) fn hint_for_extension(extension: &str) -> Option<String> {
    let mut all = formats().iter();
    if let Some(format) = all.find(|format| format.shared_extensions.contains(&extension)) {
        let name = format.name;
        return Some(format!(
            "set `format: {name}`, or `format: {{type: {name}, …}}` with its settings; {} need no `format`",
            extensions()
        ));
    }
    let mut foreign = FOREIGN.into_iter();
    let (.., hint) = foreign.find(|(extensions, ..)| extensions.contains(&extension))?;
    Some(hint.to_owned())
}
