//! Counters, checkpoints, memory and the order of arrival.

use super::*;

/// Read, derived, combined, filtered, accepted, not sent.
fn counted(t: &Totals) -> [u64; 6] {
    [t.read, t.derived, t.combined, t.filtered, t.accepted, t.not_sent]
}

fn ids(rows: usize) -> String {
    "id".to_owned() + &(0..rows).map(|row| format!("\n{row}")).collect::<String>()
}

#[tokio::test]
async fn counts_rows_and_holds_checkpoints_to_the_end() {
    let given = [("w", "id\n1\n2\n3"), ("d", "id\n1\n1")];
    // Rows that only decide about others are combined.
    let table = "
        SELECT w.id FROM w JOIN d ON w.id = d.id
        [5, 2, 5, 0, 2, 0]
        SELECT id FROM w WHERE id IN (SELECT id FROM d)
        [5, 0, 2, 2, 1, 0]
        SELECT id FROM w WHERE id > '1' UNION ALL SELECT id FROM d
        [5, 0, 0, 1, 4, 0]
        SELECT id FROM w UNION ALL SELECT id FROM d LIMIT 1
        [5, 0, 0, 4, 1, 0]
    ";
    check(table, async |sql| {
        let outcome = run(&given, sql).await;
        assert_eq!(outcome.checkpoints, [outcome.rows.len(); 2], "{sql}");
        format!("{:?}", counted(&outcome.totals))
    })
    .await;
}

#[tokio::test]
async fn sends_nothing_when_cancelled_before_the_end() {
    let given = [("w", "id\n1\n2"), ("d", "id\n1")];
    for (inputs, read, sql) in [
        (&["w", "d"][..], 3, "SELECT w.id FROM w, d WHERE w.id = d.id"),
        (&["w"], 2, "SELECT id FROM w ORDER BY id"),
    ] {
        let given = tables(&given[..inputs.len()]);
        // The last input ends because the run is cancelled.
        let outcome = Run::new(inputs, sql)
            .cancelled_before(Some(given.len()), given)
            .await;
        assert!(outcome.error.is_none() && outcome.rows.is_empty(), "{sql}");
        let found = (outcome.totals.not_sent, outcome.checkpoints.len());
        assert_eq!(found, (read, 0), "{sql}");
    }
}

#[tokio::test]
async fn limits_the_rows_of_a_chunk() {
    for sql in ["SELECT id FROM w", "SELECT id FROM w ORDER BY id"] {
        let outcome = run(&[("w", &ids(20_000))], sql).await;
        assert_eq!(outcome.rows.len(), 20_000);
        assert!(outcome.chunks.iter().all(|rows| *rows <= 8_192));
    }
}

const CHUNKS: usize = 30;
const ROWS: usize = 4_000;

/// 120,000 rows of about 200 bytes (25 MB) for each of two inputs, `first` before the other.
fn large(first: usize) -> Given {
    let texts = |first: usize, width: usize| -> ArrayRef {
        let texts = (first..first + ROWS).map(|row| Some(format!("{row:0>width$}")));
        Arc::new(texts.collect::<StringArray>())
    };
    let chunk = |input: usize, number: usize| {
        let first = number * ROWS;
        let columns = [("id", texts(first, 1)), ("filling", texts(first, 190))];
        let part = part(["w.csv", "d.csv"][input], ["id", "filling"]);
        let origins = Origins::consecutive(part, first as u64 + 1, ROWS);
        Chunk::records(RecordBatch::try_from_iter(columns).unwrap(), origins)
    };
    let inputs = [first, 1 - first].into_iter();
    let chunks = inputs.flat_map(|input| (0..CHUNKS).map(move |number| (input, number)));
    chunks
        .map(|(input, number)| (input, chunk(input, number)))
        .collect()
}

async fn run_with_8_mib(inputs: &[&'static str], sql: &str, mut given: Given) -> Outcome {
    let mut run = Run::new(inputs, sql);
    run.memory = 8 << 20;
    given.retain(|(input, _)| *input < inputs.len());
    run.with(given).await
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_more_than_memory_in_any_order_of_arrival() {
    let sql = "SELECT w.id, length(d.filling) AS n FROM w JOIN d ON w.id = d.id";
    for first in [0, 1] {
        let outcome = run_with_8_mib(&["w", "d"], sql, large(first)).await;
        assert_eq!(outcome.totals.combined, 2 * (CHUNKS * ROWS) as u64);
        let mut rows = outcome.sorted();
        rows.dedup();
        assert_eq!(rows.len(), CHUNKS * ROWS);
        assert!(rows.iter().all(|row| row.ends_with("|190")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sorts_and_groups_more_than_memory() {
    for sql in [
        "SELECT id, filling FROM w ORDER BY filling DESC",
        "SELECT filling, count(*) AS n FROM w GROUP BY filling",
        "SELECT id FROM (SELECT *, row_number() OVER (PARTITION BY filling ORDER BY id) AS n FROM w) WHERE n = 1",
    ] {
        let outcome = run_with_8_mib(&["w"], sql, large(0)).await;
        assert_eq!(outcome.rows.len(), CHUNKS * ROWS, "{sql}: {:?}", outcome.error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suggests_a_larger_limit_when_a_query_cannot_spill() {
    let sql = "SELECT array_agg(w.filling) AS all_rows FROM w JOIN d ON w.id = d.id";
    let error = run_with_8_mib(&["w", "d"], sql, large(0)).await.error();
    let expected = "the query of the transform `q` needs more memory than its `memory_limit` of 8MiB allows (raise \
                    `memory_limit`";
    assert!(error.starts_with(expected), "{error}");
}
