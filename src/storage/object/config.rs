//! The settings of stores and web servers.
//!
//! They are always there, so that a pipeline file means the same in every build; the clients are behind their features.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::config::{ByteSize, HumanDuration, Problems};
use crate::secret::SecretRef;
use crate::storage::location::{RemoteLocation, Scheme};

/// Bytes of a file that are fetched or kept before they are decoded.
const READ_AHEAD: ByteSize = ByteSize(16 << 20);
const LEAST_READ_AHEAD: ByteSize = ByteSize(1 << 20);
const MOST_READ_AHEAD: ByteSize = ByteSize(1 << 30);
const TIMEOUT: HumanDuration = HumanDuration(Duration::from_secs(60));
const CONNECT_TIMEOUT: HumanDuration = HumanDuration(Duration::from_secs(10));
const RETRIES: u32 = 6;
const MOST_RETRIES: u32 = 50;

/// How Amazon S3, or a store that speaks like it, is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Config {
    /// The region of the bucket, such as `eu-central-1`. Default: that of the environment (`AWS_REGION`,
    /// `AWS_DEFAULT_REGION`), else `us-east-1`.
    pub region: Option<String>,
    /// The address of the service, for private endpoints and for stores that are not Amazon's. Default: that of the
    /// environment (`AWS_ENDPOINT_URL`), else Amazon's of the region.
    pub endpoint: Option<String>,
    /// Where the id of the access key is kept. Default: no key of its own; the environment and the machine's identity
    /// are asked for one.
    pub access_key_id: Option<SecretRef>,
    /// Where the secret of the access key is kept.
    pub secret_access_key: Option<SecretRef>,
    /// Where the session token is kept, of an access key that is valid for a time only.
    pub session_token: Option<SecretRef>,
    /// Whether nobody logs in, for a bucket that everybody may read. Default: false.
    pub unsigned: bool,
    /// Whether the bucket's name is a part of the host's name and not of the path. Default: false.
    pub virtual_hosted_style: bool,
    /// Whether whoever reads pays, for buckets that ask for it. Default: false.
    pub request_payer: bool,
    /// Whether an `endpoint` may be `http://` on another machine: all that is read goes through the network for
    /// everybody to see. Default: false.
    pub allow_http: bool,
    /// A file of certificate authorities (PEM) to trust besides the system's. Relative to the pipeline file.
    pub extra_ca: Option<PathBuf>,
    /// The longest silence of the service before a request is made again. Default 60s.
    pub timeout: HumanDuration,
    /// The longest time to connect. Default 10s.
    pub connect_timeout: HumanDuration,
    /// How often a request is made again that failed for a cause that passes. Default 6; 0: never.
    pub retries: u32,
    /// How much of a file is fetched, by several requests at a time, before it is decoded: from 1MiB to 1GiB. Default
    /// 16MiB.
    pub read_ahead: ByteSize,
}

/// How Azure Blob Storage, or a data lake on it, is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AzureConfig {
    /// The name of the storage account. Default: that in an `abfss://` address, else that of the environment
    /// (`AZURE_STORAGE_ACCOUNT_NAME`).
    pub account: Option<String>,
    /// The address of the account's blob service, for private endpoints, other clouds and Azurite. Default: that of the
    /// environment (`AZURE_STORAGE_ENDPOINT`), else `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Where a key of the account is kept.
    pub access_key: Option<SecretRef>,
    /// Where a shared access signature is kept: what follows the `?` of its address.
    pub sas_token: Option<SecretRef>,
    /// The id of the app, or of the managed identity where the machine has several.
    pub client_id: Option<String>,
    /// The id of the app's tenant.
    pub tenant_id: Option<String>,
    /// Where the app's secret is kept.
    pub client_secret: Option<SecretRef>,
    /// The file of the token that a workload identity shows instead of a secret. Relative to the pipeline file.
    pub federated_token_file: Option<PathBuf>,
    /// Whether the machine's managed identity logs in, whatever the environment holds. Default: false.
    pub managed_identity: bool,
    /// Whether nobody logs in, for a container that everybody may read. Default: false.
    pub unsigned: bool,
    /// The address of Microsoft Entra ID, for other clouds. Default: `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    /// Whether an `endpoint` may be `http://` on another machine: all that is read goes through the network for
    /// everybody to see. Default: false.
    pub allow_http: bool,
    /// A file of certificate authorities (PEM) to trust besides the system's. Relative to the pipeline file.
    pub extra_ca: Option<PathBuf>,
    /// The longest silence of the service before a request is made again. Default 60s.
    pub timeout: HumanDuration,
    /// The longest time to connect. Default 10s.
    pub connect_timeout: HumanDuration,
    /// How often a request is made again that failed for a cause that passes. Default 6; 0: never.
    pub retries: u32,
    /// How much of a file is fetched, by several requests at a time, before it is decoded: from 1MiB to 1GiB. Default
    /// 16MiB.
    pub read_ahead: ByteSize,
}

