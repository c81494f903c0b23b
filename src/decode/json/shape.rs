//! What JSON records look like: learnt from some, checked on others, both without building values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde::de::DeserializeSeed;

use super::plain::{self, Columns, Order};
use super::visit::RootSeed;

/// More keys in one object than any HR record has: values were used as keys, and each would become a column.
pub(super) const MOST_KEYS: usize = 4096;

/// Floating point numbers tell integers up to here apart.
pub(super) const EXACT: u64 = 1 << 53;

/// Why a record cannot become a row; holds no value of it.
#[derive(Debug)]
pub(crate) struct Misfit(pub(crate) String);

/// What was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learning {
    /// All records.
    Whole,
    /// The first ones.
    Sample,
    /// As many as were wanted, since only a part is looked at.
    Part,
    /// None: the columns are declared, and other keys are left out.
    Declared,
}

/// The type of a declared column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// Text; numbers and truth values become text as written.
    Text,
    /// A 64-bit integer.
    Integer,
    /// A 64-bit floating point number.
    Number,
    /// True or false.
    Boolean,
}

/// The shape of a file's records.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    root: Object,
    order: Order,
    records: u64,
    declared: bool,
}

#[derive(Debug, Default)]
pub(super) enum Shape {
    /// Nothing but null so far.
    #[default]
    Unknown,
    /// Of a column that nobody uses.
    Unused,
    Bool,
    Int,
    /// An integer that floating point would round.
    BigInt,
    Float,
    Text,
    List(Box<Shape>),
    Object(Box<Object>),
}

/// The kind of a simple value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    /// An integer that floating point would round.
    BigInt,
    Float,
    /// A text, or a number that neither 64-bit type holds.
    Text,
}

impl Kind {
    pub(super) fn of_signed(value: i64) -> Self {
        if value.unsigned_abs() > EXACT {
            Self::BigInt
        } else {
            Self::Int
        }
    }

    pub(super) fn of_unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Text, Self::of_signed)
    }

    /// Of a number with a fraction or exponent. An integer of more digits than 64 bits hold comes here too, and would
    /// lose its last ones.
    pub(super) fn of_float(value: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only a threshold")]
        let huge = value.abs() >= u64::MAX as f64;
        if huge { Self::Text } else { Self::Float }
    }
}

impl From<Kind> for Shape {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Int,
            Kind::BigInt => Self::BigInt,
            Kind::Float => Self::Float,
            Kind::Text => Self::Text,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) fields: Vec<ObjectField>,
    pub(super) by_name: HashMap<Arc<str>, usize>,
    /// Objects seen, to notice a key that is in one of them twice.
    pub(super) seen: u64,
}

#[derive(Debug)]
pub(super) struct ObjectField {
    pub(super) name: Arc<str>,
    pub(super) shape: Shape,
    pub(super) seen: u64,
}

impl Shapes {
    /// Learns from one record. What it holds up to the place where it does not fit is learnt.
    pub(crate) fn learn(&mut self, record: &str, wants: &dyn Fn(&str) -> bool) -> Result<(), Misfit> {
        if plain::is_known(record, &mut self.root, &mut self.order) {
            self.records += 1;
            return Ok(());
        }
        self.learn_slowly(record, wants)
    }

    /// [`learn`](Self::learn) without a look whether there is anything to learn.
    pub(super) fn learn_slowly(&mut self, record: &str, wants: &dyn Fn(&str) -> bool) -> Result<(), Misfit> {
        // Half a record must not decide a type.
        let complete: Result<serde::de::IgnoredAny, _> = serde_json::from_str(record);
        complete.map_err(|error| misfit(&error, record))?;
        self.visit(record, wants, Mode::Learn)?;
        self.records += 1;
        Ok(())
    }

    /// Whether a record fits what was learnt.
    pub(crate) fn check(
        &mut self,
        record: &str,
        wants: &dyn Fn(&str) -> bool,
        learning: Learning,
    ) -> Result<(), Misfit> {
        self.visit(record, wants, Mode::Check(learning)).map_err(|found| {
            // What is wrong with a record that is no JSON is that, whatever else is met before.
            let complete: Result<serde::de::IgnoredAny, _> = serde_json::from_str(record);
            complete.err().map_or(found, |error| misfit(&error, record))
        })
    }

