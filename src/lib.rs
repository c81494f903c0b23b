//! Brings HR records (resignations, level changes, reviews, improvement plans, employee profiles) from wherever a
//! company keeps them into Microsoft 365's HR connector.
//!
//! This page is the architecture; the README is for users, `docs/` for the emulator and the like.
//!
//! # The way of a row
//!
//! ```text
//! source ──chunks + checkpoints──▶ transform ──▶ sink: skip what it has ▶ encode ▶ batch ▶ upload ──▶ outcome
//!    ▲                                │                    ▲         │          intent │                 │
//!    │                                └─────rejects────────┼─────────┘                 ▼                 ▼
//!    │                                                     └──────────────────────── ledger ◀────────────┘
//!    └─────────────── checkpoint handed back once every row before it is final ◀───────┘
//! ```
//!
//! 1. A [source](component::Source) reads records and sends them as [chunks](component::Chunk): an Arrow record batch
//!    with the [origin](component::Origins) of each row. Between the chunks travel [checkpoints](component::Checkpoint),
//!    positions that come back when everything before them is final. [`file`](sources::file) reads files,
//!    [`rest`](sources::rest) the answers of APIs; both make rows of JSON with the same decoder. A source may be
//!    [kept as a snapshot](config::SnapshotConfig): a tap on its output keeps its last good rows, encrypted, and the next run has
//!    them as an input of its own.
//! 2. A [transform](component::Transform) maps chunks to chunks. [`hr_schema`](transforms::hr_schema) evaluates SQL
//!    expressions over whole columns and checks each value by the kind of its field in the [HR schema](hr). A row with
//!    a fault is [put aside](component::Reject) with its origin and all its faults; the others go on.
//!    [`sql`](transforms::sql) runs a whole query over its inputs as tables; it spills within its limit, and keeps the
//!    origins of rows where the query lets it.
//! 3. A [sink](component::Sink) gives every row an outcome. [`m365_hr`](sinks::m365_hr) leaves out the rows that the job
//!    has accepted, encodes CSV, cuts batches by rows and bytes and uploads them with bounded concurrency: [`delivery`]
//!    is the engine, [`http`] the transport. The [`ledger`] has the intent of a batch before its upload and its outcome
//!    before anything is counted, so that after any crash the next run sends exactly what is missing.
//! 4. With [guards](config::GuardsConfig) all rows are taken in and judged before the first sink gets any.
//! 5. The [pipeline](mod@pipeline) builds all this from the [pipeline file](config) and runs it. Its report holds the
//!    sum that must add up:
//!    `read + copied + derived = combined + filtered + rejected + skipped + accepted + refused + unknown + not sent`.
//!    A query that makes new rows of its input has them counted: those it took as combined, those it made as derived.
//!
//! Every component is a task, every way between two of them a bounded channel: a slow upload slows the read, and
//! memory stays flat whatever the input's size. Work is column-wise; chunks are mapped in parallel and keep their
//! order, so the same input gives the same batches.
//!
//! # Which module knows what
//!
//! ```text
//! main, cli ─▶ pipeline ─▶ component ◀─ sources, transforms, sinks
//!                 │            ▲                       │
//!               config ────────┘          delivery ▶ ledger, format, hr, http, secret, emulator
//! ```
//!
//! [`component`] holds the traits a plug-in implements and what the engine hands it; no component knows another.
//! [`hr`] knows nothing of input and output, [`http`] nothing of HR, Arrow or CSV, [`ledger`] nothing of HTTP and
//! nothing of a row but its keyed hash.
//!
//! # Writing a component
//!
//! Implement [`SourceConfig`](component::SourceConfig), [`TransformConfig`](component::TransformConfig) or
//! [`SinkConfig`](component::SinkConfig) for a settings type, register it with typetag under the name users write as
//! `type:`, and describe it for `hrsink list` and `hrsink schema`. `tests/plugin.rs` does all of it in another crate.
//!
//! # Rules that hold everywhere
//!
//! - An [error](error::Error) says what was tried, on what, and what came back; each cause stands once; advice stands
//!   apart. Its kind decides the program's exit code.
//! - A [secret](secret::Secret) is a type without `Serialize`, `Display` or a telling `Debug`. Rows are treated
//!   alike: no message, log line or report holds a value.
//! - Nothing is fixed silently: a bad setting is refused, a cut text is counted, a row that is not sent has a reason.

#[doc(hidden)]
pub mod cli;
mod codec;
pub mod component;
pub mod config;
pub mod delivery;
#[allow(dead_code, unused_imports, reason = "users follow")]
mod disk;
pub mod emulator;
pub mod error;
#[doc(hidden)]
pub mod format;
pub mod hr;
pub mod http;
pub mod ledger;
mod mask;
pub mod pipeline;
pub mod plugin;
pub mod secret;
#[allow(dead_code, unused_imports, reason = "users follow")]
mod settings;
pub mod sinks;
mod snapshot;
pub mod sources;
mod storage;
mod table;
pub mod transforms;
