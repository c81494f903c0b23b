//! Columns that are not in a file but describe it: its name, its date, the number of the row.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::component::Chunk;
use crate::error::{Error, Result};

/// What an added column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// The same text in every row, or no value.
    Text(Option<Arc<str>>),
    /// The number of the record.
    Row,
}

/// Columns added to every chunk of a file, as far as they are used.
#[derive(Debug, Default)]
pub(crate) struct AddedColumns(Vec<(String, Added)>);

impl AddedColumns {
    pub(crate) fn new(columns: Vec<(String, Added)>) -> Self {
        Self(columns)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The chunk with those of the columns that are used.
    pub(super) fn add_to(&self, chunk: Chunk, used: impl Fn(&str) -> bool) -> Result<Chunk> {
        if self.0.is_empty() {
            return Ok(chunk);
        }
        let rows = chunk.num_rows();
        let mut fields: Vec<Arc<Field>> = chunk.batch.schema().fields().iter().cloned().collect();
        let mut columns = chunk.batch.columns().to_vec();
        for (name, added) in self.0.iter().filter(|(name, _)| used(name)) {
            let (data_type, column): (_, ArrayRef) = match added {
                Added::Text(None) => (DataType::Utf8, new_null_array(&DataType::Utf8, rows)),
                Added::Text(Some(text)) => {
                    let texts = std::iter::repeat_n(&**text, rows);
                    (DataType::Utf8, Arc::new(StringArray::from_iter_values(texts)))
                }
                Added::Row => {
                    let number = |row| i64::try_from(chunk.origins.at(row).row).unwrap_or(i64::MAX);
                    let numbers = Int64Array::from_iter_values((0..rows).map(number));
                    (DataType::Int64, Arc::new(numbers))
                }
            };
            fields.push(Arc::new(Field::new(name, data_type, true)));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Error::unexpected("cannot add columns to a chunk").with_source(error))?;
        Ok(Chunk { batch, ..chunk })
    }
}
