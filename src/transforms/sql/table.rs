//! The schema of a table: the first rows of an input define it.
//!
//! Later parts may have their columns in another order, and types that were inferred from other values. Columns are
//! matched by name; values are converted if the conversion is lossless. Every other difference that the query can see is
//! an error: no value silently becomes null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::origin::{self, Parts};
use super::query::Query;
use crate::component::{Chunk, Columns, Part};
use crate::error::{Error, Result};
use crate::settings::suggest::quoted;

/// An input as a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: Arc<str>,
    pub(super) schema: SchemaRef,
    /// The schema with the origin column at its end.
    pub(super) with_origin: SchemaRef,
    /// The part that defined the schema.
    pub(super) part: Arc<Part>,
    warned: bool,
    /// Rows so far.
    rows: u64,
}

impl Table {
    /// A table with the schema of `chunk`.
    pub(super) fn new(name: Arc<str>, chunk: &Chunk) -> Self {
        let fields = chunk.batch.schema_ref().fields().iter().map(|field| {
            let kind = match field.data_type() {
                // Only nulls so far: text can hold any value.
                DataType::Null => DataType::Utf8,
                other => other.clone(),
            };
            Field::new(field.name(), kind, true)
        });
        let mut fields: Vec<Field> = fields.collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        fields.push(origin::field());
        Self {
            name,
            schema,
            with_origin: Arc::new(Schema::new(fields)),
            part: chunk.origins.part().clone(),
            warned: false,
            rows: 0,
        }
    }

    /// The next rows, in the schema of the table, with their origins.
    pub(super) fn fit(&mut self, chunk: &Chunk, query: &Query, parts: &mut Parts) -> Result<RecordBatch> {
        let rows = chunk.num_rows();
        let schema = self.schema.clone();
        let fields = schema.fields().iter();
        let found = chunk.batch.schema_ref().fields().iter();
        let is_same = found
            .map(|field| (field.name(), field.data_type()))
            .eq(fields.clone().map(|field| (field.name(), field.data_type())));
        let mut columns: Vec<ArrayRef> = if is_same {
            chunk.batch.columns().to_vec()
        } else {
            self.check_new_columns(chunk, query)?;
            fields
                .map(|field| self.column(field, chunk, query))
                .collect::<Result<_>>()?
        };
        columns.push(parts.column(&chunk.origins, self.rows));
        self.rows += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.with_origin.clone(), columns, &options)
            .map_err(|error| Error::unexpected("cannot build the rows of a table").with_source(error))
    }

    fn column(&self, field: &Field, chunk: &Chunk, query: &Query) -> Result<ArrayRef> {
        let rows = chunk.num_rows();
        let name = field.name();
        let Some(column) = chunk.batch.column_by_name(name) else {
            let empty = rows == 0 && chunk.origins.part().columns.is_empty();
            if empty || !query.may_use(name) {
                return Ok(new_null_array(field.data_type(), rows));
            }
            return Err(self
                .differs(chunk, format!("it lacks the column {}", shown(name)))
                .with_hint(format!(
                    "the other rows of `{}` have it; use the same columns in all parts, or read parts that differ with a \
                     separate source and combine them with UNION ALL",
                    self.name
                )));
        };
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        if let Some(column) = lossless(column, field.data_type()) {
            return Ok(column);
        }
        if !query.may_use(name) {
            return Ok(new_null_array(field.data_type(), rows));
        }
        let what = format!(
            "its column {} is {}, but was {} before, which cannot represent all of its values",
            shown(name),
            column.data_type(),
            field.data_type()
        );
        Err(self.differs(chunk, what).with_hint(
            "the first rows define the columns of a table: use one type in all parts, or read parts that differ with a \
             separate source and combine them with UNION ALL and `cast`",
        ))
    }

    fn check_new_columns(&mut self, chunk: &Chunk, query: &Query) -> Result<()> {
        let names = chunk.batch.schema_ref().fields().iter().map(|field| field.name());
        let new = names.filter(|name| self.schema.column_with_name(name).is_none());
        let new: Vec<String> = new.cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let shown_new = quoted(Part::shown_names(&new));
        if query.columns == Columns::All {
            let what = match shown_new.as_str() {
                "" => "it has new columns".to_owned(),
                names => format!("it has new columns: {names}"),
            };
            return Err(self.differs(chunk, what).with_hint(format!(
                "the query selects all columns with `*`, and the first rows of `{}` define them: name the columns in the \
                 query, or use the same columns in all parts",
                self.name
            )));
        }
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                input = %self.name,
                part = %chunk.origins.part().name,
                columns = shown_new,
                "ignoring columns that the first rows do not have"
            );
        }
        Ok(())
    }

    fn differs(&self, chunk: &Chunk, what: String) -> Error {
        let part = &chunk.origins.part().name;
        Error::input(format!(
            "`{part}` of the input `{}` differs from the earlier `{}`",
            self.name, self.part.name
        ))
        .with_source(std::io::Error::other(what))
    }
}

