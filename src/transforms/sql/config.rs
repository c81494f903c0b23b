//! The settings of `sql`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{self, QueryError};
use super::query::Query;
use super::session;
use super::transform::Sql;
use crate::component::{
    Columns, Description, InputDescription, Problems, RowKind, Transform, TransformConfig, TransformContext,
};
use crate::error::{Error, Result};
use crate::settings::BoundedSize;
use crate::settings::bounded::{MIB, UNBOUNDED};

/// With less, operators cannot hold the batches that they sort.
pub(super) type MemoryLimit = BoundedSize<{ 8 * MIB }, UNBOUNDED>;

/// One SQL query over the inputs as tables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlConfig {
    /// One SELECT statement, which may start with WITH. Its tables are the inputs, by name; identifiers are
    /// case-sensitive. The output has the columns of the query.
    #[schemars(length(min = 1))]
    pub query: String,
    /// Memory for the rows that the query buffers, sorts, groups or looks up. More rows spill to unnamed, unencrypted
    /// temporary files. At least `8MiB`; default `256MiB`.
    #[serde(default = "default_memory")]
    pub memory_limit: MemoryLimit,
}

fn default_memory() -> MemoryLimit {
    MemoryLimit::new(256 * MIB)
}

impl SqlConfig {
    fn check(
        &self,
        inputs: &[InputDescription],
    ) -> Result<std::result::Result<(Query, Vec<QueryError>), QueryError>> {
        let inputs: Vec<_> = inputs.iter().map(|input| input.name.clone()).collect();
        let state = session::state(None, false).map_err(|error| error::engine(&error))?;
        Ok(Query::parse(&self.query).map(|query| {
            let errors = query.check(&state, &inputs);
            (query, errors)
        }))
    }
}

#[async_trait]
impl TransformConfig for SqlConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        let errors = match self.check(inputs) {
            Ok(Ok((_, errors))) => errors,
            Ok(Err(error)) => vec![error],
            Err(error) => vec![QueryError::new(None, error.chain())],
        };
        let mut problems = problems.at("query");
        for error in errors {
            problems.add_with(error.message, error.hint);
        }
    }

    fn kind(&self) -> RowKind {
        RowKind::Records
    }

    fn columns(&self) -> Columns {
        Query::parse(&self.query).map_or(Columns::All, |query| query.columns)
    }

    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>> {
        let (query, errors) = self.check(&cx.inputs)??;
        if let Some(error) = errors.into_iter().next() {
            return Err(Error::from(error));
        }
        Ok(Box::new(Sql::new(cx, query, self.memory_limit)))
    }
}

inventory::submit! {
    Description::transform::<SqlConfig>("sql", "runs one SQL query over its inputs as tables: joins, windows, unions")
}
