//! The path to the records, compiled.

use super::super::json_path::{Step, steps};

/// The path to the records, as far as it can be followed while the body is read. A final `[*]` is left out.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) steps: Vec<Step>,
    /// `texts[i]`: the path before step `i`.
    texts: Vec<String>,
    /// The step whose members' names become a column.
    pub(super) keyed: Option<usize>,
    /// Whether it ends with `.*`: then the records are members of any type.
    pub(super) ends_with_members: bool,
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

    pub(super) fn before(&self, step: usize) -> &str {
        self.texts.get(step).map_or("$", String::as_str)
    }
}
