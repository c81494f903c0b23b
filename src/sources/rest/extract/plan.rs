//! Where to look: the path to the records and the paths of probes, compiled.

use std::borrow::Cow;

use super::super::json_path::{self, Step, ValuePaths};
use super::config::{Missing, RecordsConfig};

/// A step to the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordStep {
    /// A member of an object.
    Name(String),
    /// An element of an array.
    Index(usize),
    /// Every member or element.
    Every {
        /// Whether the member's name is taken.
        keyed: bool,
    },
}

/// How the records are reached.
#[derive(Debug)]
pub(super) enum Route {
    /// While the body streams by. A final `[*]` is left out.
    Stream(Steps),
    /// In the whole body; what stands before the first thing that needs it.
    Query { prefix: Steps },
}

/// Steps, with the text of the path up to each.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<RecordStep>,
    /// `texts[i]`: the path before step `i`.
    texts: Vec<String>,
    /// Whether the last step is `.*`, and not a `[*]` in front of the one that is left out.
    members: bool,
}

impl Steps {
    fn push(&mut self, step: RecordStep, before: &str) {
        self.texts.push(before.trim_end().to_owned());
        self.steps.push(step);
    }

    /// The path before a step.
    pub(super) fn before(&self, step: usize) -> &str {
        self.texts.get(step).map_or("$", String::as_str)
    }

    /// Whether the path ends with `.*`: then it leads to members, whatever they are.
    pub(super) fn ends_with_every(&self) -> bool {
        self.members
    }
}

impl Route {
    /// The route of a valid path; `keyed` if a member's name is wanted.
    pub(super) fn of(text: &str, keyed: bool) -> Self {
        let mut steps = Steps::default();
        // The last `.*`, whose member names the record.
        let mut named = None;
        let mut list = false;
        let mut rest = text.strip_prefix('$').unwrap_or(text).trim_start();
        while !rest.is_empty() {
            let before = &text[..text.len() - rest.len()];
            let Some((segment, after)) = segment(rest) else {
                return Self::Query { prefix: steps };
            };
            list = false;
            let step = if segment.starts_with('.') && segment[1..].trim() == "*" {
                named = Some(steps.steps.len());
                RecordStep::Every { keyed: false }
            } else if is_every_element(segment) {
                list = true;
                RecordStep::Every { keyed: false }
            } else {
                match json_path::steps(&format!("${segment}")).as_deref() {
                    Some([Step::Name(name)]) => RecordStep::Name(name.clone()),
                    Some([Step::Index(index)]) => RecordStep::Index(*index),
                    _ => return Self::Query { prefix: steps },
                }
            };
            steps.push(step, before);
            rest = after.trim_start();
        }
        if list {
            steps.steps.pop();
            steps.texts.pop();
        }
        steps.members = named.is_some_and(|at| at + 1 == steps.steps.len());
        if keyed {
            match named {
                Some(at) => steps.steps[at] = RecordStep::Every { keyed: true },
                None => {
                    steps.push(RecordStep::Every { keyed: true }, text);
                    steps.members = true;
                }
            }
        }
        Self::Stream(steps)
    }
}

fn is_every_element(segment: &str) -> bool {
    let inside = segment.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|inside| inside.trim() == "*")
}

/// The first segment of a valid path and what follows; nothing for `..`.
fn segment(text: &str) -> Option<(&str, &str)> {
    let mut chars = text.char_indices();
    let (_, first) = chars.next()?;
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (at, c) in chars {
        match (first, quote) {
            ('.', _) if at == 1 && c == '.' => return None,
            ('.', _) if c == '.' || c == '[' => return Some(text.split_at(at)),
            ('.', _) => {}
            (_, Some(open)) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            (_, None) => match c {
                '\'' | '"' => quote = Some(c),
                '[' => depth += 1,
                ']' if depth == 0 => return Some(text.split_at(at + 1)),
                ']' => depth -= 1,
                _ => {}
            },
        }
    }
    (first == '.').then_some((text, ""))
}

/// Paths of probes, as a tree.
#[derive(Debug)]
pub(super) struct ValueTree(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    probe: Option<usize>,
    children: Vec<(Step, usize)>,
}

impl ValueTree {
    fn new(set: &ValuePaths) -> Self {
        let mut nodes = vec![Node::default()];
        for (probe, path) in set.paths().iter().enumerate() {
            let mut at = 0;
            for step in path.steps() {
                let known = nodes[at].children.iter().find(|(known, _)| known == step);
                at = match known {
                    Some((_, child)) => *child,
                    None => {
                        nodes.push(Node::default());
                        let child = nodes.len() - 1;
                        nodes[at].children.push((step.clone(), child));
                        child
                    }
                };
            }
            nodes[at].probe = Some(probe);
        }
        Self(nodes)
    }

    /// The probe that a node is.
    pub(super) fn probe(&self, node: usize) -> Option<usize> {
        self.0[node].probe
    }

    /// Whether a probe is somewhere below.
    pub(super) fn goes_on(&self, node: usize) -> bool {
        !self.0[node].children.is_empty()
    }

    /// The node of a member, and which of the children that is.
    pub(super) fn member(&self, node: usize, name: &[u8]) -> Option<(usize, usize)> {
        let children = self.0[node].children.iter().enumerate();
        let mut named = children.filter_map(|(at, (step, child))| match step {
            Step::Name(known) if known.as_bytes() == name => Some((at, *child)),
            _ => None,
        });
        named.next()
    }

    /// The node of an element.
    pub(super) fn element(&self, node: usize, index: usize) -> Option<usize> {
        let mut children = self.0[node].children.iter();
        children.find_map(|(step, child)| (*step == Step::Index(index)).then_some(*child))
    }
}

/// Bounds of what is kept of a body.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    /// Most bytes of one record.
    pub(in super::super) max_record: usize,
    /// Most bytes of a body that is kept whole, for a path that needs it.
    pub(in super::super) max_buffered: usize,
    /// Whether a body of nothing is one without records.
    pub(in super::super) allow_empty: bool,
    /// Whether the last record is kept, to look into it.
    pub(in super::super) keep_last: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_record: 64 << 20,
            max_buffered: 64 << 20,
            allow_empty: false,
            keep_last: false,
        }
    }
}

/// All that following a body needs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: RecordsConfig,
    pub(super) route: Steps,
    /// Whether the records are taken from the whole body, and `route` is only the path to where that begins.
    pub(super) whole: bool,
    pub(super) probes: ValueTree,
    pub(super) set: ValuePaths,
    pub(super) limits: Limits,
}

impl Plan {
    pub(super) fn new(config: &RecordsConfig, set: &ValuePaths, limits: Limits) -> Self {
        let (route, whole) = match Route::of(&config.path.text, config.key_as.is_some()) {
            Route::Stream(steps) => (steps, false),
            Route::Query { prefix } => (prefix, true),
        };
        Self {
            config: config.clone(),
            route,
            whole,
            probes: ValueTree::new(set),
            set: set.clone(),
            limits,
        }
    }

    /// Whether a path that leads nowhere is an error.
    pub(super) fn must_be_there(&self) -> bool {
        self.config.missing == Missing::Error
    }

    /// The path to the records, as written.
    pub(super) fn path(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.config.path.text)
    }
}
