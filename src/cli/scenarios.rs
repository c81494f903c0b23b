//! `hrsink scenarios`: the HR schema.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Ended;
use super::output::{DIM, HEAD, OutputArg};
use crate::error::Error;
use crate::hr::{Field, FieldKind, Scenario};
use crate::suggest::suggestion;
use crate::table::{self, Table};

/// Show the HR scenarios and their fields
///
/// The names are those of a pipeline file: `scenario:` and the keys of `fields:`. If the portal uses other column names, set
/// `columns` in the sink.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink scenarios
  hrsink scenarios employee_resignation")]
pub(super) struct Args {
    /// Show only this scenario
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArg,
}

pub(super) fn execute(args: &Args) -> Ended {
    let chosen: Vec<Scenario> = match &args.name {
        None => Scenario::ALL.to_vec(),
        Some(name) => vec![find(name)?],
    };
    let described: Vec<Value> = chosen.iter().map(described).collect();
    let text = || chosen.iter().map(text).collect::<Vec<_>>().join("\n");
    args.output.print(&described, text)?;
    Ok(0)
}

fn find(name: &str) -> Result<Scenario, Error> {
    let known = Scenario::ALL.map(Scenario::id);
    Scenario::from_id(name).ok_or_else(|| {
        let error = Error::config(format!("unknown scenario `{name}`"));
        match suggestion(name, known) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

fn kind(field: &Field) -> (&'static str, Option<usize>) {
    match field.kind {
        FieldKind::Upn => ("upn", None),
        FieldKind::DateTime => ("datetime", None),
        FieldKind::Text { max_chars } => ("text", max_chars),
    }
}

fn described(scenario: &Scenario) -> Value {
    let field = |field: &Field| {
        let (kind, max_chars) = kind(field);
        let mut described = json!({"name": field.name, "kind": kind});
        if let Some(max_chars) = max_chars {
            described["max_chars"] = max_chars.into();
        }
        described["required"] = field.required.into();
        described["aliases"] = field.aliases.into();
        described["summary"] = field.summary.into();
        described
    };
    let facts = scenario.facts();
    json!({
        "name": scenario.id(),
        "title": facts.title,
        "documented_identifier": facts.identifier,
        "policy_templates": facts.policy_templates,
        "fields": scenario.fields().iter().map(field).collect::<Vec<Value>>(),
    })
}

fn text(scenario: &Scenario) -> String {
    let facts = scenario.facts();
    let mut text = format!("{HEAD}{}{HEAD:#}  {}\n", scenario.id(), facts.title);
    let (identifier, templates) = (facts.identifier, facts.policy_templates.join("; "));
    let _ = writeln!(text, "  {DIM}value of the scenario column:{DIM:#} {identifier}");
    let _ = writeln!(text, "  {DIM}used by:{DIM:#} {templates}");
    let mut table = Table::plain();
    for field in scenario.fields() {
        let kind = match kind(field) {
            (kind, Some(max)) => format!("{kind}, at most {max} characters"),
            (kind, None) => kind.to_owned(),
        };
        let summary = match field.aliases {
            [] => field.summary.to_owned(),
            also => format!("{} (also: {})", field.summary, also.join(", ")),
        };
        let required = if field.required { "required" } else { "optional" };
        table.push([field.name, required, &kind, &summary]);
    }
    text + &table.render(table::width())
}
