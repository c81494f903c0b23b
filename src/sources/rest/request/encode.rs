//! Percent-encoding for URLs.

use std::fmt::Write as _;

/// Encodes `text` as one segment of a path. A comma stays, since it separates lists of ids.
pub(super) fn segment(text: &str, out: &mut String) {
    encode(text, b",", out);
}

/// Encodes `text` as a name or a value in a query.
///
/// A space becomes `%20` and a plus `%2B`, which all servers read alike. Characters that are allowed in a query and
/// separate nothing stay, so that `$filter` and times look as in the vendors' documentation.
pub(super) fn query(text: &str, out: &mut String) {
    encode(text, b"!$()*,/:@", out);
}

fn encode(text: &str, also: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
