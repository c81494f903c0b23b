//! Rows, columns and origins of queries.

use super::*;
use crate::transforms::sql::origin::Parts;

const DIRECTORY: &str = "employeeId,upn\n1,ann@contoso.com\n3,cid@contoso.com\n4,dan@contoso.com";

#[tokio::test]
async fn joins_tables_in_any_order_of_arrival() {
    let table = "
        SELECT w.*, d.upn FROM w LEFT JOIN directory d ON d.employeeId = w.id
        1|Ann|ann@contoso.com, 2|Bob|-, 3|Cid|cid@contoso.com
        SELECT name, upn FROM w JOIN directory ON id = employeeId
        Ann|ann@contoso.com, Cid|cid@contoso.com
        SELECT count(*) AS n FROM w FULL JOIN directory ON id = employeeId
        4
        SELECT name FROM w WHERE id NOT IN (SELECT employeeId FROM directory)
        Bob
    ";
    let given = [("w", "id,name\n1,Ann\n2,Bob\n3,Cid"), ("directory", DIRECTORY)];
    check(table, async |sql| rows(&given, sql).await.join(", ")).await;
}

#[tokio::test]
async fn keeps_the_order_of_the_first_table_of_a_join() {
    let given = [
        ("workers", "id\n3\n1\n2\n9\n4"),
        ("directory", DIRECTORY),
        ("more", "employeeId,upn\n8,x\n9,y\n8,x"),
    ];
    // Several parts, a filter, a second join, several matches.
    let sql = "SELECT w.id, m.upn FROM workers w LEFT JOIN directory d ON d.employeeId = w.id
               LEFT JOIN more m ON m.employeeId = w.id WHERE w.id <> '1'";
    let mut script = tables(&given);
    script.insert(1, (0, chunk("b.csv", 1, "id\n8\n0\n3")));
    let run = Run::new(&["workers", "directory", "more"], sql);
    let rows = run.with(script).await.rows;
    assert_eq!(rows, ["3|-", "2|-", "9|y", "4|-", "8|x", "8|x", "0|-", "3|-"]);
}

#[tokio::test]
async fn finds_case_sensitive_names_with_dots() {
    let given = [
        ("directory", "Id,upn\n1,a\n2,b"),
        ("directory.previous", "Id,upn\n1,a\n3,c"),
    ];
    let table = r#"
        SELECT p."Id" FROM directory.previous p LEFT ANTI JOIN directory d ON p.Id = d.Id
        3
        SELECT p."Id" FROM "directory.previous" p LEFT ANTI JOIN directory d ON p.Id = d.Id
        3
        SELECT previous.upn FROM directory.previous JOIN directory ON directory.Id = previous.Id
        a
    "#;
    check(table, async |sql| rows(&given, sql).await.join(", ")).await;
}

/// The query under a heading of a how-to guide.
fn documented(guide: &str, heading: &str) -> String {
    let path = format!("{}/docs/src/how-to/{guide}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once(&format!("## {heading}\n")).unwrap();
    let block = text.split("```").nth(1).unwrap();
    block[block.find("SELECT").unwrap()..].to_owned()
}

#[tokio::test]
async fn runs_documented_snapshot_queries() {
    let columns = "employee_id,upn,level,last_seen";
    let previous = format!(
        "{columns}\n1,a@contoso.com,L1,2026-01-01\n2,b@contoso.com,L4,2026-01-01\n3,c@contoso.com,L2,2025-12-01"
    );
    let departed = documented("snapshots", "Resolve departed people");
    let changes = documented("snapshots", "Detect level changes");
    for (previous, upns, changed) in [
        (
            previous.as_str(),
            ["a@contoso.com", "b@contoso.com", "c@contoso.com", "-"],
            "a@contoso.com|L2|L1|2026-01-01",
        ),
        // The first run.
        (columns, ["a@contoso.com", "-", "-", "-"], ""),
    ] {
        let leavers = "employee_id,last_day\n1,03-01\n2,03-02\n3,03-03\n4,03-04";
        let directory = "employee_id,upn,level\n1,a@contoso.com,L2\n2, ,L4\n5,e@contoso.com,L1";
        let given = [
            ("leavers", leavers),
            ("directory", directory),
            ("directory.previous", previous),
        ];
        let resolved = (1..).zip(upns).map(|(n, upn)| format!("{n}|03-0{n}|{upn}"));
        assert_eq!(rows(&given, &departed).await, resolved.collect::<Vec<_>>());
        assert_eq!(rows(&given[1..], &changes).await.join(", "), changed);
    }
}

#[tokio::test]
async fn sends_columns_without_rows() {
    let given = [("w", "id,name"), ("d", "id,upn")];
    for (inputs, sql) in [
        (2, "SELECT w.name, d.upn FROM w LEFT JOIN d ON w.id = d.id"),
        (
            2,
            "SELECT upper(name) AS name, id AS upn FROM w UNION ALL SELECT id, upn FROM d",
        ),
        (1, "SELECT name, id AS upn FROM w WHERE id = '1'"),
    ] {
        let outcome = run(&given[..inputs], sql).await;
        assert_eq!(outcome.columns, ["name Utf8", "upn Utf8"], "{outcome:?}");
        assert_eq!((outcome.chunks, outcome.checkpoints.len()), (vec![0], inputs));
    }
}

#[tokio::test]
async fn returns_plain_types() {
    let sql = "SELECT substr(id, 2) AS a, CAST(id AS VARCHAR) AS b, upper(id) AS c, NULL AS d, now() = now() AS e FROM w";
    let outcome = run(&[("w", "id\nx1")], sql).await;
    assert_eq!(outcome.rows, ["1|x1|X1|-|true"]);
    let actual = outcome.columns.join(", ");
    assert_eq!(actual, "a Utf8, b Utf8, c Utf8, d Null, e Boolean");
}

#[tokio::test]
async fn selects_from_a_list_by_type() {
    let fields = ["type", "value"].map(|name| Field::new(name, DataType::Utf8, true));
    let emails = DataType::new_list(DataType::Struct(fields.to_vec().into()), true);
    let columns = [
        ("id", DataType::Int64),
        ("lastDay", DataType::Utf8),
        ("emails", emails),
    ];
    let columns = columns.map(|(name, kind)| Field::new(name, kind, true));
    let reader = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(columns.to_vec())));
    let text = br#"
        {"id":1,"lastDay":"a","emails":[{"type":"HOME","value":"h1"},{"type":"WORK","value":"w1"}]}
        {"id":2,"lastDay":"b","emails":[{"type":"HOME","value":"h2"}]}
        {"id":3,"lastDay":"c"}"#;
    let batch = reader.build(&text[..]).unwrap().next().unwrap().unwrap();
    let origins = Origins::consecutive(part("people.json", ["id", "lastDay", "emails"]), 1, 3);
    let sql = documented("sql", "Select from a list by type");
    let given = vec![(0, Chunk::records(batch, origins))];
    let outcome = Run::new(&["people"], &sql).with(given).await;
    assert_eq!(outcome.sorted(), ["1|a|w1", "2|b|-", "3|c|-"]);
}

