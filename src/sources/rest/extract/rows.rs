//! Turns the raw text of a record into rows: added columns, the array inside, mapped columns.
//!
//! Values are copied as raw text, so no number is reformatted.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::json_path::{SinglePath, Step};
use super::config::{EmptyArray, Explode, Keep, KeepWord, Nested, RecordsConfig};
use super::error::{ADDED, BodyError, ELEMENT, MAPPED, RECORD};
use super::plan::Plan;
use crate::error::Result;

/// The column of a record that is not an object.
const VALUE: &str = "value";

/// Where rows and their cursors go.
pub(in super::super) trait RowOutput {
    /// Takes a row, as the text of a JSON object.
    fn row(&mut self, text: &str) -> Result<()>;

    /// Takes the cursor of the row before, where the source has one.
    fn cursor(&mut self, value: Option<&Value>) -> Result<()>;
}

/// Takes records and passes their rows on.
pub(super) struct RecordSink<'o> {
    output: &'o mut dyn RowOutput,
    /// Columns of all rows.
    extra: Vec<(Arc<str>, String)>,
    /// Whether an object is a row as it is.
    is_plain: bool,
    text: String,
    digest: DefaultHasher,
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) without_list: u64,
    /// Bits of the first 64 mapped columns that some row has a value for.
    pub(super) found_columns: u64,
    pub(super) last: Option<String>,
}

#[derive(Debug, Clone)]
struct Column<'a> {
    name: Cow<'a, str>,
    /// Raw JSON.
    value: &'a str,
    /// The part of the row that it comes from.
    part: &'static str,
}

impl<'o> RecordSink<'o> {
    pub(super) fn new(
        config: &RecordsConfig,
        extra: &[(Arc<str>, Value)],
        output: &'o mut dyn RowOutput,
    ) -> Self {
        let extra: Vec<_> = extra
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        Self {
            output,
            is_plain: extra.is_empty()
                && config.key_as.is_none()
                && config.columns.is_empty()
                && config.explode.is_none()
                && config.nested == Nested::Keep,
            extra,
            text: String::new(),
            digest: DefaultHasher::new(),
            records: 0,
            rows: 0,
            without_list: 0,
            found_columns: 0,
            last: None,
        }
    }

    /// The same for the same records, and practically never for others.
    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Takes a record that ends at byte `at`; `key` is the JSON text of the member's name that it is in.
    pub(super) fn record(&mut self, plan: &Plan, record: &str, key: &str, at: u64) -> Result<(), BodyError> {
        self.records += 1;
        for part in [key.as_bytes(), record.as_bytes(), b"\xff"] {
            self.digest.write(part);
        }
        if plan.keep_last {
            self.last = Some(record.to_owned());
        }
        if self.is_plain && record.starts_with('{') {
            return self.pass_on(plan, record);
        }
        let Some(members) = members_or_value(record) else {
            return self.pass_on(plan, record);
        };
        let extra = std::mem::take(&mut self.extra);
        let done = self.rewrite(plan, &extra, &members, key, at);
        self.extra = extra;
        done
    }

    fn pass_on(&mut self, plan: &Plan, row: &str) -> Result<(), BodyError> {
        self.rows += 1;
        self.output.row(row)?;
        if let Some(cursor) = &plan.cursor {
            // A duplicate key is the decoder's to reject.
            let found = find(row, cursor.steps()).unwrap_or_default();
            let value = found.and_then(|text| serde_json::from_str(text).ok());
            self.output.cursor(value.as_ref())?;
        }
        Ok(())
    }

    fn rewrite(
        &mut self,
        plan: &Plan,
        extra: &[(Arc<str>, String)],
        members: &[(Cow<'_, str>, &str)],
        key: &str,
        at: u64,
    ) -> Result<(), BodyError> {
        let config = &plan.config;
        let mut row: Vec<Column<'_>> = Vec::with_capacity(extra.len() + members.len() + 1);
        let name_of_key = config.key_as.as_deref().map(|name| (name, key));
        let extra = extra.iter().map(|(name, value)| (&**name, value.as_str()));
        for (name, value) in extra.chain(name_of_key) {
            let upto = row.len();
            add(&mut row, upto, name, value, ADDED)?;
        }
        let Some(explode) = &config.explode else {
            return self.finish(plan, &mut row, members, RECORD, at);
        };
        let added = row.len();
        for (name, value) in members.iter().filter(|(name, _)| explode.keeps(name)) {
            let name = match explode.prefix.is_empty() {
                true => name.clone(),
                false => format!("{}{name}", explode.prefix).into(),
            };
            add(&mut row, added, name, value, RECORD)?;
        }
        let elements = explode.elements(members, at)?;
        self.without_list += u64::from(elements.is_none());
        let elements = elements.unwrap_or_default();
        if elements.is_empty() && explode.empty == EmptyArray::Keep {
            return self.finish(plan, &mut row, &[], ELEMENT, at);
        }
        let kept = row.len();
        for element in elements {
            row.truncate(kept);
            match members_or_value(element.get()) {
                Some(members) => self.finish(plan, &mut row, &members, ELEMENT, at)?,
                None => self.pass_on(plan, element.get())?,
            }
        }
        Ok(())
    }

    /// Adds a row's own members and the mapped columns, and passes it on.
    fn finish<'a>(
        &mut self,
        plan: &'a Plan,
        row: &mut Vec<Column<'a>>,
        own: &[(Cow<'a, str>, &'a str)],
        part: &'static str,
        at: u64,
    ) -> Result<(), BodyError> {
        let before = row.len();
        for (name, value) in own {
            add(row, before, name.clone(), value, part)?;
        }
        let columns = row.len();
        for (index, (name, path)) in plan.config.columns.iter().enumerate() {
            let (before, own) = row[..columns].split_at(before);
            let found = match find_in(own, path, at)? {
                None => find_in(before, path, at)?,
                found => found,
            };
            let bit = u32::try_from(index)
                .ok()
                .and_then(|index| 1_u64.checked_shl(index));
            if found.is_some() {
                self.found_columns |= bit.unwrap_or(0);
            }
            let upto = row.len();
            add(row, upto, name.as_str(), found.unwrap_or("null"), MAPPED)?;
        }
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.push('{');
        for column in row.iter() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&quoted(&column.name));
            text.push(':');
            match plan.config.nested == Nested::Json && column.value.starts_with(['{', '[']) {
                true => text.push_str(&quoted(column.value)),
                false => text.push_str(column.value),
            }
        }
        text.push('}');
        let done = self.pass_on(plan, &text);
        self.text = text;
        done
    }
}

