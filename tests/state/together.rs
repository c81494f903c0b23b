//! Several processes at once.

use std::process::Child;
use std::time::{Duration, Instant};

use super::*;
use crate::support::program::{ended, hrsink};

/// Waits until the four concurrent uploads of `child` are in progress.
fn until_it_sends(service: &Service, child: &mut Child) {
    let begun = Instant::now();
    while service.uploads() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(begun.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn stops_a_second_run_of_a_pipeline_at_once() {
    let fixture = Fixture::new(8);
    std::fs::write(fixture.path().join(FILE), fixture.pipeline.to_string()).unwrap();
    fixture.service.faults("latency=2s");
    let mut first = hrsink(fixture.path(), &["run", FILE, "--report", REPORT])
        .spawn()
        .unwrap();
    until_it_sends(&fixture.service, &mut first);

    // By another name, too.
    let link = fixture.path().join("link.json");
    std::os::unix::fs::symlink(fixture.path().join(FILE), &link).unwrap();
    for file in [FILE, "./hr.json", link.to_str().unwrap()] {
        let said = fixture.ends(75, &["run", file, "--report", "second.json"]);
        assert!(said.contains("another run of `"), "{said}");
        let pid = format!("pid {} on host `", first.id());
        assert!(said.contains(&pid) && said.contains("`, started 2"), "{said}");
        let report: Value =
            serde_json::from_slice(&std::fs::read(fixture.path().join("second.json")).unwrap()).unwrap();
        assert_eq!(report["rows"]["read"], 0, "{report:#}");
    }
    assert_eq!(fixture.service.uploads(), 4);
    let (_, history, _) = program::run(fixture.path(), &["history", FILE, "--output", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "those that stopped at once are no runs");
    assert_eq!(runs[0]["state"], "running");
    fixture.check_ledger();

    let (code, said, error) = ended(&first.wait_with_output().unwrap());
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(fixture.report()["rows"]["accepted"], 8);
    fixture.service.faults("");
    fixture.delivers(0);
}

#[test]
fn does_not_send_one_scenario_to_one_job_from_two_pipelines_at_once() {
    let fixture = Fixture::new(8);
    for file in [FILE, "other.json"] {
        std::fs::write(fixture.path().join(file), fixture.pipeline.to_string()).unwrap();
    }
    fixture.service.faults("latency=1s");
    let mut first = hrsink(fixture.path(), &["run", FILE]).spawn().unwrap();
    until_it_sends(&fixture.service, &mut first);
    let said = fixture.ends(75, &["run", "other.json", "--report", REPORT]);
    let words = [
        "another run is sending `employee_resignation` to the job `",
        "wait until it has ended",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(said.contains(&format!("pid {} on host `", first.id())), "{said}");
    assert_eq!(fixture.report()["rows"]["not_sent"], 8);
    let (code, said, error) = ended(&first.wait_with_output().unwrap());
    assert_eq!(code, 0, "{said}{error}");
    fixture.service.faults("");
    // What one delivered, the other need not.
    fixture.ends(0, &["run", "other.json", "--report", REPORT]);
    assert_eq!(fixture.report()["rows"]["skipped"], 8);
    fixture.delivers(0);
}

#[test]
fn delivers_once_when_started_many_times() {
    for _ in 0..3 {
        let fixture = Fixture::new(30);
        std::fs::write(fixture.path().join(FILE), fixture.pipeline.to_string()).unwrap();
        let started: Vec<Child> = (0..6)
            .map(|_| hrsink(fixture.path(), &["run", FILE]).spawn().unwrap())
            .collect();
        let mut delivered = 0;
        for child in started {
            let (code, said, error) = ended(&child.wait_with_output().unwrap());
            assert!([0, 75].contains(&code), "{said}{error}");
            assert!(code == 0 || error.contains("another run of `"), "{error}");
            delivered += u32::from(code == 0);
        }
        assert!(delivered > 0);
        fixture.delivers(0);
        fixture.check_ledger();
    }
}

/// Eight pipelines: five scenarios of one job, and three more jobs.
fn eight(fixture: &Fixture) -> Vec<String> {
    let scenarios = [
        (
            "employee_resignation",
            "EmailAddress=upn ResignationDate=day LastWorkingDate=day",
        ),
        (
            "job_level_change",
            "EmailAddress=upn EffectiveDate=day OldLevel=upn",
        ),
        ("performance_review", "EmailAddress=upn EffectiveDate=day"),
        (
            "performance_improvement_plan",
            "EmailAddress=upn EffectiveDate=day",
        ),
        (
            "employee_profile",
            "EmailAddress=upn EmployeeFirstName=upn EmployeeLastName=upn EmployeeAddressLine1=upn EmployeeZipCode=upn",
        ),
    ];
    (0..8)
        .map(|n: usize| {
            let mut pipeline = fixture.pipeline.clone();
            let (scenario, fields) = scenarios[n % 5];
            let fields = fields.split(' ').filter_map(|field| field.split_once('='));
            pipeline["transforms"]["rows"]["scenario"] = json!(scenario);
            pipeline["transforms"]["rows"]["fields"] = fields.collect();
            let sink = &mut pipeline["sinks"]["purview"];
            sink["scenario_column"] = json!("HRScenario");
            if n >= 5 {
                sink["job_id"] = json!(format!("00000000-0000-4000-8000-00000000000{n}"));
            }
            let file = format!("{n}.json");
            std::fs::write(fixture.path().join(&file), pipeline.to_string()).unwrap();
            file
        })
        .collect()
}

#[test]
fn shares_a_ledger_between_many_pipelines() {
    for _ in 0..3 {
        let fixture = Fixture::new(30);
        let files = eight(&fixture);
        let started: Vec<Child> = files
            .iter()
            .map(|file| hrsink(fixture.path(), &["run", file]).spawn().unwrap())
            .collect();
        for child in started {
            let (code, said, error) = ended(&child.wait_with_output().unwrap());
            assert_eq!(code, 0, "{said}{error}");
        }
        let mut arrived: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for import in fixture.service.imports() {
            for (scenario, values) in import.rows {
                let rows = arrived.entry((import.job.clone(), scenario)).or_default();
                rows.push(values["EmailAddress"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(arrived.len(), 8, "{:?}", arrived.keys());
        for rows in arrived.values_mut() {
            rows.sort();
            assert_eq!(*rows, support::emails(30));
        }
        fixture.ends(0, &["ledger", "verify", "0.json"]);
        let (_, said, _) = program::run(fixture.path(), &["ledger", "stats", "0.json", "--output", "json"]);
        let stats: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&stats["runs"], stats["jobs"].as_array().unwrap().len()),
            (&json!(8), 8)
        );
    }
}
