//! The settings of `m365_hr`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use uuid::Uuid;

use super::cloud::Cloud;
use super::sink;
use crate::component::{CheckStep, Description, InputDescription, Problems, Sink, SinkConfig, SinkContext};
use crate::delivery::{Mode, OnRefused, OnUnknown, Policy};
use crate::emulator::Faults;
use crate::error::Result;
use crate::hr::Scenario;
use crate::http::settings::{Proxy, RetrySettings, TlsSettings};
use crate::secret::SecretRef;
use crate::settings::bounded::{HOUR, KIB, MIB, SECOND, Timeout, UNBOUNDED};
use crate::settings::{BoundedDuration, BoundedInt, BoundedSize};
use crate::sinks::payload::{Naming, require_hr_rows, scenario};

/// Uploads rows to a Microsoft 365 HR connector job.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct M365HrConfig {
    /// The Microsoft cloud: `worldwide`, `gcc`, `gcc_high`, `dod`, `emulator` (started inside this process), or a map of
    /// `authority`, `resource` and `ingestion`.
    pub cloud: Cloud,
    /// The Microsoft Entra tenant: its ID (a GUID) or one of its domains. Required except with `cloud: emulator`.
    pub tenant_id: Option<String>,
    /// The ID of the connector job, as the Purview portal shows it. Required except with `cloud: emulator`.
    pub job_id: Option<Uuid>,
    /// How to sign in. Required except with `cloud: emulator`.
    pub auth: Option<Auth>,
    /// Column names by HR field, for fields that are mapped to other names in the portal. The portal compares column names
    /// case-insensitively; spaces are significant.
    #[schemars(example = &serde_json::json!({"EmailAddress": "UPN"}))]
    pub columns: BTreeMap<String, String>,
    /// The column that contains the scenario of a row, for jobs with several scenarios. Microsoft's documentation calls it
    /// `HRScenario`.
    pub scenario_column: Option<String>,
    /// Values of `scenario_column` by scenario, for those mapped to other values in the portal than the documented ones.
    #[schemars(example = &serde_json::json!({"employee_resignation": "Resignation"}))]
    pub scenario_values: BTreeMap<Scenario, String>,
    /// The maximum size of an upload.
    pub batch: BatchSettings,
    /// The maximum number of concurrent uploads.
    pub max_concurrent: BoundedInt<1, 32>,
    /// The timeout of an upload. Microsoft's script uses 400s.
    pub timeout: Timeout,
    /// The timeout of connecting.
    #[schemars(example = &"10s")]
    pub connect_timeout: Timeout,
    /// The proxy: a URL, or `none`. Default: the system's settings (`HTTPS_PROXY`, `NO_PROXY`).
    #[schemars(example = &"http://proxy.example.com:3128")]
    pub proxy: Proxy,
    /// Certificate authorities to trust, a client certificate, the minimum TLS version.
    pub tls: TlsSettings,
    /// Retries of an upload.
    pub retry: RetrySettings,
    /// Which rows are sent, and what happens after failures.
    pub delivery: DeliverySettings,
    /// Settings of the embedded emulator; only with `cloud: emulator`.
    pub emulator: Option<EmulatorSettings>,
    /// Accepts records unchanged, for `hrsink upload`: their columns have the portal's names.
    #[serde(skip)]
    pub as_is: bool,
}

/// How to sign in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Auth {
    /// As an application registered in Microsoft Entra ID, with a client secret.
    ClientSecret {
        /// The application (client) ID.
        #[schemars(with = "Uuid")]
        client_id: String,
        /// The client secret.
        #[schemars(example = serde_json::json!({"env": "HR_CLIENT_SECRET"}))]
        client_secret: SecretRef,
    },
}

/// The maximum size of an upload.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BatchSettings {
    /// The maximum number of rows in an upload, without the header row. Microsoft's script sends at most 5,000.
    pub max_rows: BoundedInt<1, 50_000>,
    /// The maximum size of an upload's CSV, including the header row. Microsoft does not document a limit.
    #[schemars(example = &"1MiB")]
    pub max_bytes: BoundedSize<KIB, { 64 * MIB }>,
}