/// How Google Cloud Storage is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GcsConfig {
    /// Where the key of a service account is kept: the JSON that Google gives out. Default: none of its own; the
    /// environment and the machine's identity are asked.
    pub service_account: Option<SecretRef>,
    /// Whether nobody logs in, for a bucket that everybody may read. Default: false.
    pub unsigned: bool,
    /// The address of the service, for private endpoints. Default: `https://storage.googleapis.com`.
    pub endpoint: Option<String>,
    /// Whether an `endpoint` may be `http://` on another machine: all that is read goes through the network for
    /// everybody to see. Default: false.
    pub allow_http: bool,
    /// A file of certificate authorities (PEM) to trust besides the system's. Relative to the pipeline file.
    pub extra_ca: Option<PathBuf>,
    /// The longest silence of the service before a request is made again. Default 60s.
    pub timeout: HumanDuration,
    /// The longest time to connect. Default 10s.
    pub connect_timeout: HumanDuration,
    /// How often a request is made again that failed for a cause that passes. Default 6; 0: never.
    pub retries: u32,
    /// How much of a file is fetched, by several requests at a time, before it is decoded: from 1MiB to 1GiB. Default
    /// 16MiB.
    pub read_ahead: ByteSize,
}

/// How files on a web server are reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpsConfig {
    /// Where a bearer token is kept.
    pub bearer: Option<SecretRef>,
    /// A user and a password (HTTP Basic).
    pub basic: Option<BasicLogin>,
    /// Headers that every request has, each kept as a secret: `{X-Api-Key: {env: FILES_KEY}}`.
    pub headers: BTreeMap<String, SecretRef>,
    /// Where the part of the address behind its `?` is kept, for links that are signed.
    pub query: Option<SecretRef>,
    /// Whether the address may be `http://` on another machine: all that is read goes through the network for everybody
    /// to see. Default: false.
    pub allow_http: bool,
    /// A file of certificate authorities (PEM) to trust besides the system's. Relative to the pipeline file.
    pub extra_ca: Option<PathBuf>,
    /// The longest silence of the server before a request is made again. Default 60s.
    pub timeout: HumanDuration,
    /// The longest time to connect. Default 10s.
    pub connect_timeout: HumanDuration,
    /// How often a request is made again that failed for a cause that passes. Default 6; 0: never.
    pub retries: u32,
    /// How much of a file is fetched, by several requests at a time, before it is decoded: from 1MiB to 1GiB. Default
    /// 16MiB.
    pub read_ahead: ByteSize,
}

/// A user and where the password is kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicLogin {
    /// The user.
    pub user: String,
    /// Where the password is kept.
    pub password: SecretRef,
}

/// What all of them have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning<'c> {
    pub(super) extra_ca: Option<&'c PathBuf>,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) retries: u32,
    pub(super) read_ahead: u64,
}

