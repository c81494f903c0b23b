//! Builds the sink from its settings: client, embedded emulator, and the delivery dispatcher.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::client::{Client, file_name};
use super::cloud::{Cloud, Endpoints};
use super::config::{Auth, M365HrConfig};
use super::explain;
use crate::component::{CheckStep, Input, RunInfo, Sink, SinkContext};
use crate::delivery::{Answer, Dispatcher, Limits, OnUnknown, Partition, SinkService, Upload, Uploader};
use crate::emulator::{Emulator, EmulatorConfig, Job};
use crate::error::{Error, Result};
use crate::http::address;
use crate::http::transport::TransportConfig;
use crate::secret::{Secret, SecretFiles};
use crate::sinks::payload::scenario;

struct M365Hr {
    cx: SinkContext,
    dispatcher: Dispatcher,
    partitions: Vec<Partition>,
    emulator: Option<Emulator>,
}

pub(super) async fn build(config: &M365HrConfig, cx: SinkContext) -> Result<Box<dyn Sink>> {
    let emulator = match config.cloud {
        Cloud::Emulator => Some(start_emulator(config, &cx).await?),
        _ => None,
    };
    let naming = config.naming();
    let partitions = cx.inputs.iter().map(|input| naming.partition(input)).collect();
    let limits = Limits {
        max_rows: config.batch.max_rows.as_usize(),
        max_bytes: config.batch.max_bytes.as_usize(),
    };
    let service = ConnectorJob {
        client: client(config, &cx, emulator.as_ref())?,
        run: cx.run.clone(),
    };
    let dispatcher = Dispatcher {
        uploader: Uploader {
            cx: cx.clone(),
            service: Arc::new(service),
            policy: config.delivery.policy(job_name(config, &cx)),
        },
        limits,
        concurrency: config.max_concurrent.as_usize(),
    };
    Ok(Box::new(M365Hr {
        cx,
        dispatcher,
        partitions,
        emulator,
    }))
}

/// The job's name in the ledger. It contains the cloud or the emulator, because their accepted rows are separate.
fn job_name(config: &M365HrConfig, cx: &SinkContext) -> String {
    let job = config.job_id.unwrap_or(NO_ID);
    match config.cloud {
        Cloud::Emulator => {
            let data = cx.run.base.join(config.emulator.clone().unwrap_or_default().data);
            // The path as configured, if the current folder is unknown.
            let data = std::path::absolute(&data).unwrap_or(data);
            format!("emulator {}/{job}", data.display())
        }
        _ => format!("{}/{job}", address::host(&config.cloud.endpoints().ingestion)),
    }
}

pub(super) async fn check(config: &M365HrConfig, cx: SinkContext) -> Vec<CheckStep> {
    let emulator = match config.cloud {
        // In memory: a check leaves nothing behind.
        Cloud::Emulator => Emulator::start(EmulatorConfig::default()).await.map(Some),
        _ => Ok(None),
    };
    let client = emulator.and_then(|emulator| Ok((client(config, &cx, emulator.as_ref())?, emulator)));
    match client {
        Ok((client, emulator)) => {
            let steps = client.check().await;
            stop(&cx, emulator).await;
            steps
        }
        Err(error) => vec![CheckStep::failed(CheckStep::SETTINGS, &error)],
    }
}

async fn stop(cx: &SinkContext, emulator: Option<Emulator>) {
    if let Some(emulator) = emulator
        && let Err(error) = emulator.stop().await
    {
        // The rows have their outcome already.
        tracing::warn!(sink = %cx.name, "the emulator did not stop: {}", error.chain());
    }
}

async fn start_emulator(config: &M365HrConfig, cx: &SinkContext) -> Result<Emulator> {
    let settings = config.emulator.clone().unwrap_or_default();
    let data = cx.run.base.join(&settings.data);
    if !cx.run.dry_run {
        cx.outputs
            .add(&cx.name, "rows the emulator accepted, and its import log", &data);
    }
    let jobs = job(config, cx).into_iter().collect();
    let data = (!cx.run.dry_run).then_some(data);
    Emulator::start(EmulatorConfig {
        data,
        faults: settings.faults,
        jobs,
        ..EmulatorConfig::default()
    })
    .await
}

