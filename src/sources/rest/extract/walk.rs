//! A serde seed that walks down the record path, hands out each record as raw text, and collects single values on the
//! way. Everything else is skipped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::json_path::{ExtractedValues, Step, ValuePaths, steps};
use super::error::BodyError;
use super::reader::Progress;
use super::rows::{RecordSink, elements, quoted};
use super::{Extracted, Extractor, MAX_RECORD, OnMissing};

/// Bytes of a key or an extracted value.
const MAX_VALUE: usize = 64 << 10;

/// Keys of an object that are kept for the hint when the path does not exist.
const MAX_KEYS: usize = 40;

/// The path to the records, as far as it can be followed while the body is read. A final `[*]` is left out.
#[derive(Debug)]
pub(super) struct Route {
    steps: Vec<Step>,
    /// `texts[i]`: the path before step `i`.
    texts: Vec<String>,
    /// The step whose members' names become a column.
    keyed: Option<usize>,
    /// Whether it ends with `.*`: then the records are members of any type.
    ends_with_members: bool,
    /// Whether it is only the start of the path, whose rest needs the whole body.
    pub(super) is_partial: bool,
}

impl Route {
    /// The route of a valid path; `keyed` if the name of a member becomes a column.
    pub(super) fn new(text: &str, keyed: bool) -> Self {
        let (steps, complete) = steps(text);
        let steps = steps.into_iter();
        let (mut texts, mut steps): (Vec<String>, Vec<Step>) = steps
            .map(|(at, step)| (text[..at].trim_end().to_owned(), step))
            .unzip();
        let mut named = None;
        if complete {
            if steps.last() == Some(&Step::Elements) {
                steps.pop();
                texts.pop();
            }
            named = steps.iter().rposition(|step| *step == Step::Members);
            if keyed && named.is_none() {
                named = Some(steps.len());
                steps.push(Step::Members);
                texts.push(text.to_owned());
            }
        }
        Self {
            keyed: named.filter(|_| keyed),
            ends_with_members: named.is_some_and(|at| at + 1 == steps.len()),
            is_partial: !complete,
            steps,
            texts,
        }
    }

    fn before(&self, step: usize) -> &str {
        self.texts.get(step).map_or("$", String::as_str)
    }
}

pub(super) struct Walk<'w> {
    extractor: &'w Extractor,
    progress: &'w Progress,
    pub(super) sink: RecordSink<'w>,
    values: Vec<Option<Value>>,
    /// The name of the member that the records are in.
    key: String,
    /// Whether the path exists, or leads to an empty container.
    reached: bool,
    miss: Option<Miss>,
}

struct Miss {
    step: usize,
    found: &'static str,
    keys: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Other,
    /// On the path, before this step; after the last one, at its end.
    On(usize),
    Record,
}

/// The single values whose paths lead to a position of the document, or through it.
#[derive(Debug, Clone)]
struct Node {
    depth: usize,
    /// Their indexes in [`ValuePaths`].
    values: Vec<usize>,
}

impl Node {
    fn root(paths: &ValuePaths) -> Self {
        Self {
            depth: 0,
            values: (0..paths.paths().len()).collect(),
        }
    }

    fn child(&self, paths: &ValuePaths, is: impl Fn(&Step) -> bool) -> Self {
        let leads_on = |value: &usize| paths.paths()[*value].steps().get(self.depth).is_some_and(&is);
        Self {
            depth: self.depth + 1,
            values: self.values.iter().copied().filter(leads_on).collect(),
        }
    }

    fn value(&self, paths: &ValuePaths) -> Option<usize> {
        let mut values = self.values.iter().copied();
        values.find(|value| paths.paths()[*value].steps().len() == self.depth)
    }
}

impl<'w> Walk<'w> {
    pub(super) fn new(extractor: &'w Extractor, progress: &'w Progress, sink: RecordSink<'w>) -> Self {
        Self {
            values: vec![None; extractor.paths.paths().len()],
            extractor,
            progress,
            sink,
            key: String::new(),
            reached: false,
            miss: None,
        }
    }

