//! Which columns are suggested, and that the output is a valid pipeline without values.

use super::*;
use crate::config::PipelineConfig;
use crate::config::document::Notation;

fn column(path: &str, values: &[&str]) -> Column {
    let quoted = path.contains(' ').then(|| format!("\"{path}\""));
    Column {
        names: vec![path.to_owned()],
        path: quoted.unwrap_or_else(|| path.to_owned()),
        data_type: DataType::Utf8,
        rows: 3,
        values: values.iter().map(ToString::to_string).collect(),
    }
}

/// A column whose value is in an object of its own.
fn wrapped(name: &str, value: &str) -> Column {
    Column {
        names: ["attributes", name, "value"].map(str::to_owned).to_vec(),
        path: format!("attributes['{name}']['value']"),
        ..column(name, &[value])
    }
}

/// The output as YAML, which must be a valid pipeline with a source and a sink added.
#[track_caller]
fn valid(columns: &[Column]) -> String {
    let text = text(&suggest("hr", columns), columns);
    let (_, yaml) = text.split_once('\n').unwrap();
    let file = format!(
        "sources: {{hr: {{type: file, path: a.csv}}}}\n{yaml}sinks: {{out: {{type: console, inputs: [resignations]}}}}\n"
    );
    let parsed = PipelineConfig::parse(&file, Notation::Yaml, std::path::Path::new("a.yaml"), &|_| None);
    assert!(parsed.is_ok(), "{parsed:?}\n{file}");
    yaml.to_owned()
}

#[test]
fn prefers_better_names_and_matching_values() {
    for (columns, expected) in [
        (
            vec![
                column("terminationDate", &["2026-05-31"]),
                column("Last Day of Work", &["2026-05-31"]),
                column("homeEmail", &["sara@fabrikam.example"]),
                column("workEmail", &["sarad@contoso.com"]),
                column("hireDate", &["2020-01-01"]),
            ],
            [
                ("EmailAddress", "lower(trim(workEmail))"),
                ("LastWorkingDate", "\"Last Day of Work\""),
            ],
        ),
        (
            vec![
                column("email", &["yes", "no", "yes"]),
                column("mail", &["sarad@contoso.com"]),
                column("last_day", &["Friday", "Monday"]),
            ],
            [
                ("EmailAddress", "lower(trim(mail))"),
                ("LastWorkingDate", "last_day"),
            ],
        ),
        (
            vec![
                wrapped("email", "sarad@contoso.com"),
                wrapped("last_working_day", "2026-05-31"),
                wrapped("hire_date", "2020-05-31"),
            ],
            [
                ("EmailAddress", "lower(trim(attributes['email']['value']))"),
                ("LastWorkingDate", "attributes['last_working_day']['value']"),
            ],
        ),
    ] {
        let suggested = suggest("hr", &columns);
        assert_eq!(suggested[0].scenario, Scenario::EmployeeResignation);
        let chosen = suggested[0].fields.iter().filter_map(|(field, choice)| {
            let choice = choice.as_ref()?;
            Some((field.name, choice.expression.as_str()))
        });
        assert_eq!(chosen.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn prints_a_valid_pipeline() {
    let mail = || column("work email", &["sarad@contoso.com"]);
    for (columns, expected) in [
        (
            vec![column("last_day", &[])],
            vec!["EmailAddress: cast(NULL AS varchar)  # TODO"],
        ),
        (
            vec![
                mail(),
                column("resignation date", &["31/12/2026"]),
                column("last day", &["12/31/2026", "n/a"]),
            ],
            vec![
                "dates: {formats: [\"%d/%m/%Y\"]}",
                "dates: {formats: [\"%m/%d/%Y\"]}",
                "null_values: [\"n/a\"]",
            ],
        ),
        (
            vec![column("last day", &["01/02/2026"])],
            vec!["# formats: …  # TODO: one of"],
        ),
        (
            vec![column("last day ${x}: #'", &["2026-05-31"])],
            vec!["LastWorkingDate: '\"last day $${x}: #''\"'"],
        ),
    ] {
        let text = valid(&columns);
        for expected in expected {
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[test]
fn suggests_nothing_for_a_file_without_header() {
    let columns = [
        column("sarad@contoso.com", &["mike@contoso.com"]),
        column("last_day", &["2026-01-01"]),
    ];
    assert!(suggest("hr", &columns).is_empty());
}

#[test]
fn prints_no_value() {
    let columns = [
        column("workEmail", &["sarad@contoso.com"]),
        column("lastWorkingDate", &["05/31/2026"]),
        column("resignationDate", &["Pinnacle"]),
    ];
    let suggested = suggest("hr", &columns);
    let printed = text(&suggested, &columns) + &lines(&suggested) + &format!("{suggested:?}{columns:?}");
    for value in ["sarad", "05/31", "Pinnacle"] {
        assert!(!printed.contains(value), "{printed}");
    }
}
