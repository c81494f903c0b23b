//! The sink for a Microsoft 365 HR connector job: rows become CSV with the customer's column names, and the delivery
//! engine uploads them in batches.
//!
//! `config` are the settings, `cloud` the endpoints, `client` uploads, `check` finds out what works without an upload,
//! `explain` turns responses into errors with hints, `sink` puts it together.

mod check;
mod client;
pub(crate) mod cloud;
mod config;
mod explain;
mod sink;

pub(crate) use config::{Auth, BatchSettings, DeliverySettings, M365HrConfig};
