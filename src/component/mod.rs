//! What a plug-in implements, and what the engine hands it.
//!
//! A component is a configuration type and the worker it builds. The configuration implements one of
//! [`SourceConfig`], [`TransformConfig`], [`SinkConfig`] and registers itself with typetag under the name users
//! write as `type:`. It is used in two steps: `validate` is pure (no file, no network, no secret, no clock) and
//! notes every problem it can see; `build` does the input and output that must be done before rows move, and
//! returns the worker. Workers run as tasks of their own and are joined by bounded channels, so a slow upload slows
//! the read and memory stays flat.
//!
//! ```text
//! Source ── Item::Chunk / Item::Checkpoint ──▶ Transform ──▶ Sink
//! ```
//!
//! The rules that make a run trustworthy:
//!
//! - Every row that a component takes in is counted once when it leaves: passed on, filtered, rejected with a
//!   [`Reject`], or given one of a sink's outcomes ([`Counts`]). The engine adds up and says so when rows are missing.
//! - A [`Checkpoint`] stays in its place between the chunks. A sink calls [`Checkpoint::done`] when every row before
//!   it has a final state; the source that sent it waits on the [`Delivered`] half. A dropped checkpoint means
//!   "not delivered".
//! - Components know these traits and their context, never the pipeline and never one another.

mod channel;
mod checkpoint;
mod chunk;
mod context;
#[cfg(test)]
pub(crate) mod contract;
mod counts;
mod description;
mod ordered;
mod problem;
mod recorder;
mod reject;
mod traits;

pub use channel::{Ends, Input, Item, Output, Stopped, channel};
pub use checkpoint::{Checkpoint, Delivered};
pub(crate) use chunk::Mixed;
pub use chunk::{Chunk, Origin, Origins, Part, RowKind};
pub use context::{
    BatchOutcome, BatchReport, EarlierUnknown, InputDescription, OutputReport, Outputs, Pages, Position,
    RunInfo, Services, SinkContext, SourceContext, TransformContext,
};
pub use counts::{Counts, Totals};
pub use description::{Description, Role, descriptions};
pub use ordered::map_in_order;
pub use problem::{Problem, Problems};
pub use recorder::{Exchange, Recorder};
pub use reject::{Fault, Reject, RejectCode, Rejects};
pub use traits::{
    CheckState, CheckStep, Columns, Sink, SinkConfig, Source, SourceConfig, Transform, TransformConfig,
};
