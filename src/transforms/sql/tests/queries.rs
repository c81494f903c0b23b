//! What a query gives.

use super::*;

const WORKERS: &str = "id,name\n1,Ann\n2,Bob\n3,Cid";
const DIRECTORY: &str = "employeeId,upn\n1,ann@contoso.com\n3,cid@contoso.com\n4,dan@contoso.com";

#[tokio::test]
async fn a_left_join_keeps_rows_without_a_match() {
    let sql = "SELECT w.*, d.upn FROM workers w LEFT JOIN directory d ON d.employeeId = w.id";
    let found = rows(&[("workers", WORKERS), ("directory", DIRECTORY)], sql).await;
    assert_eq!(
        found,
        ["1|Ann|ann@contoso.com", "2|Bob|-", "3|Cid|cid@contoso.com"]
    );
}

#[tokio::test]
async fn an_inner_join_and_a_full_one() {
    let given = [("workers", WORKERS), ("directory", DIRECTORY)];
    let sql = "SELECT name, upn FROM workers JOIN directory ON id = employeeId";
    assert_eq!(
        rows(&given, sql).await,
        ["Ann|ann@contoso.com", "Cid|cid@contoso.com"]
    );
    let sql = "SELECT count(*) AS n FROM workers FULL JOIN directory ON id = employeeId";
    assert_eq!(rows(&given, sql).await, ["4"]);
    let sql = "SELECT name FROM workers WHERE id NOT IN (SELECT employeeId FROM directory)";
    assert_eq!(rows(&given, sql).await, ["Bob"]);
}

#[tokio::test]
async fn a_join_keeps_the_order_of_its_first_table() {
    let sql = "SELECT w.id FROM workers w LEFT JOIN directory d ON d.employeeId = w.id";
    let workers = "id\n3\n1\n2\n9\n4";
    let script = tables(&[("workers", workers), ("directory", DIRECTORY)]);
    let outcome = Run::new(&["workers", "directory"], sql).with(script).await;
    assert_eq!(outcome.rows, ["3", "1", "2", "9", "4"]);
    // Also of several parts, through a filter and a second join, with rows that find more than one.
    let sql = "SELECT w.id, m.upn FROM workers w LEFT JOIN directory d ON d.employeeId = w.id
               LEFT JOIN more m ON m.employeeId = w.id WHERE w.id <> '1'";
    let mut script = tables(&[
        ("workers", workers),
        ("directory", DIRECTORY),
        ("more", "employeeId,upn\n8,x\n9,y\n8,x"),
    ]);
    script.insert(1, (0, Step::Chunk(chunk("b.csv", 1, "id\n8\n0\n3"))));
    let outcome = Run::new(&["workers", "directory", "more"], sql)
        .with(script)
        .await;
    assert_eq!(
        outcome.rows,
        ["3|-", "2|-", "9|y", "4|-", "8|x", "8|x", "0|-", "3|-"]
    );
}

#[tokio::test]
async fn the_previous_level_out_of_dated_rows() {
    let levels =
        "id,since,level\n1,2024-01-01,L1\n1,2025-01-01,L2\n2,2024-05-01,L4\n1,2025-01-01,L2\n1,2026-01-01,L3";
    let sql = "
        WITH dated AS (SELECT DISTINCT id, since, level FROM levels)
        SELECT * FROM (
            SELECT id, since, lag(level) OVER (PARTITION BY id ORDER BY since) AS old, level AS new FROM dated
        ) WHERE old IS NOT NULL";
    let found = rows(&[("levels", levels)], sql).await;
    assert_eq!(found, ["1|2025-01-01|L1|L2", "1|2026-01-01|L2|L3"]);
}

#[tokio::test]
async fn the_last_row_of_each() {
    let given = [("w", "id,n:int\n1,1\n2,5\n1,3\n1,2")];
    let sql =
        "SELECT id, n FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY n DESC) AS place FROM w)
               WHERE place = 1";
    assert_eq!(rows(&given, sql).await, ["1|3", "2|5"]);
}

