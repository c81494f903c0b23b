//! Where rows that come out are said to be from.

use super::*;

async fn origins(given: &[(&'static str, &str)], sql: &str) -> Vec<String> {
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    let outcome = Run::new(&names, sql).with(tables(given)).await;
    outcome.result.unwrap();
    let mut found: Vec<String> = outcome
        .rows
        .iter()
        .zip(&outcome.origins)
        .map(|(row, origin)| format!("{row} {origin}"))
        .collect();
    found.sort();
    found
}

const TWO: [(&str, &str); 2] = [("w", "id,n:int\n1,7\n2,8\n3,9"), ("d", "id,upn\n3,c\n1,a\n1,b")];

#[tokio::test]
async fn one_row_in_one_row_out() {
    for sql in [
        "SELECT id FROM w, (SELECT 1) WHERE n > 7",
        "SELECT id FROM w WHERE n > 7",
        "SELECT x.id FROM (SELECT id FROM w WHERE n > 7 ORDER BY n DESC LIMIT 5) x",
        "WITH x AS (SELECT *, row_number() OVER (ORDER BY n) AS place FROM w) SELECT id FROM x WHERE place > 1",
        "SELECT id FROM w WHERE n > (SELECT min(n) FROM w)",
    ] {
        assert_eq!(
            origins(&TWO[..1], sql).await,
            ["2 w.csv:2:3", "3 w.csv:3:4"],
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_join_has_those_of_the_side_it_preserves() {
    let left = "SELECT w.id, upn FROM w LEFT JOIN d ON w.id = d.id";
    assert_eq!(
        origins(&TWO, left).await,
        ["1|a w.csv:1:2", "1|b w.csv:1:2", "2|- w.csv:2:3", "3|c w.csv:3:4"]
    );
    let right = "SELECT w.id, upn FROM w RIGHT JOIN d ON w.id = d.id";
    assert_eq!(
        origins(&TWO, right).await,
        ["1|a d.csv:2:3", "1|b d.csv:3:4", "3|c d.csv:1:2"]
    );
    // The first side merges rows, the second does not.
    let inner = "SELECT x.id, upn FROM (SELECT id FROM w GROUP BY id) x JOIN d ON x.id = d.id";
    assert_eq!(
        origins(&TWO, inner).await,
        ["1|a d.csv:2:3", "1|b d.csv:3:4", "3|c d.csv:1:2"]
    );
    let semi = "SELECT id FROM w WHERE EXISTS (SELECT 1 FROM d WHERE d.id = w.id)";
    assert_eq!(origins(&TWO, semi).await, ["1 w.csv:1:2", "3 w.csv:3:4"]);
}

#[tokio::test]
async fn a_union_has_those_of_both() {
    let sql = "SELECT id FROM w UNION ALL SELECT upn FROM d WHERE id = '3'";
    assert_eq!(
        origins(&TWO, sql).await,
        ["1 w.csv:1:2", "2 w.csv:2:3", "3 w.csv:3:4", "c d.csv:1:2"]
    );
    let half = "SELECT id FROM w WHERE n = 9 UNION ALL SELECT max(upn) FROM d";
    let found = origins(&TWO, half).await;
    assert_eq!(found[0], "3 w.csv:3:4");
    assert!(found[1].starts_with("c sql transform q:"), "{found:?}");
}

#[tokio::test]
async fn rows_that_were_merged_are_the_querys_own() {
    let sql = "SELECT id, count(*) AS n FROM d GROUP BY id ORDER BY id";
    assert_eq!(
        origins(&TWO[1..], sql).await,
        ["1|2 sql transform q:1:-", "3|1 sql transform q:2:-"]
    );
    let sql = "SELECT w.id AS id, d.id AS other FROM w FULL JOIN d ON w.id = d.id AND d.upn = 'c' ORDER BY 1";
    assert!(
        origins(&TWO, sql)
            .await
            .iter()
            .all(|row| row.contains("sql transform q:"))
    );
}

#[tokio::test]
async fn origins_of_several_parts_survive_a_second_query() {
    let first = tables(&TWO);
    let union = Run::new(&["w", "d"], "SELECT id FROM w UNION ALL SELECT upn FROM d");
    let _ = union.with(first).await;
    // Mixed origins as an input: the parts are numbered anew.
    let parts = crate::transforms::sql::origin::Parts::default();
    let given = chunk("z.csv", 1, "id\n1");
    let other = chunk("y.csv", 4, "id\n2\n3");
    let query = Arc::new(Part {
        name: "query".into(),
        columns: vec![],
    });
    for chunk in [&given, &other] {
        parts.column(&chunk.origins, 0);
    }
    let mixed = parts.origins(Some(&parts.column(&other.origins, 0)), &query, 1, 2);
    let again = crate::transforms::sql::origin::Parts::default();
    let column = again.column(&mixed, 0);
    let found = again.origins(Some(&column), &query, 1, 2);
    assert_eq!(
        (found.at(1).file.to_string(), found.at(1).row, found.at(1).line),
        ("y.csv".into(), 5, Some(6))
    );
}
