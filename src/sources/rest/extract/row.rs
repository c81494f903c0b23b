//! Makes rows of records: what the source adds, the list inside, nested values as text.
//!
//! Texts of values are copied as they are, so that no number is written in another way. A record that is not valid
//! JSON is passed on as it is: what decodes it puts it aside.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::json_path::{SinglePath, Step};
use super::config::{Empty, Explode, Keep, Nested, RecordsConfig};
use super::error::{ADDED, BodyError, ELEMENT, PARENT, PICKED};

/// The name of the one column of a record that is not an object.
const VALUE: &str = "value";

/// Takes the texts of rows.
pub(super) type Take<'t, E> = &'t mut dyn FnMut(&[u8]) -> Result<(), E>;

/// A member of an object.
#[derive(Debug, Clone)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// The name as a JSON text.
    key: Cow<'a, str>,
    /// The value as a JSON text.
    value: &'a str,
}

/// Writes rows, one at a time, into a buffer that is used again.
#[derive(Debug)]
pub(super) struct Rows {
    /// Name, the name and the value as JSON texts.
    extra: Vec<(Arc<str>, String, String)>,
    /// Whether objects are rows as they are.
    plain: bool,
    out: Vec<u8>,
    /// What all rows of a record begin with.
    begin: Vec<u8>,
    /// Records without the list that is to be exploded, empty or null.
    pub(super) without_list: u64,
    /// Bits of the columns to pick for which there was anything.
    pub(super) picked: u64,
}

/// A record that is not valid JSON.
struct Broken;

impl Rows {
    pub(super) fn new(config: &RecordsConfig, extra: &[(Arc<str>, Value)]) -> Self {
        let extra: Vec<_> = extra
            .iter()
            .map(|(name, value)| (name.clone(), quoted(name), value.to_string()))
            .collect();
        Self {
            plain: extra.is_empty()
                && config.key_as.is_none()
                && config.columns.is_empty()
                && config.explode.is_none()
                && config.nested == Nested::Keep,
            extra,
            out: Vec::new(),
            begin: Vec::new(),
            without_list: 0,
            picked: 0,
        }
    }

    /// Gives the rows of a record that begins at byte `at` to `take`; `key` is the name of the member that it is in, as
    /// a JSON text. How many there are.
    #[inline]
    pub(super) fn write<E: From<BodyError>>(
        &mut self,
        config: &RecordsConfig,
        record: &[u8],
        key: &[u8],
        at: u64,
        take: Take<'_, E>,
    ) -> Result<u64, E> {
        if self.plain && record.first() == Some(&b'{') {
            take(record)?;
            return Ok(1);
        }
        match self.rewrite(config, record, key, at, take) {
            Ok(rows) => rows,
            Err(Broken) => {
                take(record)?;
                Ok(1)
            }
        }
    }

    fn rewrite<E: From<BodyError>>(
        &mut self,
        config: &RecordsConfig,
        record: &[u8],
        key: &[u8],
        at: u64,
        take: Take<'_, E>,
    ) -> Result<Result<u64, E>, Broken> {
        let text = std::str::from_utf8(record).map_err(|_| Broken)?;
        let members = members_or_value(text)?;
        let extra = std::mem::take(&mut self.extra);
        let mut added = Vec::with_capacity(extra.len() + 1);
        for (name, key, value) in &extra {
            added.push(Member {
                name: Cow::Borrowed(&**name),
                key: Cow::Borrowed(key),
                value,
            });
        }
        let rows = key_member(config, key).map(|key| {
            if let Some(key) = key {
                merge(&mut added, key, ADDED, ADDED)?;
            }
            self.rows(config, &members, added, at, take)
        });
        self.extra = extra;
        rows
    }

    fn rows<'a, E: From<BodyError>>(
        &mut self,
        config: &RecordsConfig,
        members: &[Member<'a>],
        mut fixed: Vec<Member<'a>>,
        at: u64,
        take: Take<'_, E>,
    ) -> Result<u64, E> {
        let added = fixed.len();
        let Some(explode) = &config.explode else {
            self.begin(config, &fixed);
            self.row(config, &[(ADDED, &fixed)], members, PARENT, at)?;
            take(&self.out)?;
            return Ok(1);
        };
        for member in members {
            if let Some(kept) = explode.kept(member) {
                merge_after(&mut fixed, added, kept)?;
            }
        }
        self.begin(config, &fixed);
        let (added, kept) = fixed.split_at(added);
        let groups = [(ADDED, added), (PARENT, kept)];
        let elements = elements(explode, members, at)?;
        if elements.is_none() {
            self.without_list += 1;
        }
        let elements = elements.unwrap_or_default();
        if elements.is_empty() {
            if explode.empty == Empty::Drop {
                return Ok(0);
            }
            self.row(config, &groups, &[], ELEMENT, at)?;
            take(&self.out)?;
            return Ok(1);
        }
        for element in &elements {
            // Valid, as the record is, but for a name that no text can hold.
            match members_or_value(element.get()) {
                Ok(members) => {
                    self.row(config, &groups, &members, ELEMENT, at)?;
                    take(&self.out)?;
                }
                Err(Broken) => take(element.get().as_bytes())?,
            }
        }
        Ok(elements.len() as u64)
    }

