//! The columns of JSON records: inferred from some, or declared, and checked against others.

use arrow::datatypes::Schema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};

use super::shape::{Mode, Object, SchemaOrigin, Shape, Used, ValueSeed};

/// Why a record cannot become a row, without a value of it.
pub(crate) type SchemaMismatch = String;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ColumnKind")]
pub(crate) enum ColumnType {
    /// Text. Numbers and booleans are kept as written.
    Text,
    /// A 64-bit integer.
    Integer,
    /// A 64-bit floating point number.
    Number,
    /// True or false.
    Boolean,
}

#[derive(Debug)]
pub(crate) struct RecordSchema {
    root: Shape,
    /// Number of records it was inferred from.
    pub(super) records: u64,
}

impl Default for RecordSchema {
    fn default() -> Self {
        Self {
            root: Shape::Object(Box::default()),
            records: 0,
        }
    }
}

impl RecordSchema {
    /// Declared columns: other keys are ignored, and a record whose values have other types does not fit. A text column
    /// takes numbers and booleans too, as written.
    pub(crate) fn declared(columns: impl IntoIterator<Item = (String, ColumnType)>, used: Used<'_>) -> Self {
        let mut root = Object::default();
        for (name, column_type) in columns {
            let index = root.add(&name, used(&name));
            let shape = match column_type {
                _ if !used(&name) => continue,
                ColumnType::Text => Shape::Text,
                ColumnType::Integer => Shape::Int,
                ColumnType::Number => Shape::Float,
                ColumnType::Boolean => Shape::Bool,
            };
            root.fields[index].shape = shape;
        }
        Self {
            root: Shape::Object(Box::new(root)),
            records: 0,
        }
    }

    /// Extends the schema by one record. A mismatch in the middle of a record keeps what was inferred before it.
    pub(crate) fn infer(&mut self, record: &str, used: Used<'_>) -> Result<(), SchemaMismatch> {
        // Half a record must not decide a type.
        is_json(record)?;
        self.visit(record, used, Mode::Infer)?;
        self.records += 1;
        Ok(())
    }

    pub(crate) fn check(
        &mut self,
        record: &str,
        used: Used<'_>,
        origin: SchemaOrigin,
    ) -> Result<(), SchemaMismatch> {
        self.visit(record, used, Mode::Check(origin))
            // Invalid JSON is reported as that, whatever else comes before it in the record.
            .map_err(|mismatch| is_json(record).err().unwrap_or(mismatch))
    }

    fn visit(&mut self, record: &str, used: Used<'_>, mode: Mode) -> Result<(), SchemaMismatch> {
        let mut deserializer = serde_json::Deserializer::from_str(record);
        let root = ValueSeed {
            shape: &mut self.root,
            key: "",
            root: Some(used),
            mode,
        };
        root.deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| mismatch(&error, record))
    }

    fn columns(&self) -> Option<&Object> {
        match &self.root {
            Shape::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.columns()
            .is_some_and(|columns| columns.fields.contains_key(name))
    }

    /// Those of `names` that no record has had, if there were records.
    pub(crate) fn unseen<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        let Some(columns) = self.columns().filter(|columns| columns.objects > 0) else {
            return Vec::new();
        };
        let is_seen = |name: &str| {
            columns
                .fields
                .get(name)
                .is_some_and(|field| field.last_object > 0)
        };
        names.into_iter().filter(|name| !is_seen(name)).collect()
    }

    /// Every top-level key, unused ones included.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.columns().into_iter();
        let names = names.flat_map(|columns| columns.fields.keys());
        names.map(ToString::to_string).collect()
    }

    pub(crate) fn arrow_schema(&self) -> Schema {
        Schema::new(self.columns().map(Object::arrow_fields).unwrap_or_default())
    }
}

fn is_json(record: &str) -> Result<(), SchemaMismatch> {
    match serde_json::from_str::<IgnoredAny>(record) {
        Ok(_) => Ok(()),
        Err(error) => Err(mismatch(&error, record)),
    }
}

