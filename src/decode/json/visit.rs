//! Walks through a record beside its shape.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::shape::{Kind, Learning, Mode, Object, Shape};

/// A record: an object, or it is none.
pub(super) struct RootSeed<'s> {
    pub(super) object: &'s mut Object,
    pub(super) wants: &'s dyn Fn(&str) -> bool,
    pub(super) mode: Mode,
}

impl<'de> DeserializeSeed<'de> for RootSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The message that `serde` would make shows the value; ours does not.
macro_rules! not_an_object {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $type) -> Result<(), E> {
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

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("the record is not an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("the record is not an object"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.object.visit(map, Some(self.wants), self.mode)
    }
}

impl Object {
    fn visit<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        wants: Option<&dyn Fn(&str) -> bool>,
        mode: Mode,
    ) -> Result<(), A::Error> {
        self.seen += 1;
        let mut expected = 0;
        loop {
            let key = KeySeed {
                object: self,
                expected,
                wants,
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
                    let field = &mut self.fields[index];
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
}

/// Finds the field of a key; records mostly have theirs in the same order.
struct KeySeed<'s> {
    object: &'s mut Object,
    expected: usize,
    /// At the top, which keys are columns that somebody uses.
    wants: Option<&'s dyn Fn(&str) -> bool>,
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

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let field = self
            .object
            .find(key, self.expected, self.wants, self.mode)
            .map_err(E::custom)?;
        match field {
            Some(index) if !self.object.is_first(index) => Err(E::custom(format!(
                "the key `{}` is there twice",
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
    fn scalar<E: serde::de::Error>(self, found: Kind) -> Result<(), E> {
        if self.shape.scalar(found, self.mode) {
            Ok(())
        } else {
            Err(self.differs(Shape::from(found).what()))
        }
    }

    fn differs<E: serde::de::Error>(&self, what: &str) -> E {
        let other = self.shape.what();
        if self.mode == Mode::Check(Learning::Declared) {
            let single = match what {
                "an object" | "a list" => ": declared columns hold single values only",
                _ => "",
            };
            return E::custom(format!(
                "the column `{}` is declared as {other} and holds {what}{single}",
                self.key
            ));
        }
        E::custom(format!(
            "the key `{}` holds {what} here and {other} in other records",
            self.key
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

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar(Kind::Bool)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Kind::of_signed(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Kind::of_unsigned(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Kind::of_float(value))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar(Kind::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if matches!(self.shape, Shape::Unknown) && self.mode == Mode::Learn {
            *self.shape = Shape::List(Box::default());
        }
        let mut unused = Shape::Unused;
        let items = match self.shape {
            Shape::List(items) => items,
            Shape::Unused => &mut unused,
            _ => return Err(self.differs("a list")),
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
        if matches!(self.shape, Shape::Unknown) && self.mode == Mode::Learn {
            *self.shape = Shape::Object(Box::default());
        }
        match self.shape {
            Shape::Object(object) => object.visit(map, None, self.mode),
            Shape::Unused => {
                // Read as text, so that what the decoder would stumble over is noticed here.
                while map.next_key::<std::borrow::Cow<'de, str>>()?.is_some() {
                    map.next_value_seed(ValueSeed {
                        shape: &mut Shape::Unused,
                        key: "",
                        mode: self.mode,
                    })?;
                }
                Ok(())
            }
            _ => Err(self.differs("an object")),
        }
    }
}
