//! The path to the records and the paths of single values, compiled.

use super::super::json_path::{Segment, SinglePath, Step, ValuePaths, segments};
use super::config::{OnMissing, RecordsConfig};
use super::error::WHOLE;

/// A step to the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RouteStep {
    Name(String),
    Index(usize),
    /// Every member or element.
    Every {
        /// Whether the member's name becomes a column.
        keyed: bool,
    },
}

/// The path to the records, as far as it can be followed while the body is read. A final `[*]` is left out.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) steps: Vec<RouteStep>,
    /// `texts[i]`: the path before step `i`.
    texts: Vec<String>,
    /// Whether it ends with `.*`: then the records are members of any type.
    pub(super) ends_with_members: bool,
    /// Whether it is only the start of the path, whose rest needs the whole body.
    pub(super) is_partial: bool,
}

impl Route {
    /// The route of a valid path; `keyed` if the name of a member becomes a column.
    pub(super) fn new(text: &str, keyed: bool) -> Self {
        let (segments, complete) = segments(text);
        let mut route = Self {
            is_partial: !complete,
            ..Self::default()
        };
        let mut named = None;
        let ends_with_elements = matches!(segments.last(), Some((_, Segment::Elements)));
        for (at, segment) in segments {
            route.texts.push(text[..at].trim_end().to_owned());
            route.steps.push(match segment {
                Segment::One(Step::Name(name)) => RouteStep::Name(name),
                Segment::One(Step::Index(index)) => RouteStep::Index(index),
                Segment::Elements => RouteStep::Every { keyed: false },
                Segment::Members => {
                    named = Some(route.steps.len());
                    RouteStep::Every { keyed: false }
                }
            });
        }
        if !complete {
            return route;
        }
        if ends_with_elements {
            route.steps.pop();
            route.texts.pop();
        }
        if keyed {
            match named {
                Some(at) => route.steps[at] = RouteStep::Every { keyed: true },
                None => {
                    named = Some(route.steps.len());
                    route.steps.push(RouteStep::Every { keyed: true });
                    route.texts.push(text.to_owned());
                }
            }
        }
        route.ends_with_members = named.is_some_and(|at| at + 1 == route.steps.len());
        route
    }

    /// The path before a step.
    pub(super) fn before(&self, step: usize) -> &str {
        self.texts.get(step).map_or("$", String::as_str)
    }
}

/// The single values whose paths lead to a position of the document, or through it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    depth: usize,
    /// Their indexes in [`ValuePaths`].
    pub(super) values: Vec<usize>,
}

impl Node {
    pub(super) fn root(paths: &ValuePaths) -> Self {
        Self {
            depth: 0,
            values: (0..paths.paths().len()).collect(),
        }
    }

    /// The node of a member or element.
    pub(super) fn child(&self, paths: &ValuePaths, is: impl Fn(&Step) -> bool) -> Self {
        let leads_on = |value: &usize| paths.paths()[*value].steps().get(self.depth).is_some_and(&is);
        Self {
            depth: self.depth + 1,
            values: self.values.iter().copied().filter(leads_on).collect(),
        }
    }

    /// The value that is here.
    pub(super) fn value(&self, paths: &ValuePaths) -> Option<usize> {
        let mut values = self.values.iter().copied();
        values.find(|value| paths.paths()[*value].steps().len() == self.depth)
    }

    /// The values here and below in `document`.
    pub(super) fn find<'n>(
        &'n self,
        paths: &'n ValuePaths,
        document: &'n serde_json::Value,
    ) -> impl Iterator<Item = (usize, &'n serde_json::Value)> {
        self.values.iter().filter_map(move |value| {
            let steps = &paths.paths()[*value].steps()[self.depth..];
            let found = steps.iter().try_fold(document, |at, step| step.of(at))?;
            Some((*value, found))
        })
    }
}

/// Size limits.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    /// Bytes of one record.
    pub(in super::super) record: usize,
    /// Bytes of a body that is buffered, for a path that needs it.
    pub(in super::super) buffered_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record: 16 << 20,
            buffered_body: 64 << 20,
        }
    }
}

/// All that extraction needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: RecordsConfig,
    pub(super) route: Route,
    pub(super) paths: ValuePaths,
    /// Where each row has its cursor.
    pub(super) cursor: Option<SinglePath>,
    /// Whether the last record is kept.
    pub(super) keep_last: bool,
    pub(super) limits: Limits,
}

impl Plan {
    pub(super) fn new(config: &RecordsConfig, paths: &ValuePaths) -> Self {
        Self {
            route: Route::new(&config.path.text, config.key_as.is_some()),
            config: config.clone(),
            paths: paths.clone(),
            cursor: None,
            keep_last: false,
            limits: Limits::default(),
        }
    }

    /// What is buffered for a path with filters, slices or `..`.
    pub(super) fn buffered(&self) -> String {
        format!(
            "{WHOLE}, which `{}` requires to be buffered,",
            self.config.path.text
        )
    }

    /// Whether a path that does not exist is an error.
    pub(super) fn must_exist(&self) -> bool {
        self.config.missing == OnMissing::Error
    }
}