impl Tuning<'_> {
    fn validate(&self, problems: &mut Problems<'_>) {
        for (key, time) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
        ] {
            if time.is_zero() {
                problems.at(key).add("must be more than zero");
            }
        }
        if self.retries > MOST_RETRIES {
            problems
                .at("retries")
                .add(format!("must be at most {MOST_RETRIES}, found {}", self.retries));
        }
        if !(LEAST_READ_AHEAD.0..=MOST_READ_AHEAD.0).contains(&self.read_ahead) {
            problems.at("read_ahead").add(format!(
                "must be from {LEAST_READ_AHEAD} to {MOST_READ_AHEAD}, found {}",
                ByteSize(self.read_ahead)
            ));
        }
    }
}

macro_rules! tuned {
    ($($config:ident { $($field:ident),* })*) => {$(
        impl Default for $config {
            fn default() -> Self {
                Self {
                    $($field: Default::default(),)*
                    allow_http: false,
                    extra_ca: None,
                    timeout: TIMEOUT,
                    connect_timeout: CONNECT_TIMEOUT,
                    retries: RETRIES,
                    read_ahead: READ_AHEAD,
                }
            }
        }

        impl $config {
            pub(super) fn tuning(&self) -> Tuning<'_> {
                Tuning {
                    extra_ca: self.extra_ca.as_ref(),
                    timeout: self.timeout.0,
                    connect_timeout: self.connect_timeout.0,
                    retries: self.retries,
                    read_ahead: self.read_ahead.0,
                }
            }
        }
    )*};
}

tuned! {
    S3Config {
        region, endpoint, access_key_id, secret_access_key, session_token, unsigned, virtual_hosted_style, request_payer
    }
    AzureConfig {
        account, endpoint, access_key, sas_token, client_id, tenant_id, client_secret, federated_token_file,
        managed_identity, unsigned, authority
    }
    GcsConfig { service_account, unsigned, endpoint }
    HttpsConfig { bearer, basic, headers, query }
}

/// The settings of all kinds of stores, of which one is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreSettings<'c> {
    pub(crate) s3: Option<&'c S3Config>,
    pub(crate) azure: Option<&'c AzureConfig>,
    pub(crate) gcs: Option<&'c GcsConfig>,
    pub(crate) https: Option<&'c HttpsConfig>,
}

impl StoreSettings<'_> {
    /// Notes what is wrong, given the address. Keys of `problems` are those of the source.
    pub(crate) fn validate(&self, remote: &RemoteLocation, problems: &mut Problems<'_>) {
        match remote.scheme {
            Scheme::S3 => validate_bucket(remote, problems),
            Scheme::Gcs => validate_bucket(remote, problems),
            Scheme::Azure => validate_container(remote, problems),
            Scheme::Http => validate_web(
                remote,
                self.https.is_some_and(|config| config.allow_http),
                problems,
            ),
            Scheme::Sftp => {}
        }
        if remote.scheme != Scheme::Http && remote.path.trim_matches('/').is_empty() {
            problems.at("path").add_with_hint(
                "names no file",
                format!("name the files in it: `{}/*.csv`", remote.origin()),
            );
        }
        if let Some(config) = self.s3 {
            config.validate(&mut problems.at("s3"));
        }
        if let Some(config) = self.azure {
            config.validate(remote, &mut problems.at("azure"));
        }
        if let Some(config) = self.gcs {
            config.validate(&mut problems.at("gcs"));
        }
        if let Some(config) = self.https {
            config.validate(&mut problems.at("https"));
        }
    }
}

fn validate_bucket(remote: &RemoteLocation, problems: &mut Problems<'_>) {
    if !remote.user.is_empty() || remote.port.is_some() {
        problems.at("path").add_with_hint(
            format!("`{}://` is followed by the bucket alone", remote.written),
            "a user or key belongs into the settings of the store, and another host into its `endpoint`",
        );
    }
}

