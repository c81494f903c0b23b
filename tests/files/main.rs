//! Whole runs of the source `file`: selection, state, post-processing, archives.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::needless_pass_by_value, reason = "settings stand where they are used")]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod post_process;
mod select;
mod state;

use hrsink::emulator::Emulator;
use serde_json::{Value, json};
use support::{Pipeline, email};

/// A pipeline that reads the files in `in` with these settings more, `incremental` unless they say otherwise.
fn pipeline(emulator: &Emulator, more: Value) -> Pipeline {
    let mut pipeline = Pipeline::new(&emulator.url(), 0);
    let mut source = json!({"type": "file", "path": "in/*.csv", "select": {"incremental": true}});
    for (key, value) in more.as_object().unwrap() {
        match (key.as_str(), source.get_mut("select")) {
            ("select", Some(Value::Object(select))) => select.extend(value.as_object().unwrap().clone()),
            _ => source[key] = value.clone(),
        }
    }
    pipeline.file["sources"]["export"] = source;
    std::fs::create_dir(pipeline.path("in")).unwrap();
    pipeline
}

/// CSV with the resignations of these rows.
fn csv(rows: &[usize]) -> String {
    let rows = rows
        .iter()
        .map(|&row| format!("{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n", email(row)));
    "upn,resigned,last_day\n".to_owned() + &rows.collect::<String>()
}

/// Writes a file with these rows to `in`, modified an hour ago.
fn put(pipeline: &Pipeline, name: &str, rows: &[usize]) {
    put_text(pipeline, name, &csv(rows));
}

fn put_text(pipeline: &Pipeline, name: &str, content: &str) {
    std::fs::write(pipeline.path("in").join(name), content).unwrap();
    set_age(pipeline, name, 3600);
}

fn set_age(pipeline: &Pipeline, name: &str, seconds: u64) {
    let path = pipeline.path("in").join(name);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let modified = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    file.set_modified(modified).unwrap();
}

/// The files below `in`, in the order of their names.
fn files(pipeline: &Pipeline) -> Vec<String> {
    let base = pipeline.path("in");
    let (mut found, mut folders) = (Vec::new(), vec![base.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&base).unwrap().to_string_lossy();
                found.push(name.replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}
