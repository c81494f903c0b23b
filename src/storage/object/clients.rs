//! Logs in to stores: with what the settings say, or else with what the environment and the machine have.

use std::sync::Arc;
use std::time::Duration;

use object_store::list::PaginatedListStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::bucket::Bucket;
use super::config::{Tuning, endpoint_problem};
use super::connector::Connector;
use super::failure::{Kind, Said, setup_text};
use super::fetch::Ahead;
use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};
use crate::storage::Storage;
use crate::storage::location::RemoteLocation;

/// How long a request is made again and again, at most: signatures are valid for some minutes.
const RETRY_TIME: Duration = Duration::from_secs(4 * 60);

impl Tuning<'_> {
    fn connector(&self, run: &RunInfo) -> Connector {
        Connector {
            transport: self.transport(run),
        }
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: usize::try_from(self.retries).unwrap_or(usize::MAX),
            retry_timeout: RETRY_TIME,
        }
    }
}

fn read(secret: &SecretRef, run: &RunInfo) -> Result<Secret> {
    secret.read(&run.base, &SecretFiles::of(run))
}

/// An address from the environment is held to what holds for one in the settings.
fn check_endpoint(from: &str, endpoint: Option<&str>, allow_http: bool) -> Result<()> {
    match endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
        Some((message, hint)) => {
            Err(Error::config(format!("the address of the service, {from}, {message}")).with_hint(hint))
        }
        None => Ok(()),
    }
}

fn bucket<S: ObjectStore + PaginatedListStore>(
    built: object_store::Result<S>,
    kind: Kind,
    remote: &RemoteLocation,
    name: String,
    tuning: Tuning<'_>,
    copies_if_absent: bool,
) -> Result<Arc<dyn Storage>> {
    let store = Arc::new(built.map_err(|error| {
        Error::config(format!("cannot set up the client of {}", remote.origin()))
            .with_source(Said(setup_text(&error)))
    })?);
    Ok(Arc::new(Bucket {
        objects: store.clone(),
        pages: store,
        kind,
        name: name.into(),
        ahead: Ahead::new(tuning.read_ahead),
        copies_if_absent,
    }))
}

#[cfg(feature = "s3")]
pub(super) fn s3(
    remote: &RemoteLocation,
    config: Option<&super::config::S3Config>,
    run: &RunInfo,
) -> Result<Arc<dyn Storage>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

    let default = super::config::S3Config::default();
    let config = config.unwrap_or(&default);
    let tuning = config.tuning();
    let environment = AmazonS3Builder::from_env();
    let mut builder = match (&config.access_key_id, &config.secret_access_key) {
        (Some(id), Some(secret)) => {
            // Of the environment only where the service is: its session token would not go with this key.
            let places = [
                Key::Region,
                Key::DefaultRegion,
                Key::Endpoint,
                Key::S3Endpoint,
                Key::VirtualHostedStyleRequest,
            ];
            let mut builder = AmazonS3Builder::new();
            for key in places {
                if let Some(value) = environment.get_config_value(&key) {
                    builder = builder.with_config(key, value);
                }
            }
            builder = builder
                .with_access_key_id(read(id, run)?.expose())
                .with_secret_access_key(read(secret, run)?.expose());
            match &config.session_token {
                Some(token) => builder.with_token(read(token, run)?.expose()),
                None => builder,
            }
        }
        _ => environment,
    };
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        // The environment's own address of S3 would win.
        builder = builder.with_config(Key::S3Endpoint, endpoint);
    }
    if config.virtual_hosted_style {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    let endpoint = builder
        .get_config_value(&Key::S3Endpoint)
        .or_else(|| builder.get_config_value(&Key::Endpoint));
    check_endpoint("AWS_ENDPOINT_URL", endpoint.as_deref(), config.allow_http)?;
    let virtual_hosted = builder
        .get_config_value(&Key::VirtualHostedStyleRequest)
        .is_some_and(|value| value == "true");
    if let (Some(endpoint), true) = (&endpoint, virtual_hosted) {
        // The client takes the whole address of the bucket then.
        builder = builder.with_config(Key::S3Endpoint, with_bucket(endpoint, &remote.host));
    }
    if config.unsigned {
        builder = builder.with_skip_signature(true);
    }
    if config.request_payer {
        builder = builder.with_request_payer(true);
    }
    let built = builder
        .with_bucket_name(&remote.host)
        // Files go one by one, and not every store knows how to delete several.
        .with_disable_bulk_delete(true)
        .with_client_options(ClientOptions::new())
        .with_retry(tuning.retry())
        .with_http_connector(tuning.connector(run))
        .build();
    // Copies that are made only where nothing is are an addition of single stores, spelt differently by each.
    bucket(
        built,
        Kind::S3,
        remote,
        format!("s3://{}", remote.host),
        tuning,
        false,
    )
}

