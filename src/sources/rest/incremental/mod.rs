//! Reading only what is new since the last run.
//!
//! ```text
//! saved position ─begin─▶ Plan: windows ─{start}, {end}─▶ requests ─cursors─▶ Plan ─finished─▶ position to save
//! ```
//!
//! A position is an instant before which everything was read. A run starts there, less `lookback`, and ends at its own
//! start time, less `delay`. Rounding reads something twice rather than not at all: starts are rounded down to the unit
//! of the format, ambiguous local times go back before both instants, a cursor in the future counts as now. The ledger
//! prevents repeated delivery. A saved position holds times and hashes of settings, never values of records.

mod config;
mod cursor;
mod format;
mod plan;
mod state;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub(crate) use self::config::{FullRefresh, IncrementalConfig};
pub(super) use self::cursor::Seen;
use self::format::Format;
pub(super) use self::plan::Plan;
use super::template::{Kind, Names};
use crate::settings::HumanDuration;

/// A valid `incremental`; spans in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Incremental {
    config: IncrementalConfig,
    format: Format,
    initial: Timestamp,
    lookback: i64,
    delay: i64,
    window: Option<i64>,
    uses_end: bool,
}

impl Incremental {
    pub(super) fn names(names: &mut Names) {
        names.add("start", Kind::Window);
        names.add("end", Kind::Window);
    }
}

fn shown(ms: i64) -> HumanDuration {
    HumanDuration(std::time::Duration::from_millis(ms.unsigned_abs()))
}
