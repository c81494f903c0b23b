//! A crate registers a source, a transform and a sink through `hrsink::plugin` alone, and they work like the built-in ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;

use hrsink::config::{LoadError, Problem};
use hrsink::error::ErrorKind;
use hrsink::pipeline::{Observer, RunOptions, run};
use hrsink::plugin::{Role, descriptions};
use serde_json::{Value, json};
use support::{JOB, Pipeline, arrived, email, emails, emulator, failure, sink};

/// The plug-in. Uses only `hrsink::plugin`.
mod roster {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex};

    use hrsink::plugin::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
    use hrsink::plugin::arrow::compute::filter_record_batch;
    use hrsink::plugin::{
        Chunk, Description, Error, Fault, Input, InputDescription, Item, Origins, Output, Part, Problems,
        Reject, RejectCode, Result, RowKind, Sink, SinkConfig, SinkContext, Source, SourceConfig,
        SourceContext, Transform, TransformConfig, TransformContext, async_trait, inventory, schemars, serde,
    };

    /// What sources learned, by their `note_as`.
    pub(super) static NOTES: Mutex<BTreeMap<String, Note>> = Mutex::new(BTreeMap::new());

    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub(super) struct Note {
        /// The positions in order, and whether everything before them was delivered.
        pub(super) delivered: Vec<(String, bool)>,
        /// The used columns.
        pub(super) columns: Option<BTreeSet<String>>,
    }

    /// Sends addresses.
    #[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
    #[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
    #[schemars(crate = "hrsink::plugin::schemars")]
    struct RosterConfig {
        /// The addresses of each page.
        pages: Vec<Vec<String>>,
        /// Name of the note about the pages.
        note_as: String,
        /// Fails when it is built.
        #[serde(default)]
        broken: bool,
    }

    #[async_trait]
    impl SourceConfig for RosterConfig {
        fn validate(&self, problems: &mut Problems<'_>) {
            for (index, page) in self.pages.iter().enumerate() {
                if page.is_empty() {
                    problems
                        .at("pages")
                        .at_index(index)
                        .add_with_hint("the page is empty", "remove it");
                }
            }
        }

        async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
            if self.broken {
                return Err(Error::input("the roster cannot be opened").with_hint("open it"));
            }
            let config = self.clone();
            Ok(Box::new(Roster { config, cx }))
        }
    }

    struct Roster {
        config: RosterConfig,
        cx: SourceContext,
    }

    #[async_trait]
    impl Source for Roster {
        async fn run(self: Box<Self>, out: Output) -> Result<()> {
            let mut pages = Vec::new();
            for (number, page) in self.config.pages.into_iter().enumerate() {
                let name = format!("page {}", number + 1);
                let columns = ["upn", "day"].map(str::to_owned).to_vec();
                let part = Arc::new(Part {
                    name: name.as_str().into(),
                    columns,
                });
                let rows = page.len();
                let upn: ArrayRef = Arc::new(StringArray::from(page));
                let day: ArrayRef = Arc::new(StringArray::from(vec!["2026-03-02"; rows]));
                let batch = RecordBatch::try_from_iter([("upn", upn), ("day", day)]).unwrap();
                if out
                    .send(Chunk::records(batch, Origins::consecutive(part, 1, rows)))
                    .await
                    .is_err()
                {
                    break;
                }
                let Ok(delivered) = out.checkpoint(name.as_str()).await else {
                    break;
                };
                pages.push((name, delivered));
            }
            drop(out);
            let mut note = Note {
                columns: self.cx.columns.as_deref().cloned(),
                ..Note::default()
            };
            for (name, delivered) in pages {
                note.delivered.push((name, delivered.await));
            }
            NOTES.lock().unwrap().insert(self.config.note_as, note);
            Ok(())
        }
    }

    /// Adds a domain to names without one.
    #[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
    #[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
    #[schemars(crate = "hrsink::plugin::schemars")]
    struct DomainConfig {
        /// The domain.
        domain: String,
        /// Panics with a row in its text.
        #[serde(default)]
        panics: bool,
    }

    #[async_trait]
    impl TransformConfig for DomainConfig {
        fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
            for input in inputs.iter().filter(|input| input.kind != RowKind::Records) {
                problems
                    .at("inputs")
                    .add(format!("`{}` sends rows of a schema", input.name));
            }
        }

        fn kind(&self) -> RowKind {
            RowKind::Records
        }

        async fn build(&self, cx: TransformContext) -> Result<Box<dyn Transform>> {
            let config = self.clone();
            Ok(Box::new(Domain { config, cx }))
        }
    }

    struct Domain {
        config: DomainConfig,
        cx: TransformContext,
    }

    impl Domain {
        fn map(&self, chunk: &Chunk) -> Chunk {
            let upn = chunk.batch.column_by_name("upn").unwrap().as_string::<i32>();
            assert!(!self.config.panics, "cannot cut `{}`", upn.value(0));
            let keep: BooleanArray = (0..upn.len())
                .map(|row| Some(!upn.value(row).is_empty()))
                .collect();
            for row in (0..upn.len()).filter(|row| !keep.value(*row)) {
                let fault = Fault {
                    field: None,
                    code: RejectCode::Missing,
                    message: "there is no name".into(),
                    value: None,
                };
                let origin = chunk.origins.at(row);
                self.cx.reject(Reject {
                    origin,
                    component: self.cx.name.clone(),
                    faults: vec![fault],
                });
            }
            let with = |name: Option<&str>| {
                let name = name?;
                Some(if name.contains('@') {
                    name.to_owned()
                } else {
                    format!("{name}@{}", self.config.domain)
                })
            };
            let whole: ArrayRef = Arc::new(upn.iter().map(with).collect::<StringArray>());
            let day = chunk.batch.column_by_name("day").unwrap().clone();
            let batch = RecordBatch::try_from_iter([("upn", whole), ("day", day)]).unwrap();
            let batch = filter_record_batch(&batch, &keep).unwrap();
            Chunk::records(batch, chunk.origins.filter(&keep).unwrap())
        }
    }

    #[async_trait]
    impl Transform for Domain {
        async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()> {
            while let Some((_, item)) = input.next().await {
                let passed = match item {
                    Item::Chunk(chunk) => out.send(self.map(&chunk)).await,
                    Item::Checkpoint(checkpoint) => out.pass_checkpoint(checkpoint).await,
                };
                if passed.is_err() {
                    break;
                }
            }
            Ok(())
        }
    }

    /// Counts rows.
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
    #[schemars(crate = "hrsink::plugin::schemars")]
    struct TallyConfig {
        /// The maximum number of rows.
        #[serde(default)]
        capacity: Option<usize>,
    }

    #[async_trait]
    impl SinkConfig for TallyConfig {
        fn validate(&self, _: &[InputDescription], problems: &mut Problems<'_>) {
            if self.capacity == Some(0) {
                problems.at("capacity").add("must be at least 1");
            }
        }

        async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
            Ok(Box::new(Tally {
                left: self.capacity.unwrap_or(usize::MAX),
                cx,
            }))
        }
    }

    struct Tally {
        left: usize,
        cx: SinkContext,
    }

    #[async_trait]
    impl Sink for Tally {
        async fn run(mut self: Box<Self>, input: &mut Input) -> Result<()> {
            while let Some((_, item)) = input.next().await {
                match item {
                    Item::Chunk(chunk) if chunk.num_rows() > self.left => {
                        self.cx.counts.not_sent(chunk.num_rows());
                        return Err(Error::unexpected("the tally is full").with_hint("empty it"));
                    }
                    Item::Chunk(chunk) => {
                        self.left -= chunk.num_rows();
                        self.cx.counts.accepted(chunk.num_rows());
                    }
                    Item::Checkpoint(checkpoint) => checkpoint.done(),
                }
            }
            Ok(())
        }
    }

    inventory::submit! { Description::source::<RosterConfig>("roster", "sends addresses") }
    inventory::submit! { Description::transform::<DomainConfig>("domain", "adds a domain") }
    inventory::submit! { Description::sink::<TallyConfig>("tally", "counts rows") }
}

