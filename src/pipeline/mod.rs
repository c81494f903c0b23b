//! Builds the components of a checked pipeline file and runs them.
//!
//! Every component is a task. The run ends when all have returned: sources at the end of their input, the others when
//! their inputs end. A failed component cancels the run: sources stop reading, sinks finish uploads in flight, and the
//! remaining rows count as not sent. Every run ends with a [`RunReport`], in which
//! `read + copied + derived = combined + filtered + rejected + skipped + accepted + refused + unknown + not sent`.

mod counters;
mod graph;
mod guards;
mod ledger;
mod observer;
mod options;
mod recorder;
mod rejects;
mod report;
mod run;
mod snapshots;
mod staging;

pub use guards::{Baseline, Evaluated, Figure, GuardOutcome, GuardsReport};
pub use observer::Observer;
pub use options::{RejectsTarget, RunOptions};
use rejects::RejectsFile;
pub use report::{ComponentReport, ErrorReport, ExitCode, RejectsReport, RunReport};
pub use run::run;

pub(crate) use run::{sink_context, source_context};
