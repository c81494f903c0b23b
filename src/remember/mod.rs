//! Remembered tables: the last good rows of a source, kept encrypted from run to run.
//!
//! ```text
//! source ──chunks──▶ receivers
//!    └──tap──▶ Recorder: kept columns as text, good rows, each key once ──▶ NAME.enc.new
//!                        + rows of NAME.enc that did not come and are not too old
//! the run ended well ──▶ NAME.enc.new becomes NAME.enc
//! NAME.enc, at the next run's start ──▶ the source `NAME.previous`
//! ```
//!
//! - What is kept is what [`RememberConfig`](crate::config::remember::RememberConfig) names; it is written
//!   [encrypted](sealed) from the first byte, for its owner only, and never without a key.
//! - `NAME.previous` gives the rows as they stood before the run: the file is not touched before the run has delivered
//!   everything. A run that fails, stops early, has too many rejects, is a dry run or reads only a part leaves it as it
//!   was, so that a difference found by comparing with it is found again.
//! - The new file takes the old one's place in one step, after the ledger has the run's end. A crash before leaves the
//!   old one: the same differences are found again, and the ledger knows that their rows were delivered.
//! - Damage is an error before the first row of a run is sent, never a new start and never a wrong row.
//!
//! Memory holds 16 bytes and a little more for each key of the run, whatever the rows are.

mod key;
mod place;
mod previous;
mod recorder;
mod sealed;
mod table;

pub(crate) use previous::Previous;
pub(crate) use recorder::{Complete, Recorder};
