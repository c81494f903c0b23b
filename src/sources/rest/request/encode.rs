//! Percent-encoding of what goes into a URL.

use std::fmt::Write as _;

/// Encodes `text` as one segment of a path: no value can begin another segment, a query or a fragment.
///
/// A comma stays as it is: it is how lists of ids are written, and means nothing in a path.
pub(super) fn segment(text: &str, out: &mut String) {
    encode(text, b",", out);
}

/// Encodes `text` as a name or a value in a query.
///
/// A space becomes `%20` and a plus `%2B`, which every server reads alike. What a query may hold and no server splits
/// it at stays readable, so that `$filter` and times look as in the vendors' documentation.
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
