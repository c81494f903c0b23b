//! Settings: the listen address, apps, connector jobs and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;
use uuid::Uuid;

use super::faults::Faults;
use crate::component::{Problems, decode, problems_error};
use crate::config::document::{self, Notation};
use crate::error::{Error, Result};
use crate::hr::Scenario;
use crate::secret::Secret;
use crate::settings::bounded::{MIB, UNBOUNDED};
use crate::settings::{BoundedInt, BoundedSize, HumanDuration};
use crate::suggest::suggestion;

/// The resource for which the current sample scripts request a token; the emulator's default.
pub const RESOURCE: &str = "https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1";

/// Settings of the emulator; also the form of its file, in which every key is optional.
///
/// Open mode: without `apps` it accepts every tenant, app and secret; without `jobs` it accepts every job and detects
/// the scenario from the header of the file. You can declare either one without the other.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmulatorConfig {
    /// The address to listen on. Default: any free port of this machine, for `hrsink emulator` 127.0.0.1:8099.
    #[serde(rename = "listen")]
    pub address: Option<SocketAddr>,
    /// The folder for accepted rows and the import log, created if missing. Default: rows stay in memory.
    pub data: Option<PathBuf>,
    /// The apps that can get tokens. Empty: any.
    pub apps: Vec<App>,
    /// The connector jobs. Empty: any.
    pub(crate) jobs: Vec<Job>,
    /// Resources whose tokens the ingestion endpoint accepts. Default: [`RESOURCE`].
    pub resources: Vec<String>,
    /// Faults to inject. Default: none.
    pub faults: Faults,
    /// How long an access token is valid. Default 3599 s.
    pub token_lifetime: HumanDuration,
    /// The largest accepted request body. Default 50 MiB.
    pub max_body: BoundedSize<1, UNBOUNDED>,
    /// The maximum number of data rows in a file. Default 50,000.
    pub max_rows: BoundedInt<1, UNBOUNDED>,
}

/// An app registration of the emulated tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The tenant: its ID or one of its domain names.
    pub tenant_id: String,
    /// The app's client ID.
    pub client_id: Uuid,
    /// The app's client secret, in plain text: it works only with the emulator. Never put a real one here.
    #[serde(deserialize_with = "fake_secret")]
    pub client_secret: Secret,
    /// Whether the secret has expired. Default: no.
    #[serde(default)]
    pub secret_expired: bool,
}

/// A connector job, as an administrator would set it up in the portal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// The job's ID.
    pub job_id: Uuid,
    /// The app that can upload to the job. Default: any.
    #[serde(default)]
    pub client_id: Option<Uuid>,
    /// The scenarios of the job; at least one.
    pub scenarios: Vec<Scenario>,
    /// The customer's column names by documented name, where they differ.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// The column with the scenario of each row. Required with several scenarios.
    #[serde(default)]
    pub scenario_column: Option<String>,
    /// The values of that column by scenario, where they differ from the documented identifiers.
    #[serde(default)]
    pub scenario_values: BTreeMap<Scenario, String>,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            address: None,
            data: None,
            apps: Vec::new(),
            jobs: Vec::new(),
            resources: vec![RESOURCE.to_owned()],
            faults: Faults::default(),
            token_lifetime: HumanDuration(Duration::from_secs(3599)),
            max_body: BoundedSize::new(50 * MIB),
            max_rows: BoundedInt::new(50_000),
        }
    }
}

impl EmulatorConfig {
    /// Reads a YAML (or JSON) file. `data` becomes relative to the file's folder.
    ///
    /// # Errors
    /// The file cannot be read or its settings are invalid.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::config(format!("cannot read `{}`", path.display())).with_source(e))?;
        let tree = document::parse(&text, Notation::of(path)?, path)?;
        let mut found = Vec::new();
        let config = decode::<Self>(tree, &mut Problems::new(&mut found));
        if let Some(config) = &config {
            config.validate(&mut Problems::new(&mut found));
        }
        let Some(mut config) = config.filter(|_| found.is_empty()) else {
            let what = format!("`{}` is not a valid emulator file: ", path.display());
            return Err(problems_error(&what, found));
        };
        if let (Some(data), Some(folder)) = (&mut config.data, path.parent()) {
            *data = folder.join(&*data);
        }
        Ok(config)
    }

    /// Reports invalid settings. Pure: examines only `self`.
    pub fn validate(&self, problems: &mut Problems<'_>) {
        if self.resources.iter().any(String::is_empty) || self.resources.is_empty() {
            problems
                .at("resources")
                .add("needs at least one entry, none of them empty");
        }
        let mut apps = BTreeSet::new();
        for (index, app) in self.apps.iter().enumerate() {
            let mut at = problems.at(format_args!("apps[{index}]"));
            if !is_tenant(&app.tenant_id) {
                at.at("tenant_id").add("expected a GUID or a domain name");
            }
            if app.client_secret.expose().is_empty() {
                at.at("client_secret").add("must not be empty");
            }
            if !apps.insert((app.tenant_id.to_lowercase(), app.client_id)) {
                at.add("duplicate app");
            }
        }
        let mut ids = BTreeSet::new();
        for (index, job) in self.jobs.iter().enumerate() {
            let mut at = problems.at(format_args!("jobs[{index}]"));
            if !ids.insert(job.job_id) {
                at.at("job_id").add("duplicate job");
            }
            let known = |id| self.apps.is_empty() || self.apps.iter().any(|app| app.client_id == id);
            if job.client_id.is_some_and(|id| !known(id)) {
                at.at("client_id").add("not declared in `apps`");
            }
            job.validate(&mut at);
        }
    }

    pub(super) fn checked(&self) -> Result<()> {
        let mut found = Vec::new();
        self.validate(&mut Problems::new(&mut found));
        match found.is_empty() {
            true => Ok(()),
            false => Err(problems_error("invalid emulator settings: ", found)),
        }
    }
}

