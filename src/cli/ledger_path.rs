//! Which ledger a command uses, and how it opens it.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::{self, hint};
use crate::config::{LoadError, PipelineConfig};
use crate::error::Error;
use crate::ledger::Ledger;

/// The ledger of a pipeline file, or a ledger by its path.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct LedgerPath {
    /// Pipeline file (YAML, TOML or JSON)
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Path of the ledger, instead of the one that FILE specifies
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
}

impl LedgerPath {
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        match (&self.state, &self.file) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(file)) => ledger_of(file),
            (None, None) => Err(Error::config("specify a pipeline file, or a ledger with `--state`").into()),
        }
    }
}

pub(super) fn ledger_of(file: &Path) -> Result<PathBuf, Failure> {
    // Only `state.path` of it is used.
    let config = PipelineConfig::load(file).inspect_err(|error| {
        if matches!(error, LoadError::Problems { .. }) {
            let text = "use `--state PATH` instead of the file to specify the ledger itself";
            output::note(&hint(text));
        }
    })?;
    Ok(config.base.join(&config.state.path))
}

/// Opens an existing ledger for reading.
pub(super) async fn open_read_only(path: &Path) -> Result<Ledger, Error> {
    Ledger::open_read_only(path).await?.ok_or_else(|| {
        Error::config(format!("the ledger `{}` does not exist", path.display()))
            .with_hint("the first run creates it")
    })
}

/// Opens an existing ledger for changes.
pub(super) async fn open(path: &Path) -> Result<Ledger, Error> {
    drop(open_read_only(path).await?);
    Ledger::open(path).await
}
