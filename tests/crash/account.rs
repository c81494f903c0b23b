//! The results of a campaign: the rows that arrived, the ledger, and the reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::line::Line;
use crate::support::program::{Import, Service, run};

/// The counts of a campaign, by what they count.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary(BTreeMap<&'static str, u64>);

const REPEATED: &str = "rows accepted twice or more";
const DUPLICATES: &str = "reported duplicates";

impl Summary {
    /// Whether no row arrived more than once.
    pub(crate) fn is_once(&self) -> bool {
        self.0[REPEATED] == 0
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(what, count)| format!("{count} {what}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

/// A batch as its file name identifies it: the end of the run's id, the scenario, the number and the part.
type Name = (String, String, u64, u64);

/// A batch in the ledger.
struct Batch<'l> {
    /// The index of its run, oldest first.
    run: usize,
    record: &'l Value,
}

impl Batch<'_> {
    fn number(&self, key: &str) -> u64 {
        self.record[key].as_u64().unwrap_or_default()
    }

    fn outcome(&self) -> &str {
        self.record["outcome"].as_str().unwrap_or_default()
    }

    /// The decision about an unknown batch.
    fn decision(&self) -> Option<&str> {
        self.record["decision"]["decision"].as_str()
    }
}

/// Checks that the completed `lines`, with one ledger and one service, lost nothing and reported everything.
pub(crate) fn check(lines: &[Line], service: &Service) -> Summary {
    let first = &lines[0];
    let left = files(first.folder());
    first.check_ledger();
    let imports = service.imports();
    let runs = ledger(first);
    let batches = batches(&runs);
    let unknown = batches.values().filter(|batch| batch.outcome() == "unknown");
    let kills: u32 = lines.iter().map(|line| line.kills).sum();
    let (mut rows_saved, mut repeated, mut duplicates) = (0, 0, 0);
    let mut summary = BTreeMap::from([
        ("runs", lines.iter().map(|line| u64::from(line.runs)).sum()),
        ("kills", u64::from(kills)),
        (
            "dead runs in the ledger",
            runs.iter().filter(|run| run["state"] == "dead").count() as u64,
        ),
        ("uploads saved", imports.len() as u64),
        ("unknown batches", unknown.count() as u64),
    ]);
    let mut accepted: BTreeMap<&str, BTreeMap<String, Vec<&Import>>> = BTreeMap::new();
    for line in lines {
        accepted.insert(line.export.kind.scenario(), BTreeMap::new());
    }
    for import in &imports {
        for (scenario, values) in &import.rows {
            let line = lines.iter().find(|line| line.export.kind.scenario() == scenario);
            let key = line.expect("a scenario that was sent").export.kind.key(values);
            let rows = accepted.get_mut(scenario.as_str()).unwrap();
            rows.entry(key).or_default().push(import);
        }
    }
    let reported: usize = lines.iter().map(|line| line.reports.len()).sum();
    assert!(
        runs.len() - reported <= kills as usize,
        "a run that was not killed left no report"
    );
    for line in lines {
        let rows = &accepted[line.export.kind.scenario()];
        let arrived: BTreeSet<&String> = rows.keys().collect();
        let expected: BTreeSet<&String> = line.export.expected().iter().collect();
        let lost: Vec<_> = expected.difference(&arrived).collect();
        let unexpected: Vec<_> = arrived.difference(&expected).collect();
        assert!(
            lost.is_empty() && unexpected.is_empty(),
            "lost: {lost:?}; not expected: {unexpected:?}"
        );
        rows_saved += rows.len() as u64;
        for (row, imports) in rows {
            check_row(row, imports, &batches);
            repeated += u64::from(imports.len() > 1);
            duplicates += imports.len() as u64 - 1;
        }
    }
    check_intents(&imports, &batches);
    check_resent_counts(&first.state());
    let imported = imports.iter().map(name_of).collect();
    for line in lines {
        check_reports(line, &runs, &batches, &imported);
    }
    check_files(&left, &runs);
    summary.extend([
        ("rows saved", rows_saved),
        (REPEATED, repeated),
        (DUPLICATES, duplicates),
    ]);
    Summary(summary)
}

/// The runs in the ledger, oldest first.
fn ledger(line: &Line) -> Vec<Value> {
    let (code, said, error) = run(line.folder(), &["ledger", "export", line.file()]);
    assert_eq!(code, 0, "{error}");
    let mut runs: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    runs.reverse();
    assert!(runs.iter().all(|run| run["state"] != "running"));
    runs
}

fn batches(runs: &[Value]) -> HashMap<Name, Batch<'_>> {
    let mut batches = HashMap::new();
    for (at, run) in runs.iter().enumerate() {
        let id = run["run"].as_str().unwrap();
        for record in run["batches"].as_array().unwrap() {
            let name = (
                id[id.len() - 8..].to_owned(),
                record["scenario"].as_str().unwrap().to_owned(),
                record["number"].as_u64().unwrap(),
                record["part"].as_u64().unwrap(),
            );
            let batch = Batch { run: at, record };
            assert!(batches.insert(name, batch).is_none(), "two batches of one name");
        }
    }
    batches
}

