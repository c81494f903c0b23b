//! From checked rows to outcomes: leave out what the job has, cut batches, upload them, know what became of each.
//!
//! ```text
//! rows ─▶ Memory ─▶ encode ─▶ Batcher ──Batch──▶ Courier: intent ▶ Uploader ▶ outcome ──▶ counts, report, checkpoints
//!            ▲                                       │                 │
//!            └──────────────── ledger ◀──────────────┴─────────────────┘
//! ```
//!
//! [`Batcher`] cuts by rows and encoded bytes, never by the clock: the same rows give the same batches.
//! [`Driver`] delivers with bounded concurrency and holds no more than the batches in flight and the one being
//! filled. Before an upload the [ledger](crate::ledger) has its intent, after it the outcome, and only then is anything
//! counted or reported. A checkpoint is done when every row before it is final: accepted, rejected, or skipped.
//!
//! A batch that is too large for the service (413) is cut in two, and so is, with [`OnRefused::Split`], one that it
//! objects to (400, 422), until the rows it objects to stand alone. A batch that fails for a passing cause does not keep
//! the next from being tried, up to [`Policy::max_consecutive_failures`] in a row; any other failure ends the run: what is in flight
//! is finished, what comes after is counted as not sent, and the next run delivers exactly what is missing.

mod batcher;
mod courier;
mod driver;
mod memory;
mod policy;

pub use batcher::{Batch, Batcher, Limits};
pub use driver::{Driver, Lane, Outgoing, Uploaded, Uploader};
pub use policy::{Mode, OnRefused, OnUnknown, Policy};
