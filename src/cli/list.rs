//! `hrsink list`: the components.

use serde::Serialize;

use super::Ended;
use super::output::{self, Format, HEAD};
use crate::component::{Role, descriptions};
use crate::table::{self, Table};

/// List the component types a pipeline file can use
///
/// Each is named as it is written after `type:`. `hrsink schema` prints their settings.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  hrsink list")]
pub(super) struct Args {
    /// Print for a person (text) or for a program (json)
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    output: Format,
}

#[derive(Serialize)]
struct Component {
    role: Role,
    name: &'static str,
    summary: &'static str,
}

pub(super) fn execute(args: &Args) -> Ended {
    let components: Vec<Component> = descriptions()
        .into_iter()
        .map(|known| Component {
            role: known.role,
            name: known.name,
            summary: known.summary,
        })
        .collect();
    match args.output {
        Format::Json => output::print_json(&components)?,
        Format::Text => output::print(&text(&components))?,
    }
    Ok(0)
}

fn text(components: &[Component]) -> String {
    let mut text = String::new();
    for (role, heading) in [
        (Role::Source, "sources"),
        (Role::Transform, "transforms"),
        (Role::Sink, "sinks"),
    ] {
        let mut table = Table::plain();
        for component in components.iter().filter(|component| component.role == role) {
            table.push([component.name, component.summary]);
        }
        text.push_str(&format!(
            "{HEAD}{heading}{HEAD:#}\n{}",
            table.render(table::width())
        ));
    }
    text
}
