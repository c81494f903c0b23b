//! Google Cloud Storage.

#[cfg(feature = "gcs")]
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::validate_bucket;
use crate::component::Problems;
use crate::error::Result;
use crate::secret::SecretRef;
use crate::storage::add_properties;
use crate::storage::location::RemoteLocation;
use crate::storage::registry::{Backend, BackendSettings};
use crate::storage::transport::{TransportSettings, validate_methods, with_transport};
#[cfg(feature = "gcs")]
use crate::storage::{Context, Storage};

/// Google Cloud Storage. Without credentials here, those of the environment or the machine are used.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields, default)]
#[schemars(rename = "GcsConfig", transform = add_properties::<TransportSettings>)]
struct GcsConfig {
    /// The JSON key of a service account.
    #[schemars(example = serde_json::json!({"file": "service-account.json"}))]
    service_account: Option<SecretRef>,
    /// Whether to send requests without credentials, for a public bucket.
    #[schemars(example = true)]
    unsigned: bool,
    /// The URL of the service, for private endpoints.
    #[schemars(example = &"https://storage.googleapis.com")]
    endpoint: Option<String>,
    #[serde(skip)]
    transport: TransportSettings,
}

with_transport!(GcsConfig);

inventory::submit! {
    Backend {
        key: "gcs",
        schemes: &["gs"],
        urls: &["gs://bucket/name"],
        summary: "Google Cloud Storage",
        is_built_in: cfg!(feature = "gcs"),
        ..Backend::new::<GcsConfig>()
    }
}

#[async_trait]
impl BackendSettings for GcsConfig {
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        validate_bucket(location, problems);
        let mut problems = problems.at("gcs");
        self.transport.validate(self.endpoint.as_ref(), &mut problems);
        let has_key = self.service_account.is_some();
        let methods = [("service_account", has_key), ("unsigned", self.unsigned)];
        validate_methods(&methods, &mut problems);
    }

    #[cfg(feature = "gcs")]
    async fn connect(&self, location: &RemoteLocation, cx: &Context) -> Result<Arc<dyn Storage>> {
        use object_store::ClientOptions;
        use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};

        use super::bucket::{Bucket, check_endpoint};
        use super::explain::Service;

        let mut builder = match &self.service_account {
            Some(key) => {
                let key = cx.read(key)?;
                check_service_account(&key)?;
                GoogleCloudStorageBuilder::new().with_service_account_key(key.expose())
            }
            None => GoogleCloudStorageBuilder::from_env(),
        };
        if self.unsigned {
            builder = builder.with_skip_signature(true);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint.trim_end_matches('/'));
        }
        let endpoint = builder.get_config_value(&Key::BaseUrl);
        check_endpoint("GOOGLE_BASE_URL", endpoint.as_deref(), self.transport.allow_http)?;
        let built = builder
            .with_bucket_name(&location.host)
            .with_client_options(ClientOptions::new())
            .with_retry(self.transport.retry_config())
            .with_http_connector(self.transport.connector(Service::Gcs, cx)?)
            .build();
        let name = format!("gs://{}", location.host);
        Bucket::storage(built, Service::Gcs, name, &self.transport)
    }
}

/// Checks a key before the client parses it, whose messages repeat parts of an invalid one.
#[cfg(feature = "gcs")]
fn check_service_account(key: &crate::secret::Secret) -> Result<()> {
    let invalid = |what: &str| {
        crate::error::Error::config(format!("the key of the service account {what}"))
            .with_hint("`gcs.service_account` expects the JSON file that Google issues for a key")
    };
    let json: serde_json::Value = serde_json::from_str(key.expose()).map_err(|_| invalid("is not JSON"))?;
    for name in ["client_email", "private_key", "private_key_id"] {
        if !json.get(name).is_some_and(serde_json::Value::is_string) {
            return Err(invalid(&format!("has no `{name}`")));
        }
    }
    Ok(())
}

#[cfg(all(test, feature = "gcs"))]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn never_repeats_an_invalid_key() {
        for (key, expected) in [
            ("hunter2", "is not JSON"),
            ("\"hunter2\"", "client_email"),
            (r#"{"client_email":"a@b","private_key":7}"#, "private_key"),
        ] {
            let error = check_service_account(&Secret::new(key)).unwrap_err();
            let text = error.chain();
            assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        }
    }
}
