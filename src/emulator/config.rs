//! The settings of the emulator: address, apps, jobs, limits, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;
use uuid::Uuid;

use super::faults::Faults;
use crate::component::{Problem, Problems, decode};
use crate::config::document::{self, Notation};
use crate::error::{Error, Result};
use crate::hr::Scenario;
use crate::secret::Secret;
use crate::settings::{ByteSize, HumanDuration, suggestion};

/// The resource that the current sample scripts ask a token for; the emulator's default.
pub const RESOURCE: &str = "https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1";

/// Settings of the emulator; also the form of its file, where every key may be left out.
///
/// With no `apps` every tenant, app and secret is taken; with no `jobs` every job is taken and a file's scenario is
/// found from its header (the *open mode*). Each of the two may be declared without the other.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmulatorConfig {
    /// Where to listen. Default `127.0.0.1:0`: this machine alone, a free port.
    #[serde(rename = "listen")]
    pub address: SocketAddr,
    /// The folder for accepted rows and the import log, made when missing. `None` (default): kept in memory.
    pub data: Option<PathBuf>,
    /// The apps that get tokens. Empty: any.
    pub apps: Vec<App>,
    /// The connector jobs. Empty: any.
    pub jobs: Vec<Job>,
    /// Resources that tokens for the ingestion endpoint are asked for. Default: [`RESOURCE`].
    pub resources: Vec<String>,
    /// What goes wrong on purpose. Default: nothing.
    pub faults: Faults,
    /// How long an access token is valid. Default 3599 s.
    #[serde(deserialize_with = "duration")]
    pub token_lifetime: Duration,
    /// The largest request body that is taken, in bytes. Default 50 MiB.
    #[serde(deserialize_with = "bytes")]
    pub max_body: u64,
    /// The most data rows that a file may have. Default 50,000.
    pub max_rows: u64,
}

/// An app registration of the emulated tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The tenant: its ID or one of its domain names.
    pub tenant_id: String,
    /// The app's client ID.
    pub client_id: Uuid,
    /// The app's client secret, in plain text: it opens nothing but the emulator. Never put a real one here.
    #[serde(deserialize_with = "fake_secret")]
    pub client_secret: Secret,
    /// Whether the secret has expired. Default: no.
    #[serde(default)]
    pub secret_expired: bool,
}

/// A connector job, as an administrator would set it up in the portal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The job's ID.
    pub job_id: Uuid,
    /// The app that may upload to it. `None` (default): any.
    #[serde(default)]
    pub client_id: Option<Uuid>,
    /// The scenarios it takes; at least one.
    pub scenarios: Vec<Scenario>,
    /// The customer's column names by documented name, where they differ.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// The column that says which scenario a row is of. Needed when there are several scenarios.
    #[serde(default)]
    pub scenario_column: Option<String>,
    /// What that column holds for each scenario, where it differs from the documented identifier.
    #[serde(default)]
    pub scenario_values: BTreeMap<Scenario, String>,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data: None,
            apps: Vec::new(),
            jobs: Vec::new(),
            resources: vec![RESOURCE.to_owned()],
            faults: Faults::default(),
            token_lifetime: Duration::from_secs(3599),
            max_body: 50 * 1024 * 1024,
            max_rows: 50_000,
        }
    }
}

impl EmulatorConfig {
    /// Reads a YAML (or JSON) file. `data` becomes relative to the file's folder.
    ///
    /// # Errors
    /// The file cannot be read, or does not have the form of this type, or [`validate`](Self::validate) finds
    /// problems.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::config(format!("cannot read `{}`", path.display())).with_source(e))?;
        let tree = document::parse(&text, Notation::of(path)?, path)?;
        let mut found = Vec::new();
        let Some(mut config) = decode::<Self>(tree, &mut Problems::new(&mut found)) else {
            let list = found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let error = Error::config(format!("`{}` is not a valid emulator file", path.display()))
                .with_source(std::io::Error::other(list));
            return Err(found
                .into_iter()
                .filter_map(|problem| problem.hint)
                .fold(error, Error::with_hint));
        };
        if let (Some(data), Some(folder)) = (&mut config.data, path.parent()) {
            *data = folder.join(&*data);
        }
        config.checked()?;
        Ok(config)
    }

    /// Notes what is wrong with the settings. Pure: looks at nothing but `self`.
    pub fn validate(&self, problems: &mut Problems<'_>) {
        if self.resources.iter().any(String::is_empty) || self.resources.is_empty() {
            problems
                .at("resources")
                .add("needs at least one, none of them empty");
        }
        if self.max_body == 0 || usize::try_from(self.max_body).is_err() {
            problems.at("max_body").add("must be above 0 and fit into memory");
        }
        if self.max_rows == 0 {
            problems.at("max_rows").add("must be above 0");
        }
        let mut apps = BTreeSet::new();
        for (index, app) in self.apps.iter().enumerate() {
            let mut at = problems.at("apps");
            let mut at = at.at_index(index);
            if !is_tenant(&app.tenant_id) {
                at.at("tenant_id").add("is neither a GUID nor a domain name");
            }
            if app.client_secret.expose().is_empty() {
                at.at("client_secret").add("is empty");
            }
            if !apps.insert((app.tenant_id.to_lowercase(), app.client_id)) {
                at.add("the same app stands further up in the list");
            }
        }
        let mut ids = BTreeSet::new();
        for (index, job) in self.jobs.iter().enumerate() {
            let mut at = problems.at("jobs");
            let mut at = at.at_index(index);
            if !ids.insert(job.job_id) {
                at.at("job_id").add("the same job stands further up in the list");
            }
            let known = |id| self.apps.is_empty() || self.apps.iter().any(|app| app.client_id == id);
            if job.client_id.is_some_and(|id| !known(id)) {
                at.at("client_id").add("is none of the `apps`");
            }
            job.validate(&mut at);
        }
    }

    /// The problems as one error.
    pub(super) fn checked(&self) -> Result<()> {
        let mut found: Vec<Problem> = Vec::new();
        self.validate(&mut Problems::new(&mut found));
        if found.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        let error = Error::config(format!(
            "the settings of the emulator are wrong: {}",
            texts.join("; ")
        ));
        Err(found
            .into_iter()
            .filter_map(|problem| problem.hint)
            .fold(error, Error::with_hint))
    }
}