    fn begin(&mut self, config: &RecordsConfig, fixed: &[Member<'_>]) {
        self.begin.clear();
        self.begin.push(b'{');
        for member in fixed {
            write_member(&mut self.begin, config.nested, member);
        }
    }

    /// Writes what a row begins with and its own members.
    fn row(
        &mut self,
        config: &RecordsConfig,
        fixed: &[(&'static str, &[Member<'_>])],
        own: &[Member<'_>],
        part: &'static str,
        at: u64,
    ) -> Result<(), BodyError> {
        self.out.clear();
        self.out.extend_from_slice(&self.begin);
        'members: for member in own {
            for (from, members) in fixed {
                if let Some(known) = members.iter().find(|known| known.name == member.name) {
                    same(known, member, from, part)?;
                    continue 'members;
                }
            }
            write_member(&mut self.out, config.nested, member);
        }
        for (index, (name, path)) in config.columns.iter().enumerate() {
            let (picked, there) = picked(name, path, fixed, own, at)?;
            if let Some(bit) = 1_u64
                .checked_shl(u32::try_from(index).unwrap_or(u32::MAX))
                .filter(|_| there)
            {
                self.picked |= bit;
            }
            match own.iter().find(|known| known.name == *name) {
                Some(known) => same(&picked, known, PICKED, part)?,
                None => match fixed.iter().find_map(|(from, members)| {
                    let known = members.iter().find(|known| known.name == *name)?;
                    Some((known, *from))
                }) {
                    Some((known, from)) => same(&picked, known, PICKED, from)?,
                    None => write_member(&mut self.out, config.nested, &picked),
                },
            }
        }
        self.out.push(b'}');
        Ok(())
    }
}

impl Explode {
    /// The member as rows keep it, if they do.
    fn kept<'a>(&self, member: &Member<'a>) -> Option<Member<'a>> {
        let list = match self.path.0.steps().first() {
            Some(Step::Name(name)) => name.as_str(),
            _ => "",
        };
        let keeps = match &self.keep {
            Keep::All => member.name != list,
            Keep::None => false,
            Keep::These(names) => member.name != list && names.iter().any(|name| *name == member.name),
        };
        if !keeps || self.prefix.is_empty() {
            return keeps.then(|| member.clone());
        }
        let name = format!("{}{}", self.prefix, member.name);
        Some(Member {
            key: quoted(&name).into(),
            name: name.into(),
            value: member.value,
        })
    }
}

/// The elements that a record is exploded into; nothing if the list is not there.
fn elements<'a>(
    explode: &Explode,
    members: &[Member<'a>],
    at: u64,
) -> Result<Option<Vec<&'a RawValue>>, BodyError> {
    let path = &explode.path.0;
    let Some(value) = inside(members, path, at)? else {
        return Ok(None);
    };
    let found = match value.as_bytes().first() {
        Some(b'[') => return Ok(Some(serde_json::from_str(value).unwrap_or_default())),
        Some(b'{') => return Ok(serde_json::from_str(value).ok().map(|one| vec![one])),
        Some(b'n') => return Ok(Some(Vec::new())),
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    };
    Err(BodyError::WrongType {
        path: path.to_string(),
        found,
        wanted: "a list to explode, in each record,",
    })
}

/// A column taken out of a row: of its own members, else of those that it begins with. And whether there is anything.
fn picked<'a>(
    name: &'a str,
    path: &SinglePath,
    fixed: &[(&'static str, &[Member<'a>])],
    own: &[Member<'a>],
    at: u64,
) -> Result<(Member<'a>, bool), BodyError> {
    let mut found = inside(own, path, at)?;
    for (_, members) in fixed {
        found = match found {
            Some(_) => break,
            None => inside(members, path, at)?,
        };
    }
    let member = Member {
        name: Cow::Borrowed(name),
        key: quoted(name).into(),
        value: found.unwrap_or("null"),
    };
    Ok((member, found.is_some()))
}

