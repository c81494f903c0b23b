//! The transforms, and the SQL engine they share.

pub(crate) mod hr_schema;
pub(crate) mod sql;
mod sql_expression;

use sql_expression::is_about_a_value;
pub(crate) use sql_expression::{Engine, ParsedExpression, SqlError};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::component::{RowKind, RunInfo, TransformConfig, TransformContext, contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        let chunk = |file, first, rows| contract::chunk(file, first, &format!("id:int,mail,day\n{rows}"));
        let first = "1,ann@example.com,2026-01-31\n2,-,2026-01-31";
        let given = [
            (0, chunk("a.csv", 1, first)),
            (1, chunk("b.csv", 1, "3,bob@example.com,2026-01-31")),
            (
                0,
                chunk("a.csv", 3, "9,cid@example.com,2026-01-31\n2,dan@example.com,-"),
            ),
        ];
        let sql = |query| json!({"type": "sql", "query": query});
        let mapped = json!({
            "type": "hr_schema",
            "scenario": "employee_resignation",
            "dates": {"timezone": "UTC"},
            "fields": {"EmailAddress": "mail", "ResignationDate": "day", "LastWorkingDate": "day"},
            "where": "id < 9",
        });
        for (settings, names) in [
            (mapped, ["a", "b"].as_slice()),
            (sql("SELECT mail FROM a WHERE id > 1"), &["a"]),
            (sql("SELECT id FROM a UNION ALL SELECT id FROM b"), &["a", "b"]),
            (sql("SELECT a.id, b.mail FROM a JOIN b USING (day)"), &["a", "b"]),
            (sql("SELECT day, count(*) AS leavers FROM a GROUP BY day"), &["a"]),
        ] {
            let config = contract::component::<dyn TransformConfig>(settings);
            let inputs = contract::inputs(names, RowKind::Records);
            let given = given.iter().filter(|(input, _)| *input < names.len());
            let given: Vec<_> = given.cloned().collect();
            let cx = || TransformContext::new("map", RunInfo::new("."), inputs.clone());
            contract::transform(&*config, cx, &given).await;
        }
    }
}
