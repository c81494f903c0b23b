//! Collects the rows and rejects of one file or page.

use std::borrow::Cow;
use std::sync::Arc;

use super::added_columns::AddedColumns;
use crate::component::{Chunk, Fault, Origin, Output, Part, Reject, RejectCode, SourceContext, Stopped};
use crate::error::Error;

/// Rows in a chunk: DataFusion's own batch size.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Bytes of values after which a chunk is sent, so that long remarks do not make large chunks.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// Bytes read from a file at a time.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Why reading ends before the input does.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The run needs no more rows; not an error.
    Stopped,
    /// The input cannot be read further.
    Failed(Error),
}

/// The result of reading.
pub(crate) type ReadResult<T = ()> = Result<T, ReadError>;

impl From<Stopped> for ReadError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes the rows and rejects of one file or page. Used on a thread that may block.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The name of the file or page in reports.
    pub(crate) name: Arc<str>,
    pub(crate) cx: SourceContext,
    pub(crate) output: Output,
    /// Columns that describe the file.
    pub(crate) added: AddedColumns,
}

impl Collector {
    /// Whether a component downstream uses the column.
    pub(crate) fn uses(&self, column: &str) -> bool {
        self.cx.columns.as_ref().is_none_or(|used| used.contains(column))
    }

    /// The part of the file with these columns and the added ones.
    ///
    /// # Errors
    /// The file already has an added column.
    pub(crate) fn part(&self, mut columns: Vec<String>) -> Result<Arc<Part>, Error> {
        for name in self.added.names() {
            if columns.contains(name) {
                let file = &self.name;
                let message =
                    format!("`{file}` already has a column `{name}`, which `add_columns` would add");
                return Err(Error::input(message).with_hint("give the added column another name"));
            }
            columns.push(name.clone());
        }
        let name = self.name.clone();
        Ok(Arc::new(Part { name, columns }))
    }

    /// Sends rows, waiting while the receivers are busy.
    pub(crate) fn send(&self, chunk: Chunk) -> ReadResult {
        let chunk = self.added.add_to(chunk, |column| self.uses(column))?;
        Ok(self.output.blocking_send(chunk)?)
    }

    /// Ends a long stretch without sending if the run has stopped.
    pub(crate) fn check_stopped(&self) -> ReadResult {
        if self.output.is_stopped() {
            Err(ReadError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Rejects a record of the file or page `name`.
    pub(crate) fn reject(
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
