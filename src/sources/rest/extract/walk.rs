//! Follows a body as its bytes come, as deep as a path leads; all else is passed over.

use std::borrow::Cow;

use serde_json::Value;

use super::error::{BodyError, MORE, shown};
use super::plan::{Plan, RecordStep};
use super::scan::{Fault, MAX_DEPTH, Scan};
use super::sniff::{LOOKED_AT, looks_like};

/// Most bytes of a probe's value, and of a key or number outside the records.
pub(super) const MAX_VALUE: usize = 64 << 10;

/// Most keys of an object that are kept to be shown when the path does not go on there.
const KEYS_SHOWN: usize = 40;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value, or nothing at all: so many bytes of a mark of UTF-8 were there.
    Start {
        bom: usize,
    },
    /// The body is not JSON; its begin is collected.
    Foreign,
    Value,
    /// After `[`.
    FirstElement,
    /// After `{`.
    FirstKey,
    Key,
    InKey,
    Colon,
    /// In an object, list or text that no path leads into.
    Scan,
    /// In a number or a word.
    Word,
    AfterValue,
    End,
}

/// What the value that comes is to the path to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The path does not lead there.
    None,
    /// On the path, before this step.
    On(usize),
    /// At the end of the path.
    At,
    /// A record.
    Record,
}

/// An object or list that is walked through.
#[derive(Debug)]
struct Frame {
    list: bool,
    /// The number of the next element.
    index: usize,
    children: Children,
    /// The step that the path found its member for.
    found: bool,
    probe: Option<usize>,
    /// Which members that probes lead through were there.
    seen: u64,
    keys: Vec<String>,
}

/// What the path to the records says about members and elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Children {
    Any,
    Records,
    Step(usize),
}

/// A probe's value on its way.
#[derive(Debug)]
struct Open {
    probe: usize,
    start: u64,
    depth: usize,
}

/// Where the path did not go on.
#[derive(Debug)]
struct Miss {
    step: usize,
    found: &'static str,
    keys: Vec<String>,
}

/// Bytes of a body: the current piece, and what is kept of those before.
#[derive(Debug, Default)]
struct Text {
    /// The position of the current piece.
    base: u64,
    kept: Vec<u8>,
    /// The position of what is kept.
    kept_from: u64,
}

impl Text {
    /// The bytes between two positions that were not let go.
    fn get<'a>(&'a mut self, piece: &'a [u8], start: u64, end: u64) -> &'a [u8] {
        if start >= self.base {
            return &piece[offset(start, self.base)..offset(end, self.base)];
        }
        self.keep_to(piece, end);
        &self.kept[offset(start, self.kept_from)..offset(end, self.kept_from)]
    }

    fn keep_to(&mut self, piece: &[u8], end: u64) {
        let kept_to = self.kept_from + self.kept.len() as u64;
        if kept_to < end {
            let more = &piece[offset(kept_to, self.base)..offset(end, self.base)];
            self.kept.extend_from_slice(more);
        }
    }

    /// Goes to the next piece; what begins at `start` is still needed.
    fn next(&mut self, piece: &[u8], start: Option<u64>) {
        let end = self.base + piece.len() as u64;
        match start {
            Some(start) if start < self.base && !self.kept.is_empty() => self.keep_to(piece, end),
            Some(start) => {
                self.kept.clear();
                self.kept_from = start;
                self.kept
                    .extend_from_slice(&piece[offset(start, self.base).min(piece.len())..]);
            }
            None => self.kept.clear(),
        }
        self.base = end;
    }
}

