//! Which columns are chosen, and that what is printed is valid.

use super::*;
use crate::config::PipelineConfig;
use crate::config::document::Notation;

fn column(path: &str, values: &[&str]) -> Column {
    Column {
        names: vec![path.to_owned()],
        path: if path.contains(' ') {
            format!("\"{path}\"")
        } else {
            path.to_owned()
        },
        data_type: DataType::Utf8,
        rows: 3,
        values: values.iter().map(ToString::to_string).collect(),
    }
}

fn chosen(columns: &[Column]) -> Vec<(Scenario, Vec<(&'static str, String)>)> {
    suggest("hr", columns)
        .iter()
        .map(|suggestion| {
            let chosen = suggestion.fields.iter().filter_map(|(field, choice)| {
                let choice = choice.as_ref()?;
                Some((field.name, choice.expression.clone()))
            });
            (suggestion.scenario, chosen.collect())
        })
        .collect()
}

#[track_caller]
fn valid(columns: &[Column]) -> String {
    let text = text(&suggest("hr", columns), columns);
    let yaml: String = text
        .lines()
        .skip_while(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    let file = format!(
        "sources: {{hr: {{type: file, path: a.csv}}}}\n{yaml}sinks: {{out: {{type: console, inputs: [resignations]}}}}\n"
    );
    let parsed = PipelineConfig::parse(&file, Notation::Yaml, std::path::Path::new("a.yaml"), &|_| None);
    assert!(parsed.is_ok(), "{parsed:?}\n{file}");
    yaml
}

#[test]
fn a_better_name_wins_and_no_column_serves_twice() {
    let columns = [
        column("terminationDate", &["2026-05-31"]),
        column("Last Day of Work", &["2026-05-31"]),
        column("homeEmail", &["sara@fabrikam.example"]),
        column("workEmail", &["sarad@contoso.com"]),
        column("hireDate", &["2020-01-01"]),
    ];
    assert_eq!(
        chosen(&columns),
        [(
            Scenario::EmployeeResignation,
            vec![
                ("EmailAddress", "lower(trim(workEmail))".to_owned()),
                ("LastWorkingDate", "\"Last Day of Work\"".to_owned()),
            ]
        )]
    );
}

#[test]
fn values_that_speak_against_a_name_win() {
    let columns = [
        column("email", &["yes", "no", "yes"]),
        column("mail", &["sarad@contoso.com"]),
        column("last_day", &["Friday", "Monday"]),
    ];
    let suggested = suggest("hr", &columns);
    let email = suggested[0].choice("EmailAddress").unwrap();
    assert_eq!(email.expression, "lower(trim(mail))");
    assert_eq!(
        suggested[0].choice("LastWorkingDate").unwrap().how_sure(),
        "a guess"
    );
}

#[test]
fn what_is_printed_is_valid_with_everything_missing_or_strange() {
    let text = valid(&[column("last_day", &[])]);
    assert!(
        text.contains("EmailAddress: cast(NULL AS varchar)  # TODO"),
        "{text}"
    );
    let text = valid(&[
        column("work email", &["sarad@contoso.com"]),
        column("resignation date", &["31/12/2026"]),
        column("last day", &["12/31/2026", "n/a"]),
    ]);
    assert!(
        text.contains("formats: [\"%d/%m/%Y\"]") && text.contains("formats: [\"%m/%d/%Y\"]"),
        "{text}"
    );
    assert!(text.contains("null_values: [\"n/a\"]"), "{text}");
    let text = valid(&[column("last day", &["01/02/2026"])]);
    assert!(text.contains("# formats: …  # TODO: one of"), "{text}");
}

#[test]
fn a_file_without_a_header_gets_no_suggestion() {
    let columns = [
        column("sarad@contoso.com", &["mike@contoso.com"]),
        column("last_day", &["2026-01-01"]),
    ];
    assert!(suggest("hr", &columns).is_empty());
}

#[test]
fn no_value_is_printed() {
    let columns = [
        column("workEmail", &["sarad@contoso.com"]),
        column("lastWorkingDate", &["05/31/2026"]),
        column("resignationDate", &["Pinnacle"]),
    ];
    let suggested = suggest("hr", &columns);
    let told = text(&suggested, &columns) + &lines(&suggested) + &format!("{suggested:?}{columns:?}");
    for value in ["sarad", "05/31", "Pinnacle"] {
        assert!(!told.contains(value), "{told}");
    }
}

#[test]
fn a_value_in_an_object_of_its_own_is_called_like_the_object() {
    let wrapped = |name: &str, value: &str| Column {
        names: ["attributes", name, "value"].map(str::to_owned).to_vec(),
        path: format!("attributes['{name}']['value']"),
        ..column(name, &[value])
    };
    let columns = [
        wrapped("email", "sarad@contoso.com"),
        wrapped("last_working_day", "2026-05-31"),
        wrapped("hire_date", "2020-05-31"),
    ];
    let (_, fields) = &chosen(&columns)[0];
    assert_eq!(
        *fields,
        [
            (
                "EmailAddress",
                "lower(trim(attributes['email']['value']))".to_owned()
            ),
            (
                "LastWorkingDate",
                "attributes['last_working_day']['value']".to_owned()
            ),
        ]
    );
}
