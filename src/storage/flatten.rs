//! Settings whose keys stand among those of another struct, as with `#[serde(flatten)]`, but with unknown keys rejected,
//! errors at the right path, and all keys known to the error message and to the JSON Schema.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::suggest::quoted;

/// A group of keys that other settings include.
pub(crate) trait FlatSettings: Default {
    fn keys() -> impl Iterator<Item = &'static str>;

    fn set<'de, D: Deserializer<'de>>(&mut self, key: &str, value: D) -> Result<(), D::Error>;
}

/// Adds the properties of `T` to the schema of settings that include it, for `#[schemars(transform = …)]`.
pub(crate) fn add_properties<T: JsonSchema>(schema: &mut Schema) {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut group = T::json_schema(&mut generator);
    let Some(serde_json::Value::Object(properties)) = group.remove("properties") else {
        return;
    };
    let own = schema
        .ensure_object()
        .entry("properties")
        .or_insert_with(|| serde_json::Value::Object(Default::default()));
    if let Some(own) = own.as_object_mut() {
        own.extend(properties);
    }
}

/// Decodes the keys of a group into `group`, and passes on all others.
pub(crate) struct Flat<'f, D, F> {
    pub(crate) inner: D,
    pub(crate) group: &'f mut F,
}

impl<'de, D: Deserializer<'de>, F: FlatSettings> Deserializer<'de> for Flat<'_, D, F> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(
            name,
            fields,
            FlatVisitor {
                visitor,
                fields,
                group: self.group,
            },
        )
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct FlatVisitor<'f, V, F> {
    visitor: V,
    fields: &'static [&'static str],
    group: &'f mut F,
}

impl<'de, V: Visitor<'de>, F: FlatSettings> Visitor<'de> for FlatVisitor<'_, V, F> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(FlatMap {
            map,
            fields: self.fields,
            group: self.group,
        })
    }
}

struct FlatMap<'f, A, F> {
    map: A,
    fields: &'static [&'static str],
    group: &'f mut F,
}

impl<'de, A: MapAccess<'de>, F: FlatSettings> MapAccess<'de> for FlatMap<'_, A, F> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if F::keys().any(|known| known == key) {
                self.map.next_value_seed(SetKey(&key, self.group))?;
            } else if self.fields.contains(&&*key) {
                return seed.deserialize(StrDeserializer::<A::Error>::new(&key)).map(Some);
            } else {
                let known = quoted(self.fields.iter().copied().chain(F::keys()));
                return Err(A::Error::custom(format!(
                    "unknown field `{key}`, expected one of {known}"
                )));
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

struct SetKey<'k, F>(&'k str, &'k mut F);

impl<'de, F: FlatSettings> DeserializeSeed<'de> for SetKey<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.1.set(self.0, deserializer)
    }
}
