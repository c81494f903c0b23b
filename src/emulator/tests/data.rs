//! The data folder.

use super::*;

fn config(folder: &Path) -> EmulatorConfig {
    EmulatorConfig {
        data: Some(folder.join("data")),
        ..EmulatorConfig::default()
    }
}

#[tokio::test]
async fn saves_private_rows_and_log_and_reads_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(config(folder.path())).await;
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(bench.upload_status("a,b\n1,2\n").await, 200);

    let data = folder.path().join("data");
    let rows = std::fs::read_to_string(data.join(format!("rows-{JOB}.ndjson"))).unwrap();
    assert_eq!(
        rows.lines().next().unwrap(),
        r#"{"import":1,"row":1,"scenario":"employee_resignation","values":{"EmailAddress":"a@contoso.com","ResignationDate":"2024-01-02T03:04:05Z","LastWorkingDate":"2024-02-01T00:00:00Z"}}"#
    );
    let log = std::fs::read_to_string(data.join("imports.ndjson")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let imports: Vec<Import> = lines.collect();
    assert_eq!((imports[0].records_saved, imports[1].records_saved), (2, 0));
    assert_eq!((imports[0].rows, imports[0].file.as_str()), (2, "hr.csv"));
    assert!(log.contains("\"RecordsSaved\":2"));
    assert!(imports[1].messages[0].contains("mandatory columns"));
    assert!(!log.contains("contoso"));

    let read_back = bench.rows();
    assert_eq!(read_back.len(), 2);
    assert_eq!(read_back[1].get("EmailAddress"), Some("b@contoso.com"));
    assert_eq!(read_back[1].job_id.to_string(), JOB);
    assert_eq!((read_back[1].import, read_back[1].row), (1, 2));
    assert!(
        read_back[0]
            .columns()
            .eq(["EmailAddress", "ResignationDate", "LastWorkingDate"])
    );
    assert!(!format!("{read_back:?}").contains("contoso"));

    #[cfg(unix)]
    for entry in std::fs::read_dir(&data).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
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
