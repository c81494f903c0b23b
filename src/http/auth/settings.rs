//! Settings of credentials that several components share: values that may be secret, and HTTP Basic.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::error::Result;
use crate::secret::{Secret, SecretFiles, SecretRef};

/// A text, or a reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextOrSecret {
    /// The value itself.
    Text(String),
    /// Where the value is kept.
    Secret(SecretRef),
}

impl TextOrSecret {
    /// The value. Files are relative to `base`.
    pub(crate) fn read(&self, base: &Path, files: &SecretFiles) -> Result<Secret> {
        match self {
            Self::Text(text) => Ok(Secret::new(text.as_str())),
            Self::Secret(reference) => reference.read(base, files),
        }
    }

    /// The text, if it is not a secret.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret(_) => None,
        }
    }
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
            "examples": ["hrsink", {"env": "HR_USER"}],
        })
    }
}