    /// Appends a record's values to `columns` if it [fits](Self::check), and says whether it does.
    pub(super) fn push(
        &mut self,
        record: &str,
        columns: &mut Columns,
        wants: &dyn Fn(&str) -> bool,
        learning: Learning,
    ) -> bool {
        columns.push(
            record,
            &mut self.root,
            &mut self.order,
            wants,
            Mode::Check(learning),
        )
    }

    /// Columns for records of these shapes, if all that is used of them is simple values.
    pub(super) fn columns(&self, schema: &SchemaRef) -> Option<Columns> {
        Columns::new(&self.root, schema)
    }

    fn visit(&mut self, record: &str, wants: &dyn Fn(&str) -> bool, mode: Mode) -> Result<(), Misfit> {
        let mut deserializer = serde_json::Deserializer::from_str(record);
        let root = RootSeed {
            object: &mut self.root,
            wants,
            mode,
        };
        root.deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| misfit(&error, record))
    }

    /// Columns that are declared: nothing is learnt, keys that are not among them are left out, and a record whose
    /// values are of other types does not fit. A text column takes numbers and truth values too, as written.
    pub(crate) fn declared(
        columns: impl IntoIterator<Item = (String, ColumnType)>,
        wants: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut root = Object::default();
        for (name, kind) in columns {
            let name: Arc<str> = name.into();
            root.by_name.insert(name.clone(), root.fields.len());
            let wanted = wants(&name);
            root.fields.push(ObjectField {
                name,
                shape: match kind {
                    _ if !wanted => Shape::Unused,
                    ColumnType::Text => Shape::Text,
                    ColumnType::Integer => Shape::Int,
                    ColumnType::Number => Shape::Float,
                    ColumnType::Boolean => Shape::Bool,
                },
                seen: 0,
            });
        }
        Self {
            root,
            order: Order::default(),
            records: 0,
            declared: true,
        }
    }

    /// Whether the columns are [declared](Self::declared).
    pub(crate) fn is_declared(&self) -> bool {
        self.declared
    }

    /// Records learnt from.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Whether a key at the top is known.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.by_name.contains_key(name)
    }

    /// Those of `names` that were in no record so far, if there was any.
    pub(crate) fn unseen<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        let seen = |name: &str| {
            let field = self.root.by_name.get(name);
            field.is_some_and(|field| self.root.fields[*field].seen > 0)
        };
        let any = self.root.seen > 0;
        names.into_iter().filter(|name| any && !seen(name)).collect()
    }

    /// Every key at the top, those that nobody uses included.
    pub(crate) fn names(&self) -> Vec<String> {
        self.root
            .fields
            .iter()
            .map(|field| field.name.to_string())
            .collect()
    }

    /// The columns that are used.
    pub(crate) fn schema(&self) -> Schema {
        Schema::new(self.root.arrow_fields())
    }
}

/// What `serde_json` says without the place in the record, which is not the place in the file.
fn misfit(error: &serde_json::Error, record: &str) -> Misfit {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    if error.is_data() {
        Misfit(text.to_owned())
    } else if record.contains('\n') {
        Misfit(format!(
            "the record is not valid JSON on its line {}: {text}",
            error.line()
        ))
    } else {
        Misfit(format!(
            "the record is not valid JSON at its character {}: {text}",
            error.column()
        ))
    }
}

impl Shape {
    fn data_type(&self) -> DataType {
        match self {
            Self::Unknown | Self::Text | Self::Unused => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int | Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::List(items) => DataType::List(Arc::new(Field::new_list_field(items.data_type(), true))),
            Self::Object(object) => DataType::Struct(object.arrow_fields()),
        }
    }

    /// What it is called in messages.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Unused => "nothing",
            Self::Bool => "true or false",
            Self::Int | Self::BigInt => "an integer",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Whether a simple value changes nothing of what was learnt.
    pub(super) fn is_known(&self, found: Option<Kind>) -> bool {
        match (self, found) {
            (Self::Unused, _) => true,
            (Self::List(_) | Self::Object(_), Some(_)) | (Self::Unknown, Some(_)) => false,
            (_, None) | (Self::Text, Some(_)) => true,
            (Self::Bool, Some(found)) => found == Kind::Bool,
            (Self::Int, Some(found)) => found == Kind::Int,
            (Self::BigInt, Some(found)) => matches!(found, Kind::Int | Kind::BigInt),
            (Self::Float, Some(found)) => matches!(found, Kind::Int | Kind::Float),
        }
    }