#[tokio::test]
async fn unions_and_tables_read_twice() {
    let given = [("a", "id\n1\n2"), ("b", "id\n2\n3")];
    let all = "SELECT id FROM a UNION ALL SELECT id FROM b";
    assert_eq!(rows(&given, all).await, ["1", "2", "2", "3"]);
    assert_eq!(
        rows(&given, "SELECT id FROM a UNION SELECT id FROM b").await,
        ["1", "2", "3"]
    );
    let pairs = "WITH both AS (SELECT id FROM a UNION SELECT id FROM b)
                 SELECT x.id, y.id AS other FROM both x JOIN both y ON x.id < y.id";
    assert_eq!(rows(&given, pairs).await, ["1|2", "1|3", "2|3"]);
}

#[tokio::test]
async fn a_chain_of_managers() {
    let given = [("w", "id,boss\n1,-\n2,1\n3,2\n4,3")];
    let sql = "
        WITH RECURSIVE above AS (
            SELECT id, boss, 1 AS steps FROM w WHERE boss IS NOT NULL
            UNION ALL
            SELECT a.id, w.boss, a.steps + 1 FROM above a JOIN w ON w.id = a.boss WHERE w.boss IS NOT NULL
        )
        SELECT id, max(steps) AS steps FROM above GROUP BY id";
    assert_eq!(rows(&given, sql).await, ["2|1", "3|2", "4|3"]);
}

#[tokio::test]
async fn names_keep_their_case_and_may_have_dots() {
    let given = [
        ("directory", "Id,upn\n1,a\n2,b"),
        ("directory.previous", "Id,upn\n1,a\n3,c"),
    ];
    for previous in ["directory.previous", "\"directory.previous\""] {
        let sql = format!("SELECT p.\"Id\" FROM {previous} p LEFT ANTI JOIN directory d ON p.Id = d.Id");
        assert_eq!(rows(&given, &sql).await, ["3"]);
    }
    for previous in ["directory.previous", "\"directory.previous\""] {
        let sql = format!("SELECT upn FROM {previous}");
        let script = tables(&given[1..]);
        let outcome = Run::new(&["directory.previous"], &sql).with(script).await;
        assert_eq!(outcome.rows, ["a", "c"]);
    }
    let sql = "SELECT previous.upn FROM directory.previous JOIN directory ON directory.Id = previous.Id";
    assert_eq!(rows(&given, sql).await, ["a"]);
}

/// The query in docs/src/how-to/snapshots.md under a heading.
fn documented(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/how-to/snapshots.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once(&format!("## {heading}\n")).unwrap();
    let (_, block) = text.split_once("```").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block[block.find("SELECT").unwrap()..].to_owned()
}

#[tokio::test]
async fn documented_snapshot_queries_work() {
    let columns = "employee_id,upn,level,last_seen";
    let now = "employee_id,upn,level\n1,a@contoso.com,L2\n2, ,L4\n5,e@contoso.com,L1";
    let before = format!(
        "{columns}\n1,a@contoso.com,L1,2026-01-01\n2,b@contoso.com,L4,2026-01-01\n3,c@contoso.com,L2,2025-12-01"
    );
    let leavers = "employee_id,last_day\n1,2026-03-01\n2,2026-03-02\n3,2026-03-03\n4,2026-03-04";
    let gone = documented("Resolve departed people");
    let given = [
        ("leavers", leavers),
        ("directory", now),
        ("directory.previous", &*before),
    ];
    assert_eq!(
        rows(&given, &gone).await,
        [
            "1|2026-03-01|a@contoso.com",
            "2|2026-03-02|b@contoso.com",
            "3|2026-03-03|c@contoso.com",
            "4|2026-03-04|-"
        ]
    );
    let changes = documented("Detect level changes");
    assert_eq!(
        rows(&given[1..], &changes).await,
        ["a@contoso.com|L2|L1|2026-01-01"]
    );
    // The first run.
    let given = [given[0], given[1], ("directory.previous", columns)];
    assert_eq!(
        rows(&given, &gone).await,
        [
            "1|2026-03-01|a@contoso.com",
            "2|2026-03-02|-",
            "3|2026-03-03|-",
            "4|2026-03-04|-"
        ]
    );
    assert!(rows(&given[1..], &changes).await.is_empty());
}

