//! What a decoder sends its rows and rejects to.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use super::compression::BadArchive;
use crate::component::{Chunk, Fault, Origin, Output, Reject, RejectCode, SourceContext, Stopped};
use crate::error::Error;

/// Rows of a chunk. Enough to make the cost of a chunk vanish beside that of its rows, few enough that a handful of
/// chunks waiting in channels is a few megabytes; DataFusion's own batch size.
pub(super) const CHUNK_ROWS: usize = 8192;

/// Bytes of cells after which a chunk is sent whatever its rows, so that long remarks do not make large chunks.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// Bytes asked of a file at once.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Why a decoder ends before its input does.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody wants more rows.
    Stopped,
    /// The input cannot be read on.
    Failed(Error),
}

/// The result of a step of reading.
pub(super) type Step<T = ()> = Result<T, End>;

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The way out of one file's records. Used on a thread that may block.
#[derive(Debug)]
pub(super) struct Feed {
    /// What the user knows the file as.
    pub(super) name: Arc<str>,
    pub(super) cx: SourceContext,
    pub(super) out: Output,
}

impl Feed {
    /// Whether anybody uses the column.
    pub(super) fn wants(&self, column: &str) -> bool {
        self.cx
            .columns
            .as_ref()
            .is_none_or(|wanted| wanted.contains(column))
    }

    /// Passes rows on, waiting while the receivers are busy.
    pub(super) fn send(&self, chunk: Chunk) -> Step {
        Ok(self.out.blocking_send(chunk)?)
    }

    /// Ends a long stretch without sending when nobody waits any more.
    pub(super) fn check_stopped(&self) -> Step {
        if self.out.is_stopped() {
            Err(End::Stopped)
        } else {
            Ok(())
        }
    }

    /// Puts a record aside.
    pub(super) fn reject(
        &self,
        row: u64,
        line: Option<u64>,
        code: RejectCode,
        message: impl Into<Cow<'static, str>>,
    ) {
        let origin = Origin {
            file: self.name.clone(),
            row,
            line,
        };
        let fault = Fault {
            field: None,
            code,
            message: message.into(),
            value: None,
        };
        self.cx.reject(Reject {
            origin,
            component: self.cx.name.clone(),
            faults: vec![fault],
        });
    }

    /// The error for a read that failed, `line` being where it had come to.
    pub(super) fn read_error(&self, error: io::Error, line: u64) -> Error {
        read_error(&self.name, error, Some(line))
    }
}

/// The error for a read of `name` that failed.
pub(super) fn read_error(name: &str, error: io::Error, line: Option<u64>) -> Error {
    let message = match line {
        Some(line) => format!("cannot read `{name}` on from line {line}"),
        None => format!("cannot read `{name}`"),
    };
    let bad = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<BadArchive>());
    let hint = bad.map(BadArchive::hint);
    let error = Error::input(message).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
