//! The pipeline file: parse, interpolate `${NAME}`, decode, check.
//!
//! Interpolation works on string values of the parsed tree, so a value cannot change the document's structure. Each
//! component is decoded by itself, and every problem is reported, not only the first. Uses no network and no secret.

pub(crate) mod advice;
pub(crate) mod document;
mod guards;
mod interpolate;
mod pipeline;
mod schema;
mod sections;
pub(crate) mod wiring;

pub use crate::component::{Problem, Problems};
pub use crate::snapshot::{SnapshotConfig, SourceSnapshot};
pub use document::Notation;
pub use guards::{Guard, GuardsConfig};
pub use pipeline::{LoadError, PipelineConfig, RejectsConfig, StateConfig, Wired};
pub use schema::schema;
