//! `hrsink list`: the components, formats, storage backends and codecs.

use serde_json::json;

use super::Ended;
use super::output::{OutputArg, list};
use crate::codec::CODECS;
use crate::component::{Role, descriptions, descriptions_of};
use crate::table;

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

pub(super) fn execute(args: &Args) -> Ended {
    let known = descriptions().into_iter();
    let components =
        known.map(|known| json!({"role": known.role, "name": known.name, "summary": known.summary}));
    args.output.print(&components.collect::<Vec<_>>(), text)?;
    Ok(0)
}

fn text() -> String {
    let components = |role| {
        let known = descriptions_of(role).into_iter();
        known
            .map(|known| (known.name.to_owned(), known.summary))
            .collect()
    };
    let formats = crate::format::formats().iter();
    let formats = formats.map(|format| (format.name.to_owned(), format.summary));
    let if_built_in = |is_built_in, summary| match is_built_in {
        true => summary,
        false => "not in this build",
    };
    let codecs =
        CODECS.map(|(codec, name, summary, _)| (name.to_owned(), if_built_in(codec.is_built_in(), summary)));
    let mut storage = vec![("PATH, -".to_owned(), "local disk, standard input")];
    for backend in crate::storage::backends() {
        let schemes = backend.schemes.iter().map(|scheme| format!("{scheme}://"));
        let schemes = schemes.collect::<Vec<_>>().join(", ");
        storage.push((schemes, if_built_in(backend.is_built_in, backend.summary)));
    }
    let sections: [(&str, Vec<(String, &str)>); 6] = [
        ("sources", components(Role::Source)),
        ("transforms", components(Role::Transform)),
        ("sinks", components(Role::Sink)),
        ("file formats", formats.collect()),
        ("storage backends", storage),
        ("compression and encryption", codecs.to_vec()),
    ];
    let mut text = String::new();
    for (heading, parts) in sections {
        let rows = parts.iter().map(|(name, summary)| [name, *summary]);
        text += &list(heading, rows, table::width());
    }
    text
}
