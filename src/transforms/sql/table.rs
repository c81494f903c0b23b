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
use crate::suggest::quoted;

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
    use crate::component::contract::chunk;

    #[test]
    fn converts_only_without_loss() {
        let texts = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![12]));
        assert_eq!(lossless(&texts(&["12"]), &DataType::Int64), Some(numbers.clone()));
        assert_eq!(lossless(&numbers, &DataType::Utf8), Some(texts(&["12"])));
        // A leading zero, a letter, a fraction: each would become another value.
        let fraction: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        for column in [texts(&["007"]), texts(&["A1"]), fraction] {
            assert_eq!(lossless(&column, &DataType::Int64), None, "{column:?}");
        }
    }

    /// How the chunk `then` differs from the earlier `first`; empty if it fits.
    fn difference(first: &str, then: &str, sql: &str) -> String {
        let query = Query::parse(sql).unwrap();
        let mut table = Table::new("w".into(), &chunk("a.csv", 1, first));
        let Err(error) = table.fit(&chunk("b.csv", 1, then), &query, &mut Parts::default()) else {
            return String::new();
        };
        let text = format!("{} {:?}", error.chain(), error.hints().collect::<Vec<_>>());
        assert!(!text.contains("007"), "{text}");
        let differs = "`b.csv` of the input `w` differs from the earlier `a.csv`: ";
        text.strip_prefix(differs).unwrap().to_owned()
    }

    #[test]
    fn reports_differences_that_the_query_sees_without_values() {
        let (one, two) = ("id\n1", "id,x\n1,2");
        assert_eq!(difference(two, one, "SELECT id FROM w"), "");
        assert_eq!(difference(one, two, "SELECT id FROM w"), "");
        assert_eq!(difference(two, "x,id\n1,2", "SELECT * FROM w"), "");
        let lacks = difference(two, one, "SELECT id, x FROM w");
        assert!(lacks.starts_with("it lacks the column `x`"), "{lacks}");
        let new = difference(one, two, "SELECT * FROM w");
        assert!(new.starts_with("it has new columns: `x`"), "{new}");
        let other = difference("id:int\n1", "id\n007", "SELECT id FROM w");
        assert!(other.starts_with("its column `id` is Utf8"), "{other}");
    }
}
