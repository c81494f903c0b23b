//! The types of values in JSON records, and how they widen when records differ.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

/// Most keys in one object. More means that values were used as keys, and each would become a column.
pub(super) const MAX_KEYS: usize = 4096;

/// Floating-point numbers represent every integer up to here.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// How the columns were determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaOrigin {
    /// Inferred from all records.
    AllRecords,
    /// Inferred from the first records of an input that cannot be read twice.
    Sample,
    /// Inferred from as many records as were requested, because only a part of the data is read.
    FirstRecords,
    /// Declared; other keys are ignored.
    Declared,
}

/// Whether records define the schema or are compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Infer,
    Check(SchemaOrigin),
}

/// The type of a value.
#[derive(Debug, Default)]
pub(super) enum Shape {
    /// Only null so far.
    #[default]
    Null,
    /// Of a column that is not used.
    Unused,
    Bool,
    Int,
    /// An integer that floating point would round.
    BigInt,
    Float,
    /// Text, or a number that no 64-bit type holds.
    Text,
    List(Box<Shape>),
    Object(Box<Object>),
}

#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) fields: Vec<ObjectField>,
    pub(super) by_name: HashMap<Arc<str>, usize>,
    /// Objects read so far, to detect a key that occurs twice in one of them.
    pub(super) objects: u64,
}

#[derive(Debug)]
pub(super) struct ObjectField {
    pub(super) name: Arc<str>,
    pub(super) shape: Shape,
    /// The last object that had this key.
    pub(super) last_object: u64,
}

impl Shape {
    pub(super) fn of_signed(value: i64) -> Self {
        if value.unsigned_abs() > MAX_EXACT_INTEGER {
            Self::BigInt
        } else {
            Self::Int
        }
    }

    pub(super) fn of_unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Text, Self::of_signed)
    }

    /// Of a number with a fraction or exponent, or an integer of more digits than 64 bits hold, which must not lose its
    /// last ones.
    pub(super) fn of_float(value: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only a threshold")]
        let huge = value.abs() >= u64::MAX as f64;
        if huge { Self::Text } else { Self::Float }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Null | Self::Text | Self::Unused => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int | Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::List(items) => DataType::List(Arc::new(Field::new_list_field(items.data_type(), true))),
            Self::Object(object) => DataType::Struct(arrow_fields(&object.fields)),
        }
    }

    /// Its name in messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null | Self::Unused => "nothing",
            Self::Bool => "true or false",
            Self::Int | Self::BigInt => "an integer",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Widens to a simple value when inferring; returns whether the value fits.
    pub(super) fn accept_scalar(&mut self, found: Self, mode: Mode) -> bool {
        use Shape::{BigInt, Bool, Float, Int, List, Null, Object, Text, Unused};
        let merged = match (&*self, found) {
            (Unused, _) => return true,
            (List(_) | Object(_), _) => return false,
            // A column of nulls is text, and takes what text takes.
            (Null, found) => {
                if mode == Mode::Infer {
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
        if mode == Mode::Infer {
            *self = merged;
            return true;
        }
        // Integers of both kinds are one type to Arrow.
        std::mem::discriminant(&merged) == std::mem::discriminant(self)
            || matches!((&*self, &merged), (Int, BigInt))
    }
}

impl Object {
    /// The index of a key, which inference adds; `None` if it is not used. `expected` is where it most likely is.
    pub(super) fn find(
        &mut self,
        key: &str,
        expected: usize,
        used: Option<&dyn Fn(&str) -> bool>,
        mode: Mode,
    ) -> Result<Option<usize>, String> {
        let known = match self.fields.get(expected) {
            Some(field) if &*field.name == key => Some(expected),
            _ => self.by_name.get(key).copied(),
        };
        if known.is_some() {
            return Ok(known);
        }
        let used = used.is_none_or(|used| used(key));
        match mode {
            Mode::Infer if self.fields.len() < MAX_KEYS => {
                let shape = if used { Shape::Null } else { Shape::Unused };
                Ok(Some(self.push(key.into(), shape)))
            }
            Mode::Check(_) if !used => Ok(None),
            Mode::Check(SchemaOrigin::Declared) => Ok(None),
            // The key may be a value, such as an address, so messages do not show it.
            _ if self.fields.len() >= MAX_KEYS => Err(format!(
                "the records have more than {MAX_KEYS} different keys in one object, so keys seem to be values"
            )),
            Mode::Check(SchemaOrigin::Sample) => Err(
                "the record has a key that none of the sampled records has (the first 8 MiB): read the data from a \
                 file, which is scanned in full"
                    .to_owned(),
            ),
            Mode::Check(SchemaOrigin::FirstRecords) => Err(
                "the record has a key that none of the first records has, from which the columns were inferred \
                 because only a part is read: read more rows, or declare `columns`"
                    .to_owned(),
            ),
            Mode::Infer | Mode::Check(SchemaOrigin::AllRecords) => Err(
                "the record has a key that the file did not have when it was read first: it changed in between"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn push(&mut self, name: Arc<str>, shape: Shape) -> usize {
        let index = self.fields.len();
        self.by_name.insert(name.clone(), index);
        self.fields.push(ObjectField {
            name,
            shape,
            last_object: 0,
        });
        index
    }

    /// Marks a field as present in the current object; returns whether it is the first time.
    pub(super) fn mark(&mut self, field: usize) -> bool {
        std::mem::replace(&mut self.fields[field].last_object, self.objects) != self.objects
    }
}

/// The used fields.
pub(super) fn arrow_fields(fields: &[ObjectField]) -> Fields {
    let used = fields
        .iter()
        .filter(|field| !matches!(field.shape, Shape::Unused));
    used.map(|field| Field::new(&*field.name, field.shape.data_type(), true))
        .collect()
}
