//! `hrsink list`: the components, formats, storage backends and codecs.

use serde::Serialize;

use super::Ended;
use super::output::{self, Format, HEAD, OutputArg};
use crate::codec::CODECS;
use crate::component::{Role, descriptions};
use crate::table::{self, Table};

/// List the component types a pipeline file can use
///
/// Lists the values of `type:`, and the formats, storage backends and compression of the source `file` with those that this
/// build does not contain. `hrsink schema` prints the settings.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  hrsink list")]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArg,
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
    match args.output.format {
        Format::Json => output::print_json(&components)?,
        Format::Text => output::print(&(text(&components) + &parts()))?,
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

/// Formats, storage backends and codecs of the source `file`.
fn parts() -> String {
    let mut formats = Table::plain();
    for format in crate::format::formats() {
        formats.push([format.name, format.summary]);
    }
    let mut text = format!("{HEAD}file formats{HEAD:#}\n{}", formats.render(table::width()));
    let codecs = CODECS.map(|(codec, name, summary, _)| (name, summary, codec.is_built_in()));
    let backends: Vec<(String, &str, bool)> = crate::storage::BACKENDS
        .iter()
        .map(|backend| {
            let schemes = backend.schemes.iter().map(|scheme| format!("{scheme}://"));
            let schemes = schemes.collect::<Vec<_>>().join(", ");
            (schemes, backend.summary, backend.is_built_in)
        })
        .collect();
    let local = [("PATH, -", "local disk, standard input", true)];
    let storage = backends
        .iter()
        .map(|(schemes, summary, built_in)| (&**schemes, *summary, *built_in));
    let storage: Vec<_> = local.into_iter().chain(storage).collect();
    for (heading, parts) in [
        ("storage backends", &storage[..]),
        ("compression and encryption", &codecs),
    ] {
        let mut table = Table::plain();
        for (name, summary, built_in) in parts {
            table.push([*name, if *built_in { *summary } else { "not in this build" }]);
        }
        text.push_str(&format!(
            "{HEAD}{heading}{HEAD:#}\n{}",
            table.render(table::width())
        ));
    }
    text
}
