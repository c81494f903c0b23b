//! The settings of `sql`.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::query::{Query, Wrong};
use super::session;
use super::transform::Sql;
use crate::component::{
    Columns, Description, InputDescription, RowKind, Transform, TransformConfig, TransformContext,
};
use crate::config::{ByteSize, Problems};
use crate::error::{Error, Result};

/// Bytes that are enough for most companies' joins, and that every machine has.
const DEFAULT_MEMORY: ByteSize = ByteSize(256 << 20);

/// Below it, operators cannot even hold the batches they sort.
const LEAST_MEMORY: ByteSize = ByteSize(8 << 20);

/// One SQL query over the inputs as tables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlConfig {
    /// The query: one SELECT, which may begin with WITH. Its tables are the inputs, by their names; identifiers keep
    /// their letter case. What comes out are records with the columns of the query.
    #[schemars(length(min = 1))]
    pub query: String,
    /// Memory for the rows that the query must hold: those that wait, are sorted, grouped or looked up. What does not
    /// fit goes to temporary files without a name, which are not encrypted. At least `8MiB`; default `256MiB`.
    #[serde(default = "default_memory")]
    pub memory_limit: ByteSize,
}

fn default_memory() -> ByteSize {
    DEFAULT_MEMORY
}

impl SqlConfig {
    /// The query, and what is wrong with it.
    fn check(&self, inputs: &[Arc<str>]) -> Result<(Query, Vec<Wrong>)> {
        let query = match Query::parse(&self.query) {
            Ok(query) => query,
            Err(wrong) => return Err(into_error(&wrong)),
        };
        let state = session::state(None, false)
            .map_err(|error| Error::unexpected("the SQL engine could not be set up").with_source(error))?;
        let wrong = query.check(&state, inputs);
        Ok((query, wrong))
    }
}

fn into_error(wrong: &Wrong) -> Error {
    let error = Error::config(wrong.message.clone());
    match &wrong.hint {
        Some(hint) => error.with_hint(hint.clone()),
        None => error,
    }
}

fn note(wrong: Wrong, here: &mut Problems<'_>) {
    match wrong.hint {
        Some(hint) => here.add_with_hint(wrong.message, hint),
        None => here.add(wrong.message),
    }
}

#[async_trait]
impl TransformConfig for SqlConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        if self.memory_limit < LEAST_MEMORY {
            problems.at("memory_limit").add(format!(
                "{} is not enough; at least {LEAST_MEMORY} are needed",
                self.memory_limit
            ));
        }
        let inputs: Vec<Arc<str>> = inputs.iter().map(|input| input.name.clone()).collect();
        let mut here = problems.at("query");
        let wrong = match Query::parse(&self.query) {
            Err(wrong) => vec![wrong],
            Ok(query) => match session::state(None, false) {
                Ok(state) => query.check(&state, &inputs),
                Err(error) => vec![Wrong::new(None, error.strip_backtrace())],
            },
        };
        for wrong in wrong {
            note(wrong, &mut here);
        }
    }

    fn kind(&self) -> RowKind {
        RowKind::Records
    }

    fn columns(&self) -> Columns {
        Query::parse(&self.query).map_or(Columns::All, |query| query.columns)
    }

    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>> {
        let inputs: Vec<Arc<str>> = cx.inputs.iter().map(|input| input.name.clone()).collect();
        let (query, wrong) = self.check(&inputs)?;
        if let Some(wrong) = wrong.first() {
            return Err(into_error(wrong));
        }
        Ok(Box::new(Sql::new(cx, query, self.memory_limit)))
    }
}

inventory::submit! {
    Description::transform::<SqlConfig>("sql", "runs one SQL query over its inputs as tables: joins, windows, unions")
}
