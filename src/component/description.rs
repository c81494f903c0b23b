//! The directory of components: for `hrsink list` and `hrsink schema`.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Brings rows in.
    Source,
    /// Maps rows.
    Transform,
    /// Takes rows out.
    Sink,
}

/// An entry of the directory. A component adds itself beside its typetag registration:
///
/// ```ignore
/// inventory::submit! { Description::source::<MyConfig>("my_source", "reads rows from …") }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// What it is.
    pub role: Role,
    /// What users write as `type:`; the name given to typetag.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// The JSON Schema of its settings.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

inventory::collect!(Description);

impl Description {
    /// Describes a source.
    pub const fn source<C: JsonSchema>(name: &'static str, summary: &'static str) -> Self {
        Self {
            role: Role::Source,
            name,
            summary,
            schema: C::json_schema,
        }
    }

    /// Describes a transform.
    pub const fn transform<C: JsonSchema>(name: &'static str, summary: &'static str) -> Self {
        Self {
            role: Role::Transform,
            name,
            summary,
            schema: C::json_schema,
        }
    }

    /// Describes a sink.
    pub const fn sink<C: JsonSchema>(name: &'static str, summary: &'static str) -> Self {
        Self {
            role: Role::Sink,
            name,
            summary,
            schema: C::json_schema,
        }
    }
}

/// Every component of this program, by role and name.
pub fn descriptions() -> Vec<&'static Description> {
    let mut all: Vec<_> = inventory::iter::<Description>.into_iter().collect();
    all.sort_by_key(|description| (description.role, description.name));
    all
}
