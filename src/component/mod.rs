//! The plug-in contract: what a component implements, and what the engine gives it.
//!
//! A component is a configuration type and the worker it builds. The configuration implements [`SourceConfig`],
//! [`TransformConfig`] or [`SinkConfig`] and registers a [`Description`]. `validate` is pure and reports every problem;
//! `build` opens what must be open before rows move. Workers are tasks, joined by bounded channels.
//!
//! Every row is counted once when it leaves a component ([`Counts`]). A [`Checkpoint`] keeps its position between the
//! chunks; it returns to its source once every row before it is final. Knows errors and Arrow, no other component.

mod channel;
mod checkpoint;
mod chunk;
mod context;
#[cfg(test)]
pub(crate) mod contract;
mod counts;
mod decode;
mod exchange;
mod map;
mod problem;
mod registry;
mod reject;
mod report;
mod traits;

pub use channel::{Input, Item, Output, Stopped, channel};
pub use checkpoint::{Checkpoint, Delivered};
pub(crate) use chunk::Mixed;
pub use chunk::{Chunk, Origin, Origins, Part, RowKind};
pub use context::{
    InputDescription, Position, PositionStore, RunInfo, Services, SinkContext, SourceContext,
    TransformContext,
};
pub use counts::{Counts, Totals};
pub use decode::decode;
pub use exchange::{Exchange, ExchangeRecorder, Recorder};
pub use map::{MapTransform, mapped};
pub(crate) use problem::problems_error;
pub use problem::{Problem, Problems};
pub use registry::{ComponentConfig, Description, Role, decode_component, descriptions, descriptions_of};
pub use reject::{Fault, Reject, RejectCode, RejectWriter, Rejects};
pub use report::{BatchOutcome, BatchReport, EarlierUnknown, OutputReport, Outputs};
pub use traits::{
    CheckState, CheckStep, Columns, Sink, SinkConfig, SkipsUnchanged, Source, SourceConfig, SourceTraits,
    Transform, TransformConfig,
};
