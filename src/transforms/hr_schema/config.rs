//! The settings of `hr_schema`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::transform::Mapper;
use crate::component::{
    Columns, Description, InputDescription, Problem, Problems, RowKind, Transform, TransformConfig,
    TransformContext, mapped,
};
use crate::error::{Error, Result};
use crate::hr::dates::{DateReader, DateSettings};
use crate::hr::text::OnTooLong;
use crate::hr::{Field, FieldKind, Scenario};
use crate::suggest::suggestion;
use crate::transforms::{Engine, ParsedExpression, SqlError};

/// Maps records to the rows of an HR scenario.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HrSchemaConfig {
    /// The HR scenario of the rows.
    pub scenario: Scenario,
    /// An SQL condition over the input's columns. Rows for which it is not true are excluded and counted as filtered.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// How to read dates, for all date fields; a field's own `dates` override it key by key.
    #[serde(default)]
    pub dates: DateSettings,
    /// How to treat text, for all text fields; a field's own `text` overrides it key by key.
    #[serde(default)]
    pub text: TextSettings,
    /// For each field of the scenario, an SQL expression over the input's columns, or a map with `expr` and settings
    /// for this field alone. `hrsink scenarios` lists the fields. Optional fields that are not listed are not sent.
    pub fields: FieldMap,
}

/// How to treat text.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSettings {
    /// What to do with text longer than its field allows. Default: `truncate`.
    #[schemars(example = OnTooLong::Reject)]
    pub on_too_long: Option<OnTooLong>,
}

#[derive(Debug, Clone, Default, serde::Deserialize)]
pub(crate) struct FieldMap(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
struct Entry(FieldSettings);

/// The source of a field's values, and settings for this field alone.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldSettings {
    /// The SQL expression over the input's columns.
    #[schemars(example = "lower(work_email)")]
    pub expr: String,
    /// Whether to reject a row without a value. Always true for fields that the HR schema requires; default for the others:
    /// false.
    #[schemars(example = true)]
    pub required: Option<bool>,
    /// Date fields: overrides `dates` of the transform.
    #[schemars(example = serde_json::json!({"formats": ["excel_serial"]}))]
    pub dates: Option<DateSettings>,
    /// Text fields: overrides `text` of the transform.
    #[schemars(example = serde_json::json!({"on_too_long": "reject"}))]
    pub text: Option<TextSettings>,
    #[serde(skip)]
    is_plain: bool,
}

/// An SQL expression, or a map with `expr`. Not an untagged enum, whose errors say only that nothing fits.
struct EntryVisitor;

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SQL expression as text, or a map with `expr`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry(FieldSettings {
            expr: text.to_owned(),
            is_plain: true,
            ..FieldSettings::default()
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        FieldSettings::deserialize(MapAccessDeserializer::new(map)).map(Entry)
    }
}

impl JsonSchema for FieldMap {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fields".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // The names of all scenarios' fields, for completion; which belong to the scenario, `validate` says.
        let settings = generator.subschema_for::<FieldSettings>();
        let field = serde_json::json!({"anyOf": [{"type": "string"}, settings]});
        let mut properties = serde_json::Map::new();
        for known in Scenario::ALL.iter().flat_map(|scenario| scenario.fields()) {
            let mut schema = field.clone();
            schema["description"] = known.summary.into();
            properties.insert(known.name.to_owned(), schema);
        }
        schemars::json_schema!({"type": "object", "properties": properties, "additionalProperties": false})
    }
}

#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) field: &'static Field,
    pub(super) expression: ParsedExpression,
    pub(super) check: Check,
    pub(super) required: bool,
}

#[derive(Debug)]
pub(super) enum Check {
    Upn,
    Date(Arc<DateReader>),
    Text {
        max_chars: Option<usize>,
        on_too_long: OnTooLong,
    },
}

#[derive(Debug)]
pub(super) struct Checked {
    pub(super) scenario: Scenario,
    pub(super) filter: Option<ParsedExpression>,
    /// In the scenario's order.
    pub(super) fields: Vec<FieldPlan>,
}

/// The `dates` of the transform.
struct SharedDates {
    is_valid: bool,
    /// Only if a field uses them unchanged.
    reader: Option<Arc<DateReader>>,
}

impl HrSchemaConfig {
    /// Checks everything that needs no input and adds every problem. If there are any, fields may be missing from the
    /// result.
    pub(super) fn check(&self, engine: &Engine, problems: &mut Problems<'_>) -> Checked {
        let dates = self.shared_dates(&mut problems.at("dates"));
        let filter = self
            .filter
            .as_deref()
            .and_then(|sql| parse(engine, sql, &mut problems.at("where")));
        let mut here = problems.at("fields");
        let is_unknown = |name: &&String| self.scenario.field(name).is_none();
        for name in self.fields.0.keys().filter(is_unknown) {
            self.unknown_field(name, &mut here.at(name));
        }
        let mut fields = Vec::new();
        for field in self.scenario.fields() {
            let mut here = here.at(field.name);
            match self.fields.0.get(field.name) {
                Some(Entry(own)) => fields.extend(self.check_field(engine, field, own, &dates, &mut here)),
                None if field.required => here.add_with_hint(
                    format!(
                        "`{}` is missing: the scenario {} requires it",
                        field.name,
                        self.scenario.id()
                    ),
                    format!("add an SQL expression for it: {}", field.summary),
                ),
                None => {}
            }
        }
        Checked {
            scenario: self.scenario,
            filter,
            fields,
        }
    }

