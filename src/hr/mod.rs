//! The HR domain: scenarios, fields, and what happens to a value of each kind. Knows nothing of input and output.
//!
//! ```text
//! Scenario ─▶ Field ─▶ FieldKind::Upn       ─▶ upn::check        ─┐
//!                      FieldKind::DateTime  ─▶ dates::DateReader  ├─▶ Checked: text column + faults by row
//!                      FieldKind::Text      ─▶ text::check       ─┘
//! ```
//!
//! Every check takes a whole column and gives a whole column of the same length: text in the form the HR connector
//! takes, null where there is no value, and a [`RowFault`] for each row that cannot be sent. A row with a fault is
//! null in the column too, so that a forgotten fault never sends a bad value. No message holds a row's value.

mod checked;
pub mod dates;
mod scenario;
pub mod space;
pub mod text;
pub mod upn;

pub use checked::{Checked, RowFault};
pub use scenario::{Field, FieldKind, Scenario};
