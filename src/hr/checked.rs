//! What a check gives back.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{Array, StringArray, StringBuilder};

use crate::component::RejectCode;

/// A column after its check.
pub struct Checked {
    /// The values to send, one for each row of the input; null where there is none or where it has a fault.
    pub values: StringArray,
    /// What is wrong, in the order of the rows; at most one for each row.
    pub faults: Vec<RowFault>,
    /// How many values were cut to the length their field allows. Only [`text::check`](super::text::check) cuts.
    pub truncated: usize,
}

/// Counts only: the values are personal data.
impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("rows", &self.values.len())
            .field("faults", &self.faults.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// Why one row's value cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Index of the row in the column, from 0.
    pub row: usize,
    /// The reason.
    pub code: RejectCode,
    /// The reason in words. Never holds the value.
    pub message: Cow<'static, str>,
}

pub(super) const MISSING: &str = "a value is required, but there is none";

impl RowFault {
    pub(super) fn new(row: usize, code: RejectCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            row,
            code,
            message: message.into(),
        }
    }

    pub(super) fn missing(row: usize) -> Self {
        Self::new(row, RejectCode::Missing, MISSING)
    }
}

/// Rewrites a text column of which most values stay as they are: as long as all do, nothing is copied, and the
/// column that comes out shares the buffers of the one that went in.
///
/// Call one of `keep`, `replace` and `null` for each row, in order.
pub(super) struct Rewriter<'a> {
    input: &'a StringArray,
    output: Option<StringBuilder>,
    faults: Vec<RowFault>,
    pub(super) truncated: usize,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(input: &'a StringArray) -> Self {
        Self {
            input,
            output: None,
            faults: Vec::new(),
            truncated: 0,
        }
    }

    pub(super) fn keep(&mut self, row: usize) {
        if let Some(output) = &mut self.output {
            output.append_option(value(self.input, row));
        }
    }

    pub(super) fn replace(&mut self, row: usize, text: &str) {
        self.output(row).append_value(text);
    }

    /// A row without a value; a fault if it must have one.
    pub(super) fn null(&mut self, row: usize, required: bool) {
        if required {
            self.faults.push(RowFault::missing(row));
        }
        if self.input.is_null(row) {
            self.keep(row);
        } else {
            self.output(row).append_null();
        }
    }

    pub(super) fn fault(&mut self, row: usize, code: RejectCode, message: impl Into<Cow<'static, str>>) {
        self.faults.push(RowFault::new(row, code, message));
        self.output(row).append_null();
    }

    pub(super) fn finish(self) -> Checked {
        Checked {
            values: match self.output {
                Some(mut output) => output.finish(),
                None => self.input.clone(),
            },
            faults: self.faults,
            truncated: self.truncated,
        }
    }

    fn output(&mut self, row: usize) -> &mut StringBuilder {
        self.output.get_or_insert_with(|| {
            let bytes = match self.input.value_offsets() {
                [first, .., last] => usize::try_from(last - first).unwrap_or_default(),
                _ => 0,
            };
            let mut output = StringBuilder::with_capacity(self.input.len(), bytes);
            for earlier in 0..row {
                output.append_option(value(self.input, earlier));
            }
            output
        })
    }
}

fn value(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
