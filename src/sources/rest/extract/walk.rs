//! A serde seed that walks down the record path, hands out each record as raw text, and collects single values on the
//! way. Everything else is skipped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::json_path::ExtractedValues;
use super::super::json_path::Step;
use super::Extracted;
use super::error::{BodyError, displayable};
use super::plan::{Node, Plan, RouteStep};
use super::reader::Progress;
use super::rows::{RecordSink, quoted};

/// Bytes of a key or an extracted value.
const MAX_VALUE: usize = 64 << 10;

/// Keys of an object that are kept for the hint when the path does not exist.
const MAX_KEYS: usize = 40;

/// The state of a walk through one JSON value.
pub(super) struct Walk<'w> {
    plan: &'w Plan,
    progress: &'w Progress,
    pub(super) sink: RecordSink<'w>,
    values: Vec<Option<Value>>,
    /// The name of the member that the records are in.
    key: String,
    /// Whether the path exists, or leads to an empty container.
    reached: bool,
    miss: Option<Miss>,
}

/// Where the path ends too early.
struct Miss {
    step: usize,
    found: &'static str,
    keys: Vec<String>,
}

/// What a value is to the record path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Not on the path.
    Other,
    /// On the path, before this step.
    On(usize),
    /// At the end of the path.
    End,
    Record,
}

impl<'w> Walk<'w> {
    pub(super) fn new(plan: &'w Plan, progress: &'w Progress, sink: RecordSink<'w>) -> Self {
        Self {
            values: vec![None; plan.paths.paths().len()],
            plan,
            progress,
            sink,
            key: String::new(),
            reached: false,
            miss: None,
        }
    }

    /// Walks through the next value of `deserializer`.
    pub(super) fn run<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        (self.reached, self.miss) = (false, None);
        let role = match self.plan.route.steps.is_empty() {
            true => Role::End,
            false => Role::On(0),
        };
        let node = Node::root(&self.plan.paths);
        Here {
            walk: self,
            role,
            node,
        }
        .deserialize(deserializer)
    }

    /// Checks that the path exists, if it must.
    pub(super) fn check_reached(&mut self) -> Result<(), BodyError> {
        let Some(miss) = self
            .miss
            .take()
            .filter(|_| !self.reached && self.plan.must_exist())
        else {
            return Ok(());
        };
        let wanted = match self.plan.route.steps.get(miss.step) {
            Some(RouteStep::Name(name)) => Some(name.clone()),
            _ => None,
        };
        Err(BodyError::Missing {
            path: self.plan.config.path.text.clone(),
            reached: self.plan.route.before(miss.step).to_owned(),
            wanted,
            found: miss.found,
            keys: displayable(&miss.keys),
        })
    }

    /// What was extracted.
    pub(super) fn finish(self) -> Extracted {
        let last = self.sink.last.as_deref();
        Extracted {
            records: self.sink.records,
            rows: self.sink.rows,
            without_list: self.sink.without_list,
            digest: self.sink.digest(),
            found_columns: self.sink.found_columns,
            last_record: last.and_then(|last| serde_json::from_str(last).ok()),
            values: ExtractedValues::new(self.values),
        }
    }

    fn after(&self, step: usize) -> Role {
        match step + 1 == self.plan.route.steps.len() {
            true => Role::End,
            false => Role::On(step + 1),
        }
    }

    fn miss(&mut self, step: usize, found: &'static str, keys: Vec<String>) {
        if self.miss.as_ref().is_none_or(|miss| miss.step < step) {
            self.miss = Some(Miss { step, found, keys });
        }
    }

    fn duplicate(&self, key: &str) -> BodyError {
        BodyError::DuplicateKey {
            key: key.to_owned(),
            at: self.progress.at(),
        }
    }

    /// Extracts the values at and below a node from its text.
    fn extract(&mut self, text: &str, node: &Node) {
        if !node.values.is_empty()
            && let Ok(document) = serde_json::from_str(text)
        {
            self.keep_all(node, &document);
        }
    }

    fn keep_all(&mut self, node: &Node, document: &Value) {
        for (value, found) in node.find(&self.plan.paths, document) {
            self.values[value] = Some(found.clone());
        }
    }

    pub(super) fn record(&mut self, text: &str) -> Result<(), BodyError> {
        self.sink.record(self.plan, text, &self.key, self.progress.at())
    }

    /// Takes the member of a path that ends with `.*`: an array of records, or one record of any type.
    fn member(&mut self, text: &str) -> Result<(), BodyError> {
        match text.as_bytes().first() {
            Some(b'n') => Ok(()),
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                elements
                    .into_iter()
                    .try_for_each(|element| self.record(element.get()))
            }
            _ => self.record(text),
        }
    }

    fn limit_record(&self) {
        self.progress.limit(self.plan.limits.record, "the record");
    }
}

