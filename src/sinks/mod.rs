//! The sinks.

pub(crate) mod console;
pub(crate) mod file;
pub(crate) mod m365_hr;

mod payload;

use crate::component::{Checkpoint, Chunk, Input, Item, SinkContext};
use crate::error::{Error, Result};

/// Passes every chunk to `write`, with the number of its input, until that fails or the run is cancelled; the rest
/// counts as not sent. Returns the checkpoints as well.
async fn consume(
    cx: &SinkContext,
    input: &mut Input,
    mut write: impl FnMut(usize, &Chunk) -> Result<()> + Send,
) -> (Result<()>, Vec<Checkpoint>) {
    let mut checkpoints = Vec::new();
    let mut result = Ok(());
    while let Some((from, item)) = input.next().await {
        let chunk = match item {
            Item::Checkpoint(checkpoint) => {
                checkpoints.push(checkpoint);
                continue;
            }
            Item::Chunk(chunk) => chunk,
        };
        let stopped = result.is_err() || cx.run.cancel.is_cancelled();
        let written = match stopped {
            true => Err(Error::interrupted()),
            false => write(from, &chunk),
        };
        if let Err(error) = written {
            cx.counts.not_sent(chunk.num_rows());
            if !stopped {
                cx.run.cancel.cancel();
            }
            result = result.and(Err(error));
        }
    }
    (result, checkpoints)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::component::{Chunk, RowKind, RunInfo, SinkConfig, SinkContext, contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        let kind = RowKind::Schema("employee_resignation");
        let inputs = contract::inputs(&["leavers"], kind);
        let chunk = |first, rows: &str| {
            let header = "EmailAddress,ResignationDate,LastWorkingDate";
            let chunk = contract::chunk("leavers.csv", first, &format!("{header}\n{rows}"));
            (0, Chunk { kind, ..chunk })
        };
        let date = "2026-01-31T00:00:00Z";
        let given = [
            chunk(
                1,
                &format!("ann@example.com,{date},{date}\nbob@example.com,{date},{date}"),
            ),
            chunk(3, &format!("cid@example.com,{date},{date}")),
        ];
        for settings in [
            json!({"type": "console"}),
            json!({"type": "console", "format": "ndjson"}),
            json!({"type": "file", "path": "out.csv"}),
            json!({"type": "m365_hr", "cloud": "emulator"}),
        ] {
            let config = contract::component::<dyn SinkConfig>(settings);
            let folder = tempfile::tempdir().unwrap();
            let cx = || SinkContext::new("out", RunInfo::new(folder.path()), inputs.clone());
            contract::sink(&*config, cx, &given).await;
        }
        contract::validation::<dyn SinkConfig>(
            &json!({"type": "file", "path": "out.csv"}),
            &[("path", json!(" ")), ("columns.Salary", json!("pay"))],
            |config, problems| config.validate(&inputs, problems),
        );
        let id = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
        let auth = json!({"type": "client_secret", "client_id": id, "client_secret": {"env": "SECRET"}});
        contract::validation::<dyn SinkConfig>(
            &json!({"type": "m365_hr", "tenant_id": "contoso.com", "job_id": id, "auth": auth}),
            &[
                ("auth.client_id", json!("app")),
                ("tenant_id", json!("contoso")),
                ("retry.max_backoff", json!("1ms")),
                ("columns.Salary", json!("pay")),
            ],
            |config, problems| config.validate(&inputs, problems),
        );
    }
}
