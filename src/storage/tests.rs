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

/// Of each line: the path, the other keys, and the start of the only problem. `S` is a secret.
const CASES: &str = r#"
    in/*.csv
    -
    s3://hr/in/*.csv
    s3://hr/in/a.csv | s3: {access_key_id: S, secret_access_key: S, session_token: S, region: eu-central-1}
    s3://hr/a.csv | s3: {endpoint: "http://127.0.0.1:9000", unsigned: true}
    s3://hr/a.csv | s3: {endpoint: "http://minio.contoso.com", allow_http: true}
    az://hr/a.csv | azure: {account: contoso, sas_token: S}
    abfss://hr@contoso.dfs.core.windows.net/a.csv | azure: {client_id: a, tenant_id: b, client_secret: S}
    az://hr/a.csv | azure: {managed_identity: true, client_id: a}
    gs://hr/{date:%Y%m%d}/*.csv | gcs: {service_account: S}
    https://h/a%20b.csv | https: {auth: {type: bearer, token: S}}
    https://h/a | https: {query: S, timeout: 2m, tls: {ca_file: a}, retry: {max_attempts: 2}, proxy: none}
    http://localhost:8080/a.csv

    s3://hr/a.csv | s3: {access_key_id: S} | s3.secret_access_key: is required
    s3://hr/a.csv | s3: {access_key_id: S, secret_access_key: S, unsigned: true} | s3: `access_key_id` and `unsigned` exclude
    s3://hr/a.csv | s3: {region: ""} | s3.region: is empty
    az://hr/a.csv | azure: {access_key: S, sas_token: S, unsigned: true} | azure: `access_key` and `sas_token` and
    az://hr/a.csv | azure: {client_id: a, client_secret: S} | azure.tenant_id: is required
    az://hr/a.csv | azure: {client_id: a} | azure.client_id: requires a login method
    az://hr/a.csv | azure: {tenant_id: a} | azure.tenant_id: requires `client_secret`
    gs://hr/a.csv | gcs: {service_account: S, unsigned: true} | gcs: `service_account` and `unsigned`
    https://h/a | https: {auth: {type: bearer, token: S}, headers: {authorization: S}} | https: `auth` and `headers.A
    https://h/a.csv | https: {headers: {Range: S}} | https.headers: `Range` is set
    https://h/a.csv | https: {headers: {a b: S}} | https.headers: `a b` is not

    http://files.contoso.com/a.csv | | path: is `http://`
    s3://hr/a.csv | s3: {endpoint: "http://minio.contoso.com"} | s3.endpoint: is `http://`
    az://hr/a.csv | azure: {endpoint: "https://a:b@contoso.com"} | azure.endpoint: contains credentials
    gs://hr/a.csv | gcs: {endpoint: contoso.com} | gcs.endpoint: is not a URL
    gs://hr/a.csv | gcs: {endpoint: "ftp://contoso.com"} | gcs.endpoint: is `ftp://`

    https://h/*.csv | | path: is a pattern
    https://h/a.csv?sig=x | | path: contains a query
    https://hr@h/a.csv | | path: contains a user
    s3://hr@bucket/a.csv | | path: expected only the bucket after `s3://`
    gs://bucket | | path: names no file
    abfss://contoso.dfs.core.windows.net/a.csv | | path: names no container
    abfss://hr@contoso/a.csv | | path: `contoso` is not the host of a storage account
    az://hr@contoso/a.csv | | path: expected only the container after `az://`
    abfss://hr@contoso.dfs.core.windows.net/a.csv | azure: {account: fabrikam} | azure.account: is `fabrikam`

    in/a.csv | s3: {} | s3: requires a `path` that starts with `s3://`
    sftp://hr@h/a.csv | | sftp: is required
"#;

#[test]
fn validates_settings_of_all_backends() {
    for case in CASES.lines().map(str::trim).filter(|case| !case.is_empty()) {
        let mut parts = case.split(" |").map(str::trim);
        let mut next = || parts.next().unwrap_or_default();
        let (path, keys, expected) = (next(), next().replace(": S", ": {env: X}"), next());
        let source: Source = serde_saphyr::from_str(&format!("path: '{path}'\n{keys}")).unwrap();
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        if let Some(location) = Location::validate(&source.path, &mut problems.at("path")) {
            source.storage.validate(&location, &mut problems);
        }
        found.retain(|problem| !problem.message.contains("is not in this build"));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found.len(),
            usize::from(!expected.is_empty()),
            "{case}: {found:?}"
        );
        assert!(
            found.iter().all(|problem| problem.starts_with(expected)),
            "{case}: {found:?}"
        );
    }
}

#[test]
fn names_unknown_and_invalid_keys_of_sources_and_backends() {
    for (config, path, expected) in [
        (
            json!({"path": "a", "sftpp": {}}),
            ".",
            "unknown field `sftpp`, expected one of `path`, `sftp`, `s3`",
        ),
        (
            json!({"path": "a", "s3": {"acess_key": 1}}),
            "s3",
            "unknown field `acess_key`, expected one of `region`",
        ),
        (
            json!({"s3": {"read_ahead": "1KiB"}, "path": "a"}),
            "s3.read_ahead",
            "expected 1MiB to 1GiB",
        ),
        (json!({"s3": {}}), ".", "missing field `path`"),
    ] {
        let error = serde_path_to_error::deserialize::<_, Source>(config)
            .err()
            .unwrap();
        assert_eq!(error.path().to_string(), path);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let schema = schemars::schema_for!(Source);
    for backend in BACKENDS {
        let pointer = format!("/properties/{}/properties", backend.key);
        assert!(schema.pointer(&pointer).is_some(), "{pointer}");
    }
    let shared = schema.pointer("/properties/s3/properties/read_ahead");
    assert!(shared.is_some(), "{schema:?}");
}
