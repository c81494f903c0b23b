//! A source with a position resumes after the last rows that are final, and neither loses nor repeats a row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{Pipeline, arrived, email, emails, emulator, failure, until};
use crate::{reject_row, totals};
use hrsink::emulator::Faults;
use hrsink::pipeline::{Observer, RunOptions};
use hrsink::plugin::arrow::array::{ArrayRef, RecordBatch, StringArray};
use hrsink::plugin::{
    Chunk, Description, Origins, Output, Part, Problems, Result, Source, SourceConfig, SourceContext,
    SourceTraits, async_trait, inventory, schemars, serde,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The pages requested from each system.
static ASKED: Mutex<BTreeMap<String, Vec<usize>>> = Mutex::new(BTreeMap::new());

fn record(system: &str, page: usize) {
    let mut asked = ASKED.lock().unwrap();
    asked.entry(system.to_owned()).or_default().push(page);
}

/// A system with two rows per page.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
#[schemars(crate = "hrsink::plugin::schemars")]
struct PagesConfig {
    pages: usize,
    system: String,
}

#[async_trait]
impl SourceConfig for PagesConfig {
    fn validate(&self, _: &mut Problems<'_>) {}

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_position: true,
            ..SourceTraits::default()
        }
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let from = match cx.position.load().await? {
            Some(page) => page.parse().unwrap(),
            None => 0,
        };
        Ok(Box::new(Pages {
            from,
            config: self.clone(),
            cx,
        }))
    }
}

inventory::submit! { Description::source::<PagesConfig>("pages", "sends pages of two rows") }

struct Pages {
    /// Completed pages.
    from: usize,
    config: PagesConfig,
    cx: SourceContext,
}

#[async_trait]
impl Source for Pages {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let (from, to) = (self.from, self.config.pages);
        let mut waiting = Vec::new();
        for page in from + 1..=to {
            record(&self.config.system, page);
            let upn: ArrayRef = Arc::new(StringArray::from(vec![email(2 * page - 1), email(2 * page)]));
            let day = |day: &str| -> ArrayRef { Arc::new(StringArray::from(vec![day; 2])) };
            let columns = [
                ("upn", upn),
                ("resigned", day("2026-03-02T09:00:00Z")),
                ("last_day", day("2026-04-01T00:00:00Z")),
            ];
            let part = Arc::new(Part {
                name: format!("page {page}").as_str().into(),
                columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            });
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            let chunk = Chunk::records(rows, Origins::consecutive(part, 1, 2));
            if out.send(chunk).await.is_err() {
                break;
            }
            let Ok(delivered) = out.checkpoint(page.to_string()).await else {
                break;
            };
            waiting.push((page, delivered));
        }
        drop(out);
        for (page, delivered) in waiting {
            if !delivered.await {
                break;
            }
            self.cx.position.save(page.to_string()).await?;
        }
        Ok(())
    }
}

fn pages(url: &str, system: &str, pages: usize) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"]["export"] = json!({"type": "pages", "pages": pages, "system": system});
    pipeline.sink()["retry"]["max_attempts"] = json!(1);
    pipeline
}

/// The pages requested since the last call.
fn asked(system: &str) -> Vec<usize> {
    ASKED.lock().unwrap().remove(system).unwrap_or_default()
}

#[tokio::test]
async fn resumes_after_the_last_page_that_was_delivered_completely() {
    let emulator = emulator("503=nth:2").await;
    let mut pipeline = pages(&emulator.url(), "fails", 4);
    // The second page fails, those after it are delivered.
    let report = pipeline.run().await;
    failure(&report, 75);
    assert_rows!(report, 8, accepted: 6, not_sent: 2);
    assert_eq!(asked("fails"), [1, 2, 3, 4]);
    // Its rows are sent; those of later pages are not resent.
    let report = pipeline.run().await;
    assert_rows!(report, 6, accepted: 2, skipped: 4);
    assert_eq!(asked("fails"), [2, 3, 4]);
    assert_eq!(pipeline.run().await.rows, totals(0, |_| {}));
    pipeline.file["sources"]["export"]["pages"] = json!(5);
    assert_eq!(pipeline.run().await.rows, totals(2, |rows| rows.accepted = 2));
    assert_eq!(asked("fails"), [5]);
    assert_eq!(arrived(&emulator), emails(10));
}

#[tokio::test]
async fn does_not_advance_past_rows_of_unknown_outcome() {
    let emulator = emulator("drop_after=nth:1").await;
    let pipeline = pages(&emulator.url(), "unknown", 2);
    failure(&pipeline.run().await, 75);
    asked("unknown");
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 2, skipped: 2);
    assert_eq!(
        (asked("unknown"), report.earlier_unknown[0].resent_rows),
        (vec![1, 2], 2)
    );
    pipeline.run().await;
    assert_eq!(asked("unknown"), [0_usize; 0]);
}

#[tokio::test]
async fn advances_past_rejected_rows() {
    let emulator = emulator("").await;
    let mut pipeline = pages(&emulator.url(), "rejects", 2);
    reject_row(&mut pipeline, 1);
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 3, rejected: 1);
    asked("rejects");
    assert_eq!(pipeline.run().await.rows, totals(0, |_| {}));
}

#[tokio::test]
async fn resumes_after_an_interrupted_run() {
    let emulator = emulator("latency=50ms").await;
    let pipeline = pages(&emulator.url(), "interrupted", 8);
    let cancel = CancellationToken::new();
    let options = RunOptions::with(|options| options.cancel = cancel.clone());
    let stop = async {
        until(|| emulator.status().imports >= 2).await;
        cancel.cancel();
    };
    let observer = Observer::default();
    let (report, ()) = tokio::join!(pipeline.run_with(options, &observer), stop);
    failure(&report, 130);
    let delivered = report.rows.accepted;
    assert!((4..16).contains(&delivered), "{delivered}");
    asked("interrupted");

    emulator.set_faults(Faults::default());
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    let left: Vec<_> = (delivered as usize / 2 + 1..=8).collect();
    assert_eq!(asked("interrupted"), left, "delivered pages are not read");
    assert_rows!(report, 16 - delivered, accepted: 16 - delivered);
    assert_eq!(arrived(&emulator), emails(16));
}

#[tokio::test]
async fn does_not_advance_after_a_guard_or_a_dry_run() {
    let emulator = emulator("").await;
    let mut pipeline = pages(&emulator.url(), "guarded", 2);
    pipeline.file["guards"] = json!({"min_rows": 5});
    failure(&pipeline.run().await, 4);
    pipeline.file.as_object_mut().unwrap().remove("guards");
    let dry = RunOptions::with(|options| options.dry_run = true);
    pipeline.run_with(dry, &Observer::default()).await;
    asked("guarded");
    assert_eq!(pipeline.run().await.rows, totals(4, |rows| rows.accepted = 4));
    assert_eq!(asked("guarded"), [1, 2]);
    assert_eq!(arrived(&emulator), emails(4));
}
