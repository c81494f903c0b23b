//! The pipeline file: read, interpolate, decode, check.
//!
//! ```text
//! text ──parse──▶ tree ──interpolate──▶ tree ──decode──▶ PipelineConfig ──wiring, validate──▶ problems
//! ```
//!
//! YAML, TOML and JSON become the same tree first ([`document`]); `${NAME}` is replaced inside string values of that
//! tree ([`interpolate`]), so a value can never change the document's structure; then each component is decoded by
//! itself ([`decode`]), so that one that does not decode leaves the others to be checked. Nothing here touches a
//! network or a secret, and nothing stops at the first problem: whoever fixes a file gets the whole list.

pub(crate) mod advice;
pub mod decode;
pub mod document;
pub mod guards;
pub mod interpolate;
pub mod pipeline;
pub mod schema;
pub(crate) mod wiring;

pub use crate::component::{Problem, Problems};
pub(crate) use crate::settings::{ByteSize, HumanDuration, suggestion};
pub use crate::snapshot::{SnapshotConfig, SourceSnapshot};
pub use guards::{Guard, GuardsConfig};
pub use pipeline::{LoadError, PipelineConfig, RejectsConfig, StateConfig, Wired};
