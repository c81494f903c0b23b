//! What is counted, and where checkpoints stand.

use super::*;

fn counted(totals: &Totals) -> (u64, u64, u64, u64, u64, u64) {
    (
        totals.read,
        totals.derived,
        totals.combined,
        totals.filtered,
        totals.accepted,
        totals.not_sent,
    )
}

#[tokio::test]
async fn a_query_that_only_filters_leaves_checkpoints_in_their_place() {
    let script = vec![
        (0, Step::Chunk(chunk("a.csv", 1, "id,n:int\n1,1\n2,2\n3,3"))),
        (0, Step::Checkpoint("a")),
        (0, Step::Chunk(chunk("b.csv", 1, "id,n:int\n4,4"))),
        (0, Step::Checkpoint("b")),
        (0, Step::Checkpoint("c")),
    ];
    let outcome = Run::new(&["w"], "SELECT upper(id) AS id FROM w WHERE n > 1")
        .with(script)
        .await;
    assert_eq!(outcome.rows, ["2", "3", "4"]);
    assert_eq!(
        outcome.checkpoints,
        [(2, "a".to_owned()), (3, "b".to_owned()), (3, "c".to_owned())]
    );
    assert_eq!(counted(&outcome.totals), (4, 0, 0, 1, 3, 0));
}

#[tokio::test]
async fn other_queries_hold_checkpoints_until_everything_was_sent() {
    let given = [("w", "id\n1\n2\n3"), ("d", "id\n1\n1")];
    let run = async |sql| Run::new(&["w", "d"], sql).with(tables(&given)).await;
    let join = run("SELECT w.id FROM w JOIN d ON w.id = d.id").await;
    assert_eq!(join.checkpoints, [(2, "w".to_owned()), (2, "d".to_owned())]);
    assert_eq!(counted(&join.totals), (5, 2, 5, 0, 2, 0));
    // All rows go through or are left out; those that only decide about it are combined.
    let semi = run("SELECT id FROM w WHERE id IN (SELECT id FROM d)").await;
    assert_eq!(counted(&semi.totals), (5, 0, 2, 2, 1, 0));
    let union = run("SELECT id FROM w WHERE id > '1' UNION ALL SELECT id FROM d").await;
    assert_eq!(counted(&union.totals), (5, 0, 0, 1, 4, 0));
    let limit = run("SELECT id FROM w UNION ALL SELECT id FROM d LIMIT 1").await;
    assert_eq!(counted(&limit.totals), (5, 0, 0, 4, 1, 0));
    assert_eq!(limit.checkpoints.len(), 2);
}

#[tokio::test]
async fn a_query_that_fails_drops_checkpoints_and_counts_what_it_took() {
    let given = [("w", "id\n1\nx"), ("d", "id\n1")];
    let sql = "SELECT CAST(w.id AS INT) AS id FROM w JOIN d ON true";
    let outcome = Run::new(&["w", "d"], sql).with(tables(&given)).await;
    assert!(outcome.result.is_err());
    assert_eq!((outcome.totals.not_sent, outcome.checkpoints.len()), (3, 0));
    let one = Run::new(&["w"], "SELECT CAST(id AS INT) AS id FROM w")
        .with(tables(&given[..1]))
        .await;
    assert!(one.result.is_err());
    assert_eq!((one.totals.not_sent, one.checkpoints.len()), (2, 0));
}

#[tokio::test]
async fn a_cancelled_run_gives_nothing_for_half_of_its_input() {
    for (inputs, sql) in [
        (&["w", "d"][..], "SELECT w.id FROM w LEFT JOIN d ON w.id = d.id"),
        (&["w"], "SELECT id FROM w ORDER BY id"),
        (&["w"], "SELECT DISTINCT id FROM w"),
    ] {
        let mut script = tables(&[("w", "id\n1\n2"), ("d", "id\n1")][..inputs.len()]);
        // The end of the last input comes because the run is cancelled.
        let end = script.pop().unwrap();
        script.push((0, Step::Cancel));
        script.push(end);
        let read: u64 = if inputs.len() == 2 { 3 } else { 2 };
        let outcome = Run::new(inputs, sql).with(script).await;
        assert!(outcome.result.is_ok());
        assert_eq!(
            (
                outcome.rows.len(),
                outcome.totals.not_sent,
                outcome.checkpoints.len()
            ),
            (0, read, 0),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_goes_away_ends_it() {
    let rows: String = (0..40_000).map(|row| format!("\n{row}")).collect();
    let script = || {
        let mut script = tables(&[("w", &format!("id{rows}")), ("d", "id\n1")]);
        script.push((0, Step::Checkpoint("late")));
        script.retain(|(input, step)| *input == 1 || !matches!(step, Step::End));
        script
    };
    for sql in [
        "SELECT w.id FROM w LEFT JOIN d ON w.id = d.id",
        "SELECT id FROM w UNION ALL SELECT id FROM d",
    ] {
        let mut run = Run::new(&["w", "d"], sql);
        run.takes = 1;
        let outcome = run.with(script()).await;
        assert!(
            outcome.result.is_ok() && outcome.totals.not_sent > 0,
            "{:?}",
            outcome.totals
        );
        assert!(outcome.checkpoints.is_empty());
    }
}

#[tokio::test]
async fn chunks_are_not_large() {
    let rows: String = (0..20_000).map(|row| format!("\n{row}")).collect();
    for sql in ["SELECT id FROM w", "SELECT id FROM w ORDER BY id"] {
        let outcome = Run::new(&["w"], sql)
            .with(tables(&[("w", &format!("id{rows}"))]))
            .await;
        assert_eq!(outcome.rows.len(), 20_000);
        assert!(
            outcome.chunks.iter().all(|rows| *rows <= 8_192),
            "{:?}",
            outcome.chunks
        );
    }
}

#[tokio::test]
async fn a_plan_over_one_table_does_not_read_ahead() {
    // The receiver takes nothing: how much of an endless input is taken in?
    let counts = Counts::default();
    let (sender, mut input) = channel(2, counts.clone());
    let out = Output::transform(vec![(sender, 0)], Counts::default());
    let (to_sink, sink) = channel(2, counts.clone());
    let run = Run::new(&["w"], "SELECT id, row_number() OVER () AS n FROM w");
    let cancel = CancellationToken::new();
    let mut cx = TransformContext::new("q", RunInfo::new("."), run.descriptions());
    cx.run.cancel = cancel.clone();
    cx.counts = counts.clone();
    let transform = run.config().build(cx).await.unwrap();
    let rows: String = (0..8_192).map(|row| format!("\n{row}")).collect();
    let chunk = chunk("a.csv", 1, &format!("id{rows}"));
    let out_of_sink = Output::transform(vec![(to_sink, 0)], counts.clone());
    let mut work = std::pin::pin!(transform.run(&mut input, out_of_sink));
    let mut sent = 0;
    loop {
        let mut send = std::pin::pin!(out.send(chunk.clone()));
        let mut stuck = true;
        for _ in 0..100 {
            assert!(futures::poll!(&mut work).is_pending());
            if futures::poll!(&mut send).is_ready() {
                stuck = false;
                break;
            }
            tokio::task::yield_now().await;
        }
        if stuck {
            break;
        }
        sent += 1;
        assert!(sent < 20, "it reads ahead of a receiver that takes nothing");
    }
    drop(sink);
    cancel.cancel();
    drop(out);
    work.await.unwrap();
}
