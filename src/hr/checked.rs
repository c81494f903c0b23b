//! The result of a check.

use std::borrow::Cow;

use arrow::array::{Array as _, StringArray, StringBuilder};

use super::space::trim;
use crate::component::RejectCode;

/// A column after its check. No `Debug`: the values are personal data.
pub(crate) struct Checked {
    /// The values to send, one for each row of the input; null where there is none or where it has a fault.
    pub values: StringArray,
    /// The faults, in the order of the rows; at most one for each row.
    pub faults: Vec<RowFault>,
    /// How many values were truncated to the length limit of their field.
    pub truncated: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowFault {
    /// Index of the row in the column, from 0.
    pub row: usize,
    pub code: RejectCode,
    /// The reason in words. Never holds the value.
    pub message: Cow<'static, str>,
}

/// The result for one value: what to send, no value, or the reason in code and words.
pub(super) type Outcome<T> = Result<Option<T>, (RejectCode, Cow<'static, str>)>;

pub(super) struct CheckedBuilder {
    values: StringBuilder,
    faults: Vec<RowFault>,
    row: usize,
    required: bool,
}

impl CheckedBuilder {
    /// For so many rows and bytes. If the column is `required`, a row without a value is a fault.
    pub(super) fn new(rows: usize, bytes: usize, required: bool) -> Self {
        Self {
            values: StringBuilder::with_capacity(rows, bytes),
            faults: Vec::new(),
            row: 0,
            required,
        }
    }

    pub(super) fn push<T: AsRef<str>>(&mut self, outcome: &Outcome<T>) {
        let fault = match outcome {
            Ok(None) => Some((RejectCode::Missing, "a required value is missing".into())),
            Ok(Some(_)) => None,
            Err(fault) => Some(fault.clone()),
        };
        self.values
            .append_option(outcome.as_ref().ok().and_then(Option::as_ref));
        let row = self.row;
        let fault = fault.filter(|(code, _)| self.required || *code != RejectCode::Missing);
        self.faults
            .extend(fault.map(|(code, message)| RowFault { row, code, message }));
        self.row += 1;
    }

    pub(super) fn finish(mut self) -> Checked {
        Checked {
            values: self.values.finish(),
            faults: self.faults,
            truncated: 0,
        }
    }
}

/// Checks every value that is not blank, without the white space around it. Blank counts as missing, which is a fault
/// if `required`.
pub(super) fn check_each<'t>(
    values: &'t StringArray,
    required: bool,
    mut check: impl FnMut(&'t str) -> Result<&'t str, (RejectCode, Cow<'static, str>)>,
) -> Checked {
    let mut column = CheckedBuilder::new(values.len(), values.value_data().len(), required);
    for value in values {
        let value = value.map(trim).filter(|text| !text.is_empty());
        column.push(&value.map(&mut check).transpose());
    }
    column.finish()
}
