//! Describes the columns of a source, nested ones included: type, rows with a value, a masked example.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::json;

use super::super::output::{HEAD, count};
use crate::component::Chunk;
use crate::error::{Error, Result};
use crate::mask;
use crate::table::{self, Table};
use crate::transforms::Engine;

const MAX_DEPTH: usize = 3;
const MAX_MEMBERS: usize = 6;

/// A column, or a member of an object in one.
pub(super) struct Column {
    /// Its name; for a member of an object also the names around it, outermost first.
    pub(super) names: Vec<String>,
    /// The SQL expression: `last_day`, `"Last Day"`, `address['city']`.
    pub(super) path: String,
    pub(super) data_type: DataType,
    /// Rows read that contain it.
    pub(super) rows: usize,
    /// Its non-empty values as text. Personal data.
    pub(super) values: Vec<String>,
}

impl Column {
    pub(super) fn is_text(&self) -> bool {
        use DataType as T;
        matches!(
            self.data_type,
            T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Dictionary(..) | T::Null
        )
    }

    fn example(&self, open: bool) -> String {
        match (self.values.first(), &self.data_type) {
            (Some(value), _) if open => value.clone(),
            (None, _) | (_, DataType::Boolean | DataType::Struct(_)) => String::new(),
            (Some(value), _) => mask::upn(value),
        }
    }

    /// The path, masked if it looks like a value: without a header, column names are personal data.
    fn shown(&self, open: bool) -> String {
        if !open && self.names.iter().any(|name| mask::is_like_a_value(name)) {
            mask::form(&self.path)
        } else {
            self.path.clone()
        }
    }
}

pub(super) fn describe(chunks: &[Chunk]) -> Result<Vec<Column>> {
    let mut found = Columns {
        engine: Engine::new(),
        columns: Vec::new(),
        indexes: BTreeMap::new(),
    };
    for chunk in chunks {
        let fields = chunk.batch.schema_ref().fields().iter();
        for (field, values) in fields.zip(chunk.batch.columns()) {
            let there = vec![true; values.len()];
            found.add(&mut Vec::new(), field, values, &there)?;
        }
    }
    Ok(found.columns)
}

struct Columns {
    engine: Engine,
    columns: Vec<Column>,
    indexes: BTreeMap<Vec<String>, usize>,
}

impl Columns {
    /// `there`: the rows in which the surrounding object exists.
    fn add(
        &mut self,
        names: &mut Vec<String>,
        field: &Field,
        values: &ArrayRef,
        there: &[bool],
    ) -> Result<()> {
        names.push(field.name().clone());
        let index = *self.indexes.entry(names.clone()).or_insert_with(|| {
            self.columns.push(Column {
                names: names.clone(),
                path: path(&self.engine, names),
                data_type: values.data_type().clone(),
                rows: 0,
                values: Vec::new(),
            });
            self.columns.len() - 1
        });
        let there = there.iter().enumerate();
        let there: Vec<bool> = there.map(|(row, there)| *there && values.is_valid(row)).collect();
        let column = &mut self.columns[index];
        column.rows += there.len();
        let wrong = |error| Error::unexpected("cannot show rows of this type").with_source(error);
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(values, &options).map_err(wrong)?;
        for row in (0..values.len()).filter(|row| there[*row]) {
            let value = formatter.value(row).try_to_string().map_err(wrong)?;
            if !value.trim().is_empty() {
                column.values.push(value);
            }
        }
        // A column of nulls gets the type of its first value.
        if column.data_type == DataType::Null {
            column.data_type = values.data_type().clone();
        }
        if let DataType::Struct(members) = values.data_type()
            && names.len() < MAX_DEPTH
        {
            for (member, values) in members.iter().zip(values.as_struct().columns()) {
                self.add(names, member, values, &there)?;
            }
        }
        names.pop();
        Ok(())
    }
}

fn path(engine: &Engine, names: &[String]) -> String {
    let mut path = String::new();
    for (depth, name) in names.iter().enumerate() {
        if depth > 0 {
            let _ = write!(path, "['{}']", name.replace('\'', "''"));
        } else if is_plain(engine, name) {
            path.push_str(name);
        } else {
            let _ = write!(path, "\"{}\"", name.replace('"', "\"\""));
        }
    }
    path
}

/// Whether `name` without quotes means the column.
fn is_plain(engine: &Engine, name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && [name.to_owned(), format!("lower(trim({name}))")]
            .iter()
            .all(|sql| {
                let parsed = engine.parse(sql);
                parsed.is_ok_and(|parsed| parsed.columns().iter().eq([name]))
            })
}

fn type_name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Null => "nothing".to_owned(),
        T::Boolean => "true/false".to_owned(),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text".to_owned(),
        T::Date32 | T::Date64 => "date".to_owned(),
        T::Timestamp(_, None) => "date and time".to_owned(),
        T::Timestamp(_, Some(_)) => "date and time with zone".to_owned(),
        T::Dictionary(_, values) => type_name(values),
        T::List(items) | T::LargeList(items) | T::FixedSizeList(items, _) => {
            format!("list of {}", type_name(items.data_type()))
        }
        T::Struct(members) => {
            let names: Vec<&str> = members.iter().map(|member| member.name().as_str()).collect();
            let more = if names.len() > MAX_MEMBERS { ", …" } else { "" };
            let names = names[..names.len().min(MAX_MEMBERS)].join(", ");
            format!("object {{{names}{more}}}")
        }
        integer if integer.is_integer() => "integer".to_owned(),
        number if number.is_numeric() => "number".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn table(columns: &[Column], open: bool) -> String {
    let rows = columns.iter().map(|column| column.rows).max().unwrap_or_default();
    let rows = count(rows as u64, "row", "rows");
    let mut text = format!("{HEAD}columns{HEAD:#} ({rows} read)\n");
    let mut table = Table::framed(["column", "type", "with a value", "example"]);
    for column in columns {
        table.push([
            column.shown(open),
            type_name(&column.data_type),
            format!("{} of {}", column.values.len(), column.rows),
            column.example(open),
        ]);
    }
    text.push_str(&table.render(table::width()));
    if columns.is_empty() {
        text.push_str("  no columns\n");
    }
    text.push('\n');
    text
}

/// One JSON object per line: `{"component": …, "column": …}`.
pub(super) fn lines(source: &str, columns: &[Column], open: bool) -> String {
    let mut text = String::new();
    for column in columns {
        let line = json!({
            "component": source,
            "column": {
                "sql": column.shown(open),
                "type": type_name(&column.data_type),
                "rows": column.rows,
                "with_value": column.values.len(),
                "example": column.example(open),
            },
        });
        let _ = writeln!(text, "{line}");
    }
    text
}
