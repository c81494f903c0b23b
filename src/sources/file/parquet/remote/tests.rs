use std::io;
use std::path::Path;
use std::sync::Mutex;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use async_trait::async_trait;

use super::*;
use crate::component::{Counts, Item, Output, channel};
use crate::decode::{AddedColumns, End};
use crate::sources::file::names::Wanted;
use crate::sources::file::place::Renamed;
use crate::sources::file::testing::context;

/// A file in memory, and what was asked of it.
#[derive(Debug)]
struct Memory {
    bytes: Bytes,
    asked: Mutex<Vec<Vec<Range<u64>>>>,
    /// Requests after which it fails.
    fails_after: usize,
}

#[async_trait]
impl Place for Memory {
    async fn list(&self, _: &Wanted) -> Result<Vec<Found>> {
        Ok(Vec::new())
    }
    async fn siblings(&self, _: &Wanted) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn look(&self, _: &str) -> Result<Option<Found>> {
        Ok(None)
    }
    fn open(&self, _: &Found, _: &CancellationToken) -> Result<Box<dyn io::Read + Send>> {
        Err(Error::unexpected("Parquet is not read in order"))
    }
    async fn read_ranges(&self, _: &Found, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut asked = self.asked.lock().unwrap();
        if asked.len() >= self.fails_after {
            return Err(Error::new(ErrorKind::Passing, "the line is dead").with_hint("mend it"));
        }
        asked.push(ranges.to_vec());
        let part = |range: &Range<u64>| self.bytes.slice(range.start as usize..range.end as usize);
        Ok(ranges.iter().map(part).collect())
    }
    async fn rename(&self, _: &str, _: &str) -> Result<Renamed> {
        Ok(Renamed::Taken)
    }
    async fn remove(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            asked: Mutex::default(),
            fails_after: usize::MAX,
        }
    }

    fn fetched(&self) -> u64 {
        let asked = self.asked.lock().unwrap();
        asked.iter().flatten().map(|range| range.end - range.start).sum()
    }

    fn largest(&self) -> u64 {
        let asked = self.asked.lock().unwrap();
        let sums = asked
            .iter()
            .map(|ranges| ranges.iter().map(|range| range.end - range.start).sum());
        sums.max().unwrap_or_default()
    }
}

/// Reads the columns with so many bytes held at most.
async fn read(place: Arc<Memory>, columns: Option<&[&str]>, most: u64) -> Result<Vec<RecordBatch>> {
    let cx = context(Path::new("."), columns);
    let (sender, mut input) = channel(2, Counts::default());
    let out = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
    let feed = Feed {
        name: "a.parquet".into(),
        cx,
        out,
        added: AddedColumns::default(),
    };
    let file = Found {
        name: "a.parquet".into(),
        path: "a.parquet".into(),
        size: Some(place.bytes.len() as u64),
        modified: None,
        version: None,
    };
    let place: Arc<dyn Place> = place;
    let run = tokio::task::spawn_blocking(move || read_within(&place, &file, &feed, most));
    let collect = async {
        let mut batches = Vec::new();
        while let Some((_, item)) = input.next().await {
            if let Item::Chunk(chunk) = item {
                batches.push(chunk.batch);
            }
        }
        batches
    };
    let (run, batches) = tokio::join!(run, collect);
    match run.unwrap() {
        Ok(()) => Ok(batches),
        Err(End::Failed(error)) => Err(error),
        Err(End::Stopped) => panic!("nobody stopped it"),
    }
}

/// Columns `a` to `d`, of which `b` and `c` lie side by side, in so many row groups.
fn written(rows: usize, groups: usize) -> (RecordBatch, Vec<u8>) {
    let text = |salt: usize| -> ArrayRef {
        let texts = (0..rows).map(|row| format!("{salt}-{:x}", (row + salt).wrapping_mul(2_654_435_761)));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let batch = RecordBatch::try_from_iter([
        ("a", text(1)),
        ("b", text(2)),
        (
            "c",
            Arc::new(Int64Array::from_iter_values(0..rows as i64)) as ArrayRef,
        ),
        ("d", text(3)),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows.div_ceil(groups).max(1)))
        .set_data_page_size_limit(16 << 10)
        .set_data_page_row_count_limit(1_000)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    (batch, bytes)
}

fn whole(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).unwrap()
}

