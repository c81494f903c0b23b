//! `preview` and `check`.

use super::*;

#[test]
fn preview_masks_personal_data() {
    let folder = Folder::examples();
    let output = folder.run(&["preview", "quickstart.yaml", "--rows", "3"]);
    snapshot!(printed(&output), @r#"
    exit code 0
    --- stdout
    resignations (employee resignation; 5 filtered; 5 rejected)
    ┌────────────────────┬────────────────┬───────────────────────────┬───────────────────────────┐
    │ origin             ┆ EmailAddress   ┆ ResignationDate           ┆ LastWorkingDate           │
    ╞════════════════════╪════════════════╪═══════════════════════════╪═══════════════════════════╡
    │ terminations.csv:2 ┆ e…@contoso.com ┆ 2026-03-28T00:00:00-04:00 ┆ 2026-04-11T00:00:00-04:00 │
    │ terminations.csv:3 ┆ e…@contoso.com ┆ 2026-01-23T00:00:00-05:00 ┆ 2026-01-23T00:00:00-05:00 │
    │ terminations.csv:4 ┆ e…@contoso.com ┆ 2026-08-25T00:00:00-04:00 ┆ 2026-09-08T00:00:00-04:00 │
    └────────────────────┴────────────────┴───────────────────────────┴───────────────────────────┘

    rejected (3 of 5)
    ┌─────────────────────┬─────────────────┬──────────────┬──────────────────────────────────────────────────┐
    │ origin              ┆ field           ┆ reason       ┆ description                                      │
    ╞═════════════════════╪═════════════════╪══════════════╪══════════════════════════════════════════════════╡
    │ terminations.csv:7  ┆ EmailAddress    ┆ missing      ┆ a required value is missing                      │
    │ terminations.csv:15 ┆ LastWorkingDate ┆ invalid_date ┆ invalid date: expected ISO 8601 or `%m/%d/%Y`    │
    │ terminations.csv:26 ┆ EmailAddress    ┆ invalid_upn  ┆ has white space or an invisible character inside │
    └─────────────────────┴─────────────────┴──────────────┴──────────────────────────────────────────────────┘
    --- stderr
    Read 40 rows; nothing was sent
    "#);
    assert!(!folder.path().join(".hrsink").exists(), "nothing is left behind");
}

#[test]
fn preview_shows_personal_data_on_request() {
    let folder = Folder::examples();
    let output = folder.run(&[
        "preview",
        "quickstart.yaml",
        "--rows",
        "2",
        "--show-personal-data",
        "--output",
        "ndjson",
    ]);
    snapshot!(printed(&output), @r#"
    exit code 0
    --- stdout
    {"component":"resignations","origin":{"file":"data/terminations.csv","row":1,"line":2},"row":{"EmailAddress":"emp.1001@contoso.com","ResignationDate":"2026-03-28T00:00:00-04:00","LastWorkingDate":"2026-04-11T00:00:00-04:00"}}
    {"component":"resignations","origin":{"file":"data/terminations.csv","row":2,"line":3},"row":{"EmailAddress":"emp.1002@contoso.com","ResignationDate":"2026-01-23T00:00:00-05:00","LastWorkingDate":"2026-01-23T00:00:00-05:00"}}
    {"rejected":{"file":"data/terminations.csv","row":5,"line":7,"component":"resignations","faults":[{"field":"EmailAddress","code":"missing","message":"a required value is missing"}]}}
    {"rejected":{"file":"data/terminations.csv","row":12,"line":15,"component":"resignations","faults":[{"field":"LastWorkingDate","code":"invalid_date","message":"invalid date: expected ISO 8601 or `%m/%d/%Y`","value":"02/30/2026"}]}}
    --- stderr
    Read 40 rows; nothing was sent
    "#);
}

#[test]
fn preview_masks_every_column_of_records() {
    let folder = Folder::empty();
    folder.write(
        "a.csv",
        "mail,born,salary,note\nsarad@contoso.com,1980-02-03,52000,\n",
    );
    folder.write(
        "a.yaml",
        "sources: {a: {type: file, path: a.csv}}\nsinks: {out: {type: console, inputs: [a]}}\n",
    );
    snapshot!(printed(&folder.run(&["preview", "a.yaml"])), @r#"
    exit code 0
    --- stdout
    a (records)
    ┌─────────┬────────────────┬────────────┬────────┬──────┐
    │ origin  ┆ mail           ┆ born       ┆ salary ┆ note │
    ╞═════════╪════════════════╪════════════╪════════╪══════╡
    │ a.csv:2 ┆ s…@contoso.com ┆ 9999-99-99 ┆ 99999  ┆      │
    └─────────┴────────────────┴────────────┴────────┴──────┘

    --- stderr
    Read 1 row (the complete input); nothing was sent
    "#);
}

#[test]
fn preview_reports_wrong_input() {
    let folder = Folder::examples();
    folder.write(
        "data/terminations.csv",
        "Employee ID,E-Mail,status,resign_date,last_day\n",
    );
    folder.says(&["preview", "quickstart.yaml"], 2, &["Work Email"]);
}

#[test]
fn check_reports_each_step() {
    let folder = Folder::examples();
    folder.says(&["check", "quickstart.yaml"], 0, &[]);
    let checked = folder.json(&["check", "quickstart.yaml", "--output", "json"]);
    assert_eq!(checked[0]["source"], "hr_export");
    assert_eq!(checked[0]["steps"][0]["state"], "works", "{checked:#}");
    assert_eq!(checked[1]["sink"], "purview");
    assert!(!folder.path().join(".hrsink").exists(), "nothing is left behind");
}

#[test]
fn check_fails_without_the_secret() {
    Folder::examples().says(&["check", "worldwide.yaml"], 2, &[]);
}

/// What begins with the comment line of the suggestion.
fn suggested(output: &Output) -> String {
    let lines = text(&output.stdout)
        .lines()
        .skip_while(|line| !line.starts_with("# A starting point"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn preview_describes_a_source_and_suggests_a_mapping() {
    let folder = Folder::empty();
    folder.write(
        "workday.csv",
        "Worker,Work_Email,Termination_Last_Day_of_Work,resignation_date\n\
         4711,sarad@contoso.com,05/31/2026,04/30/2026\n4712,mikeh@contoso.com,06/15/2026,12/31/9999\n",
    );
    let source = "sources: {hr: {type: file, path: workday.csv}}\n";
    // Neither the variable nor the components need be there.
    folder.write(
        "hr.yaml",
        &format!("{source}sinks: {{x: {{type: no, a: '${{NOT_SET}}'}}}}\n"),
    );
    let output = folder.run(&["preview", "hr.yaml", "--source", "hr"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let mapping = suggested(&output);
    for expected in [
        "EmailAddress: lower(trim(Work_Email))",
        "LastWorkingDate: Termination_Last_Day_of_Work",
        "ResignationDate: resignation_date",
        "formats: [\"%m/%d/%Y\"]",
        "null_values: [\"12/31/9999\"]",
    ] {
        assert!(mapping.contains(expected), "{expected}\n{}", printed(&output));
    }
    assert!(!printed(&output).contains("sarad@"), "{}", printed(&output));
    folder.write(
        "pasted.yaml",
        &format!("{source}{mapping}sinks: {{out: {{type: console, inputs: [resignations]}}}}\n"),
    );
    folder.says(&["validate", "pasted.yaml"], 0, &[]);
}

#[test]
fn preview_suggests_similar_source_names() {
    let folder = Folder::empty();
    folder.write("hr.yaml", "sources: {hr_export: {type: file, path: a.csv}}\n");
    let words = ["did you mean `hr_export`?"];
    folder.says(&["preview", "hr.yaml", "--source", "hr_exprot"], 2, &words);
}
