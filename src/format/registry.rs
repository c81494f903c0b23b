//! The formats of this build, and how a pipeline file names them.

use std::sync::{Arc, OnceLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::{Access, Format};
use crate::suggest::quoted;

#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) name: &'static str,
    /// One line for `hrsink list`.
    pub(crate) summary: &'static str,
    /// File name extensions, lower case, without the dot.
    pub(crate) extensions: &'static [&'static str],
    /// Extensions that such files share with others, so that they do not name the format.
    pub(crate) shared_extensions: &'static [&'static str],
    /// The first bytes of every such file, where the format has any.
    pub(crate) magic: &'static [u8],
    pub(crate) access: Access,
    pub(super) parse: fn(Value) -> serde_json::Result<Arc<dyn Format>>,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

inventory::collect!(Registration);

impl Registration {
    /// A format with settings `F`, read in order.
    pub(crate) const fn new<F: Format + DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        extensions: &'static [&'static str],
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            summary,
            extensions,
            shared_extensions: &[],
            magic: b"",
            access: Access::Stream,
            parse: |settings| Ok(Arc::new(serde_json::from_value::<F>(settings)?)),
            schema: F::json_schema,
        }
    }
}

pub(crate) fn formats() -> &'static [&'static Registration] {
    static FORMATS: OnceLock<Vec<&'static Registration>> = OnceLock::new();
    FORMATS.get_or_init(|| {
        let mut all: Vec<_> = inventory::iter::<Registration>.into_iter().collect();
        all.sort_by_key(|format| format.name);
        all
    })
}

fn name_list() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| formats().iter().map(|format| format.name).collect())
}

/// The names of all formats, as in `csv`, `json`.
pub(crate) fn names() -> String {
    quoted(name_list())
}

/// Every extension of a format, as in `.csv`, `.json`.
pub(crate) fn extensions() -> String {
    let all = formats().iter().flat_map(|format| format.extensions);
    quoted(all.map(|extension| format!(".{extension}")))
}

/// A format with its settings: `csv`, or `{type: csv, delimiter: ";"}`.
#[derive(Debug, Clone)]
pub(crate) struct FormatConfig {
    pub(crate) registration: &'static Registration,
    pub(crate) format: Arc<dyn Format>,
}

impl FormatConfig {
    /// The format that a file name extension stands for, with default settings.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        let mut all = formats().iter();
        let registration = all.find(|format| format.extensions.contains(&extension))?;
        Self::with_settings(registration, Value::Object(serde_json::Map::new())).ok()
    }

    fn with_settings(registration: &'static Registration, settings: Value) -> serde_json::Result<Self> {
        Ok(Self {
            registration,
            format: (registration.parse)(settings)?,
        })
    }
}

impl<'de> Deserialize<'de> for FormatConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, settings) = match Value::deserialize(deserializer)? {
            Value::String(name) => (name, serde_json::Map::new()),
            Value::Object(mut settings) => match settings.shift_remove("type") {
                Some(Value::String(name)) => (name, settings),
                Some(_) => return Err(de::Error::custom("`type` must be the name of a format")),
                None => return Err(de::Error::missing_field("type")),
            },
            _ => {
                let names = names();
                let message = format!("expected the name of a format ({names}), or an object with a `type`");
                return Err(de::Error::custom(message));
            }
        };
        let registration = formats()
            .iter()
            .find(|format| format.name == name)
            .ok_or_else(|| de::Error::unknown_variant(&name, name_list()))?;
        Self::with_settings(registration, Value::Object(settings)).map_err(de::Error::custom)
    }
}

impl JsonSchema for FormatConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let with_settings = formats().iter().map(|format| {
            let mut schema = (format.schema)(generator).to_value();
            schema["properties"]["type"] = serde_json::json!({"type": "string", "const": format.name});
            schema["required"] = serde_json::json!(["type"]);
            schema
        });
        let with_settings: Vec<Value> = with_settings.collect();
        json_schema!({
            "anyOf": [{"type": "string", "enum": name_list()}, {"oneOf": with_settings}],
        })
    }
}
