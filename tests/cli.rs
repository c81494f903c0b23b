//! The program as a user meets it: what it prints where, and its exit codes.

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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for name in ["HRSINK_LOG", "HRSINK_CLIENT_SECRET", "COLUMNS", "CLICOLOR_FORCE", "NO_COLOR"] {
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
fn told(output: &Output) -> String {
    let mut told = format!("exit code {}\n", code(output));
    for (name, stream) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !stream.is_empty() {
            // Windows ends lines in another way in what clap and the system say.
            let _ = write!(told, "--- {name}\n{}", text(stream).replace("\r\n", "\n"));
        }
    }
    told.replace("hrsink.exe", "hrsink")
}

/// What differs from run to run and from machine to machine.
fn filters() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "[RUN]");
    settings.add_filter(r"\b(\d+ ms|\d+\.\d s)( \([\d,]+ rows/s\))?", "[TIME]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[ADDRESS]");
    settings.add_filter(r"\\", "/");
    settings
}

macro_rules! snapshot {
    ($output:expr, @$expected:literal) => {
        filters().bind(|| insta::assert_snapshot!($output, @$expected))
    };
}

// ---- words -----------------------------------------------------------------------------------------------------

#[test]
fn without_arguments_it_helps() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&[])), @"");
}

#[test]
fn the_long_help_teaches_the_order_and_the_exit_codes() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["--help"])), @"");
}

#[test]
fn help_of_run() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["run", "--help"])), @"");
}

#[test]
fn help_of_validate() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["validate", "--help"])), @"");
}

#[test]
fn help_of_preview() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["preview", "--help"])), @"");
}

#[test]
fn help_of_check() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["check", "--help"])), @"");
}

#[test]
fn help_of_upload() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["upload", "--help"])), @"");
}

#[test]
fn help_of_emulator() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["emulator", "--help"])), @"");
}

#[test]
fn help_of_list_scenarios_and_schema() {
    let folder = Folder::empty();
    for command in ["list", "scenarios", "schema"] {
        let output = folder.run(&[command, "--help"]);
        assert_eq!(code(&output), 0);
        assert!(text(&output.stdout).contains(&format!("  hrsink {command}")), "an example");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["rnu", "hr.yaml"])), @"");
    assert_eq!(code(&folder.run(&["run"])), 2);
    assert_eq!(code(&folder.run(&["run", "hr.yaml", "--limit", "0"])), 2);
    assert_eq!(code(&folder.run(&["run", "hr.yaml", "--grace", "30"])), 2);
}

#[test]
fn the_list_names_every_component() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["list"])), @"");
    let listed: serde_json::Value = serde_json::from_slice(&folder.run(&["list", "--output", "json"]).stdout).unwrap();
    assert!(listed.as_array().unwrap().iter().any(|c| c["role"] == "sink" && c["name"] == "m365_hr"), "{listed}");
}

#[test]
fn the_scenarios_with_their_fields() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["scenarios"])), @"");
}

#[test]
fn one_scenario_for_a_program() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["scenarios", "employee_resignation", "--output", "json"])), @"");
    snapshot!(told(&folder.run(&["scenarios", "resignation"])), @"");
}