fn validate_container(remote: &RemoteLocation, problems: &mut Problems<'_>) {
    let names_account = !remote.user.is_empty();
    let hadoop = remote.written != "az";
    if remote.port.is_some() || (names_account && !hadoop) {
        problems.at("path").add_with_hint(
            "`az://` is followed by the container alone",
            "the account belongs into `azure.account`, another host into `azure.endpoint`",
        );
    } else if names_account && !remote.host.contains('.') {
        problems.at("path").add_with_hint(
            format!("`{}` is no host of a storage account", remote.host),
            "it is written `abfss://container@account.dfs.core.windows.net/folder/file.csv`",
        );
    } else if hadoop && !names_account && remote.host.contains('.') {
        problems.at("path").add_with_hint(
            "names no container",
            "it is written `abfss://container@account.dfs.core.windows.net/folder/file.csv`",
        );
    }
}

fn validate_web(remote: &RemoteLocation, allow_http: bool, problems: &mut Problems<'_>) {
    let mut problems = problems.at("path");
    if !remote.user.is_empty() {
        problems.add_with_hint("holds a user", "it belongs into `https.basic`");
    }
    if remote.written == "http" && !allow_http && !is_this_machine(&remote.host) {
        problems.add_with_hint(
            "is `http://`: all that is read would go through the network for everybody to see",
            "write `https://`; where the network is trusted, `https: {allow_http: true}`",
        );
    }
    if remote.path.contains(['*', '[', ']']) {
        problems.add_with_hint(
            "is a pattern, and a web server does not say which files it has",
            "name one file; a date in the name is written `{date:%Y%m%d}`; `*` and `[` themselves are written `%2A` and `%5B`",
        );
    }
    if remote.path.trim_matches('/').is_empty() {
        problems.add("names no file on the server");
    }
}

/// Whether bytes sent to that host stay on this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is wrong with the address of a service, and advice.
pub(super) fn endpoint_problem(endpoint: &str, allow_http: bool) -> Option<(String, &'static str)> {
    const FORM: &str = "it is written `https://host` or `https://host:port`";
    let Ok(url) = Url::parse(endpoint) else {
        return Some(("is no address".to_owned(), FORM));
    };
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Some((
            "holds a login or a query".to_owned(),
            "how to log in has settings of its own",
        ));
    }
    match url.scheme() {
        "https" => None,
        "http" if allow_http || url.host_str().is_some_and(is_this_machine) => None,
        "http" => Some((
            "is `http://`: all that is read would go through the network for everybody to see".to_owned(),
            "write `https://`; where the network is trusted, set `allow_http: true` beside it",
        )),
        other => Some((format!("is `{other}://`"), FORM)),
    }
}

fn validate_endpoint(key: &str, endpoint: Option<&String>, allow_http: bool, problems: &mut Problems<'_>) {
    if let Some((message, hint)) = endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
        problems.at(key).add_with_hint(message, hint);
    }
}