/// `hrsink-SCENARIO-RUN-NUMBER[.PART].csv`.
fn name_of(import: &Import) -> Name {
    let parts: Vec<&str> = import.file.trim_end_matches(".csv").split('-').collect();
    let [_, scenario, run, number] = parts[..] else {
        panic!("{}", import.file);
    };
    let (number, part) = number.split_once('.').unwrap_or((number, "0"));
    (
        run.to_owned(),
        scenario.to_owned(),
        number.parse().unwrap(),
        part.parse().unwrap(),
    )
}

/// Every import belongs to a batch with a recorded intent, and there are no more than its attempts.
fn check_intents(imports: &[Import], batches: &HashMap<Name, Batch<'_>>) {
    let mut times: HashMap<Name, u64> = HashMap::new();
    for import in imports {
        let name = name_of(import);
        let batch = batches
            .get(&name)
            .unwrap_or_else(|| panic!("not intended: {name:?}"));
        assert_eq!(import.rows.len() as u64, batch.number("rows"), "{name:?}");
        *times.entry(name).or_default() += 1;
    }
    for (name, batch) in batches {
        let times = times.get(name).copied().unwrap_or_default();
        let unanswered = batch.number("unknown_attempts");
        match batch.outcome() {
            "accepted" => assert!((1..=1 + unanswered).contains(&times), "{name:?}: {times}"),
            // The attempts of a dead run are unknown; the pipelines here make at most four.
            "unknown" if batch.decision() == Some("not_accepted") => assert_eq!(times, 0, "{name:?}"),
            "unknown" if batch.record["attempts"].is_null() => assert!(times <= 4, "{name:?}: {times}"),
            "unknown" => assert!(times <= 1 + unanswered, "{name:?}: {times}"),
            outcome => assert_eq!(times, 0, "{name:?} is {outcome}"),
        }
    }
}

/// The last batch with the row is accepted, and the others are unknown.
fn check_row(row: &str, imports: &[&Import], batches: &HashMap<Name, Batch<'_>>) {
    let names: BTreeSet<Name> = imports.iter().map(|import| name_of(import)).collect();
    let show = || -> Vec<String> {
        let show = |name: &Name| format!("{name:?}: {}", batches[name].record);
        names.iter().map(show).collect()
    };
    let with = |outcome: &'static str| {
        names.iter().filter(move |name| match batches[*name].decision() {
            Some("accepted") => outcome == "accepted",
            _ => batches[*name].outcome() == outcome,
        })
    };
    let last = names.iter().map(|name| batches[name].run).max();
    assert_eq!(with("accepted").count(), 1, "{row}: {:#?}", show());
    assert_eq!(
        with("accepted").map(|name| batches[name].run).max(),
        last,
        "{row}: {:#?}",
        show()
    );
    assert_eq!(with("unknown").count(), names.len() - 1, "{row}: {:#?}", show());
}

