//! The public error: what failed, why, and what to do.
//!
//! Modules have error enums of their own; at the boundary of a component they become an [`Error`], whose [`ErrorKind`]
//! decides the exit code. The message names the action and its object, each cause is a [source](std::error::Error::source),
//! and advice is in [`Error::hints`].

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The kind of a failure: decides the exit code and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line or the pipeline file is wrong. Exit code 2.
    Config,
    /// The input cannot be read or does not match the pipeline (missing file, missing column). Exit code 2.
    Input,
    /// A guard stopped the run, or a batch with an unknown outcome is held: a person must decide. Exit code 4.
    Guard,
    /// The service refused: credentials, consent, job. A retry does not help. Exit code 5.
    Refused,
    /// A transient cause (network, throttling, outage): a later run can help. Exit code 75.
    Transient,
    /// The run was interrupted by the user or the system. Exit code 130 or 143.
    Interrupted,
    /// An unexpected failure, such as a bug. Exit code 1.
    Unexpected,
}

/// A failure with its causes and advice.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    hints: Vec<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    damage: bool,
}

/// The result of operations that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`. `message`: lower case, no full stop, no secret, no personal data.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hints: Vec::new(),
            source: None,
            damage: false,
        }))
    }

    /// The pipeline file or the command line is wrong.
    #[cold]
    pub fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// The input cannot be read, or does not match the pipeline.
    #[cold]
    pub fn input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// An unexpected failure.
    #[cold]
    pub fn unexpected(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// A task that did not finish. Without the text of a panic, which may hold values of rows.
    #[cold]
    pub(crate) fn task_failed(what: &str, error: &tokio::task::JoinError) -> Self {
        let how = if error.is_panic() {
            "panicked"
        } else {
            "was cancelled"
        };
        Self::unexpected(format!("{what} {how}")).with_hint("please report this: it should not happen")
    }

    /// The run was interrupted.
    #[cold]
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "the run was interrupted")
    }

    /// Adds the cause. The message must not repeat its text.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds advice: one sentence, most likely first.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// An error about this one, with its kind and hints.
    pub(crate) fn wrapped(self, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(self.kind(), message);
        error.0.hints.clone_from(&self.0.hints);
        error.with_source(self)
    }

    /// The same error again, its causes as text.
    pub(crate) fn copy(&self) -> Self {
        let causes: Vec<String> = self.links().skip(1).collect();
        let copy = Self::new(self.kind(), self.0.message.clone());
        let mut copy = match causes.is_empty() {
            true => copy,
            false => copy.with_source(causes.join(": ")),
        };
        copy.0.hints.clone_from(&self.0.hints);
        copy.0.damage = self.0.damage;
        copy
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Marks a stored file of the program as damaged.
    pub(crate) fn into_damage(mut self) -> Self {
        self.0.damage = true;
        self
    }

    /// Whether a stored file of the program is damaged and must be restored.
    pub(crate) fn is_damage(&self) -> bool {
        self.0.damage
    }

    /// The advice, most likely first.
    pub fn hints(&self) -> impl Iterator<Item = &str> {
        self.0.hints.iter().map(|hint| &**hint)
    }

    /// The message and its causes, one by one.
    pub(crate) fn links(&self) -> impl Iterator<Item = String> {
        let first: &(dyn StdError + 'static) = self;
        std::iter::successors(Some(first), |error| (*error).source()).map(ToString::to_string)
    }

    /// The message and its causes, joined by `: `. For logs and reports.
    pub fn chain(&self) -> String {
        self.links().collect::<Vec<_>>().join(": ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The error for a failed read of the file `name`. Storage backends and decoders put an [`Error`] into the
/// [`std::io::Error`]: its kind and hints are kept.
#[cold]
pub(crate) fn read_error(name: &str, error: std::io::Error, line: Option<u64>) -> Error {
    let message = match line {
        Some(line) => format!("cannot read `{name}` from line {line} on"),
        None => format!("cannot read `{name}`"),
    };
    match error.downcast::<Error>() {
        Ok(inner) => inner.wrapped(message),
        Err(error) => Error::input(message).with_source(error),
    }
}
