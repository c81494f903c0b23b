//! The sink for a Microsoft 365 HR connector job.

pub mod client;
pub mod cloud;
pub(crate) mod request;
pub(crate) mod response;
