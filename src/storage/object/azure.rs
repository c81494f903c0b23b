//! Azure Blob Storage and data lakes on it.

use std::path::PathBuf;
#[cfg(feature = "azure")]
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::validate_key;
use crate::component::Problems;
use crate::error::Result;
use crate::secret::SecretRef;
use crate::storage::add_properties;
use crate::storage::location::RemoteLocation;
use crate::storage::registry::{Backend, BackendSettings};
use crate::storage::transport::{TransportSettings, validate_endpoint, validate_methods, with_transport};
#[cfg(feature = "azure")]
use crate::storage::{Context, Storage};

/// Azure Blob Storage or a data lake on it. Without credentials here, those of the environment are used.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields, default)]
#[schemars(rename = "AzureConfig", transform = add_properties::<TransportSettings>)]
struct AzureConfig {
    /// The name of the storage account. Default: the name in an `abfss://` URL, else `AZURE_STORAGE_ACCOUNT_NAME`.
    #[schemars(example = &"contosohr")]
    account: Option<String>,
    /// The URL of the blob service, for private endpoints, other clouds and Azurite. Default:
    /// `AZURE_STORAGE_ENDPOINT`, else `https://ACCOUNT.blob.core.windows.net`.
    #[schemars(example = &"https://contosohr.blob.core.windows.net")]
    endpoint: Option<String>,
    /// An access key of the account.
    #[schemars(example = serde_json::json!({"env": "AZURE_KEY"}))]
    access_key: Option<SecretRef>,
    /// A shared access signature: the query of its URL.
    #[schemars(example = serde_json::json!({"env": "AZURE_SAS"}))]
    sas_token: Option<SecretRef>,
    /// The ID of the app, or of the managed identity if the machine has several.
    #[schemars(example = &"00000000-0000-0000-0000-000000000000")]
    client_id: Option<String>,
    /// The ID of the app's tenant.
    #[schemars(example = &"00000000-0000-0000-0000-000000000000")]
    tenant_id: Option<String>,
    /// The secret of the app.
    #[schemars(example = serde_json::json!({"env": "AZURE_CLIENT_SECRET"}))]
    client_secret: Option<SecretRef>,
    /// The token file of a workload identity. Relative to the pipeline file.
    #[schemars(example = &"/var/run/secrets/azure/tokens/azure-identity-token")]
    federated_token_file: Option<PathBuf>,
    /// Whether to use the managed identity of the machine and ignore credentials in the environment.
    #[schemars(example = true)]
    managed_identity: bool,
    /// Whether to send requests without credentials, for a public container.
    #[schemars(example = true)]
    unsigned: bool,
    /// The URL of Microsoft Entra ID, for other clouds. Default: `https://login.microsoftonline.com`.
    #[schemars(example = &"https://login.microsoftonline.us")]
    authority: Option<String>,
    #[serde(skip)]
    transport: TransportSettings,
}

with_transport!(AzureConfig);

impl AzureConfig {
    fn validate_login(&self, problems: &mut Problems<'_>) {
        let methods = [
            ("access_key", self.access_key.is_some()),
            ("sas_token", self.sas_token.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("federated_token_file", self.federated_token_file.is_some()),
            ("managed_identity", self.managed_identity),
            ("unsigned", self.unsigned),
        ];
        validate_methods(&methods, problems);
        let is_app = self.client_secret.is_some() || self.federated_token_file.is_some();
        for (key, given) in [("client_id", &self.client_id), ("tenant_id", &self.tenant_id)] {
            if is_app && given.is_none() {
                problems
                    .at(key)
                    .add("is required: an app logs in with its id and that of its tenant");
            }
        }
        if self.client_id.is_some() && !is_app && !self.managed_identity {
            problems.at("client_id").add_with_hint(
                "requires a login method",
                "set `client_secret` or `federated_token_file` and `tenant_id`, or `managed_identity: true`",
            );
        } else if self.tenant_id.is_some() && !is_app {
            problems
                .at("tenant_id")
                .add("requires `client_secret` or `federated_token_file`");
        }
    }
}

fn validate_container(location: &RemoteLocation, problems: &mut Problems<'_>) {
    const FORM: &str = "expected `abfss://container@account.dfs.core.windows.net/folder/file.csv`";
    let names_account = !location.user.is_empty();
    let is_hadoop = location.scheme != "az";
    if location.port.is_some() || (names_account && !is_hadoop) {
        problems.at("path").add_with_hint(
            "expected only the container after `az://`",
            "put the account into `azure.account`, and another host into `azure.endpoint`",
        );
    } else if names_account && !location.host.contains('.') {
        let message = format!("`{}` is not the host of a storage account", location.host);
        problems.at("path").add_with_hint(message, FORM);
    } else if is_hadoop && !names_account && location.host.contains('.') {
        problems
            .at("path")
            .add_with_hint("does not name a container", FORM);
    }
    validate_key(location, problems);
}

inventory::submit! {
    Backend {
        key: "azure",
        schemes: &["az", "abfs", "abfss"],
        urls: &[
            "az://container/name",
            "abfss://container@account.dfs.core.windows.net/name",
        ],
        summary: "Azure Blob Storage",
        is_built_in: cfg!(feature = "azure"),
        ..Backend::new::<AzureConfig>()
    }
}

#[async_trait]
impl BackendSettings for AzureConfig {
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        validate_container(location, problems);
        let mut problems = problems.at("azure");
        self.transport.validate(self.endpoint.as_ref(), &mut problems);
        validate_endpoint("authority", self.authority.as_ref(), false, &mut problems);
        self.validate_login(&mut problems);
        if let Some(account) = &self.account
            && !location.user.is_empty()
            && location.host.split('.').next() != Some(account)
        {
            let message = format!("is `{account}`, and the URL names `{}`", location.host);
            problems.at("account").add(message);
        }
    }