/// Which rows are sent, and what happens after failures.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeliverySettings {
    /// `changes` sends the rows that the job has not accepted yet, according to the ledger; `all` sends every row. A row
    /// that changes back to earlier values is not sent again with `changes`: set `refresh_after` or `all` if that happens.
    pub mode: Mode,
    /// When unchanged rows are sent again: at least `1h`, or `never`. Default: 20d for employee profiles, because Microsoft
    /// deletes a profile that was not refreshed for 30 days; never for the other scenarios.
    #[schemars(example = &"20d")]
    pub refresh_after: Option<Refresh>,
    /// What to do with rows whose upload has an unknown outcome: `resend` sends them again and reports it; `hold` stops
    /// until you record the outcome with `hrsink ledger resolve`.
    pub on_unknown: OnUnknown,
    /// What to do with a batch whose content the service rejects: `stop` ends the run with the diagnosis; `split` halves
    /// the batch until it finds the rows that cause the error, and rejects only these.
    pub on_refused: OnRefused,
    /// The run stops after this many consecutive batches that failed for the same transient cause, each after all its
    /// retries.
    #[schemars(example = &10)]
    pub max_consecutive_failures: BoundedInt<1, 1_000>,
}

/// When unchanged rows are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Never: `never`.
    Never,
    /// After this time.
    After(Duration),
}

impl<'de> Deserialize<'de> for Refresh {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        BoundedDuration::<HOUR, UNBOUNDED>::deserialize(text.into_deserializer())
            .map(|time| Self::After(time.get()))
    }
}

impl JsonSchema for Refresh {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Refresh".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time with its unit, or `never`.",
            "examples": ["20d", "never"],
        })
    }
}

/// Microsoft deletes a profile that was not refreshed for 30 days, and recommends to refresh it every 15 to 20.
const PROFILES_AFTER: Duration = Duration::from_secs(20 * 24 * 3600);
const PROFILES_LIVE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Settings of the embedded emulator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EmulatorSettings {
    /// The folder for accepted rows and the import log, relative to the pipeline file.
    pub data: PathBuf,
    /// Faults to inject, such as `429=0.1,latency=50ms`; see the emulator's page.
    #[schemars(with = "Option<String>", example = &"429=0.1,latency=50ms")]
    pub faults: Faults,
}

impl Default for M365HrConfig {
    fn default() -> Self {
        Self {
            cloud: Cloud::default(),
            tenant_id: None,
            job_id: None,
            auth: None,
            columns: BTreeMap::new(),
            scenario_column: None,
            scenario_values: BTreeMap::new(),
            batch: BatchSettings::default(),
            max_concurrent: BoundedInt::new(4),
            timeout: Timeout::new(400 * SECOND),
            connect_timeout: Timeout::new(30 * SECOND),
            proxy: Proxy::System,
            tls: TlsSettings::default(),
            retry: RetrySettings::default(),
            delivery: DeliverySettings::default(),
            emulator: None,
            as_is: false,
        }
    }
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_rows: BoundedInt::new(5_000),
            max_bytes: BoundedSize::new(4 * MIB),
        }
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            refresh_after: None,
            on_unknown: OnUnknown::default(),
            on_refused: OnRefused::default(),
            max_consecutive_failures: BoundedInt::new(3),
        }
    }
}

impl DeliverySettings {
    /// The policy for `job`.
    pub(super) fn policy(&self, job: String) -> Policy {
        let refresh_after = match self.refresh_after {
            None => BTreeMap::from([(Scenario::EmployeeProfile.id(), PROFILES_AFTER)]),
            Some(Refresh::Never) => BTreeMap::new(),
            Some(Refresh::After(time)) => Scenario::ALL.iter().map(|each| (each.id(), time)).collect(),
        };
        Policy {
            mode: self.mode,
            refresh_after,
            on_unknown: self.on_unknown,
            on_refused: self.on_refused,
            max_consecutive_failures: NonZeroU32::new(self.max_consecutive_failures.as_u32())
                .unwrap_or(Policy::MAX_CONSECUTIVE_FAILURES),
            evidence: "the connector's log in the Purview portal, where its file name contains the end of the run's id \
                       and the batch's number",
            ..Policy::new(job)
        }
    }

