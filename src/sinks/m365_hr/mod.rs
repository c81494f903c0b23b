//! The sink for a Microsoft 365 HR connector job.
//!
//! Rows are encoded as CSV with the customer's column names, cut into batches and uploaded to the job, several at a
//! time, by the [delivery driver](crate::delivery).
//!
//! - `config`: the settings and their check.
//! - `cloud`: which endpoints.
//! - `sink`: puts it together.
//! - `client`: one upload with its retries and its token; the questions of `hrsink check`.
//! - `request`: the upload as an HTTP request.
//! - `response`: what came back, and what it most likely means.

pub mod client;
pub mod cloud;
mod config;
pub(crate) mod request;
pub(crate) mod response;
mod sink;

pub use config::{
    Auth, BatchSettings, DeliverySettings, EmulatorSettings, M365HrConfig, Refresh, RequestSettings,
    RetrySettings,
};
