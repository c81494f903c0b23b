//! Memory, speed and order of arrival.

use super::*;

/// `rows` rows of about 200 bytes: an id, counted from `first`, and a filling.
fn many(file: &str, first: usize, rows: usize) -> Chunk {
    let ids: StringArray = (first..first + rows).map(|row| Some(row.to_string())).collect();
    let filling: StringArray = (first..first + rows)
        .map(|row| Some(format!("{row:0>190}")))
        .collect();
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("filling", Arc::new(filling))];
    let part = Arc::new(Part {
        name: file.into(),
        columns: vec!["id".into(), "filling".into()],
    });
    Chunk::records(
        RecordBatch::try_from_iter(columns).unwrap(),
        Origins::consecutive(part, first as u64 + 1, rows),
    )
}

const CHUNKS: usize = 30;
const ROWS: usize = 4_000;

/// 120,000 rows for each of two inputs, about 25 MB each.
fn large(first: usize) -> Vec<(usize, Step)> {
    let one = |input: usize| -> Vec<(usize, Step)> {
        (0..CHUNKS)
            .map(|number| {
                (
                    input,
                    Step::Chunk(many(["w.csv", "d.csv"][input], number * ROWS, ROWS)),
                )
            })
            .chain([(input, Step::End)])
            .collect()
    };
    [one(first), one(1 - first)].into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_larger_than_memory_is_right_whichever_side_comes_first() {
    let sql = "SELECT w.id, length(d.filling) AS n FROM w JOIN d ON w.id = d.id";
    for first in [0, 1] {
        let mut run = Run::new(&["w", "d"], sql);
        run.memory = 8 << 20;
        let outcome = run.with(large(first)).await;
        assert_eq!(outcome.rows.len(), CHUNKS * ROWS, "{:?}", outcome.result);
        let mut ids: Vec<&String> = outcome.rows.iter().collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), CHUNKS * ROWS);
        assert!(outcome.rows.iter().all(|row| row.ends_with("|190")));
        assert_eq!(outcome.totals.combined, 2 * (CHUNKS * ROWS) as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sorting_and_grouping_more_than_memory() {
    for sql in [
        "SELECT id, filling FROM w ORDER BY filling DESC",
        "SELECT filling, count(*) AS n FROM w GROUP BY filling",
        "SELECT id FROM (SELECT *, row_number() OVER (PARTITION BY filling ORDER BY id) AS n FROM w) WHERE n = 1",
    ] {
        let mut run = Run::new(&["w"], sql);
        run.memory = 8 << 20;
        let script = large(0).into_iter().filter(|(input, _)| *input == 0);
        let outcome = run.with(script).await;
        assert_eq!(outcome.rows.len(), CHUNKS * ROWS, "{sql}: {:?}", outcome.result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_spilled_says_what_to_do() {
    // Every row of the one with every row of the other, none of them on disk.
    let sql = "SELECT array_agg(w.filling) AS all_of_it FROM w JOIN d ON w.id = d.id";
    let mut run = Run::new(&["w", "d"], sql);
    run.memory = 8 << 20;
    let outcome = run.with(large(0)).await;
    let error = outcome.error();
    assert!(
        error.starts_with("the query of the transform `q` needs more memory than its `memory_limit` of 8MiB allows\nraise `memory_limit`"),
        "{error}"
    );
}

#[tokio::test]
async fn inputs_of_different_speed_do_not_wait_for_each_other() {
    // One input sends everything before the other sends anything; nobody tells when an input has ended.
    for tells in [true, false] {
        for last in [0, 1] {
            let mut script = Vec::new();
            for input in [1 - last, last] {
                for row in 0..50 {
                    script.push((input, Step::Chunk(chunk("x.csv", row, &format!("id\n{row}")))));
                }
                script.push((input, Step::End));
            }
            let mut run = Run::new(&["w", "d"], "SELECT w.id FROM w JOIN d ON w.id = d.id");
            run.tells = tells;
            let outcome = run.with(script).await;
            assert_eq!(outcome.rows.len(), 50, "{:?}", outcome.result);
        }
    }
}

#[tokio::test]
async fn a_join_sends_before_its_first_table_has_ended() {
    // The side that is looked up in has ended; the receiver takes one chunk and goes, while the other goes on for ever.
    let script = [
        (1, Step::Chunk(chunk("d.csv", 1, "id\n1"))),
        (1, Step::End),
        (0, Step::Chunk(chunk("w.csv", 1, "id\n1"))),
    ];
    let endless = (0..200).map(|row| {
        let ids: String = (0..2_000).map(|n| format!("\n{}", row * 2_000 + n)).collect();
        (0, Step::Chunk(chunk("w.csv", 2, &format!("id{ids}"))))
    });
    let mut run = Run::new(&["w", "d"], "SELECT w.id FROM w LEFT JOIN d ON w.id = d.id");
    run.takes = 1;
    let outcome = run.with(script.into_iter().chain(endless)).await;
    assert_eq!(outcome.chunks.len(), 1);
    assert!(outcome.totals.derived < 400_000, "{:?}", outcome.totals);
}
