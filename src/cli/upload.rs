//! `hrsink upload`: uploads CSV files without a pipeline file, like Microsoft's sample script.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;

use uuid::Uuid;

use super::Ended;
use super::run::{self, RunArgs};
use crate::component::{InputDescription, Problems, RowKind, SinkConfig, SourceConfig, problems_error};
use crate::config::{GuardsConfig, PipelineConfig, RejectsConfig, StateConfig, Wired};
use crate::delivery::Mode;
use crate::error::{Error, Result};
use crate::pipeline::RunOptions;
use crate::secret::{SecretFiles, SecretRef};
use crate::settings::BoundedInt;
use crate::sinks::m365_hr::cloud::{Cloud, Endpoints};
use crate::sinks::m365_hr::{Auth, BatchSettings, DeliverySettings, M365HrConfig};
use crate::sources::file::FileConfig;
use crate::suggest::suggestion;

/// Upload CSV files as they are, without a pipeline file
///
/// Replaces Microsoft's sample script for files that already have the columns and values mapped in the portal. Values are
/// not checked; use a pipeline file with an `hr_schema` transform for that.
///
/// The ledger records which rows the job has accepted, and a later upload sends only the others; `--all` sends every row. It
/// is stored in the current folder unless you set `--state`: always use the same one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink upload --cloud emulator terminations.csv
  HRSINK_CLIENT_SECRET=… hrsink upload \\
    --tenant-id d5723623-11cf-4e2e-b5a5-01d1506273f9 \\
    --app-id 29ee526e-f9a7-4e98-a682-67f41bfd643e \\
    --job-id b8be4a7d-e338-43eb-a69e-c513cd458eba \\
    terminations.csv")]
pub(super) struct Args {
    /// Files: CSV, TSV, Parquet or JSON, also `.gz` and `.zst`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Microsoft Entra tenant: its ID or one of its domains
    #[arg(long, value_name = "ID")]
    tenant_id: Option<String>,
    /// Client ID of the connector's app
    #[arg(long, value_name = "ID")]
    app_id: Option<Uuid>,
    /// ID of the connector job
    #[arg(long, value_name = "ID")]
    job_id: Option<Uuid>,
    /// Environment variable with the app's client secret [default: `HRSINK_CLIENT_SECRET`]
    #[arg(long, value_name = "NAME", conflicts_with = "client_secret_file")]
    client_secret_env: Option<String>,
    /// File with the app's client secret; `-` reads the first line of standard input
    #[arg(long, value_name = "PATH")]
    client_secret_file: Option<PathBuf>,
    /// Refused, with an explanation
    #[arg(long, hide = true, value_name = "TEXT", num_args = 0..=1, value_parser = discard)]
    client_secret: Option<Option<()>>,
    /// Microsoft cloud: `worldwide`, `gcc`, `gcc_high`, `dod`, or `emulator`, which needs no IDs [default: worldwide]
    #[arg(long, value_name = "NAME", default_value = "worldwide", hide_default_value = true, value_parser = cloud)]
    cloud: Cloud,
    /// OAuth resource, if the script in the portal uses another `resource` than the current one
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Maximum number of rows of an upload
    #[arg(long, value_name = "ROWS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    batch_rows: u32,
    /// Also send rows that the job has already accepted
    #[arg(long)]
    all: bool,
    /// Path of the ledger
    #[arg(long, value_name = "PATH", default_value = ".hrsink/state.db")]
    state: PathBuf,
    #[command(flatten)]
    how: RunArgs,
}

pub(super) fn execute(args: &Args, secret_files: SecretFiles) -> Ended {
    if args.client_secret.is_some() {
        return Err(Error::config(
            "a client secret on the command line can be read by every process of this machine and stays in the shell's history",
        )
        .with_hint("use the environment variable `HRSINK_CLIENT_SECRET`, or in a file: `--client-secret-file PATH`")
        .with_hint("treat this secret as compromised and create a new one in Microsoft Entra")
        .into());
    }
    let config = build_upload_pipeline(args)?;
    let options = RunOptions {
        secret_files,
        ..RunOptions::default()
    };
    run::run(&config, &args.how, options)
}

/// The value is not kept.
#[expect(clippy::unnecessary_wraps, reason = "what clap calls")]
fn discard(_: &str) -> Result<(), Infallible> {
    Ok(())
}

fn cloud(name: &str) -> Result<Cloud, String> {
    Cloud::from_name(name).ok_or_else(|| suggestion(name, Cloud::names()).unwrap_or_default())
}

