//! Which columns a source is asked for.

use std::collections::BTreeSet;

use crate::component::Columns;
use crate::config::PipelineConfig;

/// The columns anybody needs of the rows of `source`; `None`: all.
pub(super) fn needed_columns(config: &PipelineConfig, source: &str) -> Option<BTreeSet<String>> {
    if config
        .sinks
        .iter()
        .any(|sink| sink.inputs.iter().any(|input| input == source))
    {
        return None;
    }
    let mut needed = BTreeSet::new();
    for snapshot in &config.snapshots {
        if snapshot.source == source {
            needed.extend(snapshot.settings.columns.iter().cloned());
        }
    }
    for transform in &config.transforms {
        if transform.inputs.iter().any(|input| input == source) {
            match transform.config.columns() {
                Columns::All => return None,
                Columns::Named(names) => needed.extend(names),
            }
        }
    }
    Some(needed)
}
