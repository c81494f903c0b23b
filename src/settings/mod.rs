//! Types of settings that every component shares: sizes and durations with units, numbers with a range, templates.
//!
//! A range is part of the type, so that decoding, the JSON Schema and the error message cannot differ.

pub mod bounded;
pub(crate) mod template;
mod timezone;
mod units;

pub use bounded::{BoundedDuration, BoundedInt, BoundedSize, Ratio};
pub(crate) use timezone::Timezone;
pub use units::{ByteSize, HumanDuration};
