//! The settings of `hr_schema`.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::transform::HrSchema;
use crate::component::{
    Columns, Description, InputDescription, RowKind, Transform, TransformConfig, TransformContext,
};
use crate::config::{Problem, Problems, suggestion};
use crate::error::{Error, Result};
use crate::hr::dates::{DateReader, DateSettings};
use crate::hr::text::OnTooLong;
use crate::hr::{Field, FieldKind, Scenario};
use crate::transforms::{Engine, ParsedExpression, SqlError};

/// Maps records to the rows of an HR scenario.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HrSchemaConfig {
    /// The HR scenario that the rows belong to.
    pub scenario: Scenario,
    /// An SQL condition over the input's columns: rows for which it is not true are left out, and counted as
    /// filtered. Without it every row is meant.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// How dates are read, for all date fields that do not say otherwise.
    #[serde(default)]
    pub dates: DateSettings,
    /// How texts are treated, for all text fields that do not say otherwise.
    #[serde(default)]
    pub text: TextSettings,
    /// For each field of the scenario, an SQL expression over the input's columns, or a map with `expr` and settings
    /// for this field alone. `hrsink scenarios` lists the fields. Optional fields that are left out are not sent.
    pub fields: FieldMap,
}

/// How texts are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextSettings {
    /// Whether white space at both ends is removed. Default `true`.
    pub trim: Option<bool>,
    /// What happens to a text that is longer than its field allows. Default `truncate`.
    pub on_too_long: Option<OnTooLong>,
}

/// The fields in the file's order.
#[derive(Debug, Clone, Default)]
pub struct FieldMap(pub Vec<(String, FieldConfig)>);

/// Where a field's values come from, and what is special about it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSettings {
    /// The SQL expression over the input's columns.
    pub expr: String,
    /// Whether a row without a value is rejected. Fields that the HR schema requires always are; default `false` for
    /// the others.
    pub required: Option<bool>,
    /// Text fields: whether white space at both ends is removed.
    pub trim: Option<bool>,
    /// Text fields: what happens to a text that is longer than the field allows.
    pub on_too_long: Option<OnTooLong>,
    /// Date fields: see `dates`.
    pub formats: Option<Vec<String>>,
    /// Date fields: see `dates`.
    pub iso8601: Option<bool>,
    /// Date fields: see `dates`.
    pub timezone: Option<String>,
    /// Date fields: see `dates`.
    pub null_values: Option<Vec<String>>,
    /// Date fields: see `dates`.
    pub default_time: Option<String>,
    /// Date fields: see `dates`.
    pub on_gap: Option<crate::hr::dates::OnGap>,
    /// Date fields: see `dates`.
    pub on_overlap: Option<crate::hr::dates::OnOverlap>,
    /// Date fields: see `dates`.
    pub earliest: Option<String>,
    /// Date fields: see `dates`.
    pub latest: Option<String>,
    /// Date fields: see `dates`.
    pub century_pivot: Option<u8>,
}

/// A field: a plain expression, or one with settings.
#[derive(Debug, Clone, JsonSchema)]
#[serde(untagged)]
pub enum FieldConfig {
    /// The SQL expression over the input's columns.
    Expression(String),
    /// An expression with settings for this field alone.
    WithSettings(Box<FieldSettings>),
}

