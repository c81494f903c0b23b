//! `hrsink emulator`: a local implementation of Microsoft's endpoints.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use indicatif::HumanCount;

use super::output::{self, DIM, GOOD, HEAD, count};
use super::signals::Signals;
use super::{Ended, block_on};
use crate::emulator::{Emulator, EmulatorConfig, Faults, RESOURCE, Status};
use crate::error::{Error, Result};
use crate::sinks::m365_hr::cloud::EMULATOR_ADDRESS;
use crate::table::Table;

/// Emulate Microsoft's token endpoint and HR connector job on this machine
///
/// Accepts and checks uploads like a connector job and stores the rows. Injected faults rehearse throttling, lost responses
/// and outages. Runs until Ctrl-C. For a single pipeline, `cloud: emulator` starts one inside the run.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hrsink emulator
  hrsink emulator --listen 127.0.0.1:0 --data emulator-data
  hrsink emulator --faults 429=0.1,drop_after=first:1,latency=50ms")]
pub(super) struct Args {
    /// Address to listen on; port 0 selects a free port [default: 127.0.0.1:8099]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Folder for the accepted rows and the import log [default: in memory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File (YAML) with the apps, jobs and limits to emulate; without it, every app and job is accepted
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Faults to inject, such as `429=0.1,latency=50ms`
    #[arg(long, value_name = "SPEC")]
    faults: Option<Faults>,
}

pub(super) fn execute(args: Args) -> Ended {
    let config = settings(args)?;
    Ok(block_on(serve(config))??)
}

fn settings(args: Args) -> Result<EmulatorConfig> {
    let mut config = match &args.config {
        Some(path) => EmulatorConfig::read(path)?,
        None => EmulatorConfig::default(),
    };
    let default = EMULATOR_ADDRESS.parse();
    let default = default.map_err(|_| Error::unexpected("the default address is invalid"))?;
    config.address = args.listen.or(config.address).or(Some(default));
    if args.data.is_some() {
        config.data = args.data;
    }
    if let Some(faults) = args.faults {
        config.faults = faults;
    }
    Ok(config)
}

async fn serve(config: EmulatorConfig) -> Result<u8> {
    let mut signals = Signals::listen()?;
    let data = config.data.clone();
    let emulator = Emulator::start(config).await?;
    let mut text = greeting(&emulator.status());
    if let Some(data) = data {
        let _ = writeln!(text, "Accepted rows and the import log: {}", data.display());
    }
    text.push_str("Press Ctrl-C to stop.\n");
    output::print(&text)?;
    signals.next().await;
    let summary = summary(&emulator.status());
    // A second signal does not wait for requests in flight.
    tokio::select! {
        stopped = emulator.stop() => stopped?,
        _ = signals.next() => {}
    }
    output::print(&summary)?;
    Ok(0)
}

fn greeting(status: &Status) -> String {
    let url = &status.url;
    let mut text = format!(
        "{GOOD}The emulator listens on {url}{GOOD:#}\n\
         \x20 tokens   {url}/TENANT/oauth2/token\n\
         \x20 uploads  {url}/api/signals?jobid=JOB\n\
         \x20 status   {url}/  {url}/imports  {url}/faults\n"
    );
    if !status.faults.is_empty() {
        let _ = writeln!(text, "  faults   {}", status.faults);
    }
    let unless = |any: bool, of: &'static str| if any { "any value" } else { of };
    let any = unless(status.any_app, "one of its `apps`");
    let job = unless(status.any_job, "one of its `jobs`");
    let _ = write!(
        text,
        "\n{HEAD}For the sink in a pipeline file:{HEAD:#}\n\
         \x20   cloud:\n\
         \x20     authority: {url}\n\
         \x20     resource: {RESOURCE}\n\
         \x20     ingestion: {url}\n\
         \x20   tenant_id: contoso.onmicrosoft.com  {DIM}# {any}{DIM:#}\n\
         \x20   job_id: b8be4a7d-e338-43eb-a69e-c513cd458eba  {DIM}# {job}{DIM:#}\n\
         \x20   auth:\n\
         \x20     type: client_secret\n\
         \x20     client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e  {DIM}# {any}{DIM:#}\n\
         \x20     client_secret: {{env: HRSINK_CLIENT_SECRET}}  {DIM}# {any}{DIM:#}\n\n"
    );
    text
}

fn summary(status: &Status) -> String {
    let text = format!(
        "\n{}, {} accepted, {}, {}\n",
        count(status.uploads, "upload", "uploads"),
        HumanCount(status.imports),
        count(status.rows_saved, "row saved", "rows saved"),
        count(status.tokens_issued, "token issued", "tokens issued")
    );
    let mut table = Table::plain();
    for (job, counts) in &status.jobs {
        let (imports, rows) = (counts.imports, counts.rows_saved);
        let imports = count(imports, "import", "imports");
        table.push([format!("job {job}"), imports, count(rows, "row", "rows")]);
    }
    for (status, uploads) in &status.refused {
        table.push([format!("answered {status}"), count(*uploads, "upload", "uploads")]);
    }
    for (fault, times) in &status.injected {
        table.push([format!("fault {fault}"), count(*times, "time", "times")]);
    }
    text + &table.render(None)
}