#[test]
fn the_schema_takes_every_example_and_refuses_mistakes() {
    let folder = Folder::empty();
    let schema: serde_json::Value = serde_json::from_slice(&folder.run(&["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(notation) = hrsink::config::document::Notation::of(&path) else { continue };
        let tree = hrsink::config::document::parse(&std::fs::read_to_string(&path).unwrap(), notation).unwrap();
        let problems: Vec<String> = validator.iter_errors(&tree).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        let mut wrong = tree.clone();
        for sink in wrong["sinks"].as_object_mut().unwrap().values_mut() {
            sink["no_such_key"] = true.into();
        }
        assert!(!validator.is_valid(&wrong), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}

// ---- validate --------------------------------------------------------------------------------------------------

const MISTAKES: &str = "\
sorces: {}
sources:
  hr_export:
    type: file
    path: export.csv
    delimiter: ';'
  spare:
    type: file
    path: spare.csv
  purview: {type: fiel, path: x.csv}
transforms:
  one:
    type: hr_schema
    inputs: [hr_exprot, two]
    scenario: employee_resignation
    fields:
      EmailAdress: email
  two: {type: hr_schema, inputs: [one], scenario: resignation}
  three: {type: hr_schema, scenario: employee_resignation, fields: {}}
sinks:
  purview:
    type: m365_hr
    inputs: [one]
    batch: {max_row: 5}
    auth: {type: client_secret, client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e, client_secret: hunter2-marker}
rejects: {max_ratio: 5}
";

#[test]
fn validate_lists_all_problems_at_once() {
    let folder = Folder::empty();
    folder.write("mistakes.yaml", MISTAKES);
    let output = folder.run(&["validate", "mistakes.yaml"]);
    snapshot!(told(&output), @"");
    assert!(!told(&output).contains("hunter2"), "a secret was repeated");
}

#[test]
fn run_tells_the_same_problems_on_stderr_and_reads_nothing() {
    let folder = Folder::empty();
    folder.write("mistakes.yaml", "sources: {a: {type: file, path: a.csv}}\n");
    snapshot!(told(&folder.run(&["run", "mistakes.yaml"])), @"");
}

#[test]
fn every_example_is_valid() {
    let folder = Folder::examples();
    let files: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".toml"))
        .collect();
    let args: Vec<&str> = std::iter::once("validate").chain(files.iter().map(String::as_str)).collect();
    let output = folder.run(&args);
    assert_eq!(code(&output), 0, "{}", told(&output));
}

#[test]
fn validate_for_a_program() {
    let folder = Folder::empty();
    folder.write("good.yaml", "sources: {a: {type: file, path: a.csv}}\nsinks: {b: {type: console, inputs: a}}\n");
    folder.write("bad.yaml", "sources: {a: {type: file, path: a.csv}}\nsinks: {b: {type: console, inputs: [c]}}\n");
    snapshot!(told(&folder.run(&["validate", "--output", "json", "good.yaml", "bad.yaml", "none.yaml", "x.txt"])), @"");
}

// ---- run -------------------------------------------------------------------------------------------------------

#[test]
fn a_run_tells_what_became_of_every_row() {
    let folder = Folder::examples();
    let output = folder.run(&["run", "quickstart.yaml", "--report", "report.json", "--rejects", "rejects.ndjson"]);
    snapshot!(told(&output), @"");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["conserved"], true);
    let rejected = std::fs::read_to_string(folder.path().join("rejects.ndjson")).unwrap();
    assert_eq!(rejected.lines().count() as u64, report["rows"]["rejected"]);
    assert!(!folder.path().join(".hrsink/rejects").exists(), "the rejects are where they were asked for");
}

#[test]
fn a_dry_run_sends_nothing_and_says_so() {
    let folder = Folder::examples();
    snapshot!(told(&folder.run(&["run", "quickstart.yaml", "--dry-run", "--limit", "100"])), @"");
    assert!(!folder.path().join(".hrsink/emulator").exists());
}

#[test]
fn the_report_for_a_program() {
    let folder = Folder::examples();
    let output = folder.run(&["run", "quickstart.yaml", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &report["exit_code"]), (0, &0.into()));
    assert!(report["rows"]["accepted"].as_u64().unwrap() > 0);
}

#[test]
fn too_many_rejects_are_exit_code_3() {
    let folder = Folder::examples();
    let pipeline = std::fs::read_to_string(folder.path().join("quickstart.yaml")).unwrap();
    folder.write("strict.yaml", &pipeline.replace("max_ratio: 0.25", "max_ratio: 0.001"));
    let output = folder.run(&["run", "strict.yaml"]);
    assert_eq!(code(&output), 3, "{}", told(&output));
    let first = text(&output.stdout).lines().next().unwrap();
    snapshot!(first, @"");
}

#[test]
fn a_missing_file_is_told_with_what_to_do() {
    let folder = Folder::examples();
    std::fs::remove_file(folder.path().join("data/terminations.csv")).unwrap();
    snapshot!(told(&folder.run(&["run", "quickstart.yaml"])), @"");
}

#[test]
fn a_passing_cause_is_exit_code_75() {
    let folder = Folder::examples();
    let pipeline = std::fs::read_to_string(folder.path().join("quickstart.yaml")).unwrap();
    let faulty = "cloud: emulator\n    emulator: {faults: 503=1}\n    retry: {max_attempts: 2, initial_backoff: 1ms, max_backoff: 1ms}";
    folder.write("faulty.yaml", &pipeline.replacen("cloud: emulator", faulty, 1));
    let output = folder.run(&["run", "faulty.yaml", "--report", "report.json"]);
    assert_eq!(code(&output), 75, "{}", told(&output));
    assert!(text(&output.stderr).starts_with("error: purview: "), "{}", told(&output));
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(report.contains("\"exit_code\": 75"));
}

#[test]
fn a_report_that_cannot_be_written_stops_the_run_before_it_sends() {
    let folder = Folder::examples();
    let output = folder.run(&["run", "quickstart.yaml", "--report", "no/such/folder.json"]);
    assert_eq!(code(&output), 2, "{}", told(&output));
    assert!(!folder.path().join(".hrsink").exists());
}

#[test]
fn rows_on_stdout_stay_alone_there() {
    let folder = Folder::empty();
    folder.write("a.csv", "n,t\n1,x\n2,y\n");
    folder.write(
        "print.yaml",
        "sources: {a: {type: file, path: a.csv}}\nsinks: {out: {type: console, inputs: [a], format: ndjson}}\n",
    );
    snapshot!(told(&folder.run(&["run", "print.yaml"])), @"");
    snapshot!(told(&folder.run(&["run", "print.yaml", "--output", "json"])), @"");
}

#[test]
fn logs_are_json_on_every_line_when_asked() {
    let folder = Folder::examples();
    let output = folder.run(&["run", "quickstart.yaml", "--log-format", "json"]);
    let lines: Vec<serde_json::Value> =
        text(&output.stderr).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["message"] == "run ended"), "{lines:#?}");

    folder.write("mistakes.yaml", "sources: {}\n");
    let output = folder.run(&["run", "mistakes.yaml", "--log-format", "json"]);
    assert_eq!(code(&output), 2);
    for line in text(&output.stderr).lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(line["level"], "ERROR");
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let folder = Folder::examples();
    let colored = |command: &mut Command| text(&command.output().unwrap().stdout).contains('\u{1b}');
    assert!(!colored(&mut folder.command(&["list"])), "no terminal");
    assert!(colored(&mut folder.command(&["list", "--color", "always"])));
    assert!(!colored(folder.command(&["list", "--color", "never"]).env("CLICOLOR_FORCE", "1")));
    assert!(!colored(folder.command(&["list"]).env("NO_COLOR", "1")));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::empty();
    let mut child = folder.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

