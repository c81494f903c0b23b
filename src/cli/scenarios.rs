//! `hrsink scenarios`: the HR schema.

use std::fmt::Write as _;

use serde::Serialize;

use super::Ended;
use super::output::{DIM, HEAD, OutputArg};
use crate::error::Error;
use crate::hr::{Field, FieldKind, Scenario};
use crate::settings::suggestion;
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
    let described: Vec<Described> = chosen.into_iter().map(Described::of).collect();
    let text = || described.iter().map(text).collect::<Vec<_>>().join("\n");
    args.output.print(&described, text)?;
    Ok(0)
}

fn find(name: &str) -> Result<Scenario, Error> {
    let known = Scenario::ALL.map(Scenario::id);
    Scenario::ALL
        .into_iter()
        .find(|scenario| scenario.id() == name)
        .ok_or_else(|| {
            let error = Error::config(format!("unknown scenario `{name}`"));
            match suggestion(name, known) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
}

/// A scenario for JSON output.
#[derive(Serialize)]
struct Described {
    name: &'static str,
    title: &'static str,
    documented_identifier: &'static str,
    policy_templates: &'static [&'static str],
    fields: Vec<DescribedField>,
}

#[derive(Serialize)]
struct DescribedField {
    name: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_chars: Option<usize>,
    required: bool,
    aliases: &'static [&'static str],
    summary: &'static str,
}

impl Described {
    fn of(scenario: Scenario) -> Self {
        Self {
            name: scenario.id(),
            title: scenario.facts().title,
            documented_identifier: scenario.facts().identifier,
            policy_templates: scenario.facts().policy_templates,
            fields: scenario.fields().iter().map(DescribedField::of).collect(),
        }
    }
}

impl DescribedField {
    fn of(field: &'static Field) -> Self {
        let (kind, max_chars) = match field.kind {
            FieldKind::Upn => ("upn", None),
            FieldKind::DateTime => ("datetime", None),
            FieldKind::Text { max_chars } => ("text", max_chars),
        };
        Self {
            name: field.name,
            kind,
            max_chars,
            required: field.required,
            aliases: field.aliases,
            summary: field.summary,
        }
    }
}

fn text(about: &Described) -> String {
    let mut text = format!("{HEAD}{}{HEAD:#}  {}\n", about.name, about.title);
    for (what, value) in [
        (
            "value of the scenario column",
            about.documented_identifier.to_owned(),
        ),
        ("used by", about.policy_templates.join("; ")),
    ] {
        let _ = writeln!(text, "  {DIM}{what}:{DIM:#} {value}");
    }
    let mut table = Table::plain();
    for field in &about.fields {
        let kind = match field.max_chars {
            Some(most) => format!("{}, at most {most} characters", field.kind),
            None => field.kind.to_owned(),
        };
        let summary = match field.aliases {
            [] => field.summary.to_owned(),
            also => format!("{} (also: {})", field.summary, also.join(", ")),
        };
        table.push([
            field.name,
            if field.required { "required" } else { "optional" },
            &kind,
            &summary,
        ]);
    }
    text.push_str(&table.render(table::width()));
    text
}