    #[cfg(feature = "azure")]
    async fn connect(&self, location: &RemoteLocation, cx: &Context) -> Result<Arc<dyn Storage>> {
        use object_store::ClientOptions;
        use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

        use super::bucket::{Bucket, check_endpoint};
        use super::explain::Service;

        let environment = MicrosoftAzureBuilder::from_env();
        let (container, account, endpoint) = target(location);
        let env = |key| environment.get_config_value(&key);
        let account = self.account.clone().or(account);
        let account = account.or_else(|| env(Key::AccountName)).ok_or_else(|| {
            crate::error::Error::config(format!("unknown storage account of {}", location.origin()))
                .with_hint(
                    "set `azure.account` or AZURE_STORAGE_ACCOUNT_NAME, or use \
                 `abfss://container@account.dfs.core.windows.net/…`",
                )
        })?;
        let endpoint = self.endpoint.clone().or(endpoint);
        let endpoint = endpoint.or_else(|| env(Key::Endpoint));
        let allow_http = self.transport.allow_http;
        check_endpoint("AZURE_STORAGE_ENDPOINT", endpoint.as_deref(), allow_http)?;
        let mut builder = self.login(environment, cx)?;
        for (key, value) in [
            (Key::ClientId, &self.client_id),
            (Key::AuthorityId, &self.tenant_id),
            (Key::AuthorityHost, &self.authority),
            (Key::Endpoint, &endpoint),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        if self.unsigned {
            builder = builder.with_skip_signature(true);
        }
        let name = format!("{account}/{container}");
        let built = builder
            .with_account(account)
            .with_container_name(container)
            .with_client_options(ClientOptions::new())
            .with_retry(self.transport.retry_config())
            .with_http_connector(self.transport.connector(Service::Azure, cx)?)
            .build();
        Bucket::storage(built, Service::Azure, name, &self.transport)
    }
}

#[cfg(feature = "azure")]
impl AzureConfig {
    /// A client with the login method in the settings, and no other; else that of the environment.
    fn login(
        &self,
        environment: object_store::azure::MicrosoftAzureBuilder,
        cx: &Context,
    ) -> Result<object_store::azure::MicrosoftAzureBuilder> {
        use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

        let only = |method: &str| MicrosoftAzureBuilder::new().with_credential_type(method);
        Ok(if let Some(key) = &self.access_key {
            only("access_key").with_access_key(cx.read(key)?.expose())
        } else if let Some(token) = &self.sas_token {
            only("sas_token").with_config(Key::SasKey, cx.read(token)?.expose())
        } else if let Some(secret) = &self.client_secret {
            only("client_secret").with_client_secret(cx.read(secret)?.expose())
        } else if let Some(file) = &self.federated_token_file {
            only("workload_identity").with_federated_token_file(cx.base.join(file).to_string_lossy())
        } else if self.managed_identity {
            let builder = only("managed_identity");
            match environment.get_config_value(&Key::MsiEndpoint) {
                Some(endpoint) => builder.with_msi_endpoint(endpoint),
                None => builder,
            }
        } else {
            environment
        })
    }
}

/// The container, account and endpoint in a URL.
#[cfg(feature = "azure")]
fn target(location: &RemoteLocation) -> (&str, Option<String>, Option<String>) {
    if location.user.is_empty() {
        return (&location.host, None, None);
    }
    let (account, domain) = location.host.split_once('.').unwrap_or((&location.host, ""));
    // Data lakes offer the blob interface too.
    let endpoint = match domain.strip_prefix("dfs.") {
        Some(domain) => format!("https://{account}.blob.{domain}"),
        None => format!("https://{}", location.host),
    };
    (&location.user, Some(account.to_owned()), Some(endpoint))
}

#[cfg(all(test, feature = "azure"))]
mod tests {
    use super::*;
    use crate::storage::Location;

    #[test]
    fn derives_account_and_endpoint_from_the_host() {
        for (host, endpoint) in [
            ("c.dfs.core.windows.net", "https://c.blob.core.windows.net"),
            ("c.dfs.other.cloud", "https://c.blob.other.cloud"),
            ("c.blob.other.cloud", "https://c.blob.other.cloud"),
        ] {
            let Ok(Location::Remote(location)) = Location::parse(&format!("abfss://hr@{host}/a")) else {
                panic!("{host}");
            };
            let expected = ("hr", Some("c".to_owned()), Some(endpoint.to_owned()));
            assert_eq!(target(&location), expected, "{host}");
        }
    }
}
