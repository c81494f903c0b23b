//! The types of values in JSON records, and how they widen when records differ.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Most keys in one object. More means that values were used as keys, and each would become a column.
pub(super) const MAX_KEYS: usize = 4096;

/// Floating-point numbers represent every integer up to here.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaOrigin {
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

#[derive(Debug, Default)]
pub(super) enum Shape {
    #[default]
    Null,
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
    pub(super) fields: IndexMap<Box<str>, ObjectField, ahash::RandomState>,
    /// Objects read so far, to detect a key that occurs twice in one of them.
    pub(super) objects: u64,
}

#[derive(Debug)]
pub(super) struct ObjectField {
    pub(super) shape: Shape,
    pub(super) last_object: u64,
}

impl Shape {
    fn of_signed(value: i64) -> Self {
        if value.unsigned_abs() > MAX_EXACT_INTEGER {
            Self::BigInt
        } else {
            Self::Int
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Null | Self::Text | Self::Unused => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int | Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::List(items) => DataType::List(Arc::new(Field::new_list_field(items.data_type(), true))),
            Self::Object(object) => DataType::Struct(object.arrow_fields()),
        }
    }

    fn describe(&self) -> &'static str {
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
    fn accept_scalar(&mut self, found: Self, mode: Mode) -> bool {
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
    pub(super) fn add(&mut self, name: &str, is_used: bool) -> usize {
        let shape = if is_used { Shape::Null } else { Shape::Unused };
        let field = ObjectField {
            shape,
            last_object: 0,
        };
        self.fields.insert_full(name.into(), field).0
    }

    /// The index of a key, which inference adds; `None` if it is not used.
    fn find(&mut self, key: &str, used: Option<Used<'_>>, mode: Mode) -> Result<Option<usize>, String> {
        if let Some(known) = self.fields.get_index_of(key) {
            return Ok(Some(known));
        }
        let is_used = used.is_none_or(|used| used(key));
        // The key may be a value, such as an address, so messages do not show it.
        let message = match mode {
            Mode::Infer if self.fields.len() < MAX_KEYS => return Ok(Some(self.add(key, is_used))),
            Mode::Check(origin) if !is_used || origin == SchemaOrigin::Declared => return Ok(None),
            _ if self.fields.len() >= MAX_KEYS => {
                return Err(format!(
                    "the records have more than {MAX_KEYS} different keys in one object, so keys seem to be values"
                ));
            }
            Mode::Check(SchemaOrigin::Sample) => {
                "the record has a key that none of the sampled records has (the first 8 MiB): read the data from a \
                 file, which is scanned in full"
            }
            Mode::Check(SchemaOrigin::FirstRecords) => {
                "the record has a key that none of the first records has, from which the columns were inferred \
                 because only a part is read: read more rows, or declare `columns`"
            }
            _ => {
                "the record has a key that the file did not have when it was read first: it changed in between"
            }
        };
        Err(message.to_owned())
    }

    fn visit<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        used: Option<Used<'_>>,
        mode: Mode,
    ) -> Result<(), A::Error> {
        self.objects += 1;
        while let Some(Key(key)) = map.next_key()? {
            let found = self.find(&key, used, mode).map_err(A::Error::custom)?;
            let Some((name, field)) = found.and_then(|index| self.fields.get_index_mut(index)) else {
                map.next_value_seed(ValueSeed::new(&mut Shape::Unused, "", mode))?;
                continue;
            };
            if std::mem::replace(&mut field.last_object, self.objects) == self.objects {
                return Err(A::Error::custom(format!("the key `{key}` occurs twice")));
            }
            map.next_value_seed(ValueSeed::new(&mut field.shape, name, mode))?;
        }
        Ok(())
    }

    pub(super) fn arrow_fields(&self) -> Fields {
        let used = self.fields.iter();
        let used = used.filter(|(_, field)| !matches!(field.shape, Shape::Unused));
        used.map(|(name, field)| Field::new(&**name, field.shape.data_type(), true))
            .collect()
    }
}

pub(super) type Used<'u> = &'u dyn Fn(&str) -> bool;

/// Borrowed from the record unless it has escapes.
#[derive(Deserialize)]
struct Key<'r>(#[serde(borrow)] Cow<'r, str>);

/// Walks a value and its shape side by side, without building anything.
pub(super) struct ValueSeed<'s> {
    pub(super) shape: &'s mut Shape,
    pub(super) key: &'s str,
    /// Of a whole record: which of its keys are used columns.
    pub(super) root: Option<Used<'s>>,
    pub(super) mode: Mode,
}

impl<'s> ValueSeed<'s> {
    fn new(shape: &'s mut Shape, key: &'s str, mode: Mode) -> Self {
        Self {
            shape,
            key,
            root: None,
            mode,
        }
    }

    fn scalar<E: Error>(self, found: Shape) -> Result<(), E> {
        let name = found.describe();
        if self.shape.accept_scalar(found, self.mode) {
            Ok(())
        } else {
            Err(self.mismatch(name))
        }
    }

    /// Does not show the value, as serde's own messages would.
    fn mismatch<E: Error>(&self, found: &str) -> E {
        let (key, expected) = (self.key, self.shape.describe());
        if self.root.is_some() {
            return E::custom("the record is not an object");
        }
        if self.mode != Mode::Check(SchemaOrigin::Declared) {
            return E::custom(format!(
                "the key `{key}` holds {found} here and {expected} in other records"
            ));
        }
        let single = match found {
            "an object" | "a list" => ": declared columns hold single values only",
            _ => "",
        };
        E::custom(format!(
            "the column `{key}` is declared as {expected} and holds {found}{single}"
        ))
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.root {
            Some(_) => Err(self.mismatch("nothing")),
            None => Ok(()),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar(Shape::Bool)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Shape::of_signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(i64::try_from(value).map_or(Shape::Text, Shape::of_signed))
    }

    /// A number with a fraction or exponent, or an integer of more digits than 64 bits hold, which must not lose its last
    /// ones.
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        #[expect(clippy::cast_precision_loss, reason = "only a threshold")]
        let huge = value.abs() >= u64::MAX as f64;
        self.scalar(if huge { Shape::Text } else { Shape::Float })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar(Shape::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if matches!(self.shape, Shape::Null) && self.mode == Mode::Infer {
            *self.shape = Shape::List(Box::default());
        }
        let mut unused = Shape::Unused;
        let items = match self.shape {
            Shape::List(items) => items,
            Shape::Unused => &mut unused,
            _ => return Err(self.mismatch("a list")),
        };
        while list
            .next_element_seed(ValueSeed::new(items, self.key, self.mode))?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if matches!(self.shape, Shape::Null) && self.mode == Mode::Infer {
            *self.shape = Shape::Object(Box::default());
        }
        match self.shape {
            Shape::Object(object) => object.visit(map, self.root, self.mode),
            Shape::Unused => {
                // Keys are read as text, so that whatever arrow-json would fail on is detected here.
                while map.next_key::<Key<'de>>()?.is_some() {
                    map.next_value_seed(ValueSeed::new(&mut Shape::Unused, "", self.mode))?;
                }
                Ok(())
            }
            _ => Err(self.mismatch("an object")),
        }
    }
}
