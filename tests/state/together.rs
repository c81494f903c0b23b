//! Several processes at once.

use std::process::Child;
use std::time::{Duration, Instant};

use super::*;
use crate::common::program::{hrsink, told};

/// Comes back when the four uploads that `child` makes at a time are under way.
fn until_it_sends(service: &Service, child: &mut Child) {
    let begun = Instant::now();
    while service.uploads() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(begun.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_second_run_of_a_pipeline_stops_at_once_and_disturbs_nobody() {
    let stand = Stand::new(8);
    std::fs::write(stand.path().join(FILE), stand.pipeline.to_string()).unwrap();
    stand.service.faults("latency=2s");
    let mut first = hrsink(stand.path(), &["run", FILE, "--report", REPORT])
        .spawn()
        .unwrap();
    until_it_sends(&stand.service, &mut first);

    // By another name, too.
    let link = stand.path().join("link.json");
    std::os::unix::fs::symlink(stand.path().join(FILE), &link).unwrap();
    for file in [FILE, "./hr.json", link.to_str().unwrap()] {
        let (code, said, error) = program::run(stand.path(), &["run", file, "--report", "second.json"]);
        assert_eq!(code, 75, "{said}{error}");
        assert!(error.contains("another run of `"), "{error}");
        let pid = format!("pid {} on host `", first.id());
        assert!(error.contains(&pid) && error.contains("`, started 2"), "{error}");
        let report: Value =
            serde_json::from_slice(&std::fs::read(stand.path().join("second.json")).unwrap()).unwrap();
        assert_eq!(report["rows"]["read"], 0, "{report:#}");
    }
    assert_eq!(stand.service.uploads(), 4);
    let (_, history, _) = program::run(stand.path(), &["history", FILE, "--output", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let states: Vec<_> = history["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["state"])
        .collect();
    assert_eq!(states, ["running"], "those that stopped at once are no runs");
    stand.is_whole();

    let (code, said, error) = told(&first.wait_with_output().unwrap());
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(stand.report()["rows"]["accepted"], 8);
    stand.service.faults("");
    stand.delivers(0);
}

#[test]
fn two_pipelines_for_one_job_and_scenario_do_not_send_at_once() {
    let stand = Stand::new(8);
    for file in [FILE, "other.json"] {
        std::fs::write(stand.path().join(file), stand.pipeline.to_string()).unwrap();
    }
    stand.service.faults("latency=1s");
    let mut first = hrsink(stand.path(), &["run", FILE]).spawn().unwrap();
    until_it_sends(&stand.service, &mut first);
    let (code, said, error) = program::run(stand.path(), &["run", "other.json", "--report", REPORT]);
    assert_eq!(code, 75, "{said}{error}");
    let words = [
        "another run sends `employee_resignation` to the job `",
        "wait until it has ended",
    ];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert!(
        error.contains(&format!("pid {} on host `", first.id())),
        "{error}"
    );
    assert_eq!(stand.report()["rows"]["not_sent"], 8);
    let (code, said, error) = told(&first.wait_with_output().unwrap());
    assert_eq!(code, 0, "{said}{error}");
    stand.service.faults("");
    // What one delivered, the other need not.
    let (code, said, error) = program::run(stand.path(), &["run", "other.json", "--report", REPORT]);
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(stand.report()["rows"]["skipped"], 8);
    stand.delivers(0);
}

#[test]
fn the_same_pipeline_started_many_times_delivers_once() {
    for _ in 0..3 {
        let stand = Stand::new(30);
        std::fs::write(stand.path().join(FILE), stand.pipeline.to_string()).unwrap();
        let started: Vec<Child> = (0..6)
            .map(|_| hrsink(stand.path(), &["run", FILE]).spawn().unwrap())
            .collect();
        let mut delivered = 0;
        for child in started {
            let (code, said, error) = told(&child.wait_with_output().unwrap());
            assert!([0, 75].contains(&code), "{said}{error}");
            assert!(code == 0 || error.contains("another run of `"), "{error}");
            delivered += u32::from(code == 0);
        }
        assert!(delivered > 0);
        stand.delivers(0);
        stand.is_whole();
    }
}

/// Eight pipelines: five scenarios of one job, and three more jobs.
fn eight(stand: &Stand) -> Vec<String> {
    let scenarios = [
        (
            "employee_resignation",
            json!({"EmailAddress": "upn", "ResignationDate": "day", "LastWorkingDate": "day"}),
        ),
        (
            "job_level_change",
            json!({"EmailAddress": "upn", "EffectiveDate": "day", "OldLevel": "upn"}),
        ),
        (
            "performance_review",
            json!({"EmailAddress": "upn", "EffectiveDate": "day"}),
        ),
        (
            "performance_improvement_plan",
            json!({"EmailAddress": "upn", "EffectiveDate": "day"}),
        ),
        (
            "employee_profile",
            json!({"EmailAddress": "upn", "EmployeeFirstName": "upn", "EmployeeLastName": "upn",
                "EmployeeAddressLine1": "upn", "EmployeeZipCode": "upn"}),
        ),
    ];
    (0..8)
        .map(|n: usize| {
            let mut pipeline = stand.pipeline.clone();
            let (scenario, fields) = &scenarios[n % 5];
            pipeline["transforms"]["rows"]["scenario"] = json!(scenario);
            pipeline["transforms"]["rows"]["fields"] = fields.clone();
            let sink = &mut pipeline["sinks"]["purview"];
            sink["scenario_column"] = json!("HRScenario");
            if n >= 5 {
                sink["job_id"] = json!(format!("00000000-0000-4000-8000-00000000000{n}"));
            }
            let file = format!("{n}.json");
            std::fs::write(stand.path().join(&file), pipeline.to_string()).unwrap();
            file
        })
        .collect()
}

#[test]
fn many_pipelines_share_a_ledger() {
    for _ in 0..3 {
        let stand = Stand::new(30);
        let files = eight(&stand);
        let started: Vec<Child> = files
            .iter()
            .map(|file| hrsink(stand.path(), &["run", file]).spawn().unwrap())
            .collect();
        for child in started {
            let (code, said, error) = told(&child.wait_with_output().unwrap());
            assert_eq!(code, 0, "{said}{error}");
        }
        let mut arrived: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for import in stand.service.imports() {
            for (scenario, values) in import.rows {
                let rows = arrived.entry((import.job.clone(), scenario)).or_default();
                rows.push(values["EmailAddress"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(arrived.len(), 8, "{:?}", arrived.keys());
        for rows in arrived.values_mut() {
            rows.sort();
            assert_eq!(*rows, common::emails(30));
        }
        let (code, said, error) = program::run(stand.path(), &["ledger", "verify", "0.json"]);
        assert_eq!(code, 0, "{said}{error}");
        let (_, said, _) = program::run(stand.path(), &["ledger", "stats", "0.json", "--output", "json"]);
        let stats: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&stats["runs"], stats["jobs"].as_array().unwrap().len()),
            (&json!(8), 8)
        );
    }
}
