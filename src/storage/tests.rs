//! The settings of all backends, as a source includes them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{BACKENDS, Flat, Location, Settings, add_properties};
use crate::component::Problems;

#[derive(Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Source", transform = add_properties::<Settings>)]
struct Source {
    path: String,
    #[serde(skip)]
    storage: Settings,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut storage = Settings::default();
        let source = Self::deserialize(Flat {
            inner: deserializer,
            group: &mut storage,
        })?;
        Ok(Self { storage, ..source })
    }
}

/// The settings of a source with this path and these keys.
pub(super) fn settings(path: &str, mut keys: Value) -> Settings {
    keys["path"] = json!(path);
    serde_json::from_value::<Source>(keys).unwrap().storage
}

/// The problems as `key: message`, without those about features that this build lacks.
fn problems(config: Value) -> Vec<String> {
    let source: Source = serde_json::from_value(config).unwrap();
    let mut found = Vec::new();
    let mut problems = Problems::new(&mut found);
    if let Some(location) = Location::validate(&source.path, &mut problems.at("path")) {
        source.storage.validate(&location, &mut problems);
    }
    found.retain(|problem| !problem.message.contains("is not in this build"));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn accepts_valid_settings() {
    let secret = json!({"env": "X"});
    for config in [
        json!({"path": "in/*.csv"}),
        json!({"path": "-"}),
        json!({"path": "s3://hr/in/*.csv"}),
        json!({"path": "s3://hr/in/a.csv", "s3": {"access_key_id": secret, "secret_access_key": secret,
            "session_token": secret, "endpoint": "https://s3.contoso.com", "region": "eu-central-1"}}),
        json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://127.0.0.1:9000", "unsigned": true}}),
        json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://minio.contoso.com", "allow_http": true}}),
        json!({"path": "az://hr/a.csv", "azure": {"account": "contoso", "sas_token": secret}}),
        json!({"path": "abfss://hr@contoso.dfs.core.windows.net/a.csv", "azure": {"client_id": "a",
            "tenant_id": "b", "client_secret": secret}}),
        json!({"path": "az://hr/a.csv", "azure": {"managed_identity": true, "client_id": "a"}}),
        json!({"path": "gs://hr/{date:%Y%m%d}/*.csv", "gcs": {"service_account": secret}}),
        json!({"path": "https://h/a%20b.csv", "https": {"auth": {"type": "bearer", "token": secret}}}),
        json!({"path": "https://h/a", "https": {"query": secret, "timeout": "2m", "tls": {"ca_file": "ca.pem"},
            "retry": {"max_attempts": 2}, "proxy": "none"}}),
        json!({"path": "http://localhost:8080/a.csv"}),
    ] {
        assert_eq!(problems(config.clone()), [""; 0], "{config}");
    }
}

#[test]
fn reports_invalid_settings() {
    let secret = json!({"env": "X"});
    let basic = json!({"type": "basic", "username": "hr", "password": secret});
    for (config, expected) in [
        (
            json!({"path": "s3://hr/a.csv", "s3": {"access_key_id": secret}}),
            "s3.secret_access_key: is required",
        ),
        (
            json!({"path": "s3://hr/a.csv", "s3": {"access_key_id": secret, "secret_access_key": secret, "unsigned": true}}),
            "s3: `access_key_id` and `unsigned` exclude each other",
        ),
        (
            json!({"path": "s3://hr/a.csv", "s3": {"region": ""}}),
            "s3.region: is empty",
        ),
        (
            json!({"path": "az://hr/a.csv", "azure": {"access_key": secret, "sas_token": secret, "managed_identity": true}}),
            "azure: `access_key` and `sas_token` and `managed_identity`",
        ),
        (
            json!({"path": "az://hr/a.csv", "azure": {"client_id": "a", "client_secret": secret}}),
            "azure.tenant_id: is required",
        ),
        (
            json!({"path": "az://hr/a.csv", "azure": {"client_id": "a"}}),
            "azure.client_id: requires a login method",
        ),
        (
            json!({"path": "gs://hr/a.csv", "gcs": {"service_account": secret, "unsigned": true}}),
            "gcs: `service_account` and `unsigned`",
        ),
        (
            json!({"path": "https://h/a.csv", "https": {"auth": basic, "headers": {"authorization": secret}}}),
            "https: `auth` and `headers.Authorization`",
        ),
        (
            json!({"path": "https://h/a.csv", "https": {"headers": {"Range": secret}}}),
            "https.headers: `Range` is set",
        ),
        (
            json!({"path": "https://h/a.csv", "https": {"headers": {"a b": secret}}}),
            "https.headers: `a b` is not",
        ),
        // Unencrypted connections.
        (
            json!({"path": "http://files.contoso.com/a.csv"}),
            "path: is `http://`",
        ),
        (
            json!({"path": "s3://hr/a.csv", "s3": {"endpoint": "http://minio.contoso.com"}}),
            "s3.endpoint: is `http://`",
        ),
        (
            json!({"path": "az://hr/a.csv", "azure": {"endpoint": "https://a:b@contoso.com"}}),
            "azure.endpoint: contains credentials",
        ),
        (
            json!({"path": "gs://hr/a.csv", "gcs": {"endpoint": "contoso.com"}}),
            "gcs.endpoint: is not a URL",
        ),
        // URLs.
        (json!({"path": "https://h/*.csv"}), "path: is a pattern"),
        (json!({"path": "https://h/a.csv?sig=x"}), "path: contains a query"),
        (json!({"path": "https://hr@h/a.csv"}), "path: contains a user"),
        (
            json!({"path": "s3://hr@bucket/a.csv"}),
            "path: expected only the bucket after `s3://`",
        ),
        (json!({"path": "gs://bucket"}), "path: names no file"),
        (
            json!({"path": "abfss://contoso.dfs.core.windows.net/a.csv"}),
            "path: names no container",
        ),
        (
            json!({"path": "az://hr@contoso/a.csv"}),
            "path: expected only the container after `az://`",
        ),
        (
            json!({"path": "abfss://hr@contoso.dfs.core.windows.net/a.csv", "azure": {"account": "fabrikam"}}),
            "azure.account: is `fabrikam`",
        ),
        // Settings of another backend, and missing ones.
        (
            json!({"path": "in/a.csv", "s3": {}}),
            "s3: requires a `path` that starts with `s3://`",
        ),
        (json!({"path": "sftp://hr@h/a.csv"}), "sftp: is required"),
    ] {
        let found = problems(config.clone());
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{config}: {found:?}"
        );
    }
}

#[test]
fn names_unknown_keys_of_sources_and_backends() {
    for (config, expected) in [
        (
            json!({"path": "a", "sftpp": {}}),
            "unknown field `sftpp`, expected one of `path`, `sftp`, `s3`",
        ),
        (
            json!({"path": "a", "s3": {"acess_key": 1}}),
            "unknown field `acess_key`, expected one of `region`",
        ),
        (
            json!({"path": "a", "s3": {"read_ahead": "1KiB"}}),
            "expected 1MiB to 1GiB",
        ),
    ] {
        let error = serde_json::from_value::<Source>(config)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let schema = schemars::schema_for!(Source);
    for backend in BACKENDS {
        let key = backend.key;
        assert!(
            schema.pointer(&format!("/properties/{key}/properties")).is_some(),
            "{key}"
        );
    }
    assert!(
        schema.pointer("/properties/s3/properties/read_ahead").is_some(),
        "{schema:?}"
    );
}
