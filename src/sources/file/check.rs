//! What `hrsink check` reports of a source of files: keys, storage, files and their markers. Reads no file.

use jiff::Timestamp;

use super::config::FileConfig;
use super::plan::Plan;
use super::select::{self, IfNone};
use crate::component::{CheckState, CheckStep, SourceContext};
use crate::error::{Error, Result};
use crate::storage::{Location, Storage};

const STORAGE: &str = "storage";
const FILES: &str = "files";

fn works(name: &str, detail: impl Into<String>) -> CheckStep {
    CheckStep {
        name: name.to_owned(),
        state: CheckState::Works,
        detail: detail.into(),
        hints: Vec::new(),
    }
}

impl FileConfig {
    pub(super) async fn check_steps(&self, cx: &SourceContext) -> Vec<CheckStep> {
        let plan = match self.parse(Timestamp::now()) {
            Ok(plan) => plan,
            Err(error) => return vec![CheckStep::failed(FILES, &error)],
        };
        let mut steps = Vec::new();
        match self.decoder(cx) {
            Err(error) => steps.push(CheckStep::failed("keys", &error)),
            Ok(_) if self.pgp.is_some() => {
                steps.push(works("keys", "the keys for OpenPGP files can be read"));
            }
            Ok(_) => {}
        }
        if plan.location == Location::StandardInput {
            return steps;
        }
        let storage = match self.connect(&plan.location, cx).await {
            Ok(storage) => storage,
            Err(error) => {
                steps.push(CheckStep::failed(STORAGE, &error));
                return steps;
            }
        };
        if let Location::Remote(remote) = &plan.location
            && remote.backend.connect_logs_in
        {
            let detail = format!(
                "{} has the expected host key, and the login works",
                remote.origin()
            );
            steps.push(works(STORAGE, detail));
        }
        let files = self.check_files(&plan, &*storage).await;
        steps.push(files.unwrap_or_else(|error| CheckStep::failed(FILES, &error)));
        steps
    }

    async fn check_files(&self, plan: &Plan, storage: &dyn Storage) -> Result<CheckStep> {
        let pattern = &plan.pattern;
        let files = select::list(storage, pattern).await?;
        if files.is_empty() {
            let none = select::no_match(storage, pattern).await;
            return Ok(no_files(&none, "select.if_none", self.select.if_none));
        }
        let files = plan.selection.without_markers(files);
        let mut detail = format!("{} match `{}`", files.len(), pattern.as_written());
        let Some(marker) = &self.select.marker else {
            return Ok(works(FILES, detail));
        };
        let ready = plan.selection.with_marker(storage, files).await?.len();
        detail.push_str(&format!(", and {ready} of them have their marker `{marker}`"));
        Ok(match ready {
            0 => no_files(
                &Error::input(detail),
                "select.if_none_new",
                self.select.if_none_new,
            ),
            _ => works(FILES, detail),
        })
    }
}

/// The step that there is nothing to read, with the outcome that the setting `key` gives it.
fn no_files(error: &Error, key: &str, setting: IfNone) -> CheckStep {
    let (state, value, outcome) = match setting {
        IfNone::Error => (CheckState::Fails, "error", "fail"),
        IfNone::Warn => (CheckState::Unsure, "warn", "continue without files"),
        IfNone::Ignore => (CheckState::Works, "ignore", "continue without files"),
    };
    let mut step = CheckStep::failed(FILES, error);
    step.state = state;
    step.hints
        .push(format!("`{key}` is `{value}`: a run would {outcome}"));
    step
}
