//! The result of a check.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{Array, StringArray, StringBuilder};

use super::space::trim;
use crate::component::RejectCode;

/// A column after its check.
pub(crate) struct Checked {
    /// The values to send, one for each row of the input; null where there is none or where it has a fault.
    pub values: StringArray,
    /// The faults, in the order of the rows; at most one for each row.
    pub faults: Vec<RowFault>,
    /// How many values were truncated to the length limit of their field.
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
pub(crate) struct RowFault {
    /// Index of the row in the column, from 0.
    pub row: usize,
    /// The reason.
    pub code: RejectCode,
    /// The reason in words. Never holds the value.
    pub message: Cow<'static, str>,
}

impl RowFault {
    pub(super) fn new(row: usize, code: RejectCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            row,
            code,
            message: message.into(),
        }
    }

    pub(super) fn missing(row: usize) -> Self {
        Self::new(row, RejectCode::Missing, "a required value is missing")
    }
}

/// What a check does with a value.
pub(super) enum Verdict<'t> {
    Keep,
    Replace(&'t str),
    Fault(RejectCode, Cow<'static, str>),
}

/// Checks every value that is not blank: `check` gets it as it is and trimmed. A blank value is none, and a fault if
/// `required`.
///
/// Most values stay as they are: as long as all do, nothing is copied, and the result shares the buffers of the input.
pub(super) fn check_each<'t>(
    values: &'t StringArray,
    required: bool,
    mut check: impl FnMut(&'t str, &'t str) -> Verdict<'t>,
) -> Checked {
    let mut column = Rewriter {
        input: values,
        output: None,
    };
    let mut faults = Vec::new();
    for row in 0..values.len() {
        let Some(whole) = value(values, row).filter(|text| !trim(text).is_empty()) else {
            if required {
                faults.push(RowFault::missing(row));
            }
            match values.is_null(row) {
                true => column.keep(row),
                false => column.output(row).append_null(),
            }
            continue;
        };
        match check(whole, trim(whole)) {
            Verdict::Keep => column.keep(row),
            Verdict::Replace(text) => column.output(row).append_value(text),
            Verdict::Fault(code, message) => {
                faults.push(RowFault::new(row, code, message));
                column.output(row).append_null();
            }
        }
    }
    Checked {
        values: column
            .output
            .map_or_else(|| values.clone(), |mut output| output.finish()),
        faults,
        truncated: 0,
    }
}

/// Copies the input at the first row that changes.
struct Rewriter<'a> {
    input: &'a StringArray,
    output: Option<StringBuilder>,
}

impl Rewriter<'_> {
    fn keep(&mut self, row: usize) {
        if let Some(output) = &mut self.output {
            output.append_option(value(self.input, row));
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