/// The text of `error` without its position, which is relative to the record, not the file.
fn mismatch(error: &serde_json::Error, record: &str) -> SchemaMismatch {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&text);
    if error.is_data() {
        text.to_owned()
    } else if record.contains('\n') {
        format!("the record is not valid JSON on its line {line}: {text}")
    } else {
        format!("the record is not valid JSON at its character {column}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::super::shape::MAX_KEYS;
    use super::*;

    fn all(_: &str) -> bool {
        true
    }

    fn inferred(records: &[&str]) -> RecordSchema {
        let mut schema = RecordSchema::default();
        for record in records {
            let _ = schema.infer(record, &all);
        }
        schema
    }

    fn mismatch(schema: &mut RecordSchema, record: &str, origin: SchemaOrigin) -> String {
        schema.check(record, &all, origin).unwrap_err()
    }

    #[test]
    fn widens_types_without_losing_digits() {
        use DataType::{Boolean, Float64, Int64, Utf8};
        for (records, expected) in [
            (&[r#"{"a":1,"b":true,"c":null}"#][..], &[Int64, Boolean, Utf8][..]),
            (&[r#"{"a":1}"#, r#"{"a":1.5}"#], &[Float64]),
            (&[r#"{"a":9007199254740993}"#, r#"{"a":1.5}"#], &[Utf8]),
            (&[r#"{"a":18446744073709551616}"#], &[Utf8]),
            (&[r#"{"a":true}"#, r#"{"a":"x"}"#], &[Utf8]),
            (
                &[r#"{"a":[]}"#, r#"{"a":[1]}"#],
                &[DataType::new_list(Int64, true)],
            ),
            // Half a record decides nothing.
            (&[r#"{"a":1}"#, r#"{"a":"x","#], &[Int64]),
        ] {
            let schema = inferred(records).arrow_schema();
            let types = schema.fields().iter().map(|field| field.data_type());
            assert!(types.eq(expected), "{records:?}: {schema}");
        }
    }

    #[test]
    fn explains_mismatches_without_values() {
        use SchemaOrigin::{AllRecords, Declared, FirstRecords, Sample};
        let columns = [("id", ColumnType::Integer), ("name", ColumnType::Text)];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
        let mut declared = RecordSchema::declared(columns, &all);
        let mut schema = inferred(&[r#"{"a":{"b":1},"c":2}"#]);
        let cases = r#"
            Sample | {"a":"marker"} | the key `a` holds a text here and an object in other records
            Sample | {"a":{"marker":1}} | 8 MiB
            Sample | {"c":1,"c":1} | `c` occurs twice
            Sample | {"c":1.5} | a number here and an integer
            Sample | ["marker"] | not an object
            Sample | "marker" | not an object
            Sample | {"c":marker} | the record is not valid JSON at its character 6
            Sample | {"c":1,"x":tru} | the record is not valid JSON at its character 15
            FirstRecords | {"z":1} | only a part
            AllRecords | {"z":1} | changed
            Declared | {"id":"x"} | declared as an integer and holds a text
            Declared | {"name":{}} | holds an object: declared columns hold single values only"#;
        for case in cases.trim().lines() {
            let [origin, record, expected] = case.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{case}")
            };
            let (schema, origin) = match origin.trim() {
                "Sample" => (&mut schema, Sample),
                "FirstRecords" => (&mut schema, FirstRecords),
                "AllRecords" => (&mut schema, AllRecords),
                _ => (&mut declared, Declared),
            };
            let message = mismatch(schema, record, origin);
            let fits = message.contains(expected) && !message.contains("marker");
            assert!(fits, "{record}: {message}");
        }
        assert_eq!(declared.unseen(["id", "name", "nam"]), ["nam"]);
    }

    #[test]
    fn limits_the_number_of_keys() {
        let mut schema = RecordSchema::default();
        let records: Vec<String> = (0..=MAX_KEYS).map(|n| format!(r#"{{"k{n}":1}}"#)).collect();
        for record in &records {
            let _ = schema.infer(record, &all);
        }
        assert_eq!(schema.names().len(), MAX_KEYS);
        let message = mismatch(&mut schema, &records[MAX_KEYS], SchemaOrigin::AllRecords);
        assert!(message.contains("keys seem to be values"), "{message}");
    }
}
