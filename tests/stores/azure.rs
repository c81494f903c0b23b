//! Azure Blob Storage, as Azurite speaks it.

use serde_json::{Value, json};

use crate::data::{csv, delivers, fails, parquet, pipeline, wide_csv};
use crate::external::enabled;
use crate::proxy::Proxy;
use crate::servers::{ACCOUNT, KEY, Server, account_sas, azurite, keys, put};
use crate::support::Pipeline;

/// `way` is how to log in; the secret is in the file `login`.
fn source(endpoint: &str, path: &str, way: &str) -> Value {
    let mut azure = json!({"account": ACCOUNT, "endpoint": endpoint, "retry": {"max_attempts": 2, "initial_backoff": "10ms"}});
    azure[way] = json!({"file": "login"});
    json!({"path": path, "azure": azure})
}

fn with_key(endpoint: &str, path: &str) -> Pipeline {
    with_login(source(endpoint, path, "access_key"), KEY)
}

fn with_login(source: Value, login: &str) -> Pipeline {
    let pipeline = pipeline(source);
    pipeline.write("login", login);
    pipeline
}

fn server() -> Option<Server> {
    enabled("Azure Blob Storage with Azurite").then(azurite)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_csv_with_a_key_and_with_a_signature() {
    let Some(server) = server() else { return };
    let store = server.container("hr-data").await;
    put(&*store, "exports/a.csv", csv(1..=3)).await;
    put(&*store, "exports/b/Übergabe März 100%.csv", csv(4..=5)).await;
    let account = server.account();
    delivers(&with_key(&account, "az://hr-data/exports/a.csv"), 1..=3).await;
    delivers(&with_key(&account, "az://hr-data/exports/b/Ü*.csv"), 4..=5).await;
    delivers(&with_key(&account, "abfss://hr-data/exports/a*.csv"), 1..=3).await;
    let signed = with_login(
        source(&account, "az://hr-data/exports/**/*.csv", "sas_token"),
        &format!("?{}", account_sas("rl")),
    );
    delivers(&signed, 1..=5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_large_blobs_and_only_used_parquet_columns() {
    let Some(server) = server() else { return };
    let store = server.container("hr-data").await;
    let (content, rows) = wide_csv(60 << 20);
    let size = content.len() as u64;
    put(&*store, "large.csv", content).await;
    let file = parquet(60_000, 20_000, 12);
    let parquet_size = file.len() as u64;
    put(&*store, "leavers.parquet", file).await;
    let proxy = Proxy::start(&server.url).await;
    let account = format!("{}/{ACCOUNT}", proxy.url);
    delivers(&with_key(&account, "az://hr-data/large.csv"), 1..=rows).await;
    let path = |name: &str| format!("/{ACCOUNT}/hr-data/{name}");
    assert_eq!(proxy.bytes_of(&path("large.csv")), size);
    delivers(&with_key(&account, "az://hr-data/leavers.parquet"), 1..=60_000).await;
    let fetched = proxy.bytes_of(&path("leavers.parquet"));
    assert!(fetched * 10 < parquet_size, "{fetched} of {parquet_size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_errors_without_credentials() {
    let Some(server) = server() else { return };
    let store = server.container("hr-data").await;
    put(&*store, "exports/terminations.csv", csv(1..=1)).await;
    let account = server.account();
    for (path, said) in [
        ("az://nowhere/a.csv", ["ContainerNotFound", "check the container"]),
        (
            "az://hr-data/exports/leavers-*.csv",
            ["leavers-*", "contains 1 file"],
        ),
    ] {
        fails(&with_key(&account, path), 2, &said, &[]).await;
    }

    let path = "az://hr-data/exports/*.csv";
    let wrong = KEY.replace("Eby8", "Aby8");
    let pipeline = with_login(source(&account, path, "access_key"), &wrong);
    let said = ["devstoreaccount1/hr-data", "403", "AuthorizationFailure"];
    fails(&pipeline, 5, &said, &[&wrong]).await;

    let signature = account_sas("rl");
    let (_, secret) = signature.split_once("sig=").unwrap_or_default();
    let secret = secret.split('&').next().unwrap();
    let bad = signature.replace(secret, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D");
    let pipeline = with_login(source(&account, path, "sas_token"), &bad);
    fails(&pipeline, 5, &["403"], &["sig=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).await;

    // Allowed to read, not to delete: the rows are delivered, and the file stays.
    let mut source = source(&account, path, "sas_token");
    source["on_success"] = json!("delete");
    delivers(&with_login(source, &account_sas("rl")), 1..=1).await;
    assert_eq!(keys(&*store).await, ["exports/terminations.csv"]);
}