impl Job {
    /// A job of one scenario with the documented column names, open to any app.
    pub fn new(job_id: Uuid, scenario: Scenario) -> Self {
        Self {
            job_id,
            client_id: None,
            scenarios: vec![scenario],
            columns: BTreeMap::new(),
            scenario_column: None,
            scenario_values: BTreeMap::new(),
        }
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let distinct: BTreeSet<_> = self.scenarios.iter().collect();
        if self.scenarios.is_empty() || distinct.len() != self.scenarios.len() {
            problems.at("scenarios").add("needs at least one, each once");
        }
        if self.scenarios.len() > 1 && self.scenario_column.is_none() {
            problems.at("scenario_column").add(
                "is missing: with several scenarios a column must say which one each row is of, such as `HRScenario`",
            );
        }
        let fields: BTreeSet<&str> = self
            .scenarios
            .iter()
            .flat_map(|scenario| scenario.fields())
            .map(|column| column.name)
            .collect();
        let mut at = problems.at("columns");
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for (field, column) in &self.columns {
            if !fields.contains(field.as_str()) {
                let message = "no scenario of this job has this column";
                match suggestion(field, fields.iter().copied()) {
                    Some(hint) => at.at(field).add_with_hint(message, hint),
                    None => at.at(field).add(message),
                }
            } else if column.is_empty() {
                at.at(field).add("the name is empty");
            } else if let Some(other) = taken.insert(column.to_lowercase(), field) {
                at.at(field).add(format!(
                    "has the same name as `{other}`; letter case does not count"
                ));
            }
        }
        let mut at = problems.at("scenario_values");
        let mut values = BTreeSet::new();
        for (scenario, value) in &self.scenario_values {
            if !self.scenarios.contains(scenario) {
                at.at(scenario.id()).add("is none of the job's `scenarios`");
            } else if value.is_empty() || !values.insert(value.to_lowercase()) {
                at.at(scenario.id())
                    .add("the value is empty or that of another scenario");
            }
        }
    }
}

/// Whether a text can name a tenant: a GUID or a domain name.
pub(super) fn is_tenant(text: &str) -> bool {
    is_guid(text)
        || (text.contains('.')
            && text.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }))
}

/// Whether a text is a GUID in its usual form with hyphens.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    HumanDuration::deserialize(deserializer).map(|duration| duration.0)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    ByteSize::deserialize(deserializer).map(|size| size.0)
}

fn fake_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";

    fn problems(yaml: &str) -> String {
        let config: EmulatorConfig = serde_saphyr::from_str(yaml).unwrap();
        let error = config.checked().unwrap_err();
        let hints: Vec<&str> = error.hints().collect();
        format!("{error} | {}", hints.join(" | "))
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let page = include_str!("../../docs/src/reference/emulator.md");
        let (_, rest) = page.split_once("```yaml title=emulator.yaml\n").unwrap();
        let (yaml, _) = rest.split_once("```").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("emulator.yaml");
        std::fs::write(&path, yaml).unwrap();
        let config = EmulatorConfig::read(&path).unwrap();
        assert_eq!(config.data, Some(folder.path().join("emulator-data")));
        assert_eq!((config.apps.len(), config.jobs.len()), (1, 2));
        assert_eq!(config.max_body, 50 * 1024 * 1024);
        assert!(!format!("{config:?}").contains(config.apps[0].client_secret.expose()));
    }

    #[test]
    fn all_problems_come_at_once_with_the_nearest_names() {
        let text = problems(&format!(
            "{{max_rows: 0, resources: [], apps: [{{tenant_id: nonsense, client_id: {JOB}, client_secret: x}}], \
              jobs: [{{job_id: {JOB}, scenarios: [employee_resignation, job_level_change], \
              client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e, columns: {{EmailAdress: Mail}}, \
              scenario_values: {{employee_profile: P}}}}]}}"
        ));
        for part in [
            "resources: needs",
            "max_rows: must be above 0",
            "apps[0].tenant_id",
            "jobs[0].client_id: is none of the `apps`",
            "jobs[0].scenario_column: is missing",
            "jobs[0].columns.EmailAdress",
            "did you mean `EmailAddress`",
            "jobs[0].scenario_values.employee_profile",
        ] {
            assert!(text.contains(part), "{part} not in: {text}");
        }
    }

    #[test]
    fn unknown_keys_and_unreadable_values_are_refused() {
        for yaml in [
            "{listn: 127.0.0.1:1}",
            "{token_lifetime: soon}",
            "{max_body: big}",
            "{faults: 42=1}",
        ] {
            assert!(serde_saphyr::from_str::<EmulatorConfig>(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn a_tenant_is_a_guid_or_a_domain() {
        assert!(is_tenant(JOB) && is_tenant("contoso.onmicrosoft.com"));
        assert!(!is_tenant("contoso") && !is_tenant("") && !is_tenant("a..b") && !is_tenant("a b.com"));
    }
}
