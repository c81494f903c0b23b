//! The sink for a Microsoft 365 HR connector job.
