//! The examples of stores.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use hrsink::config::PipelineConfig;
use serde_json::Value;

use crate::data::parquet;
use crate::external::enabled;
use crate::objects::{self, BUCKET, Objects};
use crate::servers::{ACCOUNT, KEY, azurite, moto, put};

const CSV: &str = "Employee ID,Work Email,status,resign_date,last_day\n\
    1,Emp.1@Contoso.Com,Terminated,2026-03-02,2026-04-01\n\
    2,emp.2@contoso.com,Active,,\n\
    3,emp.3@contoso.com,Terminated,,2026-05-01\n";

/// Runs an example in a folder of its own; the report.
async fn run(file: &str, env: &[(&str, &str)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples");
    std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
    command
        .args(["run", file, "--report", "report.json"])
        .current_dir(folder.path())
        .env_remove("HRSINK_LOG")
        .env("HRSINK_CLOUD", "emulator")
        .envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap()
}

#[test]
fn validates_the_examples() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples");
    for file in ["s3-parquet.yaml", "azure-blob.yaml", "gcs.yaml"] {
        let loaded = PipelineConfig::load(&from.join(file));
        assert!(loaded.is_ok(), "{file}: {:#?}", loaded.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_s3_example() {
    if !enabled("the example of S3 with moto's server") {
        return;
    }
    let server = moto(&[]);
    let store = server.bucket("contoso-hr").await;
    put(&*store, "workforce/leavers/2026-03.parquet", parquet(100, 50, 2)).await;
    put(&*store, "workforce/leavers/2026-04.parquet", parquet(20, 50, 0)).await;
    let report = run(
        "s3-parquet.yaml",
        &[
            ("HR_BUCKET", "contoso-hr"),
            ("AWS_ENDPOINT_URL", &server.url),
            ("AWS_ACCESS_KEY_ID", "AKIATEST"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
        ],
    )
    .await;
    // The later file repeats what the earlier one has.
    assert_eq!(report["rows"]["read"], 120, "{report:#}");
    assert_eq!(report["rows"]["accepted"], 100, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_azure_example() {
    if !enabled("the example of Azure Blob Storage with Azurite") {
        return;
    }
    let server = azurite();
    let store = server.container("hr-exports").await;
    put(&*store, "leavers/Leavers_03012026.csv", CSV).await;
    let report = run(
        "azure-blob.yaml",
        &[
            ("HR_STORAGE_ACCOUNT", ACCOUNT),
            ("AZURE_STORAGE_ENDPOINT", &server.account()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ],
    )
    .await;
    assert_eq!(report["rows"]["accepted"], 2, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_gcs_example() {
    let server = Objects::start();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let rows = r#"{"upn": "emp.1@contoso.com", "resigned": "2026-03-02", "last_day": "2026-04-01"}"#;
    gz.write_all(rows.as_bytes()).unwrap();
    let content = gz.finish().unwrap();
    // Yesterday, also if the day ends meanwhile.
    let today = jiff::Timestamp::now().in_tz("Europe/Berlin").unwrap().date();
    for day in [today.yesterday().unwrap(), today] {
        server.put(&format!("exports/{day}/leavers-1.ndjson.gz"), &content);
    }
    let env = [
        ("HR_BUCKET", BUCKET),
        ("GOOGLE_BASE_URL", &server.url()),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", objects::KEY),
    ];
    let report = run("gcs.yaml", &env).await;
    assert_eq!(report["rows"]["accepted"], 1, "{report:#}");
    assert!(
        server
            .keys()
            .iter()
            .any(|key| key.starts_with("archive/leavers-1"))
    );
}