/// `roster ─▶ domain ─▶ hr_schema ─▶ m365_hr`, and `domain ─▶ tally`. Four rows in two pages.
fn pipeline(url: &str, note_as: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"] = json!({"people": {
        "type": "roster",
        "pages": [["user0001", "user0002@contoso.com"], ["user0003", "user0004"]],
        "note_as": note_as,
    }});
    pipeline.file["transforms"] = json!({
        "people_at": {"type": "domain", "inputs": ["people"], "domain": "contoso.com"},
        "resignations": {
            "type": "hr_schema",
            "inputs": ["people_at"],
            "scenario": "employee_resignation",
            "dates": {"timezone": "UTC"},
            "fields": {"EmailAddress": "upn", "ResignationDate": "day", "LastWorkingDate": "day"},
        },
    });
    pipeline.file["sinks"]["count"] = json!({"type": "tally", "inputs": ["people_at"]});
    pipeline
}

fn note(name: &str) -> roster::Note {
    roster::NOTES.lock().unwrap()[name].clone()
}

fn delivered(name: &str) -> Vec<bool> {
    note(name)
        .delivered
        .iter()
        .map(|(_, delivered)| *delivered)
        .collect()
}

fn problems(pipeline: &Pipeline) -> Vec<Problem> {
    match pipeline.load() {
        Err(LoadError::Problems { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn runs_plugins_together_with_built_in_components() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), "together");
    pipeline.file["sources"]["people"]["pages"][1][1] = json!("");
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(arrived(&emulator), emails(3));
    let rows = report.rows;
    assert_eq!(
        (rows.read, rows.copied, rows.rejected, rows.accepted),
        (4, 3, 1, 6)
    );
    let path = report.rejects.path.unwrap();
    let line: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (
            &line["file"],
            &line["row"],
            &line["component"],
            &line["faults"][0]["code"]
        ),
        (
            &json!("page 2"),
            &json!(2),
            &json!("people_at"),
            &json!("missing")
        )
    );
    let positions: Vec<_> = note("together").delivered;
    assert_eq!(
        positions,
        [("page 1".to_owned(), true), ("page 2".to_owned(), true)]
    );
}

