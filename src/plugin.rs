//! The plug-in contract for other crates: everything that a component needs, in the versions this crate uses.
//!
//! A component is a settings type and the worker it builds. It registers itself in the program it is linked into, with
//! the name that users write as `type`, and then works like the built-in ones: in pipeline files, in [`descriptions`] and
//! in the JSON Schema.
//!
//! ```
//! use hrsink::plugin::{Chunk, Description, Origins, Output, Part, Problems, Result};
//! use hrsink::plugin::{Source, SourceConfig, SourceContext, async_trait};
//! use hrsink::plugin::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
//! use hrsink::plugin::{inventory, schemars, serde};
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
//!                 .map_err(|error| hrsink::plugin::Error::unexpected("cannot create a chunk").with_source(error))?;
//!             // `Err`: no more rows are needed.
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
//! # let found = hrsink::plugin::descriptions();
//! # assert!(found.iter().any(|description| description.name == "counting"));
//! ```
//!
//! The derives write paths of serde and schemars: name them with `crate = "…"` as above, unless they are dependencies.

pub use arrow;
pub use async_trait::async_trait;
pub use inventory;
pub use schemars;
pub use serde;

pub use crate::component::*;
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::secret::{Secret, SecretFiles, SecretRef};
pub use crate::settings::{
    BoundedDuration, BoundedInt, BoundedSize, ByteSize, HumanDuration, Ratio, bounded,
};
pub use crate::suggest::suggestion;
