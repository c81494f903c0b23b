//! What the extensions of a file name say: compression and format.

use std::path::Path;

use crate::codec::{Codec, codecs_of};
use crate::error::{Error, Result};
use crate::format::{self, Access, FormatConfig};
use crate::storage::is_pattern;

pub(super) struct Extension {
    /// Compression and encryption, outermost first.
    pub(super) codecs: Vec<Codec>,
    /// In lower case, without the dot, before those of compression; empty if there is none.
    pub(super) format: String,
    /// Whether it is part of a pattern and differs between files.
    pub(super) open: bool,
}

impl Extension {
    pub(super) fn of(name: &str) -> Self {
        let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        let (codecs, rest) = codecs_of(&name);
        let (stem, format) = rest.rsplit_once('.').unwrap_or((rest, ""));
        Self {
            codecs,
            format: format.to_lowercase(),
            open: is_pattern(if format.is_empty() { stem } else { format }),
        }
    }

    pub(super) fn format(&self) -> Option<FormatConfig> {
        FormatConfig::of_extension(&self.format)
    }

    /// The format of the file `name`: the configured one, else that of the extension. `encoded`: inside a compressed or encrypted file.
    pub(super) fn format_of(
        &self,
        name: &str,
        configured: Option<&FormatConfig>,
        encoded: bool,
    ) -> Result<FormatConfig> {
        let Some(format) = configured.cloned().or_else(|| self.format()) else {
            let problem = format!("cannot detect the format of `{name}`: {}", self.unknown());
            return Err(Error::input(problem).with_hint(self.hint()));
        };
        if encoded && format.registration.access == Access::Ranges {
            let problem = format!(
                "cannot read `{}` from the compressed or encrypted file `{name}`",
                format.registration.name
            );
            return Err(Error::input(problem).with_hint(NEEDS_RANGES));
        }
        Ok(format)
    }

    /// Why the extension names no format.
    pub(super) fn unknown(&self) -> String {
        match self.format.as_str() {
            "" => "there is no extension to detect the format by".to_owned(),
            other => format!("the extension `.{other}` does not name a format"),
        }
    }

    pub(super) fn hint(&self) -> String {
        format::hint_for_extension(&self.format).unwrap_or_else(|| {
            let (names, extensions) = (format::names(), format::extensions());
            format!(
                "set `format` to one of {names}, or name the file with {extensions}, each also with `.gz`, `.zst` or `.pgp`"
            )
        })
    }
}

/// The hint where a format needs ranges and there are none.
pub(super) const NEEDS_RANGES: &str =
    "this format needs random access: read it from a file that is neither compressed nor encrypted";
