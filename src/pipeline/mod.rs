//! Builds a checked pipeline file's components, joins them with bounded channels and runs them.
//!
//! Every component is a task. The run ends when all have returned: sources at the end of their input, the others when
//! their inputs have ended. A component that fails cancels the run: sources stop reading, sinks finish what is in
//! flight, rows on their way are counted as not sent. Whatever happened, a [`RunReport`] comes out, and in it the sum
//! that must hold:
//! `read + copied + derived = combined + filtered + rejected + skipped + accepted + refused + unknown + not sent`.

mod columns;
mod guards;
mod members;
mod record;
mod report;
mod run;
mod snapshots;
mod staging;

pub use guards::{Baseline, Evaluated, Figure, GuardOutcome, GuardsReport};
pub use report::{ComponentReport, ErrorReport, ExitCode, RejectsReport, RunReport};
pub use run::{Observer, RunOptions, run};

pub(crate) use run::{sink_context, source_context};