/// Differences of positions in memory fit.
fn offset(position: u64, from: u64) -> usize {
    usize::try_from(position.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// Where a walk is.
#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    stack: Vec<Frame>,
    scan: Scan,
    text: Text,
    /// Of the value that comes or is passed over.
    role: Role,
    probe: Option<usize>,
    /// Begin of a key or word.
    token: u64,
    /// Begin of the record, and the frames around it.
    record: Option<(u64, usize)>,
    open: Vec<Open>,
    values: Vec<Option<Value>>,
    /// Name of the member that the records are in, as a JSON text.
    key: Vec<u8>,
    /// Whether the path led to its end, or to something without members or elements.
    reached: bool,
    miss: Option<Miss>,
    /// The begin of a body that is not JSON.
    head: Vec<u8>,
}

impl Walk {
    pub(super) fn new(plan: &Plan) -> Self {
        let values = vec![None; plan.set.paths().len()];
        let role = Self::first_role(plan);
        Self {
            state: State::Start { bom: 0 },
            stack: Vec::new(),
            scan: Scan::default(),
            text: Text::default(),
            role,
            probe: Some(0),
            token: 0,
            record: None,
            open: Vec::new(),
            values,
            key: Vec::new(),
            reached: false,
            miss: None,
            head: Vec::new(),
        }
    }

    fn first_role(plan: &Plan) -> Role {
        if plan.route.steps.is_empty() {
            Role::At
        } else {
            Role::On(0)
        }
    }

    /// Goes on in `piece` from `at` to the end of the next record, whose bounds are given, or to the piece's end.
    pub(super) fn advance(
        &mut self,
        plan: &Plan,
        piece: &[u8],
        at: &mut usize,
    ) -> Result<Option<(u64, u64)>, BodyError> {
        loop {
            let ended = match self.state {
                State::Scan => match self.run(piece, at)? {
                    false => return Ok(None),
                    true => true,
                },
                State::InKey => {
                    if !self.run(piece, at)? {
                        return Ok(None);
                    }
                    self.end_key(plan, piece, *at)?;
                    false
                }
                State::Word => {
                    let rest = &piece[*at..];
                    match rest.iter().position(|&byte| ends_word(byte)) {
                        None => {
                            *at = piece.len();
                            return Ok(None);
                        }
                        Some(length) => *at += length,
                    }
                    let end = self.position(*at);
                    if !self.end_word(plan, piece, end)? {
                        continue;
                    }
                    true
                }
                State::Foreign => {
                    self.head.extend_from_slice(&piece[*at..]);
                    *at = piece.len();
                    if self.head.len() >= LOOKED_AT {
                        return Err(self.foreign());
                    }
                    return Ok(None);
                }
                _ => {
                    let rest = &piece[*at..];
                    let Some(space) = rest.iter().position(|byte| !is_space(*byte)) else {
                        *at = piece.len();
                        return Ok(None);
                    };
                    *at += space;
                    self.punctuation(plan, piece[*at], at)?
                }
            };
            if ended {
                self.state = if self.stack.is_empty() {
                    State::End
                } else {
                    State::AfterValue
                };
                let end = self.position(*at);
                if let Some(record) = self.end_value(plan, piece, end)? {
                    return Ok(Some(record));
                }
            }
        }
    }

    /// The record that [`advance`](Self::advance) gave the bounds of, and the name of the member that it is in, as a
    /// JSON text.
    pub(super) fn record<'a>(
        &'a mut self,
        piece: &'a [u8],
        (start, end): (u64, u64),
    ) -> (&'a [u8], &'a [u8]) {
        (self.text.get(piece, start, end), &self.key)
    }

    /// How many bytes came before `piece`.
    pub(super) fn base(&self) -> u64 {
        self.text.base
    }

    /// Lets a piece go of which all was taken.
    pub(super) fn end_piece(&mut self, plan: &Plan, piece: &[u8]) -> Result<(), BodyError> {
        let end = self.position(piece.len());
        let token = matches!(self.state, State::InKey | State::Word).then_some(self.token);
        if let Some(start) = token {
            within(start, end, MAX_VALUE, || "a key or number".into())?;
        }
        if let Some((start, _)) = self.record {
            within(start, end, plan.limits.max_record, || "the record".into())?;
        }
        for open in &self.open {
            within(open.start, end, MAX_VALUE, || probe_name(plan, open.probe))?;
        }
        let needed = [
            token,
            self.record.map(|record| record.0),
            self.open.first().map(|open| open.start),
        ];
        self.text.next(piece, needed.into_iter().flatten().min());
        Ok(())
    }

    /// A line of an NDJSON body ends, and was taken with its line break.
    pub(super) fn end_line(&mut self, plan: &Plan) -> Result<(), BodyError> {
        let at = self.text.base;
        match self.end_root(plan)? {
            State::Start { .. } => {}
            State::End => {
                self.check_reached(plan)?;
                self.reached = false;
                self.miss = None;
                self.state = State::Start { bom: BOM.len() };
                self.role = Self::first_role(plan);
                self.probe = Some(0);
            }
            _ => return Err(structure(at, "a line ends before its value does")),
        }
        Ok(())
    }

    /// The body ends: whether anything was in it, and what probes found.
    pub(super) fn finish(&mut self, plan: &Plan, lines: bool) -> Result<Vec<Option<Value>>, BodyError> {
        match self.end_root(plan)? {
            State::Start { .. } if lines => return Ok(std::mem::take(&mut self.values)),
            State::Start { .. } if plan.limits.allow_empty => return Ok(std::mem::take(&mut self.values)),
            State::Start { .. } => return Err(BodyError::Empty),
            State::End => {}
            _ => return Err(BodyError::Truncated { at: self.text.base }),
        }
        self.check_reached(plan)?;
        Ok(std::mem::take(&mut self.values))
    }

    /// Whether the path led somewhere, if it must.
    pub(super) fn check_reached(&mut self, plan: &Plan) -> Result<(), BodyError> {
        if self.reached || !plan.must_be_there() {
            return Ok(());
        }
        let Some(miss) = self.miss.take() else {
            return Ok(());
        };
        let wanted = match plan.route.steps.get(miss.step) {
            Some(RecordStep::Name(name)) => Some(name.clone()),
            _ => None,
        };
        Err(BodyError::Missing {
            path: plan.path().into_owned(),
            reached: plan.route.before(miss.step).to_owned(),
            wanted,
            found: miss.found,
            keys: shown(&miss.keys),
        })
    }

    /// The state after the end of what is a word, which only what follows ends otherwise.
    fn end_root(&mut self, plan: &Plan) -> Result<State, BodyError> {
        match self.state {
            State::Foreign => return Err(self.foreign()),
            State::Start { bom } if bom > 0 && bom < BOM.len() => return Err(self.foreign()),
            State::Word if self.stack.is_empty() => {
                let end = self.text.base;
                if self.end_word(plan, &[], end)? {
                    self.state = State::End;
                    self.end_value(plan, &[], end)?;
                }
                if self.state == State::Foreign {
                    return Err(self.foreign());
                }
            }
            _ => {}
        }
        Ok(self.state)
    }

    fn foreign(&mut self) -> BodyError {
        BodyError::NotJson {
            what: looks_like(&self.head),
        }
    }

    fn position(&self, at: usize) -> u64 {
        self.text.base + at as u64
    }

    /// Passes over bytes; whether that came to its end.
    fn run(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, BodyError> {
        match self.scan.run(&piece[*at..]) {
            Ok(Some(length)) => {
                *at += length;
                Ok(true)
            }
            Ok(None) => {
                *at = piece.len();
                Ok(false)
            }
            Err((offset, fault)) => {
                let at = self.position(*at + offset);
                Err(match fault {
                    Fault::Mismatch => structure(at, "a bracket closes what it did not open"),
                    Fault::TooDeep => BodyError::TooDeep { at, most: MAX_DEPTH },
                })
            }
        }
    }

    /// Takes a byte between values; whether a value ends with it.
    fn punctuation(&mut self, plan: &Plan, byte: u8, at: &mut usize) -> Result<bool, BodyError> {
        let position = self.position(*at);
        match (self.state, byte) {
            (State::Start { bom }, _) if BOM.get(bom) == Some(&byte) && position == bom as u64 => {
                self.state = State::Start { bom: bom + 1 };
                *at += 1;
            }
            (State::Start { bom }, _) => {
                if (bom > 0 && bom < BOM.len()) || !begins_value(byte) {
                    self.head.extend_from_slice(&BOM[..bom.min(BOM.len())]);
                    self.state = State::Foreign;
                } else {
                    self.begin_value(plan, byte, at)?;
                }
            }
            (State::FirstElement, b']') | (State::FirstKey, b'}') => return self.close(plan, byte, at),
            (State::AfterValue, b']' | b'}') => return self.close(plan, byte, at),
            (State::AfterValue, b',') => {
                *at += 1;
                self.state = match self.stack.last() {
                    Some(frame) if frame.list => State::Value,
                    _ => State::Key,
                };
                if self.state == State::Value {
                    self.next_element(plan);
                }
            }
            (State::FirstElement, _) if begins_value(byte) => {
                if let Some(path) = self.nameless(plan) {
                    return Err(BodyError::WrongType {
                        path: path.to_owned(),
                        found: "a list",
                        wanted: "an object, whose members have names for `key_as`,",
                    });
                }
                self.next_element(plan);
                self.begin_value(plan, byte, at)?;
            }
            (State::Value, _) if begins_value(byte) => self.begin_value(plan, byte, at)?,
            (State::FirstKey | State::Key, b'"') => {
                self.token = position;
                self.scan = Scan::in_string();
                self.state = State::InKey;
                *at += 1;
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                *at += 1;
            }
            (state, _) => {
                return Err(match state {
                    State::End => BodyError::Structure {
                        at: position,
                        what: format!("there is {MORE} of its value").into(),
                    },
                    State::AfterValue => structure(position, "a comma is missing between two values"),
                    State::FirstKey | State::Key => structure(position, "a key in double quotes is missing"),
                    State::Colon => structure(position, "a colon is missing after a key"),
                    _ => structure(position, "a value is missing"),
                });
            }
        }
        Ok(false)
    }

    /// The path to the innermost list, if its elements cannot have the names that are wanted of them.
    fn nameless<'p>(&self, plan: &'p Plan) -> Option<&'p str> {
        let Children::Step(step) = self.stack.last()?.children else {
            return None;
        };
        let keyed = plan.route.steps.get(step) == Some(&RecordStep::Every { keyed: true });
        keyed.then(|| plan.route.before(step))
    }

    /// Says what the next element of the innermost list is.
    fn next_element(&mut self, plan: &Plan) {
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        self.role = match frame.children {
            Children::Any => Role::None,
            Children::Records => Role::Record,
            Children::Step(step) => match plan.route.steps.get(step) {
                Some(RecordStep::Index(index)) if *index == frame.index => next_role(plan, step),
                Some(RecordStep::Every { .. }) => next_role(plan, step),
                _ => Role::None,
            },
        };
        frame.found |= self.role != Role::None;
        self.probe = frame
            .probe
            .and_then(|node| plan.probes.element(node, frame.index));
        frame.index += 1;
    }

    fn end_key(&mut self, plan: &Plan, piece: &[u8], at: usize) -> Result<(), BodyError> {
        let end = self.position(at);
        let raw = self.text.get(piece, self.token, end);
        let Some(name) = decoded(raw) else {
            return Err(structure(self.token, "a key is not a valid JSON text"));
        };
        self.state = State::Colon;
        self.role = Role::None;
        self.probe = None;
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        let twice = || BodyError::Structure {
            at: self.token,
            what: format!("the key `{}` is there twice", String::from_utf8_lossy(&name)).into(),
        };
        if let Children::Step(step) = frame.children {
            match &plan.route.steps[step] {
                RecordStep::Name(wanted) if wanted.as_bytes() == &*name => {
                    if std::mem::replace(&mut frame.found, true) {
                        return Err(twice());
                    }
                    self.role = next_role(plan, step);
                }
                RecordStep::Name(_) if !self.reached && frame.keys.len() < KEYS_SHOWN => {
                    frame.keys.push(String::from_utf8_lossy(&name).into_owned());
                }
                RecordStep::Every { keyed } => {
                    frame.found = true;
                    self.role = next_role(plan, step);
                    if *keyed {
                        self.key.clear();
                        self.key.extend_from_slice(raw);
                    }
                }
                RecordStep::Name(_) | RecordStep::Index(_) => {}
            }
        }
        if let Some((which, node)) = frame.probe.and_then(|node| plan.probes.member(node, &name)) {
            let bit = u32::try_from(which)
                .ok()
                .and_then(|which| 1_u64.checked_shl(which));
            let bit = bit.unwrap_or(0);
            if frame.seen & bit != 0 {
                return Err(twice());
            }
            frame.seen |= bit;
            self.probe = Some(node);
        }
        Ok(())
    }

    /// A value begins with `byte`, which is not taken unless an object or list is walked into.
    fn begin_value(&mut self, plan: &Plan, byte: u8, at: &mut usize) -> Result<(), BodyError> {
        let start = self.position(*at);
        let depth = self.stack.len();
        if let Some(probe) = self.probe.and_then(|node| plan.probes.probe(node)) {
            self.open.push(Open { probe, start, depth });
        }
        let is_word = !matches!(byte, b'{' | b'[' | b'"');
        let mut children = Children::Any;
        match self.role {
            Role::None => {}
            Role::Record => self.record = Some((start, depth)),
            Role::At => {
                self.reached = true;
                match byte {
                    _ if plan.whole => {}
                    b'[' => children = Children::Records,
                    b'{' => self.record = Some((start, depth)),
                    b'"' if plan.route.ends_with_every() => self.record = Some((start, depth)),
                    b'"' => return Err(self.wrong_type(plan, "a text")),
                    // A number is a record or an error, null is neither: known at its end.
                    _ => {}
                }
            }
            Role::On(step) => {
                let fits = match plan.route.steps[step] {
                    RecordStep::Name(_) => byte == b'{',
                    RecordStep::Index(_) => byte == b'[',
                    RecordStep::Every { .. } => matches!(byte, b'{' | b'['),
                };
                if fits {
                    children = Children::Step(step);
                } else if !is_word {
                    self.miss(step, what_begins(byte), Vec::new());
                }
            }
        }
        let probe = self.probe.filter(|node| plan.probes.goes_on(*node));
        if is_word {
            self.token = start;
            self.state = State::Word;
        } else if byte == b'"' || (children == Children::Any && probe.is_none()) {
            self.scan = Scan::new(depth);
            if byte == b'"' {
                self.scan = Scan::in_string();
                *at += 1;
            }
            self.state = State::Scan;
        } else {
            if depth >= MAX_DEPTH as usize {
                return Err(BodyError::TooDeep {
                    at: start,
                    most: MAX_DEPTH,
                });
            }
            self.stack.push(Frame {
                list: byte == b'[',
                index: 0,
                children,
                found: false,
                probe,
                seen: 0,
                keys: Vec::new(),
            });
            self.state = if byte == b'[' {
                State::FirstElement
            } else {
                State::FirstKey
            };
            *at += 1;
        }
        Ok(())
    }

    /// A bracket closes the innermost frame.
    fn close(&mut self, plan: &Plan, byte: u8, at: &mut usize) -> Result<bool, BodyError> {
        if self.stack.last().is_none_or(|frame| frame.list != (byte == b']')) {
            return Err(structure(
                self.position(*at),
                "a bracket closes what it did not open",
            ));
        }
        let Some(frame) = self.stack.pop() else {
            return Ok(false);
        };
        if let (Children::Step(step), false) = (frame.children, frame.found) {
            if matches!(plan.route.steps[step], RecordStep::Every { .. }) {
                // Nothing is wrong with a list of nothing.
                self.reached = true;
            } else {
                self.miss(step, if frame.list { "a list" } else { "an object" }, frame.keys);
            }
        }
        *at += 1;
        // What the value was is in `record` and `open`.
        self.role = Role::None;
        Ok(true)
    }

    /// A number or a word ends: whether it is one. A body that is none is foreign.
    fn end_word(&mut self, plan: &Plan, piece: &[u8], end: u64) -> Result<bool, BodyError> {
        let token = self.token;
        let depth = self.stack.len();
        within(token, end, MAX_VALUE, || "a number".into())?;
        if self.role == Role::Record {
            // A later stage says what is wrong with it.
            return Ok(true);
        }
        let word = self.text.get(piece, token, end);
        let valid: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(word);
        if valid.is_err() {
            if depth == 0 {
                self.head.extend_from_slice(word);
                self.state = State::Foreign;
                return Ok(false);
            }
            return Err(structure(
                token,
                "a value is no number, `true`, `false` or `null`",
            ));
        }
        let kind = match word.first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "true or false",
            _ => "a number",
        };
        match self.role {
            Role::On(step)
                if kind == "null" && matches!(plan.route.steps[step], RecordStep::Every { .. }) =>
            {
                self.reached = true;
            }
            Role::On(step) => self.miss(step, kind, Vec::new()),
            Role::At if kind == "null" || plan.whole => {}
            Role::At if plan.route.ends_with_every() => self.record = Some((token, depth)),
            Role::At => return Err(self.wrong_type(plan, kind)),
            Role::None | Role::Record => {}
        }
        Ok(true)
    }

    /// A value ended: its probes are read, and it may be a record.
    fn end_value(&mut self, plan: &Plan, piece: &[u8], end: u64) -> Result<Option<(u64, u64)>, BodyError> {
        let depth = self.stack.len();
        while let Some(open) = self.open.pop_if(|open| open.depth == depth) {
            within(open.start, end, MAX_VALUE, || probe_name(plan, open.probe))?;
            let value = serde_json::from_slice(self.text.get(piece, open.start, end));
            let Ok(value) = value else {
                return Err(BodyError::Structure {
                    at: open.start,
                    what: format!("{} is not valid", probe_name(plan, open.probe)).into(),
                });
            };
            self.values[open.probe] = Some(value);
        }
        match self.record {
            Some((start, around)) if around == depth => {
                self.record = None;
                within(start, end, plan.limits.max_record, || "the record".into())?;
                Ok(Some((start, end)))
            }
            _ => Ok(None),
        }
    }

    fn miss(&mut self, step: usize, found: &'static str, keys: Vec<String>) {
        if self.miss.as_ref().is_none_or(|miss| miss.step < step) {
            self.miss = Some(Miss { step, found, keys });
        }
    }

    fn wrong_type(&self, plan: &Plan, found: &'static str) -> BodyError {
        BodyError::WrongType {
            path: plan.path().into_owned(),
            found,
            wanted: "a list or an object",
        }
    }
}