#[tokio::test]
async fn tracks_the_origin_of_rows() {
    let origins = async |given: &Tables<'_>, sql: &str| {
        let Outcome { rows, origins, .. } = run(given, sql).await;
        let rows = rows.iter().zip(&origins);
        let mut rows: Vec<String> = rows.map(|(row, origin)| format!("{row} {origin}")).collect();
        rows.sort();
        rows.join(", ")
    };
    let given = [("w", "id,n:int\n1,7\n2,8\n3,9"), ("d", "id,upn\n3,c\n1,a\n1,b")];
    for sql in [
        "SELECT id FROM w, (SELECT 1) WHERE n > 7",
        "SELECT id FROM w WHERE n > 7",
        "SELECT x.id FROM (SELECT id FROM w WHERE n > 7 ORDER BY n DESC LIMIT 5) x",
        "WITH x AS (SELECT *, row_number() OVER (ORDER BY n) AS place FROM w) SELECT id FROM x WHERE place > 1",
        "SELECT id FROM w WHERE n > (SELECT min(n) FROM w)",
    ] {
        let found = origins(&given[..1], sql).await;
        assert_eq!(found, "2 w.csv:2:3, 3 w.csv:3:4", "{sql}");
    }
    let table = "
        SELECT w.id, upn FROM w LEFT JOIN d ON w.id = d.id
        1|a w.csv:1:2, 1|b w.csv:1:2, 2|- w.csv:2:3, 3|c w.csv:3:4
        SELECT w.id, upn FROM w RIGHT JOIN d ON w.id = d.id
        1|a d.csv:2:3, 1|b d.csv:3:4, 3|c d.csv:1:2
        SELECT x.id, upn FROM (SELECT id FROM w GROUP BY id) x JOIN d ON x.id = d.id
        1|a d.csv:2:3, 1|b d.csv:3:4, 3|c d.csv:1:2
        SELECT id FROM w WHERE EXISTS (SELECT 1 FROM d WHERE d.id = w.id)
        1 w.csv:1:2, 3 w.csv:3:4
        SELECT id FROM w UNION ALL SELECT upn FROM d WHERE id = '3'
        1 w.csv:1:2, 2 w.csv:2:3, 3 w.csv:3:4, c d.csv:1:2
        SELECT id FROM w WHERE n = 9 UNION ALL SELECT max(upn) FROM d
        3 w.csv:3:4, c sql transform q:2:-
        SELECT w.id AS id, d.id AS other FROM w FULL JOIN d ON w.id = d.id AND d.upn = 'c' WHERE w.id = '3'
        3|3 sql transform q:1:-
    ";
    check(table, async |sql| origins(&given, sql).await).await;
    let sql = "SELECT id, count(*) AS n FROM d GROUP BY id ORDER BY id";
    let found = origins(&given[1..], sql).await;
    assert_eq!(found, "1|2 sql transform q:1:-, 3|1 sql transform q:2:-");
}

#[test]
fn renumbers_the_parts_of_mixed_origins() {
    let query = part("query", []);
    let (first, second) = (chunk("z.csv", 1, "id\n1"), chunk("y.csv", 4, "id\n2\n3"));
    let mut parts = Parts::default();
    parts.column(&first.origins, 0);
    let column = parts.column(&second.origins, 0);
    let mixed = parts.origins(Some(&column), &query, 1, 2);
    let mut again = Parts::default();
    let column = again.column(&mixed, 0);
    let found = again.origins(Some(&column), &query, 1, 2);
    let origin = found.at(1);
    assert_eq!((&*origin.file, origin.row, origin.line), ("y.csv", 5, Some(6)));
}
