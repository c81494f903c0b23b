//! Values of a token request that may be secret or not: a text, or a reference to a secret.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::component::RunInfo;
use crate::error::Result;
use crate::secret::{Secret, SecretRef};

/// A text as it stands, or where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOrSecret {
    /// Stands in the file.
    Text(String),
    /// Is kept elsewhere.
    Secret(SecretRef),
}

impl TextOrSecret {
    /// The value.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub(crate) fn read(&self, run: &RunInfo) -> Result<Secret> {
        match self {
            Self::Text(text) => Ok(Secret::new(text.as_str())),
            Self::Secret(reference) => read(reference, run),
        }
    }

    /// The text, where it stands in the file.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret(_) => None,
        }
    }
}

/// Reads a secret under the rules of the run.
pub(crate) fn read(reference: &SecretRef, run: &RunInfo) -> Result<Secret> {
    reference.read(&run.base, &run.secret_files)
}

impl<'de> Deserialize<'de> for TextOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextOrSecret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a secret by reference: `{env: NAME}` or `{file: PATH}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrSecret, E> {
                Ok(TextOrSecret::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOrSecret, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(TextOrSecret::Secret)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for TextOrSecret {
    fn schema_name() -> Cow<'static, str> {
        "TextOrSecret".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretRef>();
        json_schema!({
            "description": "A text, or where a secret is kept: `{env: NAME}` or `{file: PATH}`.",
            "anyOf": [{"type": "string"}, secret],
        })
    }
}

/// Where a secret stands in a JSON value: an object with one member, `env` or `file`, that is a text.
fn reference(value: &Value) -> Option<SecretRef> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    match object.iter().next()? {
        (name, Value::String(text)) if name == "env" => Some(SecretRef::Env(text.clone())),
        (name, Value::String(text)) if name == "file" => Some(SecretRef::File(text.into())),
        _ => None,
    }
}

/// The object with each `{env: NAME}` and `{file: PATH}` replaced by the secret, which is put among `secrets`.
pub(crate) fn resolve(
    object: &Map<String, Value>,
    run: &RunInfo,
    secrets: &mut Vec<Secret>,
) -> Result<Map<String, Value>> {
    object
        .iter()
        .map(|(name, value)| Ok((name.clone(), resolve_value(value, run, secrets)?)))
        .collect()
}

fn resolve_value(value: &Value, run: &RunInfo, secrets: &mut Vec<Secret>) -> Result<Value> {
    if let Some(reference) = reference(value) {
        let secret = read(&reference, run)?;
        let text = Value::from(secret.expose());
        secrets.push(secret);
        return Ok(text);
    }
    Ok(match value {
        Value::Object(object) => Value::Object(resolve(object, run, secrets)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| resolve_value(item, run, secrets))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}
