//! Warnings about settings that are valid but most likely not intended.

use std::collections::{BTreeSet, HashMap};

use super::{PipelineConfig, wiring};
use crate::component::SkipsUnchanged;

/// The warnings, each a sentence with what to do.
pub(crate) fn advice(config: &PipelineConfig) -> Vec<String> {
    let kinds = wiring::kinds(config);
    let inputs: HashMap<&str, &[String]> = config
        .transforms
        .iter()
        .map(|transform| (transform.name.as_str(), transform.inputs.as_slice()))
        .collect();
    let mut advice = Vec::new();
    for sink in &config.sinks {
        for input in &sink.inputs {
            let input = std::slice::from_ref(input);
            let Some(after) = sink.config.refreshes_after(&wiring::describe(input, &kinds)) else {
                continue;
            };
            let upstream = upstream(input, &inputs);
            for source in &config.sources {
                let Some(SkipsUnchanged {
                    max_duration: time,
                    remedy,
                }) = source.config.traits().skips_unchanged
                else {
                    continue;
                };
                if upstream.contains(source.name.as_str()) && time > after {
                    advice.push(format!(
                        "the sink `{}` must receive unchanged rows of `{}` again after {}, but the source `{}` skips unchanged \
                         records: {remedy}, unless the records change within that time anyway",
                        sink.name,
                        input[0],
                        humantime::format_duration(after),
                        source.name
                    ));
                }
            }
        }
    }
    advice
}

/// `names` and everything upstream of them.
fn upstream<'c>(names: &'c [String], inputs: &HashMap<&str, &'c [String]>) -> BTreeSet<&'c str> {
    let mut upstream = BTreeSet::new();
    let mut left: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = left.pop() {
        if upstream.insert(name) {
            left.extend(
                inputs
                    .get(name)
                    .copied()
                    .unwrap_or_default()
                    .iter()
                    .map(String::as_str),
            );
        }
    }
    upstream
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config::document::Notation;

    fn of(source: &serde_json::Value, scenario: &str, delivery: &serde_json::Value) -> Vec<String> {
        let fields = match scenario {
            "employee_profile" => profile(),
            _ => leaver(),
        };
        let file = json!({
            "sources": {"people": source},
            "transforms": {
                "all": {"type": "sql", "inputs": ["people"], "query": "SELECT * FROM people"},
                "hr": {
                    "type": "hr_schema", "inputs": ["all"], "scenario": scenario, "fields": fields,
                    "dates": {"timezone": "UTC"},
                },
            },
            "sinks": {"purview": {"type": "m365_hr", "inputs": ["hr"], "cloud": "emulator", "delivery": delivery}},
        });
        advice(&parse(&file))
    }

    fn parse(file: &serde_json::Value) -> PipelineConfig {
        PipelineConfig::parse(&file.to_string(), Notation::Json, Path::new("p.json"), &|_| None)
            .unwrap_or_else(|error| panic!("{error:#?}"))
    }

    fn leaver() -> serde_json::Value {
        json!({"EmailAddress": "upn", "ResignationDate": "left", "LastWorkingDate": "left"})
    }

    fn profile() -> serde_json::Value {
        json!({
            "EmailAddress": "upn", "EmployeeFirstName": "upn", "EmployeeLastName": "upn", "EmployeeAddressLine1": "upn",
            "EmployeeZipCode": "upn", "EmployeeCity": "upn", "EmployeeState": "upn", "EmployeeCountry": "upn",
            "EmployeeDepartment": "upn", "EmployeeRole": "upn",
        })
    }

    fn file(incremental: bool) -> serde_json::Value {
        json!({"type": "file", "path": "people.csv", "select": {"incremental": incremental}})
    }

    #[test]
    fn warns_of_profiles_that_are_not_read_again() {
        let advice = of(&file(true), "employee_profile", &json!({}));
        assert_eq!(advice.len(), 1, "{advice:?}");
        for part in [
            "`purview`",
            "`hr`",
            "20days",
            "`people`",
            "`select.incremental: false`",
        ] {
            assert!(advice[0].contains(part), "{advice:?}");
        }
        let rest = |full_every| {
            json!({
                "type": "rest", "base_url": "https://api.contoso.com", "request": {"path": "people", "query": {"since": "{start}"}},
                "records": {"path": "$[*]"},
                "incremental": {"initial": "2024-01-01", "full_refresh_every": full_every},
            })
        };
        assert_eq!(
            of(&rest(json!({"every": "30d"})), "employee_profile", &json!({})).len(),
            1
        );
        assert!(of(&rest(json!({"every": "14d"})), "employee_profile", &json!({})).is_empty());
    }

    #[test]
    fn ignores_inputs_that_need_no_refresh() {
        let mut pipeline = parse(&json!({
            "sources": {"all": file(false), "new": file(true)},
            "transforms": {
                "profiles": {
                    "type": "hr_schema", "inputs": ["all"], "scenario": "employee_profile", "fields": profile(),
                    "dates": {"timezone": "UTC"},
                },
                "leavers": {
                    "type": "hr_schema", "inputs": ["new"], "scenario": "employee_resignation", "fields": leaver(),
                    "dates": {"timezone": "UTC"},
                },
            },
            "sinks": {"purview": {
                "type": "m365_hr", "inputs": ["profiles", "leavers"], "cloud": "emulator", "scenario_column": "HRScenario",
            }},
        }));
        assert_eq!(advice(&pipeline), Vec::<String>::new());
        pipeline.transforms[0].inputs = vec!["new".to_owned()];
        assert_eq!(advice(&pipeline).len(), 1);
    }

    #[test]
    fn does_not_warn_without_need() {
        assert!(of(&file(false), "employee_profile", &json!({})).is_empty());
        assert!(of(&file(true), "employee_resignation", &json!({})).is_empty());
        assert!(
            of(
                &file(true),
                "employee_profile",
                &json!({"refresh_after": "never"})
            )
            .is_empty()
        );
        assert!(of(&file(true), "employee_profile", &json!({"mode": "all"})).is_empty());
        assert_eq!(
            of(
                &file(true),
                "employee_resignation",
                &json!({"refresh_after": "90d"})
            )
            .len(),
            1
        );
    }
}
