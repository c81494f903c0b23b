//! The facts of one HR system.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// `facts/SYSTEM.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The example.
    pub(crate) pipeline: String,
    /// Environment of the runs. `$URL` is the server's URL; for the other names see `run::certificates`.
    pub(crate) env: BTreeMap<String, String>,
    /// For each kind of row, the columns that the example delivers, if not the usual ones.
    #[serde(default)]
    pub(crate) columns: BTreeMap<String, Vec<String>>,
    /// Values of profiles that do not say otherwise.
    #[serde(default)]
    pub(crate) profile: Map<String, Value>,
    /// By request line.
    #[serde(default)]
    routes: Map<String, Value>,
    pub(crate) cases: BTreeMap<String, Vec<Run>>,
    /// A place for anchors.
    #[serde(default)]
    #[expect(dead_code, reason = "holds anchors")]
    shared: Value,
}

/// One run of a case, in the same folder as those before it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Run {
    pub(crate) env: BTreeMap<String, String>,
    /// Routes that are added, or keys that replace those of the scenario's route with the same line. Below `repeat`, with
    /// a `range`, lines with `<n>`.
    routes: Map<String, Value>,
    /// Routes whose line contains one of these do not exist in this run.
    without: Vec<String>,
    pub(crate) code: i32,
    /// The rows that this run adds.
    pub(crate) rows: Vec<Value>,
    /// Field, code and number.
    pub(crate) rejects: Option<Vec<(String, String, u64)>>,
    /// Texts in the standard error.
    pub(crate) stderr: Vec<String>,
}

/// The answers to one request line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Credentials of the request; others get the answer `otherwise`.
    #[serde(default)]
    pub(crate) when: When,
    #[serde(default = "unauthorized")]
    pub(crate) otherwise: Answer,
    /// The body that the request must have.
    pub(crate) body: Option<Value>,
    /// Answers before the final one.
    #[serde(default)]
    pub(crate) before: Vec<Answer>,
    /// The final answer.
    pub(crate) answer: Answer,
    /// How often it is requested: the least and the most. Default: once for each answer.
    pub(crate) times: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    pub(crate) headers: BTreeMap<String, String>,
    /// All fields but `assertion`.
    pub(crate) form: Option<BTreeMap<String, String>>,
    /// Texts in the decoded `assertion`.
    pub(crate) assertion: Vec<String>,
    pub(crate) json: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    /// 0 is 200.
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) json: Option<Value>,
    pub(crate) text: Option<String>,
}

fn unauthorized() -> Answer {
    Answer {
        status: 401,
        ..Answer::default()
    }
}

impl Route {
    pub(crate) fn expected(&self) -> (usize, usize) {
        let once = self.before.len() + 1;
        self.times.unwrap_or((once, once))
    }
}

impl Scenario {
    pub(crate) fn load(system: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/hris/facts/{system}.yaml"));
        let text = with_days(&std::fs::read_to_string(&path).unwrap());
        let value: Value =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The routes of a run.
    pub(crate) fn routes(&self, run: &Run) -> BTreeMap<String, Route> {
        let mut all = self.routes.clone();
        all.retain(|line, _| !run.without.iter().any(|part| line.contains(part)));
        let mut more = run.routes.clone();
        if let Some(Value::Object(mut repeat)) = more.shift_remove("repeat") {
            let (from, to): (u64, u64) =
                serde_json::from_value(repeat.shift_remove("range").unwrap()).unwrap();
            for n in from..=to {
                for (line, route) in &repeat {
                    more.insert(line.replace("<n>", &n.to_string()), route.clone());
                }
            }
        }
        for (line, more) in &more {
            let route = all.entry(line.clone()).or_insert_with(|| json!({}));
            let (route, more) = (route.as_object_mut().unwrap(), more.as_object().unwrap());
            route.extend(more.clone());
        }
        all.into_iter()
            .map(|(line, route)| {
                let route = serde_json::from_value(expanded(route));
                let route = route.unwrap_or_else(|error| panic!("{line}: {error}"));
                (line, route)
            })
            .collect()
    }
}

/// The text with `<today-7>` and `<iso-7>` replaced by the day so many days ago, as month-day-year or ISO 8601.
fn with_days(text: &str) -> String {
    let today = Zoned::new(Timestamp::now(), TimeZone::get("America/New_York").unwrap()).date();
    let mut text = text.to_owned();
    for (name, format) in [("<today", "%m-%d-%Y"), ("<iso", "%Y-%m-%d")] {
        while let Some(start) = text.find(name) {
            let end = start + text[start..].find('>').unwrap();
            let days: i64 = text[start + name.len()..end].parse().unwrap();
            let day = (today + days.days()).strftime(format).to_string();
            text.replace_range(start..=end, &day);
        }
    }
    text
}

/// The value with each `{repeat: [FROM, TO], ITEM}` in a list replaced by its items, `<n>` in them being the number.
pub(crate) fn expanded(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().flat_map(repeated).collect()),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, expanded(value)))
            .collect(),
        other => other,
    }
}

fn repeated(mut item: Value) -> Vec<Value> {
    // Lists of data hold no lists: one in another comes from an alias.
    if let Value::Array(items) = item {
        return items.into_iter().flat_map(repeated).collect();
    }
    let Some(range) = item.as_object_mut().and_then(|item| item.shift_remove("repeat")) else {
        return vec![expanded(item)];
    };
    let (from, to): (u64, u64) = serde_json::from_value(range).unwrap();
    let text = item.to_string();
    (from..=to)
        .map(|n| {
            // A number as the whole text becomes a number.
            let text = text
                .replace("\"<#n>\"", &n.to_string())
                .replace("<n>", &n.to_string());
            expanded(serde_json::from_str(&text).unwrap())
        })
        .collect()
}