/// Notes it when more than one way to log in is given.
fn validate_ways(ways: &[(&'static str, bool)], problems: &mut Problems<'_>) {
    let given: Vec<String> = ways
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if given.len() > 1 {
        problems.add_with_hint(
            format!(
                "{} are ways to log in, of which one can be used",
                given.join(" and ")
            ),
            "keep the one that is meant",
        );
    }
}

impl S3Config {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.tuning().validate(problems);
        validate_endpoint("endpoint", self.endpoint.as_ref(), self.allow_http, problems);
        let keys = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        validate_ways(
            &[
                ("access_key_id", keys.iter().any(|key| key.is_some())),
                ("unsigned", self.unsigned),
            ],
            problems,
        );
        for (key, given) in [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
        ] {
            if given.is_none() && keys.iter().any(|key| key.is_some()) {
                problems.at(key).add_with_hint(
                    "is missing: an access key has an id and a secret",
                    "leave all of them out to log in with what the environment or the machine has",
                );
            }
        }
        if self.region.as_ref().is_some_and(String::is_empty) {
            problems.at("region").add("is empty");
        }
    }
}

impl AzureConfig {
    fn validate(&self, remote: &RemoteLocation, problems: &mut Problems<'_>) {
        self.tuning().validate(problems);
        validate_endpoint("endpoint", self.endpoint.as_ref(), self.allow_http, problems);
        validate_endpoint("authority", self.authority.as_ref(), false, problems);
        validate_ways(
            &[
                ("access_key", self.access_key.is_some()),
                ("sas_token", self.sas_token.is_some()),
                ("client_secret", self.client_secret.is_some()),
                ("federated_token_file", self.federated_token_file.is_some()),
                ("managed_identity", self.managed_identity),
                ("unsigned", self.unsigned),
            ],
            problems,
        );
        let app = self.client_secret.is_some() || self.federated_token_file.is_some();
        for (key, given) in [("client_id", &self.client_id), ("tenant_id", &self.tenant_id)] {
            if app && given.is_none() {
                problems
                    .at(key)
                    .add("is missing: an app logs in with its id and that of its tenant");
            }
        }
        if self.client_id.is_some() && !app && !self.managed_identity {
            problems.at("client_id").add_with_hint(
                "is given without a way to log in",
                "give `client_secret` or `federated_token_file` and `tenant_id`, or `managed_identity: true`",
            );
        } else if self.tenant_id.is_some() && !app {
            problems
                .at("tenant_id")
                .add("belongs to `client_secret` or `federated_token_file`");
        }
        if let (Some(account), true) = (
            &self.account,
            remote.scheme == Scheme::Azure && !remote.user.is_empty(),
        ) && remote.host.split('.').next() != Some(account)
        {
            problems.at("account").add(format!(
                "is `{account}`, where the address names `{}`",
                remote.host
            ));
        }
    }
}

impl GcsConfig {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.tuning().validate(problems);
        validate_endpoint("endpoint", self.endpoint.as_ref(), self.allow_http, problems);
        validate_ways(
            &[
                ("service_account", self.service_account.is_some()),
                ("unsigned", self.unsigned),
            ],
            problems,
        );
    }
}