/// A value, and what it is.
struct Here<'a, 'w> {
    walk: &'a mut Walk<'w>,
    role: Role,
    node: Node,
}

impl<'de> DeserializeSeed<'de> for Here<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        use serde::Deserialize;

        let value = self.node.value(&self.walk.plan.paths);
        let is_member = self.role == Role::End && self.walk.plan.route.ends_with_members;
        match self.role {
            _ if is_member || self.role == Role::Record => {
                self.walk.reached = true;
                self.walk.limit_record();
                let text = Box::<RawValue>::deserialize(deserializer)?;
                self.walk.progress.unlimited();
                self.walk.extract(text.get(), &self.node);
                let taken = match is_member {
                    true => self.walk.member(text.get()),
                    false => self.walk.record(text.get()),
                };
                self.done(taken)
            }
            Role::Other if let Some(value) = value => {
                let path = &self.walk.plan.paths.paths()[value];
                self.walk
                    .progress
                    .limit(MAX_VALUE, &format!("the value at `{path}`"));
                let document = Value::deserialize(deserializer)?;
                self.walk.progress.unlimited();
                self.walk.keep_all(&self.node, &document);
                Ok(())
            }
            Role::Other if self.node.values.is_empty() => IgnoredAny::deserialize(deserializer).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Here<'_, '_> {
    /// Hands an error to the reader of the body; serde's own errors may repeat a value.
    fn done<E: serde::de::Error>(self, result: Result<(), BodyError>) -> Result<(), E> {
        result.map_err(|error| {
            self.walk.progress.fail(error);
            E::custom("see the failure")
        })
    }

    /// Notes the value, if it is one to extract. What is around the records is kept without its content.
    fn keep(&mut self, value: Value) {
        if let Some(at) = self.node.value(&self.walk.plan.paths) {
            self.walk.values[at] = Some(value);
        }
    }

    fn scalar<E: serde::de::Error>(mut self, value: Value, found: &'static str) -> Result<(), E> {
        let is_null = value.is_null();
        self.keep(value);
        let result = match self.role {
            Role::On(step) => {
                match self.walk.plan.route.steps[step] {
                    RouteStep::Every { .. } if is_null => self.walk.reached = true,
                    _ => self.walk.miss(step, found, Vec::new()),
                }
                Ok(())
            }
            Role::End => {
                self.walk.reached = true;
                match is_null || self.walk.plan.route.is_partial {
                    true => Ok(()),
                    false => Err(BodyError::WrongType {
                        path: self.walk.plan.config.path.text.clone(),
                        found,
                        expected: "an array or an object",
                    }),
                }
            }
            Role::Other | Role::Record => Ok(()),
        };
        self.done(result)
    }

    /// Takes an object at the end of the path, which is one record, as the text of its members.
    fn single<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.walk.limit_record();
        let mut text = String::from("{");
        while let Some((key, value)) = map.next_entry::<Box<RawValue>, Box<RawValue>>()? {
            if text.len() > 1 {
                text.push(',');
            }
            text.extend([key.get(), ":", value.get()]);
        }
        text.push('}');
        self.walk.progress.unlimited();
        self.walk.extract(&text, &self.node);
        let taken = self.walk.record(&text);
        self.done(taken)
    }

    /// What the member `name` is to the path.
    fn role_of(&mut self, name: &str, found: &mut bool, keys: &mut Vec<String>) -> Result<Role, BodyError> {
        let Role::On(step) = self.role else {
            return Ok(Role::Other);
        };
        match &self.walk.plan.route.steps[step] {
            RouteStep::Name(wanted) if wanted == name => {
                if std::mem::replace(found, true) {
                    return Err(self.walk.duplicate(name));
                }
                Ok(self.walk.after(step))
            }
            RouteStep::Every { keyed } => {
                *found = true;
                if *keyed {
                    self.walk.key = quoted(name);
                }
                Ok(self.walk.after(step))
            }
            RouteStep::Name(_) | RouteStep::Index(_) => {
                if keys.len() < MAX_KEYS && !self.walk.reached {
                    keys.push(name.to_owned());
                }
                Ok(Role::Other)
            }
        }
    }
}

