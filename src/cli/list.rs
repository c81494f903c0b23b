//! `hrsink list`: the components.

use serde::Serialize;

use super::Ended;
use super::output::{self, Format, HEAD};
use crate::codec::CODECS;
use crate::component::{Role, descriptions};
use crate::table::{self, Table};

/// List the component types a pipeline file can use
///
/// Each is named as it is written after `type:`. `hrsink schema` prints their settings. Below them: the places and the
/// compression formats of the source `file`, and which of them are in this build.
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

/// The formats of the source `file`, and those of its parts that are features of the build.
fn parts() -> String {
    let mut formats = Table::plain();
    for format in crate::format::formats() {
        formats.push([format.name, format.summary]);
    }
    let mut text = format!(
        "{HEAD}formats of files{HEAD:#}\n{}",
        formats.render(table::width())
    );
    let codecs = CODECS.map(|(codec, name, summary, _)| (name, summary, codec.is_built_in()));
    for (heading, parts) in [
        ("places of files", PLACES),
        ("compression and encryption of files", &codecs),
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

/// How the place is written in a path, what it is, and whether it is in this build.
const PLACES: &[(&str, &str, bool)] = &[
    ("PATH, -", "the disk, standard input", true),
    ("sftp://", "SFTP servers", cfg!(feature = "sftp")),
    ("s3://", "Amazon S3 and what speaks like it", cfg!(feature = "s3")),
    ("az://, abfss://", "Azure Blob Storage", cfg!(feature = "azure")),
    ("gs://", "Google Cloud Storage", cfg!(feature = "gcs")),
    ("https://", "web servers", cfg!(feature = "https")),
];
