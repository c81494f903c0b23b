//! Runs the program and the emulator as processes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::{SECRET, sink};

/// `hrsink` with `args` in `folder`, which has the client secret in the file `secret`.
pub(crate) fn hrsink(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["HRSINK_LOG", "COLUMNS", "CLICOLOR_FORCE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    let code = output.status.code().expect("ended by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

/// Runs `hrsink` in `folder` to its end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    ended(&hrsink(folder, args).output().unwrap())
}

/// As [`run`], with the arguments as one text.
pub(crate) fn run_line(folder: &Path, args: &str) -> (i32, String, String) {
    run(folder, &args.split(' ').collect::<Vec<_>>())
}

/// A pipeline file that sends the rows of `export` to `job` of the service at `url`, with short waits.
pub(crate) fn pipeline(url: &str, export: &str, scenario: &str, fields: &Value, job: &str) -> Value {
    let mut sink = sink(url, job, "rows");
    sink["batch"]["max_rows"] = json!(40);
    sink["max_concurrent"] = json!(4);
    sink["timeout"] = json!("150ms");
    sink["retry"]["max_attempts"] = json!(4);
    sink["retry"]["max_backoff"] = json!("10ms");
    json!({
        "sources": {"export": {"type": "file", "path": export}},
        "transforms": {"rows": {
            "type": "hr_schema",
            "inputs": ["export"],
            "scenario": scenario,
            "dates": {"timezone": "UTC"},
            "fields": fields,
        }},
        "sinks": {"purview": sink},
    })
}

/// Writes the client secret into the folder of pipelines.
pub(crate) fn write_secret(folder: &Path) {
    let path = folder.join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).unwrap();
}

/// An emulator in a process of its own; ended when dropped.
pub(crate) struct Service {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

/// An accepted upload.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) number: u64,
    pub(crate) job: String,
    pub(crate) file: String,
    /// Scenario and values of each saved row.
    pub(crate) rows: Vec<(String, Value)>,
}

impl Service {
    /// Accepts any app and job; `settings` are those of its file.
    pub(crate) fn start(settings: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("emulator.yaml"), settings.to_string()).unwrap();
        let args = [
            "emulator",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "emulator.yaml",
            "--data",
            "data",
        ];
        let mut command = hrsink(folder.path(), &args);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it starts").unwrap();
        let url = first.split_once("http://").expect("an address").1;
        let url = format!("http://{url}");
        // The last line before it ends.
        while !lines.next().unwrap().unwrap().contains("Ctrl-C") {}
        Self { child, url, folder }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Replaces the faults.
    pub(crate) fn faults(&self, faults: &str) {
        let answer = self.request("PUT", "/faults", faults);
        assert!(answer.starts_with("HTTP/1.1 200"), "{faults}: {answer}");
    }

    /// Upload requests received.
    pub(crate) fn uploads(&self) -> u64 {
        let answer = self.request("GET", "/", "");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: Value = serde_json::from_str(body).unwrap();
        status["uploads"].as_u64().unwrap()
    }

    /// Bytes of its import log, which grows with every accepted upload.
    pub(crate) fn log_size(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |about| about.len())
    }

    /// Accepted uploads.
    pub(crate) fn imported(&self) -> usize {
        lines(&self.log()).len()
    }

    /// The names of the accepted files, as in the log of the job.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let name = |line: Value| line["file"].as_str().unwrap().to_owned();
        lines(&self.log()).into_iter().map(name).collect()
    }

    /// The accepted uploads, by number.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = BTreeMap::new();
        for line in lines(&self.log()) {
            let number = line["import"].as_u64().unwrap();
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            let import = Import {
                number,
                job: text("job_id"),
                file: text("file"),
                rows: Vec::new(),
            };
            assert!(imports.insert(number, import).is_none());
        }
        for entry in std::fs::read_dir(self.data()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "ndjson") && path != self.log() {
                for mut line in lines(&path) {
                    let import = imports.get_mut(&line["import"].as_u64().unwrap());
                    let scenario = line["scenario"].as_str().unwrap().to_owned();
                    let row = (scenario, line["values"].take());
                    import.expect("rows belong to an import").rows.push(row);
                }
            }
        }
        imports.into_values().collect()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.data().join("imports.ndjson")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: emulator\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The complete lines of an NDJSON file; none if it does not exist.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read(path).unwrap_or_default();
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    text[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}
