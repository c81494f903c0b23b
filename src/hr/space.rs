//! White space of HR exports: no-break spaces from web pages, byte order marks in the middle of files.

/// `text` without white space at both ends: everything Unicode calls `White_Space` (no-break spaces, tabs and line
/// ends included), and the invisible zero width space, word joiner and byte order mark.
pub(crate) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim_matches(is_space),
    }
}

/// Whether [`trim`] removes it.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}' | '\u{2060}' | '\u{FEFF}')
}
