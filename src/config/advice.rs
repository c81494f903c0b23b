//! Warnings about settings that are valid but most likely not intended.

use std::collections::BTreeSet;

use super::{PipelineConfig, wiring};

/// The warnings, each a sentence with what to do.
pub(crate) fn advice(config: &PipelineConfig) -> Vec<String> {
    let kinds = wiring::kinds(config);
    let mut advice = Vec::new();
    let sinks = config.sinks.iter();
    for (sink, input) in sinks.flat_map(|sink| sink.inputs.iter().map(move |input| (sink, input))) {
        let described = wiring::describe(std::slice::from_ref(input), &kinds);
        let Some(after) = sink.config.refreshes_after(&described) else {
            continue;
        };
        let upstream = upstream(config, input);
        for source in &config.sources {
            if let Some(skips) = source.config.traits().skips_unchanged
                && upstream.contains(&*source.name)
                && skips.max_duration > after
            {
                advice.push(format!(
                    "the sink `{}` must receive unchanged rows of `{input}` again after {}, but the source `{}` skips \
                     unchanged records: {}, unless the records change within that time anyway",
                    sink.name,
                    humantime::format_duration(after),
                    source.name,
                    skips.remedy
                ));
            }
        }
    }
    advice
}

/// `name` and everything upstream of it.
fn upstream<'c>(config: &'c PipelineConfig, name: &'c str) -> BTreeSet<&'c str> {
    let mut upstream = BTreeSet::from([name]);
    // Each transform comes after its inputs.
    for transform in config.transforms.iter().rev() {
        if upstream.contains(&*transform.name) {
            upstream.extend(transform.inputs.iter().map(String::as_str));
        }
    }
    upstream
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::document::Notation;

    fn profiles(input: &str) -> Value {
        json!({
            "type": "hr_schema", "inputs": [input], "scenario": "employee_profile", "dates": {"timezone": "UTC"},
            "fields": {
                "EmailAddress": "upn", "EmployeeFirstName": "upn", "EmployeeLastName": "upn",
                "EmployeeAddressLine1": "upn", "EmployeeZipCode": "upn", "EmployeeCity": "upn", "EmployeeState": "upn",
                "EmployeeCountry": "upn", "EmployeeDepartment": "upn", "EmployeeRole": "upn",
            },
        })
    }

    fn leavers(input: &str) -> Value {
        json!({
            "type": "hr_schema", "inputs": [input], "scenario": "employee_resignation", "dates": {"timezone": "UTC"},
            "fields": {"EmailAddress": "upn", "ResignationDate": "left", "LastWorkingDate": "left"},
        })
    }

    fn file(incremental: bool) -> Value {
        json!({"type": "file", "path": "people.csv", "select": {"incremental": incremental}})
    }

    fn rest(full_refresh: &str) -> Value {
        json!({
            "type": "rest", "base_url": "https://api.contoso.com", "records": {"path": "$[*]"},
            "request": {"path": "people", "query": {"since": "{start}"}},
            "incremental": {"initial": "2024-01-01", "full_refresh_every": {"every": full_refresh}},
        })
    }

    fn of(sources: &Value, mut transforms: Value, delivery: &Value) -> Vec<String> {
        transforms["all"] = json!({"type": "sql", "inputs": ["people"], "query": "SELECT * FROM people"});
        let mut file = json!({
            "sources": sources,
            "transforms": transforms,
            "sinks": {"purview": {"type": "m365_hr", "inputs": ["hr"], "cloud": "emulator", "delivery": delivery}},
        });
        if file["transforms"].get("more").is_some() {
            file["sinks"]["purview"]["inputs"] = json!(["hr", "more"]);
            file["sinks"]["purview"]["scenario_column"] = json!("HRScenario");
        }
        let parsed = PipelineConfig::parse(&file.to_string(), Notation::Json, Path::new("p.json"), &|_| None);
        advice(&parsed.unwrap_or_else(|error| panic!("{error:#?}")))
    }

    #[test]
    fn warns_only_of_rows_that_the_sink_needs_again_and_the_source_skips() {
        let profile = || json!({"hr": profiles("all")});
        let leaver = || json!({"hr": leavers("all")});
        for (source, transforms, delivery, warnings) in [
            (file(true), profile(), json!({}), 1),
            (file(false), profile(), json!({}), 0),
            (rest("30d"), profile(), json!({}), 1),
            (rest("14d"), profile(), json!({}), 0),
            (file(true), profile(), json!({"refresh_after": "never"}), 0),
            (file(true), profile(), json!({"mode": "all"}), 0),
            (file(true), leaver(), json!({}), 0),
            (file(true), leaver(), json!({"refresh_after": "90d"}), 1),
        ] {
            let advice = of(&json!({"people": source}), transforms, &delivery);
            assert_eq!(advice.len(), warnings, "{source} {delivery}: {advice:?}");
        }
        let two = json!({"people": file(false), "new": file(true)});
        assert!(
            of(
                &two,
                json!({"hr": profiles("all"), "more": leavers("new")}),
                &json!({})
            )
            .is_empty()
        );
        let advice = of(
            &two,
            json!({"hr": leavers("all"), "more": profiles("new")}),
            &json!({}),
        );
        for part in [
            "`purview`",
            "`more`",
            "20days",
            "`new`",
            "`select.incremental: false`",
        ] {
            assert!(advice.len() == 1 && advice[0].contains(part), "{advice:?}");
        }
    }
}
