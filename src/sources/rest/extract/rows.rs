//! Turns the raw text of a record into rows: added columns, the array inside, mapped columns.
//!
//! Values are copied as raw text, so no number is reformatted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, PathElement};

use super::super::json_path::{ExtractedValues, SinglePath, Step};
use super::config::{EmptyArray, Explode, Keep, KeepWord};
use super::error::{ADDED, BodyError, ELEMENT, MAPPED, RECORD};
use super::{Extracted, Extractor, RowOutput};

/// The column of a record that is not an object.
const VALUE: &str = "value";

pub(super) struct RecordSink<'o> {
    extractor: &'o Extractor,
    output: RowOutput<'o>,
    extra: Arc<[(Arc<str>, String)]>,
    /// Whether an object is a row as it is.
    is_plain: bool,
    digest: DefaultHasher,
    pub(super) extracted: Extracted,
}

#[derive(Debug, Clone)]
struct Column<'a> {
    name: Cow<'a, str>,
    value: &'a str,
    /// The part of the row that it comes from.
    part: &'static str,
}

impl<'o> RecordSink<'o> {
    pub(super) fn new(extractor: &'o Extractor, extra: &[(Arc<str>, Value)], output: RowOutput<'o>) -> Self {
        let config = &extractor.config;
        let text = |(name, value): &(Arc<str>, Value)| (name.clone(), value.to_string());
        let extra: Arc<[_]> = extra.iter().map(text).collect();
        Self {
            extractor,
            output,
            is_plain: extra.is_empty()
                && config.key_as.is_none()
                && config.columns.is_empty()
                && config.explode.is_none(),
            extra,
            digest: DefaultHasher::new(),
            extracted: Extracted::default(),
        }
    }

    pub(super) fn finish(self, values: ExtractedValues) -> Extracted {
        Extracted {
            values,
            digest: self.digest.finish(),
            ..self.extracted
        }
    }

    /// Takes a record that ends at byte `at`; `key` is the JSON text of the member's name that it is in.
    pub(super) fn record(&mut self, record: &str, key: &str, at: u64) -> Result<(), BodyError> {
        self.extracted.records += 1;
        for part in [key.as_bytes(), record.as_bytes(), b"\xff"] {
            self.digest.write(part);
        }
        if self.is_plain && record.starts_with('{') {
            return self.pass_on(record);
        }
        let Some(members) = members_or_value(record) else {
            return self.pass_on(record);
        };
        let extra = Arc::clone(&self.extra);
        self.rewrite(&extra, &members, key, at)
    }

    fn pass_on(&mut self, row: &str) -> Result<(), BodyError> {
        self.extracted.rows += 1;
        let cursor = self.extractor.cursor.as_ref().and_then(|cursor| {
            // A duplicate key is the decoder's to reject.
            let found = find(row, cursor.steps()).unwrap_or_default();
            serde_json::from_str::<Value>(found?).ok()
        });
        Ok((self.output)(row, cursor.as_ref())?)
    }

    fn rewrite(
        &mut self,
        extra: &[(Arc<str>, String)],
        members: &[(Cow<'_, str>, &str)],
        key: &str,
        at: u64,
    ) -> Result<(), BodyError> {
        let config = &self.extractor.config;
        let mut row: Vec<Column<'_>> = Vec::with_capacity(extra.len() + members.len() + 1);
        let name_of_key = config.key_as.as_deref().map(|name| (name, key));
        let extra = extra.iter().map(|(name, value)| (&**name, value.as_str()));
        for (name, value) in extra.chain(name_of_key) {
            let upto = row.len();
            add(&mut row, upto, name, value, ADDED)?;
        }
        let Some(explode) = &config.explode else {
            return self.row(&mut row, members, RECORD, at);
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
        self.extracted.without_list += u64::from(elements.is_none());
        let elements = elements.unwrap_or_default();
        if elements.is_empty() && explode.empty == EmptyArray::Keep {
            return self.row(&mut row, &[], ELEMENT, at);
        }
        let kept = row.len();
        for element in elements {
            row.truncate(kept);
            match members_or_value(element.get()) {
                Some(members) => self.row(&mut row, &members, ELEMENT, at)?,
                None => self.pass_on(element.get())?,
            }
        }
        Ok(())
    }

    /// Adds a row's own members and the mapped columns, and passes it on.
    fn row<'a>(
        &mut self,
        row: &mut Vec<Column<'a>>,
        own: &[(Cow<'a, str>, &'a str)],
        part: &'static str,
        at: u64,
    ) -> Result<(), BodyError>
    where
        'o: 'a,
    {
        let before = row.len();
        for (name, value) in own {
            add(row, before, name.clone(), value, part)?;
        }
        let columns = row.len();
        for (index, (name, path)) in self.extractor.config.columns.iter().enumerate() {
            let (before, own) = row[..columns].split_at(before);
            let found = match find_in(own, path, at)? {
                None => find_in(before, path, at)?,
                found => found,
            };
            if found.is_some() && index < 64 {
                self.extracted.found_columns |= 1 << index;
            }
            let upto = row.len();
            add(row, upto, name.as_str(), found.unwrap_or("null"), MAPPED)?;
        }
        let mut text = String::from("{");
        for column in row.iter() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&quoted(&column.name));
            text.push(':');
            text.push_str(column.value);
        }
        text.push('}');
        self.pass_on(&text)
    }
}

