//! Columns that are not in a file but describe it: its name, its date, the number of the row.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::component::{Chunk, Part};
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
pub(crate) struct AddedColumns {
    columns: Vec<(String, Added)>,
    /// The part of the last chunk, and the same part with the added columns.
    part: Mutex<Option<(Arc<Part>, Arc<Part>)>>,
}

impl AddedColumns {
    pub(crate) fn new(columns: Vec<(String, Added)>) -> Self {
        Self {
            columns,
            part: Mutex::default(),
        }
    }

    /// The chunk with those of the columns that are used.
    ///
    /// # Errors
    /// The file already has a column of that name.
    pub(super) fn add_to(&self, chunk: Chunk, used: impl Fn(&str) -> bool) -> Result<Chunk> {
        if self.columns.is_empty() {
            return Ok(chunk);
        }
        let rows = chunk.num_rows();
        let part = self.part(chunk.origins.part(), rows > 0)?;
        let schema = chunk.batch.schema();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let mut columns = chunk.batch.columns().to_vec();
        for (name, added) in &self.columns {
            // A file without records has every used column already, all of them empty.
            if !used(name) || schema.column_with_name(name).is_some() {
                continue;
            }
            let (data_type, column): (_, ArrayRef) = match added {
                Added::Text(None) => (DataType::Utf8, new_null_array(&DataType::Utf8, rows)),
                Added::Text(Some(text)) => {
                    let texts = std::iter::repeat_n(&**text, rows);
                    (DataType::Utf8, Arc::new(StringArray::from_iter_values(texts)))
                }
                Added::Row => {
                    let numbers =
                        (0..rows).map(|row| i64::try_from(chunk.origins.at(row).row).unwrap_or(i64::MAX));
                    (DataType::Int64, Arc::new(Int64Array::from_iter_values(numbers)))
                }
            };
            fields.push(Arc::new(Field::new(name, data_type, true)));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Error::unexpected("cannot add columns to a chunk").with_source(error))?;
        Ok(Chunk {
            batch,
            origins: chunk.origins.with_part(part),
            ..chunk
        })
    }

    /// The part with the added columns.
    fn part(&self, of: &Arc<Part>, has_rows: bool) -> Result<Arc<Part>> {
        let mut last = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, part)) = &*last
            && Arc::ptr_eq(from, of)
        {
            return Ok(part.clone());
        }
        let mut columns = of.columns.clone();
        for (name, _) in &self.columns {
            if of.columns.contains(name) {
                if !has_rows {
                    continue;
                }
                return Err(Error::input(format!(
                    "`{}` already has a column `{name}`, which `add_columns` would add",
                    of.name
                ))
                .with_hint("give the added column another name"));
            }
            columns.push(name.clone());
        }
        let part = Arc::new(Part {
            name: of.name.clone(),
            columns,
        });
        *last = Some((of.clone(), part.clone()));
        Ok(part)
    }
}
