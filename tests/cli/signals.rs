//! Interrupts, and the emulator, which ends by one.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};

use super::*;

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// The program, started, with its first lines read up to the one that contains `until`.
fn start(folder: &Folder, args: &[&str], until: &str) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = folder
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(until) {
        assert!(out.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    (child, out, said)
}

#[test]
fn emulator_serves_until_stopped() {
    let folder = Folder::empty();
    let (child, mut out, said) = start(&folder, &["emulator", "--listen", "127.0.0.1:0"], "Ctrl-C");
    snapshot!(said, @r#"
    The emulator listens on http://[ADDRESS]
      tokens   http://[ADDRESS]/TENANT/oauth2/token
      uploads  http://[ADDRESS]/api/signals?jobid=JOB
      status   http://[ADDRESS]/  http://[ADDRESS]/imports  http://[ADDRESS]/faults

    For the sink in a pipeline file:
        cloud:
          authority: http://[ADDRESS]
          resource: https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1
          ingestion: http://[ADDRESS]
        tenant_id: contoso.onmicrosoft.com  # any value
        job_id: b8be4a7d-e338-43eb-a69e-c513cd458eba  # any value
        auth:
          type: client_secret
          client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e  # any value
          client_secret: {env: HRSINK_CLIENT_SECRET}  # any value

    Press Ctrl-C to stop.
    "#);
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
    let run = folder
        .command(&["run", "hr.yaml"])
        .env("HRSINK_CLIENT_SECRET", "any")
        .output()
        .unwrap();
    assert_eq!(code(&run), 0, "{}", printed(&run));
    send(&child, "-INT");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    snapshot!(rest, @r#"
    1 upload, 1 accepted, 1 row saved, 1 token issued
      job b8be4a7d-e338-43eb-a69e-c513cd458eba  1 import  1 row
    "#);
}

/// A run whose upload hangs until it is stopped.
fn interrupted(signals: &[&str], grace: &str) -> (Folder, Output) {
    let folder = Folder::examples();
    let slow = "cloud: emulator\n    emulator: {faults: latency=1h}";
    folder.write_quickstart("slow.yaml", "cloud: emulator", slow);
    let args = [
        "run",
        "slow.yaml",
        "--report",
        "report.json",
        "--grace",
        grace,
        "--log-level",
        "debug",
    ];
    let mut child = folder
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
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
fn stopped_run_writes_a_report() {
    for (signal, exit_code) in [("-INT", 130), ("-TERM", 143)] {
        let (folder, output) = interrupted(&[signal], "1ms");
        assert_eq!(code(&output), exit_code, "{}", printed(&output));
        assert!(
            text(&output.stdout).starts_with("Interrupted"),
            "{}",
            printed(&output)
        );
        let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(
            (&report["exit_code"], &report["conserved"]),
            (&exit_code.into(), &true.into())
        );
    }
}

#[test]
fn second_interrupt_stops_at_once() {
    let (_folder, output) = interrupted(&["-INT", "-INT"], "1h");
    assert_eq!(code(&output), 130, "{}", printed(&output));
}