    /// Takes in a simple value; whether it fits.
    pub(super) fn scalar(&mut self, found: Kind, mode: Mode) -> bool {
        use Shape::{BigInt, Bool, Float, Int, List, Object, Text, Unknown, Unused};
        let merged = match (&*self, found.into()) {
            (Unused, _) => Unused,
            (List(_) | Object(_), _) => return false,
            // A column of nulls is text in a file that was learnt, and takes what text takes.
            (Unknown, found) => {
                if mode == Mode::Learn {
                    *self = found;
                }
                return true;
            }
            (Bool, Bool) => Bool,
            (Int, Int) => Int,
            (Int | BigInt, Int | BigInt) => BigInt,
            (Int | Float, Int | Float) => Float,
            _ => Text,
        };
        // Integers of either kind are one type to Arrow.
        let fits = std::mem::discriminant(&merged) == std::mem::discriminant(self)
            || matches!((&*self, &merged), (Int, BigInt));
        if mode == Mode::Learn {
            *self = merged;
        }
        fits || mode == Mode::Learn
    }
}

impl Object {
    /// The field of a key; none if nobody uses it.
    pub(super) fn find(
        &mut self,
        key: &str,
        expected: usize,
        wants: Option<&dyn Fn(&str) -> bool>,
        mode: Mode,
    ) -> Result<Option<usize>, String> {
        let known = match self.fields.get(expected) {
            Some(field) if &*field.name == key => Some(expected),
            _ => self.by_name.get(key).copied(),
        };
        if known.is_some() {
            return Ok(known);
        }
        let wanted = wants.is_none_or(|wants| wants(key));
        match mode {
            Mode::Learn if self.fields.len() < MOST_KEYS => {
                let name: Arc<str> = key.into();
                let index = self.fields.len();
                self.by_name.insert(name.clone(), index);
                self.fields.push(ObjectField {
                    name,
                    shape: if wanted { Shape::Unknown } else { Shape::Unused },
                    seen: 0,
                });
                Ok(Some(index))
            }
            Mode::Check(_) if !wanted => Ok(None),
            Mode::Check(Learning::Declared) => Ok(None),
            // The key may be a value, such as an address, so it is not named.
            _ if self.fields.len() >= MOST_KEYS => Err(format!(
                "the records have more than {MOST_KEYS} different keys in one object, so keys seem to be values"
            )),
            Mode::Check(Learning::Sample) => Err(
                "the record has a key that is in none of the records from which the columns were learnt (the first \
                 8 MiB): read it from a file, all of which is looked at"
                    .to_owned(),
            ),
            Mode::Check(Learning::Part) => Err(
                "the record has a key that is in none of the records before it, from which the columns were learnt \
                 because only a part is read: read more rows, or declare `columns`"
                    .to_owned(),
            ),
            Mode::Learn | Mode::Check(Learning::Whole) => Err(
                "the record has a key that was not there when the file was first read: it was written to meanwhile"
                    .to_owned(),
            ),
        }
    }

    /// Notes that the object looked at has this field; whether it is the first time.
    pub(super) fn is_first(&mut self, field: usize) -> bool {
        std::mem::replace(&mut self.fields[field].seen, self.seen) != self.seen
    }

    fn arrow_fields(&self) -> Fields {
        self.fields
            .iter()
            .filter(|field| !matches!(field.shape, Shape::Unused))
            .map(|field| Field::new(&*field.name, field.shape.data_type(), true))
            .collect()
    }
}