impl Explode {
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
        let members = members.iter().map(|(name, value)| (&**name, *value));
        let value = find_member(members, path.steps());
        let Some(value) = value.map_err(|Duplicate| BodyError::duplicate_key(path, at))? else {
            return Ok(None);
        };
        let found = match value.as_bytes().first() {
            Some(b'[') => return Ok(Some(elements(value))),
            Some(b'{') => return Ok(serde_json::from_str(value).ok().map(|one| vec![one])),
            Some(b'n') => return Ok(Some(Vec::new())),
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            _ => "a number",
        };
        let expected = "an array to explode, in each record";
        Err(BodyError::wrong_type(path, found, expected))
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
    Err(BodyError::conflict(&name, one, other))
}

/// A key occurs twice on the way to a value.
struct Duplicate;

fn find_in<'a>(columns: &[Column<'a>], path: &SinglePath, at: u64) -> Result<Option<&'a str>, BodyError> {
    let columns = columns.iter().map(|column| (&*column.name, column.value));
    find_member(columns, path.steps()).map_err(|Duplicate| BodyError::duplicate_key(path, at))
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
            let element = elements(text).get(*index).copied();
            element.map_or(Ok(None), |element| find(element.get(), rest))
        }
        Some(_) => Ok(None),
    }
}

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

/// The elements of a valid array.
pub(super) fn elements(text: &str) -> Vec<&RawValue> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Names and raw values of an object's members, in order.
fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
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

/// Passes the raw text of each record that a path selects to `take`, in the path's order; the elements of an array are
/// records each.
pub(super) fn query(
    document: &str,
    path: &JsonPath,
    take: &mut dyn FnMut(&str) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let value: Value = serde_json::from_str(document).map_err(|error| BodyError::syntax(&error, 0))?;
    let locations: Vec<Vec<Step>> = path
        .query_located(&value)
        .locations()
        .map(|location| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::Name((*name).to_owned()),
                PathElement::Index(index) => Step::Index(*index),
            };
            location.iter().map(step).collect()
        })
        .collect();
    drop(value);
    let mut texts = vec![None; locations.len()];
    let wanted: Vec<(usize, &[Step])> = locations.iter().map(Vec::as_slice).enumerate().collect();
    find_all(document.trim(), &wanted, &mut texts);
    for text in texts.into_iter().flatten() {
        match text.as_bytes().first() {
            Some(b'[') => {
                for element in elements(text) {
                    take(element.get())?;
                }
            }
            Some(b'n') | None => {}
            Some(_) => take(text)?,
        }
    }
    Ok(())
}

/// Finds the raw texts at several locations; each level is parsed once.
fn find_all<'t>(text: &'t str, wanted: &[(usize, &[Step])], found: &mut [Option<&'t str>]) {
    let mut below: HashMap<&Step, Vec<(usize, &[Step])>> = HashMap::new();
    for (index, steps) in wanted {
        match steps.split_first() {
            None => found[*index] = Some(text),
            Some((step, rest)) => below.entry(step).or_default().push((*index, rest)),
        }
    }
    if below.is_empty() {
        return;
    }
    let mut descend = |step: Step, text| {
        if let Some(wanted) = below.get(&step) {
            find_all(text, wanted, found);
        }
    };
    if text.starts_with('{') {
        for (name, value) in members(text).unwrap_or_default() {
            descend(Step::Name(name.into_owned()), value);
        }
    } else {
        for (index, element) in elements(text).into_iter().enumerate() {
            descend(Step::Index(index), element.get());
        }
    }
}