    fn check(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        let mut here = problems.at("refresh_after");
        if let Some(Refresh::After(time)) = self.refresh_after {
            let profiles = inputs
                .iter()
                .any(|input| scenario(input) == Some(Scenario::EmployeeProfile));
            if self.mode == Mode::All {
                here.add_with_hint(
                    "with `mode: all` every row is sent each time",
                    "remove `refresh_after`, or set `mode: changes`",
                );
            } else if profiles && time >= PROFILES_LIVE {
                here.add_with_hint(
                    "Microsoft deletes an employee profile that was not refreshed for 30 days",
                    "set 15d to 20d",
                );
            }
        }
    }
}

impl Default for EmulatorSettings {
    fn default() -> Self {
        Self {
            data: PathBuf::from(".hrsink/emulator"),
            faults: Faults::default(),
        }
    }
}

impl M365HrConfig {
    pub(super) fn naming(&self) -> Naming {
        Naming {
            columns: self.columns.clone(),
            scenario_column: self.scenario_column.clone(),
            scenario_values: self.scenario_values.clone(),
        }
    }

    fn validate_ids(&self, problems: &mut Problems<'_>) {
        if let Some(Auth::ClientSecret { client_id, .. }) = &self.auth
            && Uuid::try_parse(client_id).is_err()
        {
            problems
                .at("auth.client_id")
                .add("expected the application (client) ID, a GUID");
        }
        if self.cloud == Cloud::Emulator {
            return;
        }
        for (key, given, hint) in [
            (
                "tenant_id",
                self.tenant_id.is_some(),
                "the tenant's id, on the app's overview page in Microsoft Entra",
            ),
            (
                "job_id",
                self.job_id.is_some(),
                "the job's id, shown in the Purview portal when the HR connector is created",
            ),
            (
                "auth",
                self.auth.is_some(),
                "for example `{type: client_secret, client_id: …, client_secret: {env: HRSINK_CLIENT_SECRET}}`",
            ),
        ] {
            if !given {
                problems
                    .at(key)
                    .add_with_hint(format!("`{key}` is required"), hint);
            }
        }
        let of_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if let Some(tenant) = &self.tenant_id
            && Uuid::try_parse(tenant).is_err()
            && !(tenant.contains('.') && tenant.chars().all(of_domain))
        {
            problems
                .at("tenant_id")
                .add("expected the tenant's id (a GUID) or one of its domains");
        }
        if self.emulator.is_some() {
            problems
                .at("emulator")
                .add("`emulator` requires `cloud: emulator`");
        }
    }
}

#[async_trait]
impl SinkConfig for M365HrConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        if !self.as_is {
            require_hr_rows(inputs, problems);
            self.naming().validate(inputs, true, problems);
        }
        self.validate_ids(problems);
        self.tls.validate(&mut problems.at("tls"));
        self.retry.validate(&mut problems.at("retry"));
        self.delivery.check(inputs, &mut problems.at("delivery"));
    }

    fn targets(&self, inputs: &[InputDescription]) -> BTreeSet<String> {
        let job = match (&self.cloud, self.job_id) {
            (Cloud::Emulator, job) => {
                let data = self.emulator.clone().unwrap_or_default().data;
                let job = job.map(|job| format!("{job} ")).unwrap_or_default();
                format!("the job {job}of the emulator in `{}`", data.display())
            }
            (cloud, Some(job)) => format!("the job {job} at {}", cloud.endpoints().ingestion),
            (_, None) => return BTreeSet::new(),
        };
        let labels = inputs
            .iter()
            .map(|input| scenario(input).map_or("records", Scenario::id));
        labels.map(|label| format!("{job}, {label},")).collect()
    }

    fn uses_ledger(&self) -> bool {
        true
    }

    fn refreshes_after(&self, inputs: &[InputDescription]) -> Option<Duration> {
        let policy = self.delivery.policy(String::new());
        let times = inputs
            .iter()
            .filter_map(|input| policy.refresh_after.get(scenario(input)?.id()));
        times.min().copied().filter(|_| policy.mode == Mode::Changes)
    }

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        sink::build(self, cx).await
    }

    async fn check(&self, cx: SinkContext) -> Vec<CheckStep> {
        sink::check(self, cx).await
    }
}

inventory::submit! {
    Description::sink::<M365HrConfig>("m365_hr", "uploads rows to a Microsoft 365 HR connector job")
}
