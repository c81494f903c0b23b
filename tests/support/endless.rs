//! A source without an end: a run with it ends only if somebody stops it.

use std::sync::Arc;

use hrsink::plugin::arrow::array::{ArrayRef, RecordBatch, StringArray};
use hrsink::plugin::{
    Chunk, Description, Origins, Output, Part, Problems, Result, Source, SourceConfig, SourceContext,
    async_trait, inventory, schemars, serde,
};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
#[schemars(crate = "hrsink::plugin::schemars")]
struct EndlessConfig {
    chunk_rows: usize,
}

#[async_trait]
impl SourceConfig for EndlessConfig {
    fn validate(&self, _: &mut Problems<'_>) {}

    async fn build(&self, _: SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Endless {
            chunk_rows: self.chunk_rows,
        }))
    }
}

inventory::submit! { Description::source::<EndlessConfig>("endless", "sends rows until it is stopped") }

struct Endless {
    chunk_rows: usize,
}

#[async_trait]
impl Source for Endless {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let column = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; self.chunk_rows])) };
        let (resigned, last_day) = (column("2026-03-02T09:00:00Z"), column("2026-04-01T00:00:00Z"));
        let names = ["upn", "resigned", "last_day"].map(str::to_owned);
        let part = Arc::new(Part {
            name: "endless".into(),
            columns: names.to_vec(),
        });
        let mut row = 1;
        loop {
            // A row that is there twice is sent once: each is of somebody else.
            let upn: StringArray = (row..)
                .take(self.chunk_rows)
                .map(|row| Some(format!("user{row}@contoso.com")))
                .collect();
            let columns =
                names
                    .iter()
                    .cloned()
                    .zip([Arc::new(upn) as ArrayRef, resigned.clone(), last_day.clone()]);
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            let origins = Origins::consecutive(part.clone(), row, self.chunk_rows);
            row += self.chunk_rows as u64;
            if out.send(Chunk::records(rows, origins)).await.is_err() {
                return Ok(());
            }
        }
    }
}
