//! `upload`.

use super::*;

#[test]
fn uploads_without_a_pipeline_file() {
    let folder = Folder::empty();
    let rows = "EmailAddress,ResignationDate,LastWorkingDate\n\
                sarad@contoso.com,2026-04-23T15:18:02Z,2026-04-29T15:18:02Z\n\
                \"pilar@contoso.com\",2026-05-01T00:00:00Z,2026-05-31T00:00:00Z\n";
    folder.write("leavers.csv", rows);
    snapshot!(printed(&folder.run(&["upload", "--cloud", "emulator", "leavers.csv"])), @r#"
    exit code 0
    --- stdout
    Upload successful: 2 rows
      read                 2
      accepted             2
    1 batch, 168 B, [TIME]

    Files
      upload: rows the emulator accepted, and its import log  .hrsink/emulator
    run [RUN]
    "#);
}

#[test]
fn says_that_accepted_rows_were_not_saved() {
    let folder = Folder::empty();
    folder.write("a.csv", "nickname\nSara\nMike\n");
    let output = folder.run(&[
        "upload",
        "--cloud",
        "emulator",
        "a.csv",
        "--report",
        "report.json",
    ]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let first = text(&output.stdout).lines().next();
    let expected = "Accepted, but not all rows were saved: 0 of 2 rows";
    assert_eq!(first, Some(expected), "{}", printed(&output));
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(report.contains("\"not_saved\": 2"), "{report}");
}

#[test]
fn refuses_a_secret_on_the_command_line() {
    let folder = Folder::empty();
    for args in [
        &["upload", "--client-secret", "hunter2-marker", "a.csv"][..],
        &["upload", "--client-secret=hunter2-marker", "a.csv"],
    ] {
        let output = folder.run(args);
        assert_eq!(code(&output), 2);
        assert!(!printed(&output).contains("hunter2"), "{}", printed(&output));
        assert!(
            text(&output.stderr).contains("--client-secret-file"),
            "{}",
            printed(&output)
        );
    }
}

#[test]
fn upload_reports_missing_options() {
    let folder = Folder::empty();
    folder.write("a.csv", "a\n1\n");
    snapshot!(printed(&folder.run(&["upload", "--job-id", "b8be4a7d-e338-43eb-a69e-c513cd458eba", "a.csv"])), @r#"
    exit code 2
    --- stderr
    error: an upload needs `--tenant-id` and `--app-id`
    hint: to try it without a tenant: `--cloud emulator`
    "#);
    snapshot!(printed(&folder.run(&["upload", "--cloud", "gcchigh", "a.csv"])), @r#"
    exit code 2
    --- stderr
    error: invalid value 'gcchigh' for '--cloud <NAME>': did you mean `gcc_high`, `gcc`?

    For more information, try '--help'.
    "#);
    let ids = [
        "--tenant-id",
        "contoso.com",
        "--app-id",
        "29ee526e-f9a7-4e98-a682-67f41bfd643e",
    ];
    let job = ["--job-id", "b8be4a7d-e338-43eb-a69e-c513cd458eba", "a.csv"];
    let args: Vec<&str> = ["upload"].into_iter().chain(ids).chain(job).collect();
    folder.says(&args, 2, &["HRSINK_CLIENT_SECRET"]);
}