fn build_upload_pipeline(args: &Args) -> Result<PipelineConfig> {
    let mut sources: Vec<Wired<Box<dyn SourceConfig>>> = Vec::new();
    for file in &args.files {
        let shown = file.display();
        let Some(path) = file.to_str() else {
            let message = format!("the name of the file `{shown}` is not valid UTF-8");
            return Err(Error::config(message));
        };
        if sources.iter().any(|source| source.name == path) {
            return Err(Error::config(format!("the file `{path}` is listed twice")));
        }
        let config = FileConfig::of_path(path);
        checked(&format!("cannot read `{path}`: "), |problems| {
            config.validate(problems);
        })?;
        sources.push(Wired {
            name: path.to_owned(),
            inputs: Vec::new(),
            config: Box::new(config),
            guards: GuardsConfig::default(),
        });
    }
    let inputs: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let sink = sink(args)?;
    let described = inputs.iter().map(|name| InputDescription {
        name: name.as_str().into(),
        kind: RowKind::Records,
    });
    let described: Vec<InputDescription> = described.collect();
    checked("", |problems| sink.validate(&described, problems))?;
    Ok(PipelineConfig {
        // Uploads to different jobs can run at the same time.
        path: PathBuf::from(match args.job_id {
            Some(job) => format!("hrsink upload to {job}"),
            None => "hrsink upload".to_owned(),
        }),
        base: PathBuf::from("."),
        sources,
        transforms: Vec::new(),
        sinks: vec![Wired {
            name: "upload".to_owned(),
            inputs,
            config: Box::new(sink),
            guards: GuardsConfig::default(),
        }],
        rejects: RejectsConfig::default(),
        state: StateConfig {
            path: args.state.clone(),
        },
        guards: GuardsConfig::default(),
        snapshots: Vec::new(),
    })
}

fn sink(args: &Args) -> Result<M365HrConfig> {
    let embedded = args.cloud == Cloud::Emulator;
    let mut missing = Vec::new();
    missing.extend(args.tenant_id.is_none().then_some("`--tenant-id`"));
    missing.extend(args.app_id.is_none().then_some("`--app-id`"));
    missing.extend(args.job_id.is_none().then_some("`--job-id`"));
    if !(embedded || missing.is_empty()) {
        let error = Error::config(format!("an upload needs {}", missing.join(" and ")));
        return Err(error.with_hint("to try it without a tenant: `--cloud emulator`"));
    }
    let cloud = match (&args.cloud, &args.resource) {
        (cloud, None) => cloud.clone(),
        (Cloud::Emulator, Some(_)) => {
            return Err(Error::config("`--resource` has no effect with the emulator"));
        }
        (cloud, Some(resource)) => {
            let usual = cloud.endpoints();
            Endpoints::new(usual.authority.as_str(), resource, usual.ingestion.as_str())
                .map(Cloud::Custom)
                .map_err(Error::config)?
        }
    };
    let auth = match args.app_id {
        Some(client_id) => Some(Auth::ClientSecret {
            client_id: client_id.to_string(),
            client_secret: secret(args)?,
        }),
        None => None,
    };
    Ok(M365HrConfig {
        cloud,
        tenant_id: args.tenant_id.clone(),
        job_id: args.job_id,
        auth,
        batch: BatchSettings {
            // The command line has the same range.
            max_rows: BoundedInt::checked(args.batch_rows.into())
                .unwrap_or(BatchSettings::default().max_rows),
            ..BatchSettings::default()
        },
        delivery: DeliverySettings {
            mode: if args.all { Mode::All } else { Mode::Changes },
            ..DeliverySettings::default()
        },
        as_is: true,
        ..M365HrConfig::default()
    })
}

fn secret(args: &Args) -> Result<SecretRef> {
    let Some(path) = &args.client_secret_file else {
        let name = args.client_secret_env.as_deref();
        return Ok(SecretRef::Env(name.unwrap_or("HRSINK_CLIENT_SECRET").to_owned()));
    };
    if path.as_os_str() != "-" {
        return Ok(SecretRef::File(path.clone()));
    }
    if args.files.iter().any(|file| file.as_os_str() == "-") {
        let message = "standard input cannot contain both the rows and the client secret";
        return Err(Error::config(message));
    }
    if std::io::stdin().is_terminal() {
        let error = Error::config("standard input is a terminal, which would show the client secret");
        let hint = "pipe it from a secret store: `pass show hr | hrsink upload --client-secret-file - …`";
        return Err(error.with_hint(hint));
    }
    Ok(SecretRef::StandardInput)
}

/// Fails with all problems that `validate` reports. The keys of the sink have the names of the options.
fn checked(what: &str, validate: impl FnOnce(&mut Problems<'_>)) -> Result<()> {
    let mut found = Vec::new();
    validate(&mut Problems::new(&mut found));
    for problem in &mut found {
        problem.path = match problem.path.as_str() {
            "" | "path" => String::new(),
            key => format!("--{}", key.replace('_', "-")),
        };
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(problems_error(what, found)),
    }
}