impl Explode {
    /// The member that the array is in.
    fn member(&self) -> &str {
        match self.path.0.steps().first() {
            Some(Step::Name(name)) => name,
            _ => "",
        }
    }

    fn keeps(&self, name: &str) -> bool {
        match &self.keep {
            Keep::Word(KeepWord::All) => name != self.member(),
            Keep::Word(KeepWord::None) => false,
            Keep::These(names) => name != self.member() && names.iter().any(|kept| kept == name),
        }
    }

    /// The elements of a record's array; `None` if it does not exist.
    fn elements<'a>(
        &self,
        members: &[(Cow<'_, str>, &'a str)],
        at: u64,
    ) -> Result<Option<Vec<&'a RawValue>>, BodyError> {
        let path = &self.path.0;
        let value = find_member(
            members.iter().map(|(name, value)| (&**name, *value)),
            path.steps(),
        );
        let Some(value) = value.map_err(|Duplicate| duplicate(path, at))? else {
            return Ok(None);
        };
        let found = match value.as_bytes().first() {
            Some(b'[') => return Ok(Some(serde_json::from_str(value).unwrap_or_default())),
            Some(b'{') => return Ok(serde_json::from_str(value).ok().map(|one| vec![one])),
            Some(b'n') => return Ok(Some(Vec::new())),
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            _ => "a number",
        };
        Err(BodyError::WrongType {
            path: path.to_string(),
            found,
            expected: "an array to explode, in each record",
        })
    }
}

/// Adds a column. One of the first `upto` may have its name if it has the same value; duplicates within the record are
/// the decoder's to reject.
fn add<'a>(
    row: &mut Vec<Column<'a>>,
    upto: usize,
    name: impl Into<Cow<'a, str>>,
    value: &'a str,
    part: &'static str,
) -> Result<(), BodyError> {
    let name = name.into();
    let Some(known) = row[..upto].iter().find(|known| known.name == name) else {
        row.push(Column { name, value, part });
        return Ok(());
    };
    // A number in one part may be a string in the other.
    let text = |value: &str| match value.starts_with('"') {
        true => serde_json::from_str(value).unwrap_or_else(|_| value.to_owned()),
        false => value.to_owned(),
    };
    if known.value == value || text(known.value) == text(value) {
        return Ok(());
    }
    let (one, other) = match part {
        MAPPED => (part, known.part),
        _ => (known.part, part),
    };
    Err(BodyError::Conflict {
        column: name.into_owned(),
        one,
        other,
    })
}

/// A key occurs twice on the way to a value.
struct Duplicate;

fn duplicate(path: &SinglePath, at: u64) -> BodyError {
    BodyError::DuplicateKey {
        key: path.to_string(),
        at,
    }
}

fn find_in<'a>(columns: &[Column<'a>], path: &SinglePath, at: u64) -> Result<Option<&'a str>, BodyError> {
    let columns = columns.iter().map(|column| (&*column.name, column.value));
    find_member(columns, path.steps()).map_err(|Duplicate| duplicate(path, at))
}

fn find_member<'a, 'n>(
    members: impl Iterator<Item = (&'n str, &'a str)>,
    steps: &[Step],
) -> Result<Option<&'a str>, Duplicate> {
    let Some((Step::Name(wanted), rest)) = steps.split_first() else {
        return Ok(None);
    };
    let mut found = members.filter(|(name, _)| name == wanted);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Duplicate),
        (Some((_, value)), None) => find(value, rest),
        (None, None) => Ok(None),
    }
}

/// The raw text of the value at `steps` in a JSON text.
fn find<'a>(text: &'a str, steps: &[Step]) -> Result<Option<&'a str>, Duplicate> {
    match steps.split_first() {
        None => Ok(Some(text)),
        Some((Step::Name(_), _)) if text.starts_with('{') => {
            let members = members(text).unwrap_or_default();
            find_member(members.iter().map(|(name, value)| (&**name, *value)), steps)
        }
        Some((Step::Index(index), rest)) if text.starts_with('[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            elements
                .get(*index)
                .map_or(Ok(None), |element| find(element.get(), rest))
        }
        Some(_) => Ok(None),
    }
}

/// The JSON text of a string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The members of an object; anything else is the one column `value`. `None` if it is not valid JSON.
fn members_or_value(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    if text.starts_with('{') {
        return members(text);
    }
    let _: IgnoredAny = serde_json::from_str(text).ok()?;
    Some(vec![(VALUE.into(), text)])
}

/// Names and raw values of an object's members, in order.
pub(super) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct Members;

    #[derive(serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(16);
            while let Some((Name(name), value)) = map.next_entry::<_, &RawValue>()? {
                members.push((name, value.get()));
            }
            Ok(members)
        }
    }

    serde_json::Deserializer::from_str(text)
        .deserialize_map(Members)
        .ok()
}