#[tokio::test]
async fn small_row_groups_and_large_ones_give_the_same_and_only_what_is_used() {
    let (all, bytes) = written(60_000, 3);
    let size = bytes.len() as u64;
    let used = all.project(&[1, 2]).unwrap();
    for most in [64 << 20, 256 << 10] {
        let place = Arc::new(Memory::new(bytes.clone()));
        let batches = read(place.clone(), Some(&["b", "c", "x"]), most).await.unwrap();
        assert!(whole(&batches) == used);
        let fetched = place.fetched();
        assert!(fetched < size * 6 / 10, "{fetched} of {size}");
        let place = Arc::new(Memory::new(bytes.clone()));
        let batches = read(place.clone(), None, most).await.unwrap();
        assert!(whole(&batches) == all);
        // Each byte once, apart from the end.
        assert!(place.fetched() <= size + TAIL, "{} of {size}", place.fetched());
        if most < 1 << 20 {
            assert!(place.largest() <= 64 << 10, "{}", place.largest());
        }
    }
}

#[tokio::test]
async fn a_row_group_is_one_request_and_a_small_file_two() {
    let (_, bytes) = written(1_000, 1);
    let place = Arc::new(Memory::new(bytes));
    read(place.clone(), None, MOST).await.unwrap();
    assert_eq!(place.asked.lock().unwrap().len(), 2);
    let (_, bytes) = written(60_000, 3);
    let place = Arc::new(Memory::new(bytes));
    read(place.clone(), None, MOST).await.unwrap();
    assert_eq!(place.asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn metadata_longer_than_the_end_is_read_by_its_length() {
    let (all, bytes) = written(20_000, 500);
    let place = Arc::new(Memory::new(bytes));
    let batches = read(place.clone(), None, MOST).await.unwrap();
    assert!(whole(&batches) == all);
    let asked = place.asked.lock().unwrap();
    assert!(asked[1][0].end - asked[1][0].start > TAIL, "{:?}", asked[1]);
}

#[tokio::test]
async fn no_rows_are_one_chunk_with_columns() {
    let (_, bytes) = written(0, 1);
    let batches = read(Arc::new(Memory::new(bytes)), Some(&["c"]), MOST)
        .await
        .unwrap();
    assert_eq!(
        (batches.len(), batches[0].num_rows(), batches[0].num_columns()),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn rows_without_used_columns_are_counted() {
    let (_, bytes) = written(10_000, 2);
    let batches = read(Arc::new(Memory::new(bytes)), Some(&[]), MOST).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
}

#[tokio::test]
async fn a_place_that_fails_says_so_itself() {
    let (_, bytes) = written(60_000, 3);
    for (fails_after, most) in [(0, MOST), (2, MOST), (4, 256 << 10)] {
        let place = Memory {
            fails_after,
            ..Memory::new(bytes.clone())
        };
        let error = read(Arc::new(place), None, most).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Passing, "{}", error.chain());
        let text = error.chain();
        assert!(
            text.contains("a.parquet") && text.contains("the line is dead"),
            "{text}"
        );
        assert_eq!(error.hints().collect::<Vec<_>>(), ["mend it"]);
    }
}

#[tokio::test]
async fn a_damaged_file_is_an_error_about_it() {
    let (_, bytes) = written(60_000, 3);
    let cut = bytes[..bytes.len() - 20].to_vec();
    let error = read(Arc::new(Memory::new(cut)), None, MOST).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let mut holed = bytes.clone();
    holed[1_000..9_000].fill(0xff);
    for most in [MOST, 256 << 10] {
        let error = read(Arc::new(Memory::new(holed.clone())), None, most)
            .await
            .unwrap_err();
        let text = error.chain();
        assert!(
            text.contains("a.parquet") && error.kind() == ErrorKind::Input,
            "{text}"
        );
    }
    // Shorter than its metadata says.
    let mut short = bytes;
    short.drain(10_000..300_000);
    let error = read(Arc::new(Memory::new(short)), None, MOST).await.unwrap_err();
    assert!(error.chain().contains("not in the file"), "{}", error.chain());
    let error = read(Arc::new(Memory::new(Vec::new())), None, MOST)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
}