// ---- preview and check -----------------------------------------------------------------------------------------

#[test]
fn a_preview_masks_personal_data() {
    let folder = Folder::examples();
    let output = folder.run(&["preview", "quickstart.yaml", "--rows", "3"]);
    snapshot!(told(&output), @"");
    assert!(!folder.path().join(".hrsink").exists(), "nothing is left behind");
}

#[test]
fn a_preview_shows_personal_data_when_asked() {
    let folder = Folder::examples();
    let output = folder.run(&["preview", "quickstart.yaml", "--rows", "2", "--show-personal-data", "--output", "ndjson"]);
    snapshot!(told(&output), @"");
}

#[test]
fn records_that_go_straight_to_a_sink_are_masked_altogether() {
    let folder = Folder::empty();
    folder.write("a.csv", "mail,born,salary,note\nsarad@contoso.com,1980-02-03,52000,\n");
    folder.write("a.yaml", "sources: {a: {type: file, path: a.csv}}\nsinks: {out: {type: console, inputs: [a]}}\n");
    snapshot!(told(&folder.run(&["preview", "a.yaml"])), @"");
}

#[test]
fn a_preview_tells_what_is_wrong_with_the_input() {
    let folder = Folder::examples();
    folder.write("data/terminations.csv", "Employee ID,E-Mail,status,resign_date,last_day\n");
    let output = folder.run(&["preview", "quickstart.yaml"]);
    assert_eq!(code(&output), 2, "{}", told(&output));
    assert!(text(&output.stderr).contains("Work Email"), "{}", told(&output));
}

#[test]
fn a_check_asks_the_other_side() {
    let folder = Folder::examples();
    let output = folder.run(&["check", "quickstart.yaml"]);
    assert_eq!(code(&output), 0, "{}", told(&output));
    let output = folder.run(&["check", "quickstart.yaml", "--output", "json"]);
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked[0]["sink"], "purview");
    assert!(!folder.path().join(".hrsink").exists(), "nothing is left behind");
}

#[test]
fn a_check_without_the_secret_fails() {
    let folder = Folder::examples();
    let output = folder.run(&["check", "worldwide.yaml"]);
    assert_eq!(code(&output), 5, "{}", told(&output));
}

// ---- upload ----------------------------------------------------------------------------------------------------

#[test]
fn an_upload_needs_no_pipeline_file() {
    let folder = Folder::empty();
    let rows = "EmailAddress,ResignationDate,LastWorkingDate\n\
                sarad@contoso.com,2026-04-23T15:18:02Z,2026-04-29T15:18:02Z\n\
                \"pilar@contoso.com\",2026-05-01T00:00:00Z,2026-05-31T00:00:00Z\n";
    folder.write("leavers.csv", rows);
    snapshot!(told(&folder.run(&["upload", "--cloud", "emulator", "leavers.csv"])), @"");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let folder = Folder::empty();
    for args in [
        &["upload", "--client-secret", "hunter2-marker", "a.csv"][..],
        &["upload", "--client-secret=hunter2-marker", "a.csv"],
    ] {
        let output = folder.run(args);
        assert_eq!(code(&output), 2);
        assert!(!told(&output).contains("hunter2"), "{}", told(&output));
        assert!(text(&output.stderr).contains("--client-secret-file"), "{}", told(&output));
    }
}

