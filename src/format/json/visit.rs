//! Walks a record and its schema side by side, without building values.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::shape::{Mode, Object, SchemaOrigin, Shape};

/// Borrowed from the record unless it has escapes.
#[derive(Deserialize)]
struct Key<'r>(#[serde(borrow)] Cow<'r, str>);

fn visit_object<'de, A: MapAccess<'de>>(
    object: &mut Object,
    mut map: A,
    used: Option<&dyn Fn(&str) -> bool>,
    mode: Mode,
) -> Result<(), A::Error> {
    object.objects += 1;
    // Most records have their keys in the same order.
    let mut expected = 0;
    while let Some(Key(key)) = map.next_key()? {
        let found = object.find(&key, expected, used, mode);
        let Some(index) = found.map_err(A::Error::custom)? else {
            map.next_value_seed(ValueSeed::new(&mut Shape::Unused, "", mode))?;
            continue;
        };
        if !object.mark(index) {
            return Err(A::Error::custom(format!("the key `{key}` occurs twice")));
        }
        let field = &mut object.fields[index];
        map.next_value_seed(ValueSeed::new(&mut field.shape, &field.name, mode))?;
        expected = index + 1;
    }
    Ok(())
}

/// A value and its shape.
pub(super) struct ValueSeed<'s> {
    pub(super) shape: &'s mut Shape,
    pub(super) key: &'s str,
    /// Of a whole record: which of its keys are used columns.
    pub(super) root: Option<&'s dyn Fn(&str) -> bool>,
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
        if self.root.is_some() {
            return E::custom("the record is not an object");
        }
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
            Shape::Object(object) => visit_object(object, map, self.root, self.mode),
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
