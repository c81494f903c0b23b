//! The HR domain: scenarios, fields, and the check of each kind of value. Does no I/O.
//!
//! ```text
//! Scenario ─▶ Field ─▶ FieldKind::Upn       ─▶ upn::check        ─┐
//!                      FieldKind::DateTime  ─▶ dates::DateReader  ├─▶ Checked: text column + faults by row
//!                      FieldKind::Text      ─▶ text::check       ─┘
//! ```
//!
//! A check takes a column and returns one of the same length: text as the HR connector requires it, null where there is no
//! value or a [`RowFault`], so that a forgotten fault never sends a bad value. No message holds a row's value.

mod checked;
pub(crate) mod dates;
mod scenario;
pub(crate) mod space;
pub(crate) mod text;
pub(crate) mod upn;

pub(crate) use checked::{Checked, RowFault};
pub(crate) use scenario::{Field, FieldKind, Scenario};
