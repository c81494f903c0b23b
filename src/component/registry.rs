//! The registry of components: for pipeline files, `hrsink list` and the JSON Schema.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::decode::decode;
use super::{Problems, SinkConfig, SourceConfig, TransformConfig};
use crate::suggest::{quoted, suggestion};

/// The role of a component in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Produces rows.
    Source,
    /// Maps rows.
    Transform,
    /// Delivers rows.
    Sink,
}

/// An entry of the registry. A component registers itself, in any crate that is linked into the program:
///
/// ```ignore
/// inventory::submit! { Description::source::<MyConfig>("my_source", "reads rows from …") }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Its role.
    pub role: Role,
    /// Its name: the value of `type` in a pipeline file.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The JSON Schema of its settings.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    config: ConfigDecoder,
}

type Decode<C> = fn(Value, &mut Problems<'_>) -> Option<Box<C>>;

#[derive(Debug, Clone, Copy)]
enum ConfigDecoder {
    Source(Decode<dyn SourceConfig>),
    Transform(Decode<dyn TransformConfig>),
    Sink(Decode<dyn SinkConfig>),
}

inventory::collect!(Description);

/// A kind of component configuration that the registry can decode.
pub trait ComponentConfig {
    /// The role of such components.
    const ROLE: Role;

    /// Decodes the settings of the component that `description` describes; reports every problem.
    fn decode(description: &Description, settings: Value, problems: &mut Problems<'_>) -> Option<Box<Self>>;
}

macro_rules! role {
    ($constructor:ident, $role:ident, $config:ident) => {
        impl Description {
            /// Describes a component of this role. Its settings should deny unknown fields.
            pub const fn $constructor<C: $config + DeserializeOwned + JsonSchema + 'static>(
                name: &'static str,
                summary: &'static str,
            ) -> Self {
                fn boxed<C: $config + DeserializeOwned + 'static>(
                    settings: Value,
                    problems: &mut Problems<'_>,
                ) -> Option<Box<dyn $config>> {
                    Some(Box::new(decode::<C>(settings, problems)?))
                }
                Self {
                    role: Role::$role,
                    name,
                    summary,
                    schema: C::json_schema,
                    config: ConfigDecoder::$role(boxed::<C>),
                }
            }
        }

        impl ComponentConfig for dyn $config {
            const ROLE: Role = Role::$role;

            fn decode(
                description: &Description,
                settings: Value,
                problems: &mut Problems<'_>,
            ) -> Option<Box<Self>> {
                match description.config {
                    ConfigDecoder::$role(decode) => decode(settings, problems),
                    _ => None,
                }
            }
        }
    };
}

role!(source, Source, SourceConfig);
role!(transform, Transform, TransformConfig);
role!(sink, Sink, SinkConfig);

/// Every component of this program, by role and name.
pub fn descriptions() -> Vec<&'static Description> {
    let mut all: Vec<_> = inventory::iter::<Description>.into_iter().collect();
    all.sort_by_key(|description| (description.role, description.name));
    all
}

/// The components of one role, by name.
pub fn descriptions_of(role: Role) -> Vec<&'static Description> {
    let mut all = descriptions();
    all.retain(|description| description.role == role);
    all
}

/// Decodes the settings of a component by its `type`.
pub fn decode_component<C: ComponentConfig + ?Sized>(
    mut settings: Map<String, Value>,
    here: &mut Problems<'_>,
) -> Option<Box<C>> {
    let known = descriptions_of(C::ROLE);
    let names = known.iter().map(|description| description.name);
    let kind = match settings.shift_remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => {
            here.at("type").add("`type` must be the name of a component type");
            return None;
        }
        None => {
            let hint = format!("known here: {}", quoted(names));
            here.add_with_hint("missing required key `type`", hint);
            return None;
        }
    };
    match known.iter().find(|description| description.name == kind) {
        Some(description) => C::decode(description, Value::Object(settings), here),
        None => {
            here.at("type")
                .add_with(format!("unknown type `{kind}`"), suggestion(&kind, names));
            None
        }
    }
}