/// The job as an administrator would have mapped it for this sink; `None` for records sent as they are, whose
/// scenario the emulator finds from the header.
fn job(config: &M365HrConfig, cx: &SinkContext) -> Option<Job> {
    let scenarios: BTreeSet<_> = cx.inputs.iter().filter_map(scenario).collect();
    let first = *scenarios.first()?;
    Some(Job {
        scenarios: scenarios.into_iter().collect(),
        columns: config.columns.clone(),
        scenario_column: config.scenario_column.clone(),
        scenario_values: config.scenario_values.clone(),
        ..Job::new(config.job_id.unwrap_or(NO_ID), first)
    })
}

/// The ids that the embedded emulator, which takes any, is given when there are none.
const NO_ID: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0001);

fn client(config: &M365HrConfig, cx: &SinkContext, emulator: Option<&Emulator>) -> Result<Client> {
    let (base, files) = (&cx.run.base, SecretFiles::of(&cx.run));
    let endpoints = match emulator {
        Some(emulator) => {
            let resource = Cloud::Worldwide.endpoints().resource;
            Endpoints::new(&emulator.url(), &resource, &emulator.url()).map_err(Error::unexpected)?
        }
        None => config.cloud.endpoints(),
    };
    let any = |key: &str| match emulator {
        Some(_) => Ok(NO_ID),
        None => Err(Error::config(format!("the sink `{}` needs `{key}`", cx.name))),
    };
    let (client_id, secret) = match &config.auth {
        Some(Auth::ClientSecret {
            client_id,
            client_secret,
        }) => {
            let secret = match client_secret.read(base, &files) {
                // A file for Microsoft's cloud can be tried with the emulator on a machine without its secret.
                Err(_) if emulator.is_some() => Secret::new("emulator"),
                secret => secret?,
            };
            (client_id.clone(), secret)
        }
        None => (any("auth")?.to_string(), Secret::new("emulator")),
    };
    let mut transport = TransportConfig {
        connect_timeout: config.connect_timeout.get(),
        timeout: config.timeout.get(),
        proxy: config.proxy.clone(),
        pool_max_idle_per_host: config.max_concurrent.as_usize(),
        ..TransportConfig::default()
    };
    config.tls.apply(base, &files, &mut transport)?;
    let job = explain::Job {
        endpoints,
        tenant_id: match &config.tenant_id {
            Some(tenant) => tenant.clone(),
            None => any("tenant_id")?.to_string(),
        },
        client_id,
        job_id: config.job_id.map_or_else(|| any("job_id"), Ok)?,
    };
    let retry_unknown = config.delivery.on_unknown == OnUnknown::Resend;
    Client::new(job, secret, transport, config.retry, retry_unknown)
}

#[async_trait]
impl Sink for M365Hr {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let this = *self;
        let result = this.dispatcher.run(this.partitions, input).await;
        if let Some(emulator) = &this.emulator {
            warn_of_rows_not_saved(&this.cx, emulator);
        }
        stop(&this.cx, this.emulator).await;
        result
    }
}

/// A job answers 2xx to an upload of which it saves nothing, and only its log says so. The embedded emulator's log is at
/// hand.
fn warn_of_rows_not_saved(cx: &SinkContext, emulator: &Emulator) {
    let imports = emulator.imports();
    let lost: u64 = imports
        .iter()
        .map(|import| import.rows.saturating_sub(import.records_saved))
        .sum();
    if lost > 0 {
        cx.outputs.add_not_saved(lost);
        let why = imports.iter().flat_map(|import| &import.messages).next();
        let why = why.map_or("", String::as_str);
        tracing::warn!(sink = %cx.name, rows = lost, why, "the emulator accepted an upload but saved none of its rows, as a job would");
    }
}

struct ConnectorJob {
    client: Client,
    run: RunInfo,
}

#[async_trait]
impl SinkService for ConnectorJob {
    async fn upload(&self, upload: Upload) -> Answer {
        let name = file_name(upload.label, &self.run.id, upload.number, upload.part);
        self.client.upload(upload.payload, &name, &self.run.cancel).await
    }
}
