//! The traits that a component implements.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{
    Input, InputDescription, Output, Problems, RowKind, SinkContext, SourceContext, TransformContext,
};
use crate::error::{Error, ErrorKind, Result};

/// Configuration of a source.
#[async_trait]
pub trait SourceConfig: Debug + Send + Sync {
    /// Reports what is wrong with the settings. Pure: uses nothing but `self`.
    fn validate(&self, problems: &mut Problems<'_>);

    /// What the engine must know before it builds the source.
    fn traits(&self) -> SourceTraits {
        SourceTraits::default()
    }

    /// The position to resume from after a run that exceeded `rejects.max_ratio`. `before` is the position at its start
    /// and the default, so that all rows are read again; `after` that at its end.
    ///
    /// # Errors
    /// A position is not one of this source.
    fn rewind(&self, before: Option<String>, _after: Option<&str>) -> Result<Option<String>> {
        Ok(before)
    }

    /// Opens what must be open before rows move.
    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>>;

    /// Checks, without reading a row, whether a run could read: address, login, permissions.
    async fn check(&self, _cx: SourceContext) -> Vec<CheckStep> {
        Vec::new()
    }
}

/// What the engine must know of a source before it builds it. Fields may be added: use `..SourceTraits::default()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTraits {
    /// The kind of its rows.
    pub kind: RowKind,
    /// Whether it reads standard input, which only one source of a pipeline can.
    pub uses_stdin: bool,
    /// Whether it stores its [position](super::Position) from run to run; the run then has a ledger.
    pub keeps_position: bool,
    /// Set if it may skip records that did not change since it read them.
    pub skips_unchanged: Option<SkipsUnchanged>,
}

/// A source that skips records that did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipsUnchanged {
    /// For how long it may skip them.
    pub max_duration: Duration,
    /// The setting that makes it read them more often, such as "set `select.incremental: false`".
    pub remedy: &'static str,
}

/// Reads records.
#[async_trait]
pub trait Source: Send {
    /// Sends chunks and checkpoints to `out` until the input ends or `out` returns [`Stopped`](super::Stopped), and
    /// returns after its work on delivery. Sends at least one chunk, empty if need be, for every part it reads, so that
    /// a missing column is detected in an empty file too.
    ///
    /// A source that waits for [`Delivered`](super::Delivered) at its end drops `out` first: while an output is open, a
    /// sink waits for more rows to fill its last batch.
    async fn run(self: Box<Self>, out: Output) -> Result<()>;
}

/// The columns that a transform needs of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All, or unknown.
    All,
    /// These.
    Named(BTreeSet<String>),
}

/// Configuration of a transform.
#[async_trait]
pub trait TransformConfig: Debug + Send + Sync {
    /// Reports what is wrong with the settings, given the inputs. Pure: uses nothing but its arguments.
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>);

    /// The kind of its rows.
    fn kind(&self) -> RowKind;

    /// The columns that it needs of its inputs, so that sources need not read others.
    fn columns(&self) -> Columns {
        Columns::All
    }

    /// Creates the worker.
    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>>;
}

/// Maps chunks to chunks. See [`mapped`](super::mapped) for one whose chunks do not depend on one another.
#[async_trait]
pub trait Transform: Send {
    /// Receives every item of `input` and sends the results to `out`, checkpoints in their order. Rows that are not
    /// sent must be counted as filtered or rejected.
    async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()>;
}

/// Configuration of a sink.
#[async_trait]
pub trait SinkConfig: Debug + Send + Sync {
    /// Reports what is wrong with the settings, given the inputs. Pure: uses nothing but its arguments.
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>);

    /// Whether rows go to standard output, which the program then uses for nothing else.
    fn uses_stdout(&self) -> bool {
        false
    }

    /// After what time unchanged rows must be delivered again, if they must.
    fn refreshes_after(&self, _inputs: &[InputDescription]) -> Option<Duration> {
        None
    }

    /// The targets it delivers to, each as a text that is the same for the same target: two sinks of a pipeline cannot
    /// share one.
    fn targets(&self, _inputs: &[InputDescription]) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// Whether it must know what was delivered before; the run then has a ledger among its
    /// [services](super::RunInfo::services).
    fn uses_ledger(&self) -> bool {
        false
    }

    /// Reads secrets, opens files, creates clients.
    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>>;

    /// Checks, without sending a row, whether a run could deliver: token, endpoint, clock.
    async fn check(&self, _cx: SinkContext) -> Vec<CheckStep> {
        Vec::new()
    }
}

/// Delivers rows.
#[async_trait]
pub trait Sink: Send {
    /// Receives every item of `input`, counts an outcome for every row in [`SinkContext::counts`], and calls
    /// [`Checkpoint::done`](super::Checkpoint::done) when every row before it is final. After a cancel it still
    /// receives items, sends nothing new, and counts rows as not sent.
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()>;
}

/// A step of `hrsink check`.
#[derive(Debug, Clone, Serialize)]
pub struct CheckStep {
    /// What is checked, such as `token`.
    pub name: String,
    /// The result.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do, most likely first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl CheckStep {
    /// The name of a step about the component's settings: a failure is fixed in the pipeline file.
    pub const SETTINGS: &str = "settings";

    /// The step for an error; one about settings becomes a step about those.
    pub fn failed(name: &str, error: &Error) -> Self {
        let name = match error.kind() {
            ErrorKind::Config => Self::SETTINGS,
            _ => name,
        };
        Self {
            name: name.to_owned(),
            state: match error.kind() {
                ErrorKind::Transient => CheckState::Transient,
                _ => CheckState::Fails,
            },
            detail: error.chain(),
            hints: error.hints().map(str::to_owned).collect(),
        }
    }
}

/// The result of a [`CheckStep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It works.
    Works,
    /// It may work, or could not be checked.
    Unsure,
    /// It fails for a transient cause.
    Transient,
    /// It fails until a person changes something.
    Fails,
}
