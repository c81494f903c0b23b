//! The pipeline file: parse ([`document`]), interpolate `${NAME}` ([`interpolate`]), decode, check.
//!
//! Interpolation works on string values of the parsed tree, so a value cannot change the document's structure. Each
//! component is decoded by itself, and every problem is reported, not only the first. Uses no network and no secret.

pub(crate) mod advice;
pub mod document;
mod guards;
pub mod interpolate;
mod pipeline;
pub mod schema;
mod sections;
pub(crate) mod wiring;

pub use crate::component::{Problem, Problems};
pub use crate::snapshot::{SnapshotConfig, SourceSnapshot};
pub use guards::{Guard, GuardsConfig};
pub use pipeline::{LoadError, PipelineConfig, RejectsConfig, StateConfig, Wired};
