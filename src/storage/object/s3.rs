//! Amazon S3 and S3-compatible stores.

#[cfg(feature = "s3")]
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
#[cfg(feature = "s3")]
use crate::storage::{Context, Storage};

/// Amazon S3 or an S3-compatible store. Without credentials here, those of the environment or the machine are used.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields, default)]
#[schemars(rename = "S3Config", transform = add_properties::<TransportSettings>)]
struct S3Config {
    /// The region of the bucket. Default: `AWS_REGION` or `AWS_DEFAULT_REGION`, else `us-east-1`.
    #[schemars(example = &"eu-central-1")]
    region: Option<String>,
    /// The URL of the service, for private endpoints and S3-compatible stores. Default: `AWS_ENDPOINT_URL`, else
    /// Amazon's URL for the region.
    #[schemars(example = &"https://minio.example.com:9000")]
    endpoint: Option<String>,
    /// The ID of the access key.
    #[schemars(example = serde_json::json!({"env": "S3_KEY_ID"}))]
    access_key_id: Option<SecretRef>,
    /// The secret of the access key.
    #[schemars(example = serde_json::json!({"env": "S3_SECRET"}))]
    secret_access_key: Option<SecretRef>,
    /// The session token of a temporary access key.
    #[schemars(example = serde_json::json!({"env": "S3_SESSION_TOKEN"}))]
    session_token: Option<SecretRef>,
    /// Whether to send requests without credentials, for a public bucket.
    #[schemars(example = true)]
    unsigned: bool,
    #[serde(skip)]
    transport: TransportSettings,
}

with_transport!(S3Config);

inventory::submit! {
    Backend {
        key: "s3",
        schemes: &["s3", "s3a"],
        urls: &["s3://bucket/key"],
        summary: "Amazon S3 and S3-compatible stores",
        is_built_in: cfg!(feature = "s3"),
        ..Backend::new::<S3Config>()
    }
}

#[async_trait]
impl BackendSettings for S3Config {
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        validate_bucket(location, problems);
        let mut problems = problems.at("s3");
        self.transport.validate(self.endpoint.as_ref(), &mut problems);
        let keys = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        let has_key = keys.iter().any(|key| key.is_some());
        let methods = [("access_key_id", has_key), ("unsigned", self.unsigned)];
        validate_methods(&methods, &mut problems);
        for (key, given) in [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
        ] {
            if given.is_none() && has_key {
                problems.at(key).add_with_hint(
                    "is required: an access key has an id and a secret",
                    "remove all of them to use the credentials of the environment or the machine",
                );
            }
        }
        if self.region.as_ref().is_some_and(String::is_empty) {
            problems.at("region").add("is empty");
        }
    }

    #[cfg(feature = "s3")]
    async fn connect(&self, location: &RemoteLocation, cx: &Context) -> Result<Arc<dyn Storage>> {
        use object_store::ClientOptions;
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

        use super::bucket::{Bucket, check_endpoint};
        use super::explain::Service;

        let environment = AmazonS3Builder::from_env();
        let mut builder = match (&self.access_key_id, &self.secret_access_key) {
            (Some(id), Some(secret)) => {
                // Of the environment only the service: its session token belongs to another key.
                let service_keys = [
                    Key::Region,
                    Key::DefaultRegion,
                    Key::Endpoint,
                    Key::S3Endpoint,
                    Key::VirtualHostedStyleRequest,
                ];
                let mut builder = AmazonS3Builder::new();
                for key in service_keys {
                    if let Some(value) = environment.get_config_value(&key) {
                        builder = builder.with_config(key, value);
                    }
                }
                builder = builder
                    .with_access_key_id(cx.read(id)?.expose())
                    .with_secret_access_key(cx.read(secret)?.expose());
                match &self.session_token {
                    Some(token) => builder.with_token(cx.read(token)?.expose()),
                    None => builder,
                }
            }
            _ => environment,
        };
        // With the key of the endpoint that outweighs the environment.
        for (key, value) in [(Key::Region, &self.region), (Key::S3Endpoint, &self.endpoint)] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = builder
            .get_config_value(&Key::S3Endpoint)
            .or_else(|| builder.get_config_value(&Key::Endpoint));
        check_endpoint("AWS_ENDPOINT_URL", endpoint.as_deref(), self.transport.allow_http)?;
        if self.unsigned {
            builder = builder.with_skip_signature(true);
        }
        let built = builder
            .with_bucket_name(&location.host)
            // Files are deleted one by one, and not every store supports more.
            .with_disable_bulk_delete(true)
            .with_client_options(ClientOptions::new())
            .with_retry(self.transport.retry_config())
            .with_http_connector(self.transport.connector(Service::S3, cx)?)
            .build();
        let name = format!("s3://{}", location.host);
        Bucket::storage(built, Service::S3, name, &self.transport)
    }
}
