//! The data folder.

use super::*;

fn config(folder: &Path) -> EmulatorConfig {
    EmulatorConfig {
        data: Some(folder.join("data")),
        ..EmulatorConfig::default()
    }
}

#[tokio::test]
async fn continues_import_numbers_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let first = Bench::start(config(folder.path())).await;
    first.upload_status(GOOD).await;
    first.emulator.stop().await.unwrap();

    let log = folder.path().join("data/imports.ndjson");
    let mut text = std::fs::read_to_string(&log).unwrap();
    text.push_str(r#"{"import":2,"ti"#);
    std::fs::write(&log, text).unwrap();

    let second = Bench::start(config(folder.path())).await;
    second.upload_status(GOOD).await;
    assert_eq!(second.emulator.imports()[0].import, 2);
    let text = std::fs::read_to_string(&log).unwrap();
    serde_json::from_str::<Import>(text.lines().last().unwrap()).unwrap();
    assert_eq!(second.rows().len(), 4);
}

#[tokio::test]
async fn reports_an_unusable_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file").unwrap();
    let error = Emulator::start(config(folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
}