#[tokio::test]
async fn inputs_without_rows_give_columns() {
    let given = [("w", "id,name"), ("d", "id,upn")];
    let names = ["w", "d"];
    for sql in [
        "SELECT w.name, d.upn FROM w LEFT JOIN d ON w.id = d.id",
        "SELECT upper(name) AS name, id AS upn FROM w UNION ALL SELECT id, upn FROM d",
    ] {
        let outcome = Run::new(&names, sql).with(tables(&given)).await;
        assert_eq!(outcome.columns, ["name Utf8", "upn Utf8"], "{outcome:?}");
        assert_eq!((outcome.chunks, outcome.checkpoints.len()), (vec![0], 2));
    }
    let outcome = Run::new(&["w"], "SELECT name FROM w WHERE id = '1'")
        .with(tables(&given[..1]))
        .await;
    assert_eq!(
        (outcome.columns, outcome.chunks),
        (vec!["name Utf8".to_owned()], vec![0])
    );
}

#[tokio::test]
async fn what_comes_out_is_of_plain_types() {
    let sql = "SELECT substr(id, 2) AS a, CAST(id AS VARCHAR) AS b, upper(id) AS c, NULL AS d, now() = now() AS e FROM w";
    let outcome = Run::new(&["w"], sql).with(tables(&[("w", "id\nx1")])).await;
    assert_eq!(outcome.rows, ["1|x1|X1|-|true"]);
    assert_eq!(
        outcome.columns,
        ["a Utf8", "b Utf8", "c Utf8", "d Null", "e Boolean"]
    );
}

#[tokio::test]
async fn parts_in_another_form_are_read_as_the_first() {
    let script = vec![
        (0, Step::Chunk(chunk("empty.csv", 1, "id,name"))),
        (0, Step::Chunk(chunk("a.csv", 1, "id,name\nA1,Ann"))),
        (0, Step::Chunk(chunk("b.csv", 1, "name,id:int\nBob,2"))),
    ];
    let outcome = Run::new(&["w"], "SELECT * FROM w").with(script).await;
    assert_eq!(outcome.rows, ["A1|Ann", "2|Bob"]);
}

#[tokio::test]
async fn one_of_a_list_is_chosen_by_its_type() {
    let email = DataType::Struct(
        vec![
            Field::new("type", DataType::Utf8, true),
            Field::new("value", DataType::Utf8, true),
        ]
        .into(),
    );
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("lastDay", DataType::Utf8, true),
        Field::new("emails", DataType::new_list(email, true), true),
    ]));
    let mut decoder = arrow::json::ReaderBuilder::new(schema).build_decoder().unwrap();
    let text = br#"
        {"id":1,"lastDay":"a","emails":[{"type":"HOME","value":"h1"},{"type":"WORK","value":"w1"}]}
        {"id":2,"lastDay":"b","emails":[{"type":"HOME","value":"h2"}]}
        {"id":3,"lastDay":"c"}"#;
    decoder.decode(text).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let part = Arc::new(Part {
        name: "people.json".into(),
        columns: ["id", "lastDay", "emails"].map(str::to_owned).to_vec(),
    });
    let chunk = Chunk::records(batch, Origins::consecutive(part, 1, 3));
    // As in `docs/src/how-to/sql.md`.
    let docs = include_str!("../../../../docs/src/how-to/sql.md");
    let (_, rest) = docs.split_once("## Select from a list by type").unwrap();
    let (_, rest) = rest.split_once("```sql").unwrap();
    let (sql, _) = rest.split_once("```").unwrap();
    let outcome = Run::new(&["people"], sql)
        .with(vec![(0, Step::Chunk(chunk)), (0, Step::End)])
        .await;
    assert_eq!(outcome.sorted(), ["1|a|w1", "2|b|-", "3|c|-"]);
}