/// What to do with what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Learn,
    Check(Learning),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: &str) -> bool {
        true
    }

    fn learnt(records: &[&str]) -> Shapes {
        let mut shapes = Shapes::default();
        for record in records {
            let _ = shapes.learn(record, &all);
        }
        shapes
    }

    fn types(records: &[&str]) -> Vec<DataType> {
        let schema = learnt(records).schema();
        schema
            .fields()
            .iter()
            .map(|field| field.data_type().clone())
            .collect()
    }

    #[test]
    fn types_widen_and_never_lose_digits() {
        use DataType::{Boolean, Float64, Int64, Utf8};
        assert_eq!(types(&[r#"{"a":1,"b":true,"c":null}"#]), [Int64, Boolean, Utf8]);
        assert_eq!(types(&[r#"{"a":1}"#, r#"{"a":1.5}"#]), [Float64]);
        assert_eq!(types(&[r#"{"a":9007199254740993}"#, r#"{"a":1.5}"#]), [Utf8]);
        assert_eq!(types(&[r#"{"a":18446744073709551616}"#]), [Utf8]);
        assert_eq!(types(&[r#"{"a":true}"#, r#"{"a":"x"}"#]), [Utf8]);
        assert_eq!(
            types(&[r#"{"a":[]}"#, r#"{"a":[1]}"#]),
            [DataType::new_list(Int64, true)]
        );
    }

    #[test]
    fn half_a_record_decides_nothing() {
        assert_eq!(types(&[r#"{"a":1}"#, r#"{"a":"x","#]), [DataType::Int64]);
    }

    #[test]
    fn what_does_not_fit_is_told_without_its_value() {
        let mut shapes = learnt(&[r#"{"a":{"b":1},"c":2}"#]);
        let mut told = |record: &str| shapes.check(record, &all, Learning::Sample).unwrap_err().0;
        assert_eq!(
            told(r#"{"a":"marker"}"#),
            "the key `a` holds a text here and an object in other records"
        );
        assert!(told(r#"{"a":{"marker":1}}"#).contains("8 MiB"));
        assert!(told(r#"{"c":1,"c":1}"#).contains("`c` is there twice"));
        assert!(told(r#"{"c":1.5}"#).contains("a number here and an integer"));
        assert!(told(r#"["marker"]"#).contains("not an object"));
        assert!(told(r#""marker""#).contains("not an object"));
        assert!(
            shapes
                .check(r#"{"z":1}"#, &all, Learning::Part)
                .unwrap_err()
                .0
                .contains("only a part")
        );
        let mut told = |record: &str| shapes.check(record, &all, Learning::Sample).unwrap_err().0;
        for record in [
            r#"{"a":"marker"}"#,
            r#"{"a":{"marker":1}}"#,
            r#""marker""#,
            r#"{"c":marker}"#,
        ] {
            assert!(!told(record).contains("marker"), "{record}");
        }
    }

    #[test]
    fn a_record_that_is_no_json_is_called_that_before_anything_else() {
        let mut shapes = learnt(&[r#"{"id":1}"#]);
        for learning in [Learning::Whole, Learning::Sample, Learning::Part] {
            let told = shapes.check(r#"{"id":1,"x":tru}"#, &all, learning).unwrap_err().0;
            assert!(
                told.starts_with("the record is not valid JSON at its character 16"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_declared_column_of_another_type_is_said_to_be_declared() {
        let columns = [("id", ColumnType::Integer), ("name", ColumnType::Text)];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
        let mut shapes = Shapes::declared(columns, &all);
        let mut told = |record: &str| shapes.check(record, &all, Learning::Declared).unwrap_err().0;
        assert_eq!(
            told(r#"{"id":"x"}"#),
            "the column `id` is declared as an integer and holds a text"
        );
        assert_eq!(
            told(r#"{"name":{"first":"x"}}"#),
            "the column `name` is declared as a text and holds an object: declared columns hold single values only"
        );
        assert_eq!(shapes.unseen(["id", "name", "nam"]), ["nam"]);
    }

    #[test]
    fn values_as_keys_do_not_become_columns_without_end() {
        let mut shapes = Shapes::default();
        let records: Vec<String> = (0..=MOST_KEYS).map(|n| format!(r#"{{"k{n}":1}}"#)).collect();
        for record in &records {
            let _ = shapes.learn(record, &all);
        }
        assert_eq!(shapes.names().len(), MOST_KEYS);
        let last = shapes.check(&records[MOST_KEYS], &all, Learning::Whole);
        assert!(last.unwrap_err().0.contains("keys seem to be values"));
    }
}
