//! Whatever fails in the first run, the service has every row after the next one, and duplicates only where the reports
//! say so.

use std::collections::BTreeMap;

use crate::support::{Pipeline, arrived, email, emails, emulator};
use hrsink::emulator::Faults;
use serde_json::json;

#[tokio::test]
async fn loses_no_row_and_reports_every_duplicate() {
    for faults in [
        "drop_before=1",
        "drop_after=1",
        "drop_after=first:3",
        "drop_before=nth:2,drop_after=nth:3",
        "429=first:4,drop_after=nth:5,retry_after=0s",
        "500=0.3,502=0.2,drop_after=0.2,drop_before=0.2,seed=1",
        "503=0.3,504=0.2,drop_after=0.3,drop_before=0.1,seed=2",
        "400=nth:3",
        "403=nth:2,drop_after=nth:1",
        "413=every:2",
        "token_503=first:4",
        "token_drop=first:2,drop_after=first:1",
        "token_401=1",
        "token_expires=uses:1,drop_after=every:3",
        "401=every:3",
    ] {
        let emulator = emulator(faults).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 12);
        pipeline.sink()["retry"]["max_attempts"] = json!(2);
        pipeline.sink()["max_concurrent"] = json!(3);
        let first = pipeline.run().await;
        emulator.set_faults(Faults::default());
        let second = pipeline.run().await;
        assert_eq!(second.exit_code, 0, "{faults}: {second:#?}");
        assert_eq!(
            second.rows.skipped, first.rows.accepted,
            "{faults}: what was accepted is not sent again"
        );
        assert_eq!(second.rows.accepted + second.rows.skipped, 12, "{faults}");

        let mut there = BTreeMap::new();
        for row in arrived(&emulator) {
            *there.entry(row).or_insert(0_u64) += 1;
        }
        assert!(there.keys().eq(emails(12).iter()), "{faults}: {there:?}");
        // Copies that may be there, by the reports.
        let said: u64 = [&first, &second]
            .into_iter()
            .flat_map(|report| &report.batches)
            .map(|batch| u64::from(batch.unknown_attempts) * batch.rows + batch.resent_rows)
            .sum();
        let twice: u64 = there.values().map(|times| times - 1).sum();
        assert!(
            twice <= said,
            "{faults}: {twice} copies, and {said} were said: {there:?}"
        );
        // And the rows sent again are those that were said to be unknown.
        let unknown: u64 = second.earlier_unknown.iter().map(|batch| batch.resent_rows).sum();
        assert_eq!(unknown, first.rows.unknown, "{faults}");
        assert!(there.contains_key(&email(1)));
    }
}