impl HttpsConfig {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.tuning().validate(problems);
        let header = self
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("authorization"));
        validate_ways(
            &[
                ("bearer", self.bearer.is_some()),
                ("basic", self.basic.is_some()),
                ("headers.Authorization", header),
            ],
            problems,
        );
        for name in self.headers.keys() {
            if reqwest::header::HeaderName::try_from(name.as_str()).is_err() {
                problems
                    .at("headers")
                    .add(format!("`{name}` is no name of a header"));
            } else if ["host", "range", "content-length", "accept-encoding", "if-match"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own))
            {
                problems
                    .at("headers")
                    .add(format!("`{name}` is set by hrsink itself"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::component::SourceConfig as _;
    use crate::config::{Problem, Problems};
    use crate::sources::file::FileConfig;

    /// What is wrong with a source, as `key: message`, without what a build of fewer features says.
    fn problems(config: Value) -> Vec<String> {
        let config: FileConfig = serde_json::from_value(config).unwrap();
        let mut found: Vec<Problem> = Vec::new();
        config.validate(&mut Problems::new(&mut found));
        found.retain(|problem| !problem.message.contains("is not in this build"));
        found.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn one(config: Value, said: &str) {
        let found = problems(config);
        assert!(found.len() == 1 && found[0].contains(said), "{said}: {found:?}");
    }

    #[test]
    fn good_settings_have_no_problems() {
        let secret = json!({"env": "X"});
        for config in [
            json!({"path": "s3://hr/in/*.csv"}),
            json!({"path": "s3://hr/in/a.csv", "s3": {"access_key_id": secret, "secret_access_key": secret,
                "session_token": secret, "endpoint": "https://s3.contoso.com", "region": "eu-central-1"}}),
            json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://127.0.0.1:9000", "unsigned": true}}),
            json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://minio.contoso.com", "allow_http": true}}),
            json!({"path": "az://hr/a.csv", "azure": {"account": "contoso", "sas_token": secret}}),
            json!({"path": "abfss://hr@contoso.dfs.core.windows.net/a.csv", "azure": {"client_id": "a", "tenant_id": "b",
                "client_secret": secret}}),
            json!({"path": "az://hr/a.csv", "azure": {"managed_identity": true, "client_id": "a"}}),
            json!({"path": "gs://hr/{date:%Y%m%d}/*.csv", "gcs": {"service_account": secret}}),
            json!({"path": "https://files.contoso.com/a%20b.csv", "https": {"bearer": secret}}),
            json!({"path": "https://files.contoso.com/export", "format": "csv", "https": {"query": secret}}),
            json!({"path": "http://localhost:8080/a.csv"}),
        ] {
            assert_eq!(problems(config.clone()), [""; 0], "{config}");
        }
    }

    #[test]
    fn one_way_to_log_in_is_enough_and_half_a_one_is_not() {
        let secret = json!({"env": "X"});
        one(
            json!({"path": "s3://hr/a.csv", "s3": {"access_key_id": secret}}),
            "s3.secret_access_key: is missing",
        );
        one(
            json!({"path": "s3://hr/a.csv", "s3": {"access_key_id": secret, "secret_access_key": secret, "unsigned": true}}),
            "s3: `access_key_id` and `unsigned` are ways to log in",
        );
        one(
            json!({"path": "az://hr/a.csv", "azure": {"access_key": secret, "sas_token": secret, "managed_identity": true}}),
            "azure: `access_key` and `sas_token` and `managed_identity`",
        );
        one(
            json!({"path": "az://hr/a.csv", "azure": {"client_id": "a", "client_secret": secret}}),
            "azure.tenant_id: is missing",
        );
        one(
            json!({"path": "az://hr/a.csv", "azure": {"client_id": "a"}}),
            "azure.client_id: is given without a way",
        );
        one(
            json!({"path": "gs://hr/a.csv", "gcs": {"service_account": secret, "unsigned": true}}),
            "gcs: `service_account` and `unsigned`",
        );
        one(
            json!({"path": "https://h/a.csv", "https": {"bearer": secret, "headers": {"authorization": secret}}}),
            "https: `bearer` and `headers.Authorization`",
        );
    }

    #[test]
    fn what_goes_over_the_network_is_not_for_everybody_to_see() {
        one(
            json!({"path": "http://files.contoso.com/a.csv"}),
            "path: is `http://`",
        );
        one(
            json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://minio.contoso.com"}}),
            "s3.endpoint: is `http://`",
        );
        one(
            json!({"path": "az://hr/a.csv", "azure": {"endpoint": "https://a:b@contoso.com"}}),
            "azure.endpoint: holds a login",
        );
        one(
            json!({"path": "gs://hr/a.csv", "gcs": {"endpoint": "contoso.com"}}),
            "gcs.endpoint: is no address",
        );
    }

    #[test]
    fn addresses_are_looked_at() {
        one(json!({"path": "https://h/*.csv"}), "path: is a pattern");
        one(json!({"path": "https://hr@h/a.csv"}), "path: holds a user");
        one(
            json!({"path": "s3://hr@bucket/a.csv"}),
            "path: `s3://` is followed by the bucket alone",
        );
        one(
            json!({"path": "abfss://contoso.dfs.core.windows.net/a.csv"}),
            "path: names no container",
        );
        one(
            json!({"path": "az://hr@contoso/a.csv"}),
            "path: `az://` is followed by the container alone",
        );
        one(
            json!({"path": "abfss://hr@contoso.dfs.core.windows.net/a.csv", "azure": {"account": "fabrikam"}}),
            "azure.account: is `fabrikam`",
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let found = problems(json!({"path": "s3://hr/a.csv",
            "s3": {"retries": 99, "timeout": "0s", "connect_timeout": "0s", "read_ahead": "1KiB", "region": ""}}));
        assert_eq!(found.len(), 5, "{found:?}");
        let found = problems(
            json!({"path": "https://h/a.csv", "https": {"headers": {"Range": {"env": "X"}, "a b": {"env": "X"}}}}),
        );
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
