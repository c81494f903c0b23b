//! Files and what becomes of them: which are read, in which order, how often, and what is done with them afterwards.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are given"
)]

#[path = "../common/mod.rs"]
mod common;

mod afterwards;
mod chosen;
mod newest;
#[cfg(all(unix, feature = "pgp"))]
#[path = "../common/outside.rs"]
mod outside;
#[cfg(all(unix, feature = "pgp"))]
mod pgp;
mod remembered;
mod zip;

use common::Pipeline;
use serde_json::{Value, json};

/// A pipeline whose source is `source`, and that writes what it reads to a file.
fn pipeline(url: &str, source: Value) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"]["export"] = source;
    pipeline
}

/// Settings of a source of the files in `in`.
fn files(more: Value) -> Value {
    let mut source = json!({"type": "file", "path": "in/*.csv", "read_again": "changed"});
    source
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    source
}

/// Writes a file with the resignations of these rows, changed last an hour ago.
fn drop_file(pipeline: &Pipeline, name: &str, rows: &[usize]) {
    let mut csv = "upn,resigned,last_day\n".to_owned();
    for &row in rows {
        csv.push_str(&format!(
            "{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n",
            common::email(row)
        ));
    }
    let path = pipeline.path("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, csv).unwrap();
    age(pipeline, name, 3600);
}

/// Makes a file as old as that, in seconds.
fn age(pipeline: &Pipeline, name: &str, seconds: u64) {
    let file = std::fs::File::options()
        .write(true)
        .open(pipeline.path("in").join(name))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(seconds))
        .unwrap();
}

/// The files below `in`, in the order of their names.
fn there(pipeline: &Pipeline) -> Vec<String> {
    let base = pipeline.path("in");
    let mut found = Vec::new();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(&base)
                        .unwrap()
                        .to_string_lossy()
                        .replace('\\', "/"),
                );
            }
        }
    }
    found.sort();
    found
}
