//! From checked rows to outcomes: cut batches, upload them, know what became of each.
//!
//! ```text
//! rows ──encode──▶ Batcher ──Batch──▶ Uploader (several at a time) ──Uploaded──▶ counts, report, checkpoints
//! ```
//!
//! [`Batcher`] cuts by rows and encoded bytes, never by the clock: the same input gives the same batches.
//! [`Driver`] uploads with bounded concurrency and holds no more than the batches in flight and the one being
//! filled. A checkpoint is done when every batch with rows before it is accepted. The first batch that is not
//! accepted ends the run: what is in flight is finished, what comes after is counted as not sent.

mod batcher;
mod driver;

pub use batcher::{Batch, Batcher, Limits};
pub use driver::{Driver, Lane, Uploaded, Uploader};
