//! A sink that keeps nothing but a digest of the values that come.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hrsink::plugin::arrow::array::{Array, AsArray};
use hrsink::plugin::arrow::compute::cast;
use hrsink::plugin::arrow::datatypes::DataType;
use hrsink::plugin::{
    Description, Input, InputDescription, Item, Problems, Result, Sink, SinkConfig, SinkContext, async_trait,
    inventory, schemars, serde,
};

/// What came, by `note_as`.
pub(crate) static DIGESTS: Mutex<BTreeMap<String, Digest>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: usize,
    pub(crate) hash: blake3::Hash,
}

/// Digests the values of the first column, each with a line feed.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hrsink::plugin::serde", deny_unknown_fields)]
#[schemars(crate = "hrsink::plugin::schemars")]
struct DigestConfig {
    note_as: String,
}

#[async_trait]
impl SinkConfig for DigestConfig {
    fn validate(&self, _: &[InputDescription], _: &mut Problems<'_>) {}

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(DigestSink {
            note_as: self.note_as.clone(),
            cx,
        }))
    }
}

struct DigestSink {
    note_as: String,
    cx: SinkContext,
}

#[async_trait]
impl Sink for DigestSink {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let (mut rows, mut hasher) = (0, blake3::Hasher::new());
        while let Some((_, item)) = input.next().await {
            match item {
                Item::Chunk(chunk) => {
                    let values = cast(chunk.batch.column(0), &DataType::Utf8).unwrap();
                    for value in values.as_string::<i32>() {
                        hasher.update(value.unwrap_or_default().as_bytes());
                        hasher.update(b"\n");
                    }
                    rows += values.len();
                    self.cx.counts.accepted(values.len());
                }
                Item::Checkpoint(checkpoint) => checkpoint.done(),
            }
        }
        let hash = hasher.finalize();
        DIGESTS
            .lock()
            .unwrap()
            .insert(self.note_as, Digest { rows, hash });
        Ok(())
    }
}

inventory::submit! { Description::sink::<DigestConfig>("digest", "keeps a digest of values") }

/// The digest of the lines behind the first.
pub(crate) fn of_lines(text: &str) -> Digest {
    let (_, lines) = text.split_once('\n').unwrap();
    Digest {
        rows: lines.lines().count(),
        hash: blake3::hash(lines.as_bytes()),
    }
}