#[test]
fn lists_plugins_and_includes_them_in_the_schema() {
    for (role, name, summary) in [
        (Role::Source, "roster", "sends addresses"),
        (Role::Transform, "domain", "adds a domain"),
        (Role::Sink, "tally", "counts rows"),
    ] {
        let found = descriptions();
        let found = found
            .iter()
            .find(|found| (found.role, found.name) == (role, name))
            .unwrap();
        assert_eq!(found.summary, summary);
    }
    let schema = jsonschema::validator_for(&hrsink::config::schema()).unwrap();
    let mut pipeline = pipeline("http://127.0.0.1:1", "schema");
    assert!(schema.is_valid(&pipeline.file));
    pipeline.file["transforms"]["people_at"]["domian"] = json!("x");
    assert!(!schema.is_valid(&pipeline.file), "a misspelt key");
}

#[test]
fn reports_problems_in_the_settings_of_plugins() {
    let mut pipeline = pipeline("http://127.0.0.1:1", "mistakes");
    pipeline.file["sources"]["people"]["pages"][1] = json!([]);
    pipeline.file["transforms"]["people_at"]["domian"] = json!("x");
    pipeline.file["sinks"]["count"]["type"] = json!("tallly");
    let found = problems(&pipeline);
    let expected = [
        ("sources.people.pages[1]", "the page is empty", "remove it"),
        (
            "transforms.people_at.domian",
            "unknown key `domian`",
            "did you mean `domain`?",
        ),
        (
            "sinks.count.type",
            "unknown type `tallly`",
            "did you mean `tally`?",
        ),
    ];
    for (path, message, hint) in expected {
        let problem = found.iter().find(|problem| problem.path == path);
        let problem = problem.unwrap_or_else(|| panic!("{path} is not in {found:#?}"));
        assert_eq!(problem.message, message);
        assert!(problem.hint.as_deref().unwrap().starts_with(hint), "{problem:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[tokio::test]
async fn reports_to_a_source_what_was_delivered() {
    // The first page is accepted, the second refused: a checkpoint is delivered only if all its branches are.
    let refusing = emulator("403=nth:2").await;
    let report = pipeline(&refusing.url(), "second refused").run().await;
    failure(&report, 5);
    assert_eq!(delivered("second refused"), [true, false]);
    assert_eq!(arrived(&refusing), emails(2));

    let mut full = pipeline(&refusing.url(), "tally full");
    full.file["transforms"]
        .as_object_mut()
        .unwrap()
        .remove("resignations");
    full.file["sinks"] = json!({"count": {"type": "tally", "inputs": ["people_at"], "capacity": 3}});
    let report = full.run().await;
    let error = failure(&report, 1);
    assert_eq!(
        (error.component.as_deref(), error.hints[0].as_str()),
        (Some("count"), "empty it")
    );
    assert_eq!((report.rows.accepted, report.rows.not_sent), (2, 2));
    assert_eq!(delivered("tally full"), [true, false]);

    let lost = emulator("drop_after=1").await;
    failure(&pipeline(&lost.url(), "unknown").run().await, 75);
    assert!(!delivered("unknown").contains(&true), "unknown is not delivered");

    let options = RunOptions::with(|options| options.dry_run = true);
    let report = pipeline(&lost.url(), "dry")
        .run_with(options, &Observer::default())
        .await;
    assert_eq!((report.exit_code, delivered("dry")), (0, vec![false, false]));
}

#[tokio::test]
async fn passes_the_used_columns_to_a_source() {
    let emulator = emulator("").await;
    let mut needed = pipeline(&emulator.url(), "needed");
    needed.file["transforms"]["resignations"]["inputs"] = json!(["people"]);
    needed.file["transforms"]["resignations"]["fields"]["EmailAddress"] = json!("upn || '@contoso.com'");
    needed.file["sources"]["people"]["pages"] = json!([["user0001"]]);
    needed.file["transforms"]
        .as_object_mut()
        .unwrap()
        .remove("people_at");
    needed.file["sinks"] = json!({"purview": sink(&emulator.url(), JOB, "resignations")});
    assert_eq!(needed.run().await.exit_code, 0);
    let columns: BTreeSet<String> = ["upn", "day"].map(str::to_owned).into();
    assert_eq!(note("needed").columns, Some(columns));
    assert_eq!(arrived(&emulator), [email(1)]);

    needed.file["sources"]["people"]["note_as"] = json!("all");
    needed.file["sinks"]["count"] = json!({"type": "tally", "inputs": ["people"]});
    assert_eq!(needed.run().await.exit_code, 0);
    assert_eq!(note("all").columns, None, "a sink uses all columns");
}

#[tokio::test]
async fn reads_nothing_if_a_component_cannot_be_built() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), "broken");
    pipeline.file["sources"]["people"]["broken"] = json!(true);
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert_eq!(
        (error.component.as_deref(), error.kind),
        (Some("people"), ErrorKind::Input)
    );
    assert_eq!((report.rows.read, emulator.status().tokens_issued), (0, 0));
}

#[tokio::test]
async fn names_a_panicked_plugin_without_its_text() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), "panic");
    pipeline.file["transforms"]["people_at"]["panics"] = json!(true);
    let config = pipeline.load().unwrap();
    let report = run(&config, RunOptions::default(), &Observer::default()).await;
    let error = failure(&report, 1);
    assert_eq!(
        (error.component.as_deref(), error.kind),
        (Some("people_at"), ErrorKind::Unexpected)
    );
    assert!(
        error.message.contains("panicked") && !error.message.contains("user0001"),
        "{}",
        error.message
    );
    // The rows it held are lost, and the report says that rows are missing; those in its channel are counted.
    assert!(!report.conserved);
    assert_eq!(report.rows.read - report.rows.not_sent, 2);
    assert!(!delivered("panic").contains(&true));
}