macro_rules! scalars {
    ($($visit:ident($type:ty): $found:literal),* $(,)?) => {
        $(fn $visit<E: serde::de::Error>(self, value: $type) -> Result<(), E> {
            self.scalar(value.into(), $found)
        })*
    };
}

impl<'de> Visitor<'de> for Here<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(Value::Null, "null")
    }

    scalars! {
        visit_bool(bool): "a boolean", visit_i64(i64): "a number", visit_u64(u64): "a number",
        visit_f64(f64): "a number", visit_str(&str): "a string",
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.keep(Value::Object(serde_json::Map::new()));
        if self.role == Role::End {
            self.walk.reached = true;
            if !self.walk.plan.route.is_partial {
                return self.single(map);
            }
        }
        let (mut found, mut keys, mut seen) = (false, Vec::new(), Vec::new());
        loop {
            self.walk.progress.limit(MAX_VALUE, "a key");
            let Some(name) = map.next_key::<String>()? else {
                break;
            };
            self.walk.progress.unlimited();
            let mut role = self.role_of(&name, &mut found, &mut keys);
            let is_name = |step: &Step| matches!(step, Step::Name(known) if *known == name);
            let node = self.node.child(&self.walk.plan.paths, is_name);
            if node.values.iter().any(|value| seen.contains(value)) {
                role = Err(self.walk.duplicate(&name));
            }
            seen.extend(&node.values);
            let role = match role {
                Ok(role) => role,
                Err(error) => return self.done(Err(error)),
            };
            map.next_value_seed(Here {
                walk: &mut *self.walk,
                role,
                node,
            })?;
        }
        self.walk.progress.unlimited();
        if let (Role::On(step), false) = (self.role, found) {
            match self.walk.plan.route.steps[step] {
                RouteStep::Every { .. } => self.walk.reached = true,
                _ => self.walk.miss(step, "an object", keys),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.keep(Value::Array(Vec::new()));
        let mut found = false;
        for index in 0_usize.. {
            let role = match self.role {
                Role::End if !self.walk.plan.route.is_partial => Role::Record,
                Role::On(step) => match self.walk.plan.route.steps[step] {
                    RouteStep::Every { keyed: false } => self.walk.after(step),
                    RouteStep::Index(wanted) if wanted == index => self.walk.after(step),
                    _ => Role::Other,
                },
                _ => Role::Other,
            };
            let is_index = |step: &Step| *step == Step::Index(index);
            let node = self.node.child(&self.walk.plan.paths, is_index);
            let here = Here {
                walk: &mut *self.walk,
                role,
                node,
            };
            if seq.next_element_seed(here)?.is_none() {
                break;
            }
            found |= role != Role::Other;
            if let Role::On(step) = self.role
                && self.walk.plan.route.steps[step] == (RouteStep::Every { keyed: true })
            {
                let path = self.walk.plan.route.before(step).to_owned();
                return self.done(Err(BodyError::WrongType {
                    path,
                    found: "an array",
                    expected: "an object, whose member names go into `key_as`",
                }));
            }
        }
        match self.role {
            Role::End => self.walk.reached = true,
            Role::On(step) if !found => match self.walk.plan.route.steps[step] {
                RouteStep::Every { .. } => self.walk.reached = true,
                _ => self.walk.miss(step, "an array", Vec::new()),
            },
            _ => {}
        }
        Ok(())
    }
}