/// The address of a service with the bucket as the first part of the host.
#[cfg(feature = "s3")]
fn with_bucket(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((_, host)) if host.starts_with(&format!("{bucket}.")) => endpoint.to_owned(),
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => endpoint.to_owned(),
    }
}

#[cfg(feature = "azure")]
pub(super) fn azure(
    remote: &RemoteLocation,
    config: Option<&super::config::AzureConfig>,
    run: &RunInfo,
) -> Result<Arc<dyn Storage>> {
    use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

    let default = super::config::AzureConfig::default();
    let config = config.unwrap_or(&default);
    let tuning = config.tuning();
    let environment = MicrosoftAzureBuilder::from_env();
    let from_environment = |key| environment.get_config_value(&key);
    let (container, account, endpoint) = container(remote);
    let account = config
        .account
        .clone()
        .or(account)
        .or_else(|| from_environment(Key::AccountName))
        .ok_or_else(|| {
            Error::config(format!(
                "which storage account has {} is not given",
                remote.origin()
            ))
            .with_hint(
                "give `azure.account`, set AZURE_STORAGE_ACCOUNT_NAME, or write \
                 `abfss://container@account.dfs.core.windows.net/…`",
            )
        })?;
    let endpoint = config
        .endpoint
        .clone()
        .or(endpoint)
        .or_else(|| from_environment(Key::Endpoint));
    check_endpoint("AZURE_STORAGE_ENDPOINT", endpoint.as_deref(), config.allow_http)?;

    // A way to log in that is given is the only one that is tried.
    let empty = MicrosoftAzureBuilder::new;
    let mut builder = if let Some(key) = &config.access_key {
        empty()
            .with_access_key(read(key, run)?.expose())
            .with_credential_type("access_key")
    } else if let Some(token) = &config.sas_token {
        empty()
            .with_config(Key::SasKey, read(token, run)?.expose())
            .with_credential_type("sas_token")
    } else if let Some(secret) = &config.client_secret {
        empty()
            .with_client_secret(read(secret, run)?.expose())
            .with_credential_type("client_secret")
    } else if let Some(file) = &config.federated_token_file {
        empty()
            .with_federated_token_file(run.base.join(file).to_string_lossy())
            .with_credential_type("workload_identity")
    } else if config.managed_identity {
        let mut builder = empty().with_credential_type("managed_identity");
        if let Some(endpoint) = from_environment(Key::MsiEndpoint) {
            builder = builder.with_msi_endpoint(endpoint);
        }
        builder
    } else {
        environment
    };
    if let Some(id) = &config.client_id {
        builder = builder.with_client_id(id);
    }
    if let Some(id) = &config.tenant_id {
        builder = builder.with_tenant_id(id);
    }
    if let Some(authority) = &config.authority {
        builder = builder.with_authority_host(authority);
    }
    if config.unsigned {
        builder = builder.with_skip_signature(true);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let name = format!("{account}/{container}");
    let built = builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(ClientOptions::new())
        .with_retry(tuning.retry())
        .with_http_connector(tuning.connector(run))
        .build();
    bucket(built, Kind::Azure, remote, name, tuning, true)
}

/// Container, account and address that an Azure address names.
#[cfg(feature = "azure")]
fn container(remote: &RemoteLocation) -> (String, Option<String>, Option<String>) {
    if remote.user.is_empty() {
        return (remote.host.clone(), None, None);
    }
    let (account, domain) = remote.host.split_once('.').unwrap_or((&remote.host, ""));
    // The data lake's own interface is not spoken; every account has both.
    let endpoint = domain
        .strip_prefix("dfs.")
        .map(|domain| format!("https://{account}.blob.{domain}"))
        .unwrap_or_else(|| format!("https://{}", remote.host));
    (remote.user.clone(), Some(account.to_owned()), Some(endpoint))
}

#[cfg(feature = "gcs")]
pub(super) fn gcs(
    remote: &RemoteLocation,
    config: Option<&super::config::GcsConfig>,
    run: &RunInfo,
) -> Result<Arc<dyn Storage>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};

    let default = super::config::GcsConfig::default();
    let config = config.unwrap_or(&default);
    let tuning = config.tuning();
    let mut builder = match &config.service_account {
        Some(key) => {
            let key = read(key, run)?;
            check_service_account(&key)?;
            GoogleCloudStorageBuilder::new().with_service_account_key(key.expose())
        }
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if config.unsigned {
        builder = builder.with_skip_signature(true);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let endpoint = builder.get_config_value(&Key::BaseUrl);
    check_endpoint("GOOGLE_BASE_URL", endpoint.as_deref(), config.allow_http)?;
    let built = builder
        .with_bucket_name(&remote.host)
        .with_client_options(ClientOptions::new())
        .with_retry(tuning.retry())
        .with_http_connector(tuning.connector(run))
        .build();
    bucket(
        built,
        Kind::Gcs,
        remote,
        format!("gs://{}", remote.host),
        tuning,
        true,
    )
}

/// Looks at a key before the client does, whose words on one that is none repeat parts of it.
#[cfg(feature = "gcs")]
fn check_service_account(key: &Secret) -> Result<()> {
    let wrong = |what: &str| {
        Error::config(format!("the key of the service account {what}"))
            .with_hint("`gcs.service_account` is the JSON file that Google gives out for a key, as it is")
    };
    let json: serde_json::Value = serde_json::from_str(key.expose()).map_err(|_| wrong("is no JSON"))?;
    for name in ["client_email", "private_key", "private_key_id"] {
        if !json.get(name).is_some_and(serde_json::Value::is_string) {
            return Err(wrong(&format!("has no `{name}`")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(any(feature = "azure", feature = "gcs"))]
    use crate::storage::Location;

    #[cfg(feature = "azure")]
    #[test]
    fn azure_addresses_name_the_container_and_perhaps_the_account() {
        let parts = |path: &str| match Location::parse(path).unwrap() {
            Location::Remote(remote) => container(&remote),
            other => panic!("{other:?}"),
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(parts("az://hr/a.csv"), ("hr".into(), None, None));
        assert_eq!(
            parts("abfss://hr@contoso.dfs.core.windows.net/a.csv"),
            (
                "hr".into(),
                text("contoso"),
                text("https://contoso.blob.core.windows.net")
            )
        );
        assert_eq!(
            parts("abfss://hr@contoso.dfs.core.usgovcloudapi.net/a.csv").2,
            text("https://contoso.blob.core.usgovcloudapi.net")
        );
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_bucket_becomes_a_part_of_the_host_once() {
        assert_eq!(
            with_bucket("https://s3.contoso.com", "hr"),
            "https://hr.s3.contoso.com"
        );
        assert_eq!(
            with_bucket("https://hr.s3.contoso.com", "hr"),
            "https://hr.s3.contoso.com"
        );
    }

    #[cfg(feature = "gcs")]
    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        for (key, said) in [
            ("hunter2", "is no JSON"),
            ("\"hunter2\"", "client_email"),
            (r#"{"client_email":"a@b","private_key":7}"#, "private_key"),
        ] {
            let error = check_service_account(&Secret::new(key)).unwrap_err();
            let text = error.chain();
            assert!(text.contains(said) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn an_address_of_the_environment_must_be_safe_too() {
        assert!(check_endpoint("X", Some("http://127.0.0.1:9000"), false).is_ok());
        assert!(check_endpoint("X", Some("http://minio.contoso.com"), true).is_ok());
        let error = check_endpoint("X", Some("http://minio.contoso.com"), false).unwrap_err();
        assert!(error.to_string().contains("http://"), "{error}");
    }
}