#[test]
fn an_upload_says_what_it_misses() {
    let folder = Folder::empty();
    folder.write("a.csv", "a\n1\n");
    snapshot!(told(&folder.run(&["upload", "--job-id", "b8be4a7d-e338-43eb-a69e-c513cd458eba", "a.csv"])), @"");
    snapshot!(told(&folder.run(&["upload", "--cloud", "gcchigh", "a.csv"])), @"");
    let ids = ["--tenant-id", "contoso.com", "--app-id", "29ee526e-f9a7-4e98-a682-67f41bfd643e"];
    let job = ["--job-id", "b8be4a7d-e338-43eb-a69e-c513cd458eba", "a.csv"];
    let args: Vec<&str> = ["upload"].into_iter().chain(ids).chain(job).collect();
    let output = folder.run(&args);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("HRSINK_CLIENT_SECRET"), "{}", told(&output));
}

// ---- interrupts and the emulator -------------------------------------------------------------------------------

#[cfg(unix)]
mod signals {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, ChildStdout};

    use super::*;

    fn send(child: &Child, signal: &str) {
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The program, started, with its first lines read up to the one that contains `until`.
    fn start(folder: &Folder, args: &[&str], until: &str) -> (Child, BufReader<ChildStdout>, String) {
        let mut child = folder.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains(until) {
            assert!(out.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        (child, out, said)
    }

    #[test]
    fn the_emulator_serves_until_it_is_stopped() {
        let folder = Folder::empty();
        let (child, mut out, said) = start(&folder, &["emulator", "--listen", "127.0.0.1:0"], "Ctrl-C");
        snapshot!(said, @"");
        // Its own advice works: the lines it prints, under a sink.
        let cloud: String = said
            .lines()
            .skip_while(|line| !line.contains("cloud:"))
            .take_while(|line| !line.is_empty())
            .fold(String::new(), |text, line| text + line + "\n");
        folder.write("leavers.csv", "mail,day\nsarad@contoso.com,2026-04-23\n");
        folder.write(
            "hr.yaml",
            &format!(
                "sources:\n  a:\n    type: file\n    path: leavers.csv\ntransforms:\n  b:\n    type: hr_schema\n    inputs: [a]\n    \
                 scenario: employee_resignation\n    dates: {{timezone: UTC}}\n    fields: {{EmailAddress: mail, ResignationDate: day, \
                 LastWorkingDate: day}}\nsinks:\n  purview:\n    type: m365_hr\n    inputs: [b]\n{cloud}"
            ),
        );
        let run = folder.command(&["run", "hr.yaml"]).env("HRSINK_CLIENT_SECRET", "any").output().unwrap();
        assert_eq!(code(&run), 0, "{}", told(&run));
        send(&child, "-INT");
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(code(&child.wait_with_output().unwrap()), 0);
        snapshot!(rest, @"");
    }

    /// A run whose upload hangs until it is stopped.
    fn interrupted(signals: &[&str], grace: &str) -> (Folder, Output) {
        let folder = Folder::examples();
        let pipeline = std::fs::read_to_string(folder.path().join("quickstart.yaml")).unwrap();
        let slow = "cloud: emulator\n    emulator: {faults: latency=1h}";
        folder.write("slow.yaml", &pipeline.replacen("cloud: emulator", slow, 1));
        let args = ["run", "slow.yaml", "--report", "report.json", "--grace", grace, "--log-level", "debug"];
        let mut child = folder.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("run started") {
            assert!(err.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        for (index, signal) in signals.iter().enumerate() {
            send(&child, signal);
            while index == 0 && !said.contains("Once more") {
                assert!(err.read_line(&mut said).unwrap() > 0, "it ended: {said}");
            }
        }
        let mut rest = Vec::new();
        err.read_to_end(&mut rest).unwrap();
        let mut output = child.wait_with_output().unwrap();
        output.stderr = rest;
        (folder, output)
    }

    #[test]
    fn an_interrupt_ends_a_run_with_a_report() {
        let (folder, output) = interrupted(&["-INT"], "1ms");
        assert_eq!(code(&output), 130, "{}", told(&output));
        assert!(text(&output.stdout).starts_with("Interrupted"), "{}", told(&output));
        let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
        assert!(report.contains("\"exit_code\": 130") && report.contains("\"conserved\": true"), "{report}");
    }

    #[test]
    fn a_terminated_run_says_so() {
        let (folder, output) = interrupted(&["-TERM"], "1ms");
        assert_eq!(code(&output), 143, "{}", told(&output));
        assert!(std::fs::read_to_string(folder.path().join("report.json")).unwrap().contains("\"exit_code\": 143"));
    }

    #[test]
    fn a_second_interrupt_does_not_wait() {
        let (_folder, output) = interrupted(&["-INT", "-INT"], "1h");
        assert_eq!(code(&output), 130, "{}", told(&output));
    }
}
