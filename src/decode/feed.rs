//! What a decoder sends its rows and rejects to.

use std::borrow::Cow;
use std::sync::Arc;

use super::added::AddedColumns;
use crate::component::{Chunk, Fault, Origin, Output, Reject, RejectCode, SourceContext, Stopped};
use crate::error::Error;

/// Rows of a chunk. Enough to make the cost of a chunk vanish beside that of its rows, few enough that a handful of
/// chunks waiting in channels is a few megabytes; DataFusion's own batch size.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Bytes of cells after which a chunk is sent whatever its rows, so that long remarks do not make large chunks.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// Bytes asked of a file at once.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Why a decoder ends before its input does.
#[derive(Debug)]
pub(crate) enum End {
    /// Nobody wants more rows.
    Stopped,
    /// The input cannot be read on.
    Failed(Error),
}

/// The result of a step of reading.
pub(crate) type Step<T = ()> = Result<T, End>;

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

/// The way out of one file's or page's records. Used on a thread that may block.
#[derive(Debug)]
pub(crate) struct Feed {
    /// What the user knows the file or page as.
    pub(crate) name: Arc<str>,
    pub(crate) cx: SourceContext,
    pub(crate) out: Output,
    /// Columns that tell about the file.
    pub(crate) added: AddedColumns,
}

impl Feed {
    /// Whether anybody uses the column.
    pub(crate) fn wants(&self, column: &str) -> bool {
        self.cx
            .columns
            .as_ref()
            .is_none_or(|wanted| wanted.contains(column))
    }

    /// Passes rows on, waiting while the receivers are busy.
    pub(crate) fn send(&self, chunk: Chunk) -> Step {
        let chunk = self.added.add_to(chunk, |column| self.wants(column))?;
        Ok(self.out.blocking_send(chunk)?)
    }

    /// Ends a long stretch without sending when nobody waits any more.
    pub(crate) fn check_stopped(&self) -> Step {
        if self.out.is_stopped() {
            Err(End::Stopped)
        } else {
            Ok(())
        }
    }

    /// Puts a record aside.
    pub(crate) fn reject(
        &self,
        row: u64,
        line: Option<u64>,
        code: RejectCode,
        message: impl Into<Cow<'static, str>>,
    ) {
        self.reject_of(&self.name, row, line, code, message);
    }

    /// Puts a record of the page `name` aside.
    pub(crate) fn reject_of(
        &self,
        name: &Arc<str>,
        row: u64,
        line: Option<u64>,
        code: RejectCode,
        message: impl Into<Cow<'static, str>>,
    ) {
        let origin = Origin {
            file: name.clone(),
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
}
