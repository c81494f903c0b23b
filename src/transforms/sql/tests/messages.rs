//! What people read.

use insta::assert_snapshot;

use super::*;

#[test]
fn what_needs_no_input_is_found_without_it() {
    let all = [
        "",
        "SELEC id FROM workers",
        "SELECT id\nFROM workers w\nLEFT JOIN directry d ON d.id = w.id",
        "SELECT lowr(id), summ(id) FROM workers, directory",
        "SELECT 1; SELECT 2",
        "DELETE FROM workers",
        "COPY workers TO 'x.csv'",
        "EXPLAIN SELECT * FROM workers",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x.csv'",
        "SELECT * INTO t FROM workers, directory",
        "WITH workers AS (SELECT 1 AS id) SELECT * FROM workers, directory",
        "SELECT * FROM workers, directory, information_schema.tables",
        "SELECT * FROM workers, directory, rnge(1, 2)",
        "TABLE workers",
    ];
    let told: Vec<String> = all
        .iter()
        .map(|sql| format!("{sql}\n{}", problems(&["workers", "directory"], sql)))
        .collect();
    assert_snapshot!(told.join("\n\n"), @r#"
    query: a query is needed, and this is empty

    SELEC id FROM workers
    query: line 1, column 1: not a valid query: Expected: an SQL statement, found: SELEC

    SELECT id
    FROM workers w
    LEFT JOIN directry d ON d.id = w.id
    query: line 3, column 11: there is no table `directry` among the inputs (did you mean `directory`?)
    query: the query never names the input `directory` (use it as a table, or take `directory` out of `inputs`)

    SELECT lowr(id), summ(id) FROM workers, directory
    query: line 1, column 8: there is no function `lowr` (did you mean `lower`, `floor`, `power`?)
    query: line 1, column 18: there is no function `summ` (did you mean `sum`?)

    SELECT 1; SELECT 2
    query: there are 2 statements; one SELECT is meant here, which may begin with WITH

    DELETE FROM workers
    query: line 1, column 1: this is not a query; one SELECT is meant here, which may begin with WITH

    COPY workers TO 'x.csv'
    query: this is not a query; one SELECT is meant here, which may begin with WITH

    EXPLAIN SELECT * FROM workers
    query: this is not a query; one SELECT is meant here, which may begin with WITH

    CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x.csv'
    query: this is not a query; one SELECT is meant here, which may begin with WITH

    SELECT * INTO t FROM workers, directory
    query: line 1, column 15: INTO is not possible here: a query only reads

    WITH workers AS (SELECT 1 AS id) SELECT * FROM workers, directory
    query: line 1, column 6: `workers` is an input already (give what stands behind WITH another name)

    SELECT * FROM workers, directory, information_schema.tables
    query: line 1, column 35: there is no table `information_schema.tables` among the inputs (known here: `workers`, `directory`)

    SELECT * FROM workers, directory, rnge(1, 2)
    query: line 1, column 35: there is no table function `rnge` (did you mean `range`?)

    TABLE workers
    query: line 1, column 1: not a valid query: Expected: an SQL statement, found: TABLE
    "#);
}

#[test]
fn right_queries_are_right() {
    for sql in [
        "SELECT * FROM workers JOIN directory USING (id)",
        "-- first\nSELECT count(*) FROM workers CROSS JOIN directory;",
        "WITH x AS (SELECT id FROM workers UNION SELECT id FROM directory) SELECT unnest([1, 2]), id FROM x",
        "SELECT w.id, s.value FROM workers w, directory, generate_series(1, 3) s",
        "SELECT CURRENT_DATE, Now(), row_number() OVER (ORDER BY id) FROM workers NATURAL JOIN directory",
    ] {
        assert_eq!(problems(&["workers", "directory"], sql), "", "{sql}");
    }
    assert_eq!(problems(&["a.b.c"], "SELECT * FROM \"a.b.c\""), "");
}

#[test]
fn a_memory_limit_that_is_too_small_is_refused() {
    let mut run = Run::new(&["w"], "SELECT * FROM w");
    run.memory = 1 << 20;
    let mut found = Vec::new();
    run.config()
        .validate(&run.descriptions(), &mut Problems::new(&mut found));
    assert_eq!(
        found[0].to_string(),
        "memory_limit: 1MiB is not enough; at least 8MiB are needed"
    );
}

#[test]
fn sources_need_not_read_what_the_query_does_not_name() {
    for all in [
        "SELECT * FROM w",
        "SELECT a, w.* FROM w",
        "SELECT a FROM (SELECT * FROM w)",
        "SELECT a FROM w NATURAL JOIN d",
        "not a query",
    ] {
        assert_eq!(columns(all), Columns::All, "{all}");
    }
    let sql =
        "SELECT count(*), w.a * 2, \"B b\" FROM w JOIN d USING (key) WHERE c['x'] > (SELECT max(e) FROM d)";
    let Columns::Named(named) = columns(sql) else {
        panic!("not all columns are meant")
    };
    for column in ["a", "B b", "key", "c", "e"] {
        assert!(named.contains(column), "{column}: {named:?}");
    }
    assert!(!named.contains("other"));
}

async fn told(given: &[(&'static str, &str)], sql: &str) -> String {
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    Run::new(&names, sql).with(tables(given)).await.error()
}

#[tokio::test]
async fn columns_that_do_not_fit() {
    let given = [("w", "id,employee_name\n1,Ann"), ("d", "id,upn\n1,a@contoso.com")];
    let mut texts = Vec::new();
    for sql in [
        "SELECT w.id,\n       w.employe_name\nFROM w JOIN d ON w.id = d.id",
        "SELECT id FROM w JOIN d ON w.id = d.id",
        "SELECT w.id, d.id FROM w JOIN d ON w.id = d.id",
        "SELECT upnn FROM w, d",
        "SELECT substr(upn, 'x', 1, 2) FROM w, d",
        "SELECT w.id FROM w, d GROUP BY w.employee_name",
        "SELECT id FROM w UNION ALL SELECT id, upn FROM d",
    ] {
        texts.push(format!("{sql}\n{}", told(&given, sql).await));
    }
    assert_snapshot!(texts.join("\n\n"), @r#"
    SELECT w.id,
           w.employe_name
    FROM w JOIN d ON w.id = d.id
    the query of the transform `q` does not fit the columns of its inputs: line 2, column 10: there is no column `employe_name` in `w`
    did you mean `employee_name`?

    SELECT id FROM w JOIN d ON w.id = d.id
    the query of the transform `q` does not fit the columns of its inputs: line 1, column 8: the column `id` is in more than one table
    put the table's name before it, such as `t.id`

    SELECT w.id, d.id FROM w JOIN d ON w.id = d.id
    the query of the transform `q` gives more than one column of a name: `id`
    name what is meant instead of `*`, and give columns of one name others with AS

    SELECT upnn FROM w, d
    the query of the transform `q` does not fit the columns of its inputs: line 1, column 8: there is no column `upnn`
    did you mean `upn`?

    SELECT substr(upn, 'x', 1, 2) FROM w, d
    the query of the transform `q` does not fit the columns of its inputs: line 1, column 8: there is no function `substr(Utf8, Utf8, Int64, Int64)`, but substr(str: String, start_pos: Int64), substr(str: String, start_pos: Int64, length: Int64)


    SELECT w.id FROM w, d GROUP BY w.employee_name
    the query of the transform `q` does not fit the columns of its inputs: line 1, column 8: column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column "w.id" must appear in the GROUP BY clause or must be part of an aggregate function, currently only "w.employee_name" appears in the SELECT clause satisfies this requirement


    SELECT id FROM w UNION ALL SELECT id, upn FROM d
    the query of the transform `q` does not fit the columns of its inputs: line 1, column 1: UNION queries have different number of columns
    "#);
}

#[tokio::test]
async fn a_value_that_fails_is_not_told() {
    let secret = "MARKER-7";
    let given = [("w", &*format!("id,n:int\n1,0\n{secret},9223372036854775807"))];
    let mut texts = Vec::new();
    for sql in [
        "SELECT\n  CAST(id AS INT) AS id FROM w",
        "SELECT max(id::DATE) AS id FROM w",
        "SELECT id FROM w WHERE id > 3",
        "SELECT to_date(id) AS d FROM w",
        "SELECT to_timestamp(id, '%Y') AS d FROM w",
        "SELECT to_char(to_timestamp(id), '%Y') AS d FROM w",
        "SELECT date_trunc(id, now()) AS d FROM w",
        "SELECT arrow_cast(id, 'Decimal128(5, 2)') AS d FROM w",
        "SELECT regexp_like('x', '(' || id) AS d FROM w",
        "SELECT 10 / n AS x FROM w",
        "SELECT n * 10 AS x FROM w",
        "SELECT sum(n + 1) OVER () AS x FROM w",
        "SELECT CAST(id AS BOOLEAN) AS x FROM w",
        "SELECT repeat(id, n) AS x FROM w",
        "SELECT x.id FROM w x JOIN w y ON CAST(x.id AS INT) = y.n",
    ] {
        let outcome = Run::new(&["w"], sql).with(tables(&given)).await;
        let text = match &outcome.result {
            Ok(()) => "works".to_owned(),
            Err(error) => {
                let debug = format!("{error:?}");
                format!("{debug}\n{}", outcome.error())
            }
        };
        assert!(
            !text.contains(secret) && !text.contains("92233720"),
            "{sql}: {text}"
        );
        let first = text.lines().nth(1).unwrap_or(&text).to_owned();
        texts.push(format!("{sql}\n    {first}"));
    }
    assert_snapshot!(texts.join("\n"), @r#"
    SELECT
      CAST(id AS INT) AS id FROM w
        the query of the transform `q` failed: a value cannot be read as Int32
    SELECT max(id::DATE) AS id FROM w
        the query of the transform `q` failed: a value cannot be read as Date32
    SELECT id FROM w WHERE id > 3
        the query of the transform `q` failed: a value cannot be read as Int64
    SELECT to_date(id) AS d FROM w
        the query of the transform `q` failed: a value cannot be read as what it is cast to
    SELECT to_timestamp(id, '%Y') AS d FROM w
        the query of the transform `q` failed: a value does not fit
    SELECT to_char(to_timestamp(id), '%Y') AS d FROM w
        the query of the transform `q` failed: a value cannot be read as what it is cast to
    SELECT date_trunc(id, now()) AS d FROM w
        the query of the transform `q` failed: a value does not fit
    SELECT arrow_cast(id, 'Decimal128(5, 2)') AS d FROM w
        the query of the transform `q` failed: a value cannot be read as Decimal128(38, 10)
    SELECT regexp_like('x', '(' || id) AS d FROM w
        the query of the transform `q` failed: a value does not fit
    SELECT 10 / n AS x FROM w
        the query of the transform `q` failed: a division by zero
    SELECT n * 10 AS x FROM w
        works
    SELECT sum(n + 1) OVER () AS x FROM w
        works
    SELECT CAST(id AS BOOLEAN) AS x FROM w
        the query of the transform `q` failed: a value cannot be read as Boolean
    SELECT repeat(id, n) AS x FROM w
        the query of the transform `q` failed: a value does not fit
    SELECT x.id FROM w x JOIN w y ON CAST(x.id AS INT) = y.n
        the query of the transform `q` failed: a value cannot be read as Int32
    "#);
}

#[tokio::test]
async fn the_hint_names_the_places_of_casts() {
    let text = told(&[("w", "id\nx")], "SELECT\n  CAST(id AS INT) AS id FROM w").await;
    assert_snapshot!(text, @r#"
    the query of the transform `q` failed: a value cannot be read as Int32
    the query turns values into another type at line 2, column 8
    SQL cannot put a single row aside: use `try_cast`, which gives NULL, or a condition, or leave the value to `hr_schema`, which rejects the row
    "#);
}

#[tokio::test]
async fn what_is_wrong_with_an_expression_has_its_place() {
    let given = [("w", "id,status\n1,left\n2,active")];
    let mut texts = Vec::new();
    for sql in [
        "SELECT id,\n  sum(status) AS s FROM w GROUP BY id",
        "SELECT id,\n  CAST('x' AS INT) AS n FROM w",
        "SELECT CAST('x' AS INT) AS n, CAST(id AS INT) AS m FROM w",
        "SELECT id FROM w\nWHERE lag(status) OVER (ORDER BY id) = 'left'",
        "SELECT regexp_replace(status, '(', '') AS s FROM w",
        "SELECT regexp_replace(status, '(' || status, '') AS s FROM w",
    ] {
        texts.push(format!("{sql}\n{}", told(&given, sql).await));
    }
    assert_snapshot!(texts.join("\n\n"), @r#"
    SELECT id,
      sum(status) AS s FROM w GROUP BY id
    the query of the transform `q` does not fit the columns of its inputs: line 2, column 3: there is no function `sum(Utf8)`, but sum(Decimal), sum(UInt64), sum(Int64), sum(Float64), sum(Duration), sum(Interval)


    SELECT id,
      CAST('x' AS INT) AS n FROM w
    the query of the transform `q` does not fit the columns of its inputs: line 2, column 8: cannot cast string 'x' to value of Int32 type


    SELECT CAST('x' AS INT) AS n, CAST(id AS INT) AS m FROM w
    the query of the transform `q` does not fit the columns of its inputs: cannot cast string 'x' to value of Int32 type
    the query turns values into another type at line 1, column 13; line 1, column 36

    SELECT id FROM w
    WHERE lag(status) OVER (ORDER BY id) = 'left'
    the query of the transform `q` does not fit the columns of its inputs: line 2, column 7: a window function (one with OVER) cannot stand in WHERE, HAVING or GROUP BY
    compute it in a subquery, and put the condition around that

    SELECT regexp_replace(status, '(', '') AS s FROM w
    the query of the transform `q` failed: a regular expression is not valid: unclosed group
    the query has regular expressions at line 1, column 8

    SELECT regexp_replace(status, '(' || status, '') AS s FROM w
    the query of the transform `q` failed: a regular expression is not valid: unclosed group
    the query has regular expressions at line 1, column 8
    "#);
}

#[tokio::test]
async fn a_field_that_is_not_there_is_told_with_its_neighbours() {
    let fields = vec![
        Field::new("city", DataType::Utf8, true),
        Field::new("country", DataType::Utf8, true),
    ];
    let address = arrow::array::StructArray::new_null(fields.clone().into(), 1);
    let schema = Schema::new(vec![Field::new("address", DataType::Struct(fields.into()), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(address)]).unwrap();
    let part = Arc::new(Part {
        name: "s.json".into(),
        columns: vec!["address".into()],
    });
    let chunk = Chunk::records(batch, Origins::consecutive(part, 1, 1));
    let text = Run::new(&["s"], "SELECT\n  s.address['cty'] AS city FROM s")
        .with(vec![(0, Step::Chunk(chunk)), (0, Step::End)])
        .await
        .error();
    assert_snapshot!(text, @r#"
    the query of the transform `q` does not fit the columns of its inputs: line 2, column 13: there is no field `cty` in this column
    did you mean `city`?
    "#);
}