/// The text of the value at `path` of the record with these members; nothing if it is not there.
fn inside<'a>(members: &[Member<'a>], path: &SinglePath, at: u64) -> Result<Option<&'a str>, BodyError> {
    let mut steps = path.steps().iter();
    let Some(Step::Name(first)) = steps.next() else {
        return Ok(None);
    };
    let twice = |Twice| BodyError::Structure {
        at,
        what: format!("a key of `{path}` is twice in the record").into(),
    };
    let mut value = member(members, first).map_err(twice)?;
    for step in steps {
        value = match (step, value) {
            (Step::Name(name), Some(value)) if value.starts_with('{') => match self::members(value) {
                Ok(members) => member(&members, name).map_err(twice)?,
                Err(Broken) => None,
            },
            (Step::Index(index), Some(value)) if value.starts_with('[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
                elements.get(*index).map(|element| element.get())
            }
            _ => return Ok(None),
        };
    }
    Ok(value)
}

/// A key is there twice.
struct Twice;

fn member<'a>(members: &[Member<'a>], name: &str) -> Result<Option<&'a str>, Twice> {
    let mut found = members.iter().filter(|member| member.name == name);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Twice),
        (first, None) => Ok(first.map(|member| member.value)),
    }
}

/// The column of the name of the member that a record is in.
fn key_member<'a>(config: &'a RecordsConfig, key: &'a [u8]) -> Result<Option<Member<'a>>, Broken> {
    let Some(name) = &config.key_as else {
        return Ok(None);
    };
    Ok(Some(Member {
        name: Cow::Borrowed(name),
        key: quoted(name).into(),
        value: std::str::from_utf8(key).map_err(|_| Broken)?,
    }))
}

/// Adds a column, unless it is there with the same value.
fn merge<'a>(
    columns: &mut Vec<Member<'a>>,
    column: Member<'a>,
    one: &'static str,
    other: &'static str,
) -> Result<(), BodyError> {
    match columns.iter().find(|known| known.name == column.name) {
        Some(known) => same(known, &column, one, other),
        None => {
            columns.push(column);
            Ok(())
        }
    }
}

/// Adds a kept member. Two of the same record with one name are for the decoder to refuse.
fn merge_after<'a>(columns: &mut Vec<Member<'a>>, added: usize, kept: Member<'a>) -> Result<(), BodyError> {
    match columns[..added].iter().find(|known| known.name == kept.name) {
        Some(known) => same(known, &kept, ADDED, PARENT),
        None => {
            columns.push(kept);
            Ok(())
        }
    }
}

/// Whether two columns of one name say the same, be it as a number here and as a text there.
fn same(
    known: &Member<'_>,
    other: &Member<'_>,
    from: &'static str,
    part: &'static str,
) -> Result<(), BodyError> {
    let bare = |text: &'_ str| -> String {
        let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match inside {
            Some(_) => serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()),
            None => text.to_owned(),
        }
    };
    if known.value == other.value || bare(known.value) == bare(other.value) {
        return Ok(());
    }
    Err(BodyError::Clash {
        column: other.name.clone().into_owned(),
        one: from,
        other: part,
    })
}

fn write_member(out: &mut Vec<u8>, nested: Nested, member: &Member<'_>) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(member.key.as_bytes());
    out.push(b':');
    if nested == Nested::Json && member.value.starts_with(['{', '[']) {
        out.extend_from_slice(quoted(member.value).as_bytes());
    } else {
        out.extend_from_slice(member.value.as_bytes());
    }
}

/// The JSON text of a text.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The members of an object, or what is no object as the only one.
fn members_or_value(text: &str) -> Result<Vec<Member<'_>>, Broken> {
    if text.starts_with('{') {
        return members(text);
    }
    let _: IgnoredAny = serde_json::from_str(text).map_err(|_| Broken)?;
    Ok(vec![Member {
        name: Cow::Borrowed(VALUE),
        key: Cow::Borrowed("\"value\""),
        value: text,
    }])
}

/// The members of an object, in their order.
fn members(text: &str) -> Result<Vec<Member<'_>>, Broken> {
    raw_members(text)
        .ok_or(Broken)?
        .into_iter()
        .map(|(name, key, value)| {
            Ok(Member {
                name,
                key: Cow::Borrowed(key),
                value,
            })
        })
        .collect()
}

/// Names, the names as JSON texts and the values of an object's members; nothing if the object is not valid.
pub(super) fn raw_members(text: &str) -> Option<Vec<(Cow<'_, str>, &str, &str)>> {
    struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Entries;

            impl<'de> Visitor<'de> for Entries {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::with_capacity(16);
                    while let Some(entry) = map.next_entry()? {
                        members.push(entry);
                    }
                    Ok(Members(members))
                }
            }

            deserializer.deserialize_map(Entries)
        }
    }

    let Members(members) = serde_json::from_str(text).ok()?;
    members
        .into_iter()
        .map(|(key, value)| {
            let key = key.get();
            let name = match key.get(1..key.len() - 1) {
                Some(name) if !name.contains('\\') => Cow::Borrowed(name),
                _ => Cow::Owned(serde_json::from_str(key).ok()?),
            };
            Some((name, key, value.get()))
        })
        .collect()
}
