//! For crates that bring components of their own: everything a plug-in needs, in the versions this crate uses.
//!
//! A component is a settings type and the worker it builds (see [`component`](crate::component)). It needs no entry
//! in any list: it registers itself in the program it is linked into, under the name that users write as `type:`, and
//! is then in pipeline files, in [`descriptions`] and in the JSON Schema of pipeline
//! files like the components of this crate.
//!
//! ```
//! use hrsink::plugin::{Chunk, Description, Origins, Output, Part, Problems, Result};
//! use hrsink::plugin::{Source, SourceConfig, SourceContext, async_trait};
//! use hrsink::plugin::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
//! use hrsink::plugin::{inventory, schemars, serde, typetag};
//! use std::sync::Arc;
//!
//! /// Counts from 1.
//! #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
//! #[schemars(crate = "hrsink::plugin::schemars")]
//! struct CountingConfig {
//!     /// The last number.
//!     to: u64,
//! }
//!
//! #[typetag::deserialize(name = "counting")]
//! #[async_trait]
//! impl SourceConfig for CountingConfig {
//!     fn validate(&self, problems: &mut Problems<'_>) {
//!         if self.to == 0 {
//!             problems.at("to").add("must be at least 1");
//!         }
//!     }
//!
//!     async fn build(&self, _: SourceContext) -> Result<Box<dyn Source>> {
//!         Ok(Box::new(Counting { to: self.to }))
//!     }
//! }
//!
//! inventory::submit! { Description::source::<CountingConfig>("counting", "counts from 1") }
//!
//! struct Counting { to: u64 }
//!
//! #[async_trait]
//! impl Source for Counting {
//!     async fn run(self: Box<Self>, out: Output) -> Result<()> {
//!         let part = Arc::new(Part { name: "numbers".into(), columns: vec!["number".to_owned()] });
//!         for number in 1..=self.to {
//!             let column: ArrayRef = Arc::new(UInt64Array::from(vec![number]));
//!             let rows = RecordBatch::try_from_iter([("number", column)])
//!                 .map_err(|error| hrsink::plugin::Error::unexpected("cannot make a chunk").with_source(error))?;
//!             // `Err`: nobody wants more, and whoever stopped the run has the reason.
//!             if out.send(Chunk::records(rows, Origins::consecutive(part.clone(), number, 1))).await.is_err() {
//!                 return Ok(());
//!             }
//!         }
//!         let Ok(delivered) = out.checkpoint(self.to.to_string()).await else {
//!             return Ok(());
//!         };
//!         drop(out);
//!         if delivered.await {
//!             // Every row before the checkpoint is final: a cursor may be saved, a file moved.
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # let found = hrsink::component::descriptions();
//! # assert!(found.iter().any(|description| description.name == "counting"));
//! ```
//!
//! The derives and attributes write paths of the crates they come from. `typetag` must be in scope under its own name
//! (as above, or as a dependency); serde and schemars are told with `crate = "…"`, unless they are dependencies.

pub use arrow;
pub use async_trait::async_trait;
pub use inventory;
pub use schemars;
pub use serde;
pub use typetag;

pub use crate::component::*;
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::secret::{Secret, SecretFiles, SecretRef};
pub use crate::settings::{
    BoundedDuration, BoundedInt, BoundedSize, ByteSize, HumanDuration, bounded, suggestion,
};