    fn shared_dates(&self, here: &mut Problems<'_>) -> SharedDates {
        let before = here.len();
        self.dates.validate(here);
        let is_valid = here.len() == before;
        let mut dates = self.scenario.fields().iter();
        let is_used = dates.any(|field| {
            let own = self.fields.0.get(field.name);
            field.kind == FieldKind::DateTime && own.is_some_and(|Entry(own)| own.dates.is_none())
        });
        let reader = (is_valid && is_used).then(|| self.dates.reader(here)).flatten();
        SharedDates {
            is_valid,
            reader: reader.map(Arc::new),
        }
    }

    fn unknown_field(&self, name: &str, here: &mut Problems<'_>) {
        let hint = match self.scenario.field_meant_by(name) {
            Some(field) => Some(format!(
                "the field is called `{}` here; the name mapped in the portal goes under the sink's `columns`",
                field.name
            )),
            None => suggestion(name, self.scenario.fields().iter().map(|field| field.name)),
        };
        let scenario = self.scenario.id();
        here.add_with(format!("the scenario {scenario} has no field `{name}`"), hint);
    }

    fn check_field(
        &self,
        engine: &Engine,
        field: &'static Field,
        settings: &FieldSettings,
        dates: &SharedDates,
        here: &mut Problems<'_>,
    ) -> Option<FieldPlan> {
        let (kind, own) = match field.kind {
            FieldKind::Upn => ("a user principal name", ""),
            FieldKind::DateTime => ("a date", "dates"),
            FieldKind::Text { .. } => ("a text", "text"),
        };
        for (key, is_set) in [
            ("dates", settings.dates.is_some()),
            ("text", settings.text.is_some()),
        ] {
            if is_set && key != own {
                here.at(key)
                    .add(format!("does not apply: {} is {kind}", field.name));
            }
        }
        if field.required && settings.required == Some(false) {
            here.at("required")
                .add(format!("must be true: the HR schema requires {}", field.name));
        }
        let key = if settings.is_plain { "" } else { "expr" };
        let expression = parse(engine, &settings.expr, &mut here.at(key));
        let check = match field.kind {
            FieldKind::Upn => Some(Check::Upn),
            FieldKind::DateTime => match &settings.dates {
                None => dates.reader.clone(),
                Some(own) => {
                    // Problems of the shared settings are reported there; here only those in the field's own settings, or in
                    // the two together.
                    let mut here = here.at("dates");
                    let before = here.len();
                    own.validate(&mut here);
                    let is_valid = dates.is_valid && here.len() == before;
                    let reader = is_valid.then(|| own.merged_over(&self.dates).reader(&mut here));
                    reader.flatten().map(Arc::new)
                }
            }
            .map(Check::Date),
            FieldKind::Text { max_chars } => {
                let own = settings.text.as_ref().and_then(|text| text.on_too_long);
                let on_too_long = own.or(self.text.on_too_long).unwrap_or_default();
                Some(Check::Text {
                    max_chars,
                    on_too_long,
                })
            }
        };
        Some(FieldPlan {
            field,
            expression: expression?,
            check: check?,
            required: field.required || settings.required == Some(true),
        })
    }
}

fn parse(engine: &Engine, sql: &str, here: &mut Problems<'_>) -> Option<ParsedExpression> {
    let parsed = engine.parse(sql);
    let report =
        |error: &SqlError| here.add_with(error.to_string(), error.hint().map(|hint| hint.to_owned()));
    parsed.inspect_err(report).ok()
}

#[async_trait]
impl TransformConfig for HrSchemaConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        for input in inputs {
            if let RowKind::Schema(scenario) = input.kind {
                problems.at("inputs").add_with_hint(
                    format!(
                        "`{}` already produces rows of the scenario {}",
                        input.name, scenario
                    ),
                    "use a source, or a transform that produces records",
                );
            }
        }
        self.check(&Engine::new(), problems);
    }

    fn kind(&self) -> RowKind {
        RowKind::Schema(self.scenario.id())
    }

    fn columns(&self) -> Columns {
        let checked = self.check(&Engine::new(), &mut Problems::new(&mut Vec::new()));
        let fields = checked.fields.iter().map(|field| &field.expression);
        let columns = fields.chain(&checked.filter).flat_map(ParsedExpression::columns);
        Columns::Named(columns.cloned().collect())
    }

    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>> {
        let engine = Engine::new();
        let mut found: Vec<Problem> = Vec::new();
        let checked = self.check(&engine, &mut Problems::new(&mut found));
        if let Some(problem) = found.first() {
            let name = &cx.name;
            return Err(Error::config(format!(
                "the transform `{name}` is invalid: {problem}"
            )));
        }
        let counts = cx.counts.clone();
        Ok(mapped(Mapper::new(cx, engine, checked), counts))
    }
}

inventory::submit! {
    Description::transform::<HrSchemaConfig>("hr_schema", "maps records to the rows of an HR scenario with SQL expressions")
}
