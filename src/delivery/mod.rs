//! Delivers rows to a service: skips rows the service has, cuts batches, uploads them, and records every outcome.
//!
//! ```text
//! rows ─▶ DedupIndex ─▶ Encoder ─▶ Batcher ─▶ upload: intent ▶ SinkService ▶ outcome ─▶ counts, report, checkpoints
//!              ▲                                 │                               │
//!              └──────────── ledger ◀────────────┴───────────────────────────────┘
//! ```
//!
//! A checkpoint is done when every row before it is accepted, rejected or skipped. Knows no protocol: the
//! [`SinkService`] classifies its answers.

mod batch;
#[cfg(test)]
pub(crate) mod contract;
mod dedup;
mod dispatch;
mod partition;
mod policy;
mod service;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use batch::Limits;
pub(crate) use dispatch::Dispatcher;
pub(crate) use partition::Partition;
pub(crate) use policy::{Mode, OnRefused, OnUnknown, Policy};
pub(crate) use service::{Answer, EncoderFactory, SinkService, Upload, Verdict};
pub(crate) use upload::Uploader;
