//! The program as a user meets it: what it prints where, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with a copy of `config-examples`, in which the program runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn examples() -> Self {
        let folder = Self::empty();
        copy(&examples(), folder.path());
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Writes the quickstart with a text replaced.
    fn write_quickstart(&self, name: &str, from: &str, to: &str) {
        let pipeline = std::fs::read_to_string(self.path().join("quickstart.yaml")).unwrap();
        assert!(pipeline.contains(from), "{pipeline}");
        self.write(name, &pipeline.replacen(from, to, 1));
    }

    /// The command ends with this exit code, and both streams together contain all of `words`.
    #[track_caller]
    fn says(&self, args: &[&str], exit_code: i32, words: &[&str]) {
        let output = self.run(args);
        let printed = printed(&output);
        assert_eq!(code(&output), exit_code, "{printed}");
        assert!(
            words.iter().all(|word| printed.contains(word)),
            "{words:?} {printed}"
        );
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.run(args).stdout).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for name in [
            "HRSINK_LOG",
            "HRSINK_CLIENT_SECRET",
            "COLUMNS",
            "CLICOLOR_FORCE",
            "NO_COLOR",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        // What a run by hand left there.
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

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("ended by itself")
}

/// Exit code and both streams, for a snapshot.
fn printed(output: &Output) -> String {
    let mut printed = format!("exit code {}\n", code(output));
    for (name, stream) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !stream.is_empty() {
            let _ = writeln!(printed, "--- {name}");
        }
        // Spaces at a line's end tell nobody anything, and Windows ends lines in another way.
        for line in text(stream).lines() {
            let _ = writeln!(printed, "{}", line.trim_end());
        }
    }
    printed.replace("hrsink.exe", "hrsink")
}

/// What differs from run to run and from machine to machine.
fn filters() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "[RUN]",
    );
    settings.add_filter(r"\b(\d+ ms|\d+\.\d s)( \([\d,]+ rows/s\))?", "[TIME]");
    settings.add_filter(r"127\.0\.0\.1:\d{5}\b", "[ADDRESS]");
    if cfg!(windows) {
        settings.add_filter(r"\\", "/");
    }
    settings
}

macro_rules! snapshot {
    ($output:expr, @$expected:literal) => {
        crate::filters().bind(|| insta::assert_snapshot!($output, @$expected))
    };
}

mod help;
mod ledger;
mod preview;
mod reference;
mod run;
#[cfg(unix)]
mod signals;
mod upload;
mod validate;
