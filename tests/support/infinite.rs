//! A source that sends rows until it is stopped.

use std::sync::Arc;

use hrsink::plugin::arrow::array::{ArrayRef, RecordBatch, StringArray};
use hrsink::plugin::{
    Chunk, Description, Origins, Output, Part, Problems, Result, Source, SourceConfig, SourceContext,
    async_trait, inventory, schemars, serde,
};

#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
#[schemars(crate = "hrsink::plugin::schemars")]
struct Infinite {
    chunk_rows: usize,
}

#[async_trait]
impl SourceConfig for Infinite {
    fn validate(&self, _: &mut Problems<'_>) {}

    async fn build(&self, _: SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

inventory::submit! { Description::source::<Infinite>("infinite", "sends rows until it is stopped") }

#[async_trait]
impl Source for Infinite {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let column = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; self.chunk_rows])) };
        let (resigned, last_day) = (column("2026-03-02T09:00:00Z"), column("2026-04-01T00:00:00Z"));
        let part = Arc::new(Part {
            name: "infinite".into(),
            columns: ["upn", "resigned", "last_day"].map(str::to_owned).to_vec(),
        });
        let mut row = 1;
        loop {
            // Another person in each row: duplicates would be skipped.
            let people = (row..).take(self.chunk_rows);
            let upn: StringArray = people.map(|row| Some(format!("user{row}@contoso.com"))).collect();
            let columns = [
                ("upn", Arc::new(upn) as ArrayRef),
                ("resigned", resigned.clone()),
                ("last_day", last_day.clone()),
            ];
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            let origins = Origins::consecutive(part.clone(), row, self.chunk_rows);
            row += self.chunk_rows as u64;
            if out.send(Chunk::records(rows, origins)).await.is_err() {
                return Ok(());
            }
        }
    }
}
