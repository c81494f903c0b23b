//! Whole pipelines from files to the emulator.

use std::path::{Path, PathBuf};

use hrsink::config::PipelineConfig;
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};

/// A copy of `config-examples`, so that a run leaves nothing in the source tree.
fn examples() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples");
    copy(&from, folder.path());
    let path = folder.path().to_owned();
    (folder, path)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == ".hrsink" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn run_file(path: &Path) -> RunReport {
    let config = match PipelineConfig::load(path) {
        Ok(config) => config,
        Err(error) => panic!("{error:#?}"),
    };
    run(&config, RunOptions::default(), &Observer::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_delivers_and_puts_bad_rows_aside() {
    let (_guard, folder) = examples();
    let report = run_file(&folder.join("quickstart.yaml")).await;
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
    assert_eq!(report.exit_code, 0);
    assert!(report.conserved);
}