impl<'de> Deserialize<'de> for FieldConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FieldConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an SQL expression as text, or a map with `expr`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<FieldConfig, E> {
                Ok(FieldConfig::Expression(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldConfig, A::Error> {
                FieldSettings::deserialize(MapAccessDeserializer::new(map))
                    .map(|settings| FieldConfig::WithSettings(Box::new(settings)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = FieldMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of HR fields to SQL expressions")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldMap, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(FieldMap(fields))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl JsonSchema for FieldMap {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fields".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // The names of all scenarios' fields, for completion; which belong to the scenario, `validate` says.
        let field = generator.subschema_for::<FieldConfig>();
        let mut properties = serde_json::Map::new();
        for known in Scenario::ALL.iter().flat_map(|scenario| scenario.fields()) {
            let mut schema = field.clone().to_value();
            if let serde_json::Value::Object(schema) = &mut schema {
                let reference = std::mem::take(schema);
                schema.insert("description".to_owned(), known.summary.into());
                schema.insert("allOf".to_owned(), serde_json::json!([reference]));
            }
            properties.insert(known.name.to_owned(), schema);
        }
        schemars::json_schema!({"type": "object", "properties": properties, "additionalProperties": false})
    }
}

impl FieldConfig {
    pub(super) fn settings(&self) -> FieldSettings {
        match self {
            Self::Expression(expr) => FieldSettings {
                expr: expr.clone(),
                ..FieldSettings::default()
            },
            Self::WithSettings(settings) => (**settings).clone(),
        }
    }
}

impl FieldSettings {
    fn dates(&self) -> DateSettings {
        DateSettings {
            formats: self.formats.clone(),
            iso8601: self.iso8601,
            timezone: self.timezone.clone(),
            null_values: self.null_values.clone(),
            default_time: self.default_time.clone(),
            on_gap: self.on_gap,
            on_overlap: self.on_overlap,
            earliest: self.earliest.clone(),
            latest: self.latest.clone(),
            century_pivot: self.century_pivot,
        }
    }

    /// The keys given that are about fields of another kind.
    fn strangers(&self, kind: FieldKind) -> Vec<&'static str> {
        let text = [
            ("trim", self.trim.is_some()),
            ("on_too_long", self.on_too_long.is_some()),
        ];
        let dates = [
            ("formats", self.formats.is_some()),
            ("iso8601", self.iso8601.is_some()),
            ("timezone", self.timezone.is_some()),
            ("null_values", self.null_values.is_some()),
            ("default_time", self.default_time.is_some()),
            ("on_gap", self.on_gap.is_some()),
            ("on_overlap", self.on_overlap.is_some()),
            ("earliest", self.earliest.is_some()),
            ("latest", self.latest.is_some()),
            ("century_pivot", self.century_pivot.is_some()),
        ];
        let given = |keys: &[(&'static str, bool)]| -> Vec<&'static str> {
            keys.iter()
                .filter(|(_, given)| *given)
                .map(|(key, _)| *key)
                .collect()
        };
        match kind {
            FieldKind::Upn => [given(&text), given(&dates)].concat(),
            FieldKind::DateTime => given(&text),
            FieldKind::Text { .. } => given(&dates),
        }
    }
}

/// A field, checked: what the plan is made from.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) field: &'static Field,
    pub(super) expression: ParsedExpression,
    pub(super) check: Check,
    pub(super) required: bool,
}

/// What happens to a field's values.
#[derive(Debug)]
pub(super) enum Check {
    Upn,
    Date(Box<DateReader>),
    Text {
        max_chars: Option<usize>,
        trim: bool,
        on_too_long: OnTooLong,
    },
}

/// The settings, checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) scenario: Scenario,
    pub(super) filter: Option<ParsedExpression>,
    /// In the scenario's order.
    pub(super) fields: Vec<FieldPlan>,
}

impl HrSchemaConfig {
    /// Checks everything that needs no input, noting every problem. Some fields may be missing from the result if
    /// there was one.
    pub(super) fn check(&self, engine: &Engine, problems: &mut Problems<'_>) -> Checked {
        let filter = self
            .filter
            .as_deref()
            .and_then(|sql| parse(engine, sql, &mut problems.at("where")));
        let mut fields = Vec::new();
        let mut here = problems.at("fields");
        for (name, config) in &self.fields.0 {
            let Some(field) = self.scenario.field(name) else {
                self.unknown_field(name, &mut here.at(name));
                continue;
            };
            if let Some(field) = self.check_field(engine, field, &config.settings(), &mut here.at(name)) {
                fields.push(field);
            }
        }
        for field in self.scenario.fields().iter().filter(|field| field.required) {
            if !self.fields.0.iter().any(|(name, _)| name == field.name) {
                here.at(field.name).add_with_hint(
                    format!(
                        "`{}` is required by the scenario {} and not there",
                        field.name,
                        self.scenario.id()
                    ),
                    format!("give an SQL expression for it: {}", field.summary),
                );
            }
        }
        let order = |name: &str| self.scenario.fields().iter().position(|field| field.name == name);
        fields.sort_by_key(|plan| order(plan.field.name));
        Checked {
            scenario: self.scenario,
            filter,
            fields,
        }
    }

    fn unknown_field(&self, name: &str, here: &mut Problems<'_>) {
        let message = format!("the scenario {} has no field `{name}`", self.scenario.id());
        let hint = match self.scenario.field_meant_by(name) {
            Some(field) => Some(format!(
                "here it is called `{}`; the name mapped in the portal goes under the sink's `columns`",
                field.name
            )),
            None => suggestion(name, self.scenario.fields().iter().map(|field| field.name)),
        };
        match hint {
            Some(hint) => here.add_with_hint(message, hint),
            None => here.add(message),
        }
    }

    fn check_field(
        &self,
        engine: &Engine,
        field: &'static Field,
        settings: &FieldSettings,
        here: &mut Problems<'_>,
    ) -> Option<FieldPlan> {
        for key in settings.strangers(field.kind) {
            let kind = match field.kind {
                FieldKind::Upn => "a user principal name",
                FieldKind::DateTime => "a date",
                FieldKind::Text { .. } => "a text",
            };
            here.at(key)
                .add(format!("`{key}` means nothing here: {} is {kind}", field.name));
        }
        if field.required && settings.required == Some(false) {
            here.at("required").add(format!(
                "the HR schema requires {}; it cannot be optional",
                field.name
            ));
        }
        let expression = match &self.fields.0.iter().find(|(name, _)| name == field.name)?.1 {
            FieldConfig::Expression(sql) => parse(engine, sql, here),
            FieldConfig::WithSettings(settings) => parse(engine, &settings.expr, &mut here.at("expr")),
        };
        let check = match field.kind {
            FieldKind::Upn => Some(Check::Upn),
            FieldKind::DateTime => self
                .date_reader(settings, here)
                .map(|reader| Check::Date(Box::new(reader))),
            FieldKind::Text { max_chars } => Some(Check::Text {
                max_chars,
                trim: settings.trim.or(self.text.trim).unwrap_or(true),
                on_too_long: settings.on_too_long.or(self.text.on_too_long).unwrap_or_default(),
            }),
        };
        Some(FieldPlan {
            field,
            expression: expression?,
            check: check?,
            required: field.required || settings.required == Some(true),
        })
    }

    /// The reader of one date field. What is wrong in the shared `dates` block is noted there, once; here only what is
    /// wrong in the field's own settings, or in the two together.
    fn date_reader(&self, settings: &FieldSettings, here: &mut Problems<'_>) -> Option<DateReader> {
        let own = settings.dates();
        let mut wrong = Vec::new();
        self.dates.validate(&mut Problems::new(&mut wrong));
        if own == DateSettings::default() || !wrong.is_empty() {
            own.validate(here);
            return DateReader::new(&self.dates, &mut Problems::new(&mut wrong));
        }
        let before = here.len();
        own.validate(here);
        if here.len() > before {
            return None;
        }
        DateReader::new(&own.merged_over(&self.dates), here)
    }
}

fn parse(engine: &Engine, sql: &str, here: &mut Problems<'_>) -> Option<ParsedExpression> {
    match engine.parse(sql) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            note(&error, here);
            None
        }
    }
}

fn note(error: &SqlError, here: &mut Problems<'_>) {
    match error.hint() {
        Some(hint) => here.add_with_hint(error.to_string(), hint.to_owned()),
        None => here.add(error.to_string()),
    }
}

#[typetag::deserialize(name = "hr_schema")]
#[async_trait]
impl TransformConfig for HrSchemaConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        for input in inputs {
            if let RowKind::Hr(scenario) = input.kind {
                problems.at("inputs").add_with_hint(
                    format!(
                        "`{}` already gives rows of the scenario {}",
                        input.name,
                        scenario.id()
                    ),
                    "name a source, or a transform that gives records",
                );
            }
        }
        let uses_shared_dates = self.fields.0.iter().any(|(name, config)| {
            self.scenario
                .field(name)
                .is_some_and(|field| field.kind == FieldKind::DateTime)
                && config.settings().dates() == DateSettings::default()
        });
        if uses_shared_dates || self.dates != DateSettings::default() {
            let mut here = problems.at("dates");
            let before = here.len();
            self.dates.validate(&mut here);
            if uses_shared_dates && here.len() == before {
                DateReader::new(&self.dates, &mut here);
            }
        }
        self.check(&Engine::new(), problems);
    }

    fn kind(&self) -> RowKind {
        RowKind::Hr(self.scenario)
    }

    fn columns(&self) -> Columns {
        let checked = self.check(&Engine::new(), &mut Problems::new(&mut Vec::new()));
        let mut names = BTreeSet::new();
        for expression in checked
            .fields
            .iter()
            .map(|field| &field.expression)
            .chain(&checked.filter)
        {
            names.extend(expression.columns().iter().cloned());
        }
        Columns::Named(names)
    }

    async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>> {
        let engine = Engine::new();
        let mut found: Vec<Problem> = Vec::new();
        let checked = self.check(&engine, &mut Problems::new(&mut found));
        if let Some(problem) = found.first() {
            return Err(Error::config(format!(
                "the transform `{}` is wrong: {problem}",
                cx.name
            )));
        }
        Ok(Box::new(HrSchema::new(cx, engine, checked)))
    }
}

inventory::submit! {
    Description::transform::<HrSchemaConfig>("hr_schema", "maps records to the rows of an HR scenario with SQL expressions")
}