    pub(super) fn run<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        (self.reached, self.miss) = (false, None);
        let node = Node::root(&self.extractor.paths);
        self.here(Role::On(0), node).deserialize(deserializer)
    }

    pub(super) fn check_reached(&mut self) -> Result<(), BodyError> {
        let Extractor { config, route, .. } = self.extractor;
        match self.miss.take() {
            Some(miss) if !self.reached && config.missing == OnMissing::Error => {
                let wanted = match route.steps.get(miss.step) {
                    Some(Step::Name(name)) => Some(name.as_str()),
                    _ => None,
                };
                let reached = route.before(miss.step);
                let path = &config.path.text;
                Err(BodyError::missing(path, reached, wanted, miss.found, &miss.keys))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Extracted {
        let values = ExtractedValues::new(&self.extractor.paths, self.values);
        self.sink.finish(values)
    }

    fn here(&mut self, role: Role, node: Node) -> Here<'_, 'w> {
        Here {
            walk: self,
            role,
            node,
        }
    }

    fn duplicate(&self, key: &str) -> BodyError {
        BodyError::duplicate_key(&key, self.progress.at.get())
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
        let paths = self.extractor.paths.paths();
        for value in &node.values {
            let mut steps = paths[*value].steps()[node.depth..].iter();
            if let Some(found) = steps.try_fold(document, |at, step| step.of(at)) {
                self.values[*value] = Some(found.clone());
            }
        }
    }

    pub(super) fn record(&mut self, text: &str) -> Result<(), BodyError> {
        self.sink.record(text, &self.key, self.progress.at.get())
    }

    /// Takes the member of a path that ends with `.*`: an array of records, or one record of any type.
    fn member(&mut self, text: &str) -> Result<(), BodyError> {
        match text.as_bytes().first() {
            Some(b'n') => Ok(()),
            Some(b'[') => elements(text)
                .into_iter()
                .try_for_each(|element| self.record(element.get())),
            _ => self.record(text),
        }
    }
}

struct Here<'a, 'w> {
    walk: &'a mut Walk<'w>,
    role: Role,
    node: Node,
}

impl<'de> DeserializeSeed<'de> for Here<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        use serde::Deserialize;

        let value = self.node.value(&self.walk.extractor.paths);
        let is_member = self.is_end() && self.walk.extractor.route.ends_with_members;
        match self.role {
            _ if is_member || self.role == Role::Record => {
                self.walk.reached = true;
                self.walk.progress.limit(MAX_RECORD, "the record");
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
                let what = format!("the value at `{}`", self.walk.extractor.paths.paths()[value]);
                self.walk.progress.limit(MAX_VALUE, &what);
                let document = Value::deserialize(deserializer)?;
                self.walk.progress.unlimited();
                self.walk.keep_all(&self.node, &document);
                // In a body that is parsed as a whole, the reader has not checked it.
                let is_short = document.to_string().len() <= MAX_VALUE;
                let too_large = || BodyError::too_large(&what, 0, MAX_VALUE as u64);
                self.done(is_short.then_some(()).ok_or_else(too_large))
            }
            Role::Other if self.node.values.is_empty() => IgnoredAny::deserialize(deserializer).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'w> Here<'_, 'w> {
    /// The step of the path that leads on from here.
    fn step(&self) -> Option<(usize, &'w Step)> {
        match self.role {
            Role::On(step) => Some((step, self.walk.extractor.route.steps.get(step)?)),
            Role::Other | Role::Record => None,
        }
    }

    /// Whether this is what the path leads to.
    fn is_end(&self) -> bool {
        self.role == Role::On(self.walk.extractor.route.steps.len())
    }

    /// Notes that the path does not lead on from here; a container of any members may be empty.
    fn dead_end(&mut self, found: &'static str, keys: Vec<String>, is_empty: bool) {
        match self.step() {
            Some((_, Step::Members | Step::Elements)) if is_empty => self.walk.reached = true,
            Some((step, _)) if self.walk.miss.as_ref().is_none_or(|miss| miss.step < step) => {
                self.walk.miss = Some(Miss { step, found, keys });
            }
            _ => {}
        }
    }

    fn done<E: serde::de::Error>(self, result: Result<(), BodyError>) -> Result<(), E> {
        result.map_err(|error| self.walk.progress.fail(error))
    }

    /// Notes the value, if it is one to extract. What is around the records is kept without its content.
    fn keep(&mut self, value: Value) {
        if let Some(at) = self.node.value(&self.walk.extractor.paths) {
            self.walk.values[at] = Some(value);
        }
    }

    fn scalar<E: serde::de::Error>(mut self, value: Value, found: &'static str) -> Result<(), E> {
        let is_null = value.is_null();
        self.keep(value);
        if !self.is_end() {
            self.dead_end(found, Vec::new(), is_null);
            return Ok(());
        }
        self.walk.reached = true;
        if is_null || self.walk.extractor.route.is_partial {
            return Ok(());
        }
        let path = &self.walk.extractor.config.path.text;
        let error = BodyError::wrong_type(path, found, "an array or an object");
        self.done(Err(error))
    }

    /// Takes an object at the end of the path, which is one record, as the text of its members.
    fn single<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.walk.progress.limit(MAX_RECORD, "the record");
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

    fn role_of(&mut self, name: &str, found: &mut bool, keys: &mut Vec<String>) -> Result<Role, BodyError> {
        match self.step() {
            Some((step, Step::Name(wanted))) if wanted == name => match std::mem::replace(found, true) {
                true => Err(self.walk.duplicate(name)),
                false => Ok(Role::On(step + 1)),
            },
            Some((step, Step::Members | Step::Elements)) => {
                *found = true;
                if self.walk.extractor.route.keyed == Some(step) {
                    self.walk.key = quoted(name);
                }
                Ok(Role::On(step + 1))
            }
            Some((_, Step::Name(_) | Step::Index(_))) => {
                if keys.len() < MAX_KEYS && !self.walk.reached {
                    keys.push(name.to_owned());
                }
                Ok(Role::Other)
            }
            None => Ok(Role::Other),
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
        if self.is_end() {
            self.walk.reached = true;
            if !self.walk.extractor.route.is_partial {
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
            let node = self.node.child(&self.walk.extractor.paths, is_name);
            if node.values.iter().any(|value| seen.contains(value)) {
                role = Err(self.walk.duplicate(&name));
            }
            seen.extend(&node.values);
            match role {
                Ok(role) => map.next_value_seed(self.walk.here(role, node))?,
                Err(error) => return self.done(Err(error)),
            }
        }
        self.walk.progress.unlimited();
        if !found {
            self.dead_end("an object", keys, true);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.keep(Value::Array(Vec::new()));
        let mut found = false;
        for index in 0_usize.. {
            let route = &self.walk.extractor.route;
            let role = match self.step() {
                None if self.is_end() && !route.is_partial => Role::Record,
                Some((step, Step::Members | Step::Elements)) if route.keyed != Some(step) => {
                    Role::On(step + 1)
                }
                Some((step, Step::Index(wanted))) if *wanted == index => Role::On(step + 1),
                _ => Role::Other,
            };
            let is_index = |step: &Step| *step == Step::Index(index);
            let node = self.node.child(&self.walk.extractor.paths, is_index);
            if seq.next_element_seed(self.walk.here(role, node))?.is_none() {
                break;
            }
            found |= role != Role::Other;
            if let Role::On(step) = self.role
                && route.keyed == Some(step)
            {
                let path = route.before(step);
                let expected = "an object, whose member names go into `key_as`";
                let error = BodyError::wrong_type(&path, "an array", expected);
                return self.done(Err(error));
            }
        }
        if self.is_end() {
            self.walk.reached = true;
        } else if !found {
            self.dead_end("an array", Vec::new(), true);
        }
        Ok(())
    }
}