/// A column's name, unless it looks like a value.
fn shown(name: &str) -> String {
    match Part::shown_names(&[name.to_owned()]) {
        [name] => format!("`{name}`"),
        _ => "whose name looks like a value".to_owned(),
    }
}

/// The values as another type, if the conversion can be reversed.
fn lossless(column: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    let from = column.data_type();
    if *from == DataType::Null {
        return Some(new_null_array(to, column.len()));
    }
    if !can_cast_types(from, to) || !can_cast_types(to, from) {
        return None;
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let there = cast_with_options(column, to, &options).ok()?;
    let back = cast_with_options(&there, from, &options).ok()?;
    (there.logical_null_count() == column.logical_null_count() && &back == column).then_some(there)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::component::Origins;

    fn chunk(file: &str, columns: Vec<(&str, ArrayRef)>) -> Chunk {
        let part = Arc::new(Part {
            name: file.into(),
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        });
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let rows = batch.num_rows();
        Chunk::records(batch, Origins::consecutive(part, 1, rows))
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn numbers(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn fit(first: Vec<(&str, ArrayRef)>, then: Vec<(&str, ArrayRef)>, sql: &str) -> Result<RecordBatch> {
        let query = Query::parse(sql).unwrap();
        let mut table = Table::new("w".into(), &chunk("a.csv", first));
        table.fit(&chunk("b.csv", then), &query, &mut Parts::default())
    }

    #[test]
    fn reorders_columns_and_converts_types_without_loss() {
        let first = vec![("id", texts(&["A1"])), ("n", numbers(&[1]))];
        let then = vec![("n", texts(&["7"])), ("id", numbers(&[12]))];
        let batch = fit(first, then, "SELECT * FROM w").unwrap();
        assert_eq!(batch.columns()[..2], [texts(&["12"]), numbers(&[7])]);
    }

    #[test]
    fn reports_differences_that_the_query_sees_without_values() {
        let two = || vec![("id", texts(&["1"])), ("x", texts(&["2"]))];
        let one = |column: ArrayRef| vec![("id", column)];
        let text = || one(texts(&["1"]));
        let number = || one(numbers(&[1]));
        // A leading zero, a fraction, a letter: each would become another value.
        let fraction: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        let differs = "`b.csv` of the input `w` differs from the earlier `a.csv`: ";
        for (first, then, sql, expected) in [
            (two(), text(), "SELECT id FROM w", ""),
            (text(), two(), "SELECT id FROM w", ""),
            (two(), text(), "SELECT id, x FROM w", "it lacks the column `x`"),
            (text(), two(), "SELECT * FROM w", "it has new columns: `x`"),
            (
                number(),
                one(texts(&["007"])),
                "SELECT id FROM w",
                "its column `id` is Utf8",
            ),
            (
                number(),
                one(fraction),
                "SELECT id FROM w",
                "its column `id` is Float64",
            ),
            (
                number(),
                one(texts(&["A1"])),
                "SELECT id FROM w",
                "its column `id` is Utf8",
            ),
        ] {
            match (fit(first, then, sql), expected) {
                (Ok(_), "") => {}
                (Err(error), _) if !expected.is_empty() => {
                    let text = format!("{} {:?}", error.chain(), error.hints().collect::<Vec<_>>());
                    assert!(text.starts_with(&format!("{differs}{expected}")), "{text}");
                    assert!(!text.contains("007") && !text.contains("A1"), "{text}");
                }
                (result, _) => panic!("{sql}: {result:?}"),
            }
        }
    }
}
