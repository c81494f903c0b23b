//! What `hrsink check` asks of a source of files: keys, the place, the files and their triggers. Nothing is read of a file.

use jiff::Timestamp;

use super::FileConfig;
use super::select::{self, IfNone};
use crate::component::{CheckState, CheckStep, SourceContext};
use crate::error::Error;
use crate::storage::{Location, Scheme, Settings, Storage};

const PLACE: &str = "place";
const FILES: &str = "files";

fn step(name: &str, state: CheckState, detail: String) -> CheckStep {
    CheckStep {
        name: name.to_owned(),
        state,
        detail,
        hints: Vec::new(),
    }
}

impl FileConfig {
    /// One step for each question.
    pub(super) async fn steps(&self, cx: &SourceContext) -> Vec<CheckStep> {
        let Ok(address) = Location::parse(&self.path) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        match self.unpacker(cx) {
            Err(error) => steps.push(CheckStep::failed("keys", &error)),
            Ok(_) if self.pgp.is_some() => steps.push(step(
                "keys",
                CheckState::Works,
                "the keys that files are decrypted and their signatures are checked with can be read"
                    .to_owned(),
            )),
            Ok(_) => {}
        }
        if address == Location::StandardInput {
            return steps;
        }
        let settings = Settings {
            sftp: self.sftp.as_ref(),
            stores: self.stores(),
        };
        let place = match address.connect(settings, cx).await {
            Ok(place) => place,
            Err(error) => {
                steps.push(CheckStep::failed(PLACE, &error));
                return steps;
            }
        };
        if let Location::Remote(remote) = &address
            && remote.scheme == Scheme::Sftp
        {
            steps.push(step(
                PLACE,
                CheckState::Works,
                format!(
                    "{} is the server that is known, and the login works",
                    remote.origin()
                ),
            ));
        }
        steps.push(
            self.files(&address, &*place)
                .await
                .unwrap_or_else(|error| CheckStep::failed(FILES, &error)),
        );
        steps
    }

    /// Whether a run would find files, and what it does if not.
    async fn files(&self, address: &Location, place: &dyn Storage) -> Result<CheckStep, Error> {
        let wanted = self.wanted(address, Timestamp::now()).map_err(Error::config)?;
        let files = select::list(place, &wanted).await?;
        if files.is_empty() {
            let none = select::nothing_there(place, &wanted).await;
            return Ok(none_as_set(&none, "if_missing", self.if_missing));
        }
        let choice = self.choice(&wanted, false);
        let files = select::without_triggers(&choice, files);
        let found = files.len();
        let Some(trigger) = &self.trigger else {
            let detail = format!("{found} match `{}`", wanted.as_written());
            return Ok(step(FILES, CheckState::Works, detail));
        };
        let ready = select::with_trigger(place, &choice, files).await?.len();
        let detail = format!(
            "{found} match `{}`, and {ready} of them have their trigger `{trigger}`",
            wanted.as_written()
        );
        if ready == 0 {
            return Ok(none_as_set(
                &Error::input(detail),
                "if_nothing_new",
                self.if_nothing_new,
            ));
        }
        Ok(step(FILES, CheckState::Works, detail))
    }
}

/// That there is nothing to read, as good or bad as the setting `key` makes it.
fn none_as_set(none: &Error, key: &str, setting: IfNone) -> CheckStep {
    let mut failed = CheckStep::failed(FILES, none);
    let (state, what) = match setting {
        IfNone::Error => (CheckState::Fails, "error`: a run would end here"),
        IfNone::Warn => (CheckState::Unsure, "warn`: a run would go on without them"),
        IfNone::Ignore => (CheckState::Works, "ignore`: a run would go on without them"),
    };
    failed.state = state;
    failed.hints.push(format!("`{key}` is `{what}"));
    failed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::context;
    use super::*;
    use crate::component::SourceConfig;

    async fn steps(folder: &std::path::Path, config: Value) -> Vec<CheckStep> {
        let config: FileConfig = serde_json::from_value(config).unwrap();
        config.check(context(folder, None)).await
    }

    #[tokio::test]
    async fn no_file_is_as_bad_as_a_run_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("leavers.csv"), "x\n1\n").unwrap();
        for (setting, state) in [
            (None, CheckState::Fails),
            (Some("warn"), CheckState::Unsure),
            (Some("ignore"), CheckState::Works),
        ] {
            let mut config = json!({"path": "leaver.csv"});
            if let Some(setting) = setting {
                config["if_missing"] = json!(setting);
            }
            let steps = steps(folder.path(), config).await;
            assert_eq!((steps.len(), steps[0].state), (1, state), "{steps:?}");
            assert!(steps[0].hints[0].contains("`leavers.csv`"), "{steps:?}");
            assert!(steps[0].hints[1].contains("`if_missing` is `"), "{steps:?}");
        }
        let found = steps(folder.path(), json!({"path": "leavers.csv"})).await;
        assert_eq!(found[0].state, CheckState::Works);
    }

    #[tokio::test]
    async fn files_without_their_trigger_are_none_a_run_would_read() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            json!({"path": "*", "format": "csv", "trigger": "{name}.done", "if_nothing_new": "error"});
        std::fs::write(folder.path().join("a.csv"), "x\n1\n").unwrap();
        let without = steps(folder.path(), config.clone()).await;
        assert_eq!(without[0].state, CheckState::Fails, "{without:?}");
        std::fs::write(folder.path().join("a.csv.done"), "").unwrap();
        let with = steps(folder.path(), config).await;
        assert_eq!(with[0].state, CheckState::Works, "{with:?}");
        assert!(with[0].detail.starts_with("1 match"), "{with:?}");
    }

    #[cfg(feature = "pgp")]
    #[tokio::test]
    async fn keys_that_are_not_there_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv.pgp"), "x").unwrap();
        for pgp in [
            json!({"keys": [{"key": {"file": "gone.key"}}]}),
            json!({"passwords": [{"file": "gone"}]}),
            json!({"passwords": [{"env": "PATH"}], "signed_by": ["gone.asc"]}),
        ] {
            let steps = steps(folder.path(), json!({"path": "a.csv.pgp", "pgp": pgp})).await;
            assert_eq!(steps.len(), 2, "{steps:?}");
            assert_eq!(steps[0].state, CheckState::Fails, "{steps:?}");
            assert!(steps[0].detail.contains("gone"), "{steps:?}");
        }
    }
}
