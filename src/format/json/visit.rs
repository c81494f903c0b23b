//! Walks a record and its schema side by side, without building values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::shape::{Mode, Object, SchemaOrigin, Shape};

/// A record, which must be an object.
pub(super) struct RootSeed<'s> {
    pub(super) object: &'s mut Object,
    pub(super) used: &'s dyn Fn(&str) -> bool,
    pub(super) mode: Mode,
}

impl<'de> DeserializeSeed<'de> for RootSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// serde's own message would show the value.
macro_rules! not_an_object {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<(), E> {
            Err(E::custom("the record is not an object"))
        })*
    };
}

impl<'de> Visitor<'de> for RootSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    not_an_object!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_bool(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.visit_bool(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        visit_object(self.object, map, Some(self.used), self.mode)
    }
}

fn visit_object<'de, A: MapAccess<'de>>(
    object: &mut Object,
    mut map: A,
    used: Option<&dyn Fn(&str) -> bool>,
    mode: Mode,
) -> Result<(), A::Error> {
    object.objects += 1;
    let mut expected = 0;
    loop {
        let key = KeySeed {
            object,
            expected,
            used,
            mode,
        };
        match map.next_key_seed(key)? {
            None => return Ok(()),
            Some(None) => map.next_value_seed(ValueSeed {
                shape: &mut Shape::Unused,
                key: "",
                mode,
            })?,
            Some(Some(index)) => {
                let field = &mut object.fields[index];
                map.next_value_seed(ValueSeed {
                    shape: &mut field.shape,
                    key: &field.name,
                    mode,
                })?;
                expected = index + 1;
            }
        }
    }
}

/// Finds the field of a key; most records have theirs in the same order.
struct KeySeed<'s> {
    object: &'s mut Object,
    expected: usize,
    /// At the top level: which keys are used columns.
    used: Option<&'s dyn Fn(&str) -> bool>,
    mode: Mode,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let found = self.object.find(key, self.expected, self.used, self.mode);
        match found.map_err(E::custom)? {
            Some(index) if !self.object.mark(index) => Err(E::custom(format!(
                "the key `{}` occurs twice",
                self.object.fields[index].name
            ))),
            field => Ok(field),
        }
    }
}

struct ValueSeed<'s> {
    shape: &'s mut Shape,
    key: &'s str,
    mode: Mode,
}

impl ValueSeed<'_> {
    fn scalar<E: Error>(self, found: Shape) -> Result<(), E> {
        let name = found.describe();
        if self.shape.accept_scalar(found, self.mode) {
            Ok(())
        } else {
            Err(self.mismatch(name))
        }
    }

    fn mismatch<E: Error>(&self, found: &str) -> E {
        let (key, expected) = (self.key, self.shape.describe());
        if self.mode == Mode::Check(SchemaOrigin::Declared) {
            let single = match found {
                "an object" | "a list" => ": declared columns hold single values only",
                _ => "",
            };
            return E::custom(format!(
                "the column `{key}` is declared as {expected} and holds {found}{single}"
            ));
        }
        E::custom(format!(
            "the key `{key}` holds {found} here and {expected} in other records"
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
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar(Shape::Bool)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Shape::of_signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Shape::of_unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Shape::of_float(value))
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
            .next_element_seed(ValueSeed {
                shape: items,
                key: self.key,
                mode: self.mode,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if matches!(self.shape, Shape::Null) && self.mode == Mode::Infer {
            *self.shape = Shape::Object(Box::default());
        }
        match self.shape {
            Shape::Object(object) => visit_object(object, map, None, self.mode),
            Shape::Unused => {
                // Keys are read as text, so that whatever arrow-json would fail on is detected here.
                while map.next_key::<Cow<'de, str>>()?.is_some() {
                    map.next_value_seed(ValueSeed {
                        shape: &mut Shape::Unused,
                        key: "",
                        mode: self.mode,
                    })?;
                }
                Ok(())
            }
            _ => Err(self.mismatch("an object")),
        }
    }
}