/// A batch counts its rows that were in an unknown batch before; and no row is accepted twice.
fn check_resent_counts(ledger: &Path) {
    let db =
        rusqlite::Connection::open_with_flags(ledger, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut query = db
        .prepare(
            "SELECT batch.run, batch.scenario, iif(batch.decision = 'accepted', 'accepted', batch.outcome),
                 batch.resent, batch_rows.hashes,
                 (SELECT coalesce(sum(gone.rows), 0) FROM batch AS gone
                  WHERE gone.id < batch.id AND gone.scenario = batch.scenario AND gone.run <> batch.run
                      AND gone.outcome = 'unknown' AND gone.decision = 'resent'
                      AND gone.id NOT IN (SELECT batch FROM batch_rows))
             FROM batch JOIN batch_rows ON batch_rows.batch = batch.id ORDER BY batch.id",
        )
        .unwrap();
    // By scenario: rows of unknown outcome, with the run that sent them.
    let mut unknown: HashMap<(String, [u8; 16]), i64> = HashMap::new();
    let mut accepted: BTreeSet<(String, [u8; 16])> = BTreeSet::new();
    let mut found = query.query(()).unwrap();
    while let Some(batch) = found.next().unwrap() {
        let (run, scenario): (i64, String) = (batch.get(0).unwrap(), batch.get(1).unwrap());
        let (outcome, resent): (String, i64) = (batch.get(2).unwrap(), batch.get(3).unwrap());
        let hashes: Vec<u8> = batch.get(4).unwrap();
        let rows: Vec<_> = hashes
            .as_chunks()
            .0
            .iter()
            .map(|row| (scenario.clone(), *row))
            .collect();
        let before = rows
            .iter()
            .filter(|row| unknown.get(row).is_some_and(|sent| *sent != run))
            .count();
        // The ledger has forgotten the rows of unknown batches that were resent completely: so many may be among these.
        let (before, forgotten): (i64, i64) = (before.try_into().unwrap(), batch.get(5).unwrap());
        assert!(
            (before..=before + forgotten).contains(&resent),
            "a batch of run {run}: {resent}, not {before} to {}",
            before + forgotten
        );
        for row in rows {
            assert!(
                !accepted.contains(&row),
                "sent again although it was accepted, by run {run}"
            );
            match outcome.as_str() {
                "accepted" => assert!(accepted.insert(row)),
                _ => _ = unknown.insert(row, run),
            }
        }
    }
}

/// Every report adds up, and agrees with the ledger on its run and on earlier ones.
fn check_reports(line: &Line, runs: &[Value], batches: &HashMap<Name, Batch<'_>>, imported: &BTreeSet<Name>) {
    for (id, report) in &line.reports {
        let number = |value: &Value| value.as_u64().unwrap();
        let rows = &report["rows"];
        assert_eq!(report["conserved"], true, "{report:#}");
        let ends = [
            "filtered", "rejected", "skipped", "accepted", "refused", "unknown", "not_sent",
        ];
        let ended: u64 = ends.iter().map(|end| number(&rows[end])).sum();
        assert_eq!(
            number(&rows["read"]) + number(&rows["copied"]),
            ended,
            "{report:#}"
        );

        let at = runs.iter().position(|run| run["run"] == id.as_str());
        let at = at.unwrap_or_else(|| panic!("not in the ledger: {report:#}"));
        assert_eq!(runs[at]["state"], "ended", "{report:#}");
        assert_eq!(&runs[at]["rows"], rows, "{report:#}");

        let mut again = 0;
        for reported in report["batches"].as_array().unwrap() {
            let scenario = reported["scenario"].as_str().unwrap().to_owned();
            let name = (
                id[id.len() - 8..].to_owned(),
                scenario,
                number(&reported["number"]),
                number(&reported["part"]),
            );
            match batches.get(&name) {
                None => assert_eq!(reported["outcome"], "not_sent", "{reported:#}"),
                Some(batch) => check_batch_report(reported, batch, imported.contains(&name)),
            }
            if reported["outcome"] == "accepted" || reported["outcome"] == "unknown" {
                again += number(&reported["resent_rows"]);
            }
        }
        let none = Vec::new();
        let earlier = report["earlier_unknown"].as_array().unwrap_or(&none);
        let said: u64 = earlier.iter().map(|batch| number(&batch["resent_rows"])).sum();
        assert_eq!(said, again, "{report:#}");
        for batch in earlier {
            let run = batch["run"].as_str().unwrap();
            let scenario = batch["scenario"].as_str().unwrap().to_owned();
            let name = (
                run[run.len() - 8..].to_owned(),
                scenario,
                number(&batch["number"]),
                number(&batch["part"]),
            );
            let known = &batches[&name];
            assert!(known.outcome() == "unknown" && known.run < at, "{batch:#}");
        }
        if report["exit_code"] == 0 {
            check_unknown_batches_are_reported(line, (at, id), earlier, batches);
        }
    }
    for batch in batches.values().filter(|batch| batch.outcome() == "unknown") {
        let decided = batch.decision().is_some();
        assert!(decided, "{:#}", batch.record);
    }
}

/// A report agrees with the ledger on a batch.
fn check_batch_report(reported: &Value, batch: &Batch<'_>, imported: bool) {
    let aborted = reported["error"]
        .as_str()
        .is_some_and(|error| error.contains("was aborted"));
    match (reported["outcome"].as_str().unwrap(), batch.outcome()) {
        // The unsent rest of a split batch has no part.
        ("not_sent", "split") if reported["attempts"] == 0 => {}
        // Aborted while its intent was being recorded: nothing was sent, which the ledger does not know.
        ("not_sent", "unknown") => assert!(batch.record["attempts"].is_null() && !imported, "{reported:#}"),
        // Aborted while its outcome was being recorded: the ledger knows more than the report.
        ("unknown", outcome) if aborted && outcome != "unknown" => {
            assert!(!batch.record["attempts"].is_null(), "{reported:#} {outcome}");
        }
        // A single row, rejected because others were accepted.
        ("rejected", "refused") => assert_eq!(reported["rows"], 1, "{reported:#}"),
        (said, outcome) => {
            assert_eq!(said, outcome, "{reported:#}");
            assert_eq!(reported["resent_rows"], batch.record["resent"], "{reported:#}");
        }
    }
}

/// A run that delivered everything reports and closes every open unknown batch.
fn check_unknown_batches_are_reported(
    line: &Line,
    (at, id): (usize, &str),
    earlier: &[Value],
    batches: &HashMap<Name, Batch<'_>>,
) {
    let scenario = line.export.kind.scenario();
    for ((run, of, number, part), batch) in batches {
        let settled_here = batch.record["decision"]["run"] == id;
        if of != scenario || batch.outcome() != "unknown" || !settled_here {
            continue;
        }
        assert!(batch.run < at, "{:#}", batch.record);
        let named = earlier.iter().any(|reported| {
            reported["run"].as_str().unwrap().ends_with(run)
                && reported["number"] == *number
                && reported["part"] == *part
        });
        assert!(
            named,
            "run {id} settled it and did not say so: {:#}",
            batch.record
        );
    }
}

/// The files in `folder`. Reading the ledger leaves an empty log behind, so this comes first.
fn files(folder: &Path) -> Vec<String> {
    let places = [".hrsink", ".hrsink/state.db.locks", ".hrsink/rejects", "reports"];
    let names = |place: &str| {
        let entries = std::fs::read_dir(folder.join(place)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| format!("{place}/{name}")).collect::<Vec<_>>()
    };
    places.iter().flat_map(|place| names(place)).collect()
}

/// Only expected files are left, and files that killed runs were writing.
fn check_files(files: &[String], runs: &[Value]) {
    let is_run = |id: &str| runs.iter().any(|run| run["run"] == id);
    for file in files {
        let (place, name) = file.rsplit_once('/').unwrap();
        let expected = match place {
            ".hrsink" => ["state.db", "state.db.key", "state.db.locks", "rejects"].contains(&name),
            ".hrsink/state.db.locks" => name.ends_with(".lock"),
            ".hrsink/rejects" => name.strip_suffix(".ndjson").is_some_and(is_run),
            _ => match name.strip_suffix(".part").and_then(|name| name.rsplit_once('.')) {
                // Of a run that was killed while it wrote its report.
                Some((report, id)) => is_run(id) && !files.contains(&format!("{place}/{report}")),
                None => name.ends_with(".json"),
            },
        };
        assert!(expected, "left behind: {file}");
    }
}