fn next_role(plan: &Plan, step: usize) -> Role {
    if step + 1 == plan.route.steps.len() {
        Role::At
    } else {
        Role::On(step + 1)
    }
}

#[cold]
fn structure(at: u64, what: &'static str) -> BodyError {
    BodyError::Structure {
        at,
        what: what.into(),
    }
}

fn probe_name(plan: &Plan, probe: usize) -> Cow<'static, str> {
    let path = plan.set.paths().get(probe);
    path.map_or_else(String::new, |path| format!("the value at `{path}`"))
        .into()
}

fn within(
    start: u64,
    end: u64,
    most: usize,
    what: impl FnOnce() -> Cow<'static, str>,
) -> Result<(), BodyError> {
    if end - start <= most as u64 {
        return Ok(());
    }
    Err(BodyError::TooLarge {
        what: what(),
        at: start,
        most: most as u64,
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn ends_word(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b']' | b'}' | b'{' | b'[' | b':' | b'"')
}

fn begins_value(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

fn what_begins(byte: u8) -> &'static str {
    match byte {
        b'{' => "an object",
        b'[' => "a list",
        _ => "a text",
    }
}

/// What a JSON text in its quotes says.
fn decoded(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'\\', raw).is_none() {
        return raw.get(1..raw.len() - 1).map(Cow::Borrowed);
    }
    let text: String = serde_json::from_slice(raw).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}
