//! The traits a plug-in implements.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{Input, InputDescription, Output, RowKind, SinkContext, SourceContext, TransformContext};
use crate::config::Problems;
use crate::error::{Error, ErrorKind, Result};

/// Configuration of a source. Register with `#[typetag::deserialize(name = "…")]`; deny unknown fields.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait SourceConfig: Debug + Send + Sync {
    /// Notes what is wrong with the settings. Pure: looks at nothing but `self`.
    fn validate(&self, problems: &mut Problems<'_>);

    /// What the rows are; [`RowKind::Records`] unless the source brings checked HR rows itself.
    fn kind(&self) -> RowKind {
        RowKind::Records
    }

    /// Whether it reads standard input, which only one source of a pipeline can.
    fn uses_stdin(&self) -> bool {
        false
    }

    /// Whether it keeps its [position](super::Position) from run to run; the run then has a ledger.
    fn keeps_position(&self) -> bool {
        false
    }

    /// For how long it may leave out what it has read before and what has not changed since, and how to have it read
    /// more often; `None` if it reads all in every run.
    fn leaves_out_for(&self) -> Option<(Duration, &'static str)> {
        None
    }

    /// The position that the next run begins at after one that put aside more rows than it may: `before` is that which
    /// it began at, `after` that which it left. By default `before`, so that all comes again.
    ///
    /// # Errors
    /// A position is not one of this source.
    fn rewound(&self, before: Option<String>, _after: Option<&str>) -> Result<Option<String>> {
        Ok(before)
    }

    /// Opens what must be open before rows move.
    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>>;

    /// Tries, without reading a row, whether a run could read: address, login, what is there. One step a question; none
    /// by default.
    async fn check(&self, _cx: SourceContext) -> Vec<CheckStep> {
        Vec::new()
    }
}

/// Reads records.
#[async_trait]
pub trait Source: Send {
    /// Sends chunks and checkpoints to `out` until the input ends or `out` says [`Stopped`](super::Stopped), and
    /// returns when it has done what it wants to do after delivery. Sends at least one chunk, of no rows if need be,
    /// for every part it reads, so that a column missing in an empty file is found too.
    ///
    /// A source that waits for [`Delivered`](super::Delivered) at its end drops `out` first: while there is an open
    /// output, a sink waits for more rows to fill its last batch.
    async fn run(self: Box<Self>, out: Output) -> Result<()>;
}

/// The columns a transform needs of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All, or not known.
    All,
    /// These.
    Named(BTreeSet<String>),
}

/// Configuration of a transform. Register with `#[typetag::deserialize(name = "…")]`; deny unknown fields.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait TransformConfig: Debug + Send + Sync {
    /// Notes what is wrong with the settings, given what comes in. Pure: looks at nothing but its arguments.
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>);

    /// What the rows that come out are.
    fn kind(&self) -> RowKind;

    /// The columns it needs of its inputs, so that sources need not read others.
    fn columns(&self) -> Columns {
        Columns::All
    }

    /// Makes the worker.
    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>>;
}

/// Maps chunks to chunks.
#[async_trait]
pub trait Transform: Send {
    /// Takes every item of `input` and sends what becomes of it to `out`, checkpoints in their place. Rows that are
    /// not passed on must be counted as filtered or rejected.
    async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()>;
}

/// Configuration of a sink. Register with `#[typetag::deserialize(name = "…")]`; deny unknown fields.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait SinkConfig: Debug + Send + Sync {
    /// Notes what is wrong with the settings, given what comes in. Pure: looks at nothing but its arguments.
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>);

    /// Whether rows go to standard output, which the program then keeps free of anything else.
    fn uses_stdout(&self) -> bool {
        false
    }

    /// After what time rows that have not changed must come again; `None` if they need not.
    fn refreshes_after(&self, _inputs: &[InputDescription]) -> Option<Duration> {
        None
    }

    /// What it delivers to, in words that are the same for the same place: no two sinks of a pipeline can deliver to
    /// one.
    fn targets(&self, _inputs: &[InputDescription]) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// Whether it must know what was delivered before; the run then has a [ledger](SinkContext::ledger), and does not
    /// begin without one.
    fn uses_ledger(&self) -> bool {
        false
    }

    /// Reads secrets, opens files, makes clients.
    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>>;

    /// Tries, without sending a row, whether a run could deliver: token, endpoint, clock. One step a question.
    async fn check(&self, _cx: SinkContext) -> Vec<CheckStep> {
        Vec::new()
    }
}

/// Takes rows out of the pipeline.
#[async_trait]
pub trait Sink: Send {
    /// Takes every item of `input`; gives every row an outcome in [`SinkContext::counts`] and calls
    /// [`Checkpoint::done`](super::Checkpoint::done) once every row before it is final. When the run is cancelled it
    /// goes on taking items, sends nothing new, and counts what comes as not sent.
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()>;
}

/// One question that `hrsink check` asks.
#[derive(Debug, Clone, Serialize)]
pub struct CheckStep {
    /// The question, such as `token`.
    pub name: String,
    /// The answer.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do, most likely first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl CheckStep {
    /// The name of a step about the component's own settings: what fails there is mended on this side.
    pub const SETTINGS: &str = "settings";
}

impl CheckStep {
    /// What an error says, as the answer to the question `name`; one about settings is an answer about those.
    pub fn failed(name: &str, error: &Error) -> Self {
        let transient = error.kind() == ErrorKind::Transient;
        let settings = error.kind() == ErrorKind::Config;
        Self {
            name: if settings { Self::SETTINGS } else { name }.to_owned(),
            state: if transient {
                CheckState::Transient
            } else {
                CheckState::Fails
            },
            detail: error.chain(),
            hints: error.hints().map(str::to_owned).collect(),
        }
    }
}

/// The answer of a [`CheckStep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It works.
    Works,
    /// It may work, or could not be found out.
    Unsure,
    /// It fails for a transient cause.
    Transient,
    /// It does not work until a person changes something.
    Fails,
}
