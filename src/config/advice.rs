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

    fn profiles() -> Value {
        json!({
            "type": "hr_schema", "inputs": ["all"], "scenario": "employee_profile", "dates": {"timezone": "UTC"},
            "fields": {
                "EmailAddress": "upn", "EmployeeFirstName": "upn", "EmployeeLastName": "upn",
                "EmployeeAddressLine1": "upn", "EmployeeZipCode": "upn",
            },
        })
    }

    fn leavers() -> Value {
        json!({
            "type": "hr_schema", "inputs": ["all"], "scenario": "employee_resignation", "dates": {"timezone": "UTC"},
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

    fn advice_of(source: &Value, hr: &Value, delivery: &Value) -> Vec<String> {
        let file = json!({
            "sources": {"people": source, "other": {"type": "file", "path": "x.csv", "select": {"incremental": true}}},
            "transforms": {
                "hr": hr,
                "all": {"type": "sql", "inputs": ["people"], "query": "SELECT * FROM people"},
            },
            "sinks": {
                "purview": {"type": "m365_hr", "inputs": ["hr"], "cloud": "emulator", "delivery": delivery},
                "table": {"type": "console", "inputs": ["other"]},
            },
        });
        let parsed = PipelineConfig::parse(&file.to_string(), Notation::Json, Path::new("p.json"), &|_| None);
        advice(&parsed.unwrap_or_else(|error| panic!("{error:#?}")))
    }

    #[test]
    fn warns_only_of_rows_that_the_sink_needs_again_and_the_source_skips() {
        for (source, hr, delivery, warnings) in [
            (file(true), profiles(), json!({}), 1),
            (file(false), profiles(), json!({}), 0),
            (rest("30d"), profiles(), json!({}), 1),
            (rest("14d"), profiles(), json!({}), 0),
            (file(true), profiles(), json!({"refresh_after": "never"}), 0),
            (file(true), profiles(), json!({"mode": "all"}), 0),
            (file(true), leavers(), json!({}), 0),
            (file(true), leavers(), json!({"refresh_after": "90d"}), 1),
        ] {
            let advice = advice_of(&source, &hr, &delivery);
            assert_eq!(advice.len(), warnings, "{source} {delivery}: {advice:?}");
        }
    }
}