impl Job {
    /// A job of one scenario with the documented column names, open to any app.
    pub(crate) fn new(job_id: Uuid, scenario: Scenario) -> Self {
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
            problems
                .at("scenarios")
                .add("needs at least one entry, without duplicates");
        }
        if self.scenarios.len() > 1 && self.scenario_column.is_none() {
            problems.at("scenario_column").add(
                "is missing: with several scenarios, a column such as `HRScenario` must specify the scenario of each row",
            );
        }
        let fields = self.scenarios.iter().flat_map(|scenario| scenario.fields());
        let fields: BTreeSet<&str> = fields.map(|field| field.name).collect();
        let mut columns: BTreeMap<String, &str> = BTreeMap::new();
        for (field, column) in &self.columns {
            let mut at = problems.at(format_args!("columns.{field}"));
            if !fields.contains(field.as_str()) {
                let hint = suggestion(field, fields.iter().copied());
                at.add_with("no scenario of this job has this column", hint);
            } else if column.is_empty() {
                at.add("the name is empty");
            } else if let Some(other) = columns.insert(column.to_lowercase(), field) {
                at.add(format!(
                    "has the same name as `{other}`; names are case-insensitive"
                ));
            }
        }
        let mut values = BTreeSet::new();
        for (scenario, value) in &self.scenario_values {
            let mut at = problems.at(format_args!("scenario_values.{}", scenario.id()));
            if !self.scenarios.contains(scenario) {
                at.add("not listed in the `scenarios` of the job");
            } else if value.is_empty() || !values.insert(value.to_lowercase()) {
                at.add("the value is empty or that of another scenario");
            }
        }
    }
}

/// Whether a text can name a tenant: a GUID or a domain name.
pub(super) fn is_tenant(text: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    guid(text).is_some() || (text.contains('.') && text.split('.').all(is_label))
}

/// A GUID in its usual form with hyphens.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

fn fake_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";

    #[test]
    fn reads_the_example_of_the_documentation() {
        let page = include_str!("../../docs/src/reference/emulator.md");
        let (_, rest) = page.split_once("```yaml title=emulator.yaml\n").unwrap();
        let (yaml, _) = rest.split_once("```").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("emulator.yaml");
        std::fs::write(&path, yaml).unwrap();
        let config = EmulatorConfig::read(&path).unwrap();
        assert_eq!(config.data, Some(folder.path().join("emulator-data")));
        assert_eq!((config.apps.len(), config.jobs.len()), (1, 2));
        assert_eq!(config.faults, "503=first:2,retry_after=2s".parse().unwrap());
        assert_eq!(config.max_body, BoundedSize::new(50 * MIB));
        assert!(!format!("{config:?}").contains(config.apps[0].client_secret.expose()));
    }

    #[test]
    fn reports_all_problems_with_the_nearest_names() {
        let yaml = format!(
            "{{resources: [], apps: [{{tenant_id: nonsense, client_id: {JOB}, client_secret: x}}], \
              jobs: [{{job_id: {JOB}, scenarios: [employee_resignation, job_level_change], \
              client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e, columns: {{EmailAdress: Mail}}, \
              scenario_values: {{employee_profile: P}}}}]}}"
        );
        let config: EmulatorConfig = serde_saphyr::from_str(&yaml).unwrap();
        let error = config.checked().unwrap_err();
        let text = format!("{error} {:?}", error.hints().collect::<Vec<_>>());
        for part in [
            "resources: needs",
            "apps[0].tenant_id",
            "jobs[0].client_id: not declared in `apps`",
            "jobs[0].scenario_column: is missing",
            "jobs[0].columns.EmailAdress",
            "did you mean `EmailAddress`",
            "jobs[0].scenario_values.employee_profile",
        ] {
            assert!(text.contains(part), "{part} not in: {text}");
        }
    }

    #[test]
    fn accepts_guids_and_domains_as_tenants() {
        assert!([JOB, "contoso.onmicrosoft.com"].into_iter().all(is_tenant));
        assert!(!["contoso", "", "a..b", "a b.com"].into_iter().any(is_tenant));
    }
}
