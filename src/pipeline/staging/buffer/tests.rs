use arrow::array::{
    BooleanArray, Decimal128Array, DictionaryArray, Int32Array, ListArray, NullArray, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::component::{Delivered, channel};
use crate::error::ErrorKind;
use crate::hr::Scenario;

/// Columns of many types, of the HR schema, or none.
fn columns(shape: usize, rows: usize, seed: u64) -> Vec<(&'static str, ArrayRef)> {
    let number = |row: usize| (seed as usize * 31 + row * 7) % 13;
    let text = |row: usize| (number(row) > 2).then(|| format!("value {}", "ä".repeat(number(row))));
    let texts: Vec<Option<String>> = (0..rows).map(text).collect();
    let lists = texts
        .iter()
        .map(|text| text.as_ref().map(|text| vec![Some(text.len() as i64), None]));
    let codes: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
    let strings = || Arc::new(StringArray::from_iter(texts.iter().cloned()));
    let member = Arc::new(Field::new("m", DataType::Utf8, true));
    let times = TimestampMicrosecondArray::from_iter((0..rows).map(|row| text(row).map(|_| row as i64)));
    let pay = Decimal128Array::from_iter((0..rows).map(|row| Some(row as i128)));
    match shape {
        0 => vec![
            (
                "n",
                Arc::new(Int32Array::from_iter((0..rows).map(|row| number(row) as i32))),
            ),
            ("x", strings()),
        ],
        1 => vec![("EmailAddress", strings())],
        2 => vec![
            (
                "flag",
                Arc::new(BooleanArray::from_iter(
                    texts.iter().map(|text| text.as_ref().map(|_| true)),
                )),
            ),
            (
                "view",
                Arc::new(StringViewArray::from_iter(texts.iter().cloned())),
            ),
            ("code", Arc::new(codes)),
            ("when", Arc::new(times.with_timezone("Europe/Berlin"))),
            ("pay", Arc::new(pay.with_precision_and_scale(20, 2).unwrap())),
            (
                "list",
                Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            ),
            (
                "struct",
                Arc::new(StructArray::from(vec![(member, strings() as ArrayRef)])),
            ),
            ("nothing", Arc::new(NullArray::new(rows))),
        ],
        _ => vec![],
    }
}

/// An item to add, in a form that can be made twice.
#[derive(Debug, Clone)]
enum Made {
    Checkpoint(u32),
    Chunk {
        shape: usize,
        rows: usize,
        seed: u64,
        slice: Option<(usize, usize)>,
    },
}

fn chunk(made: &Made) -> Option<Chunk> {
    let &Made::Chunk {
        shape,
        rows,
        seed,
        slice,
    } = made
    else {
        return None;
    };
    let (fields, columns): (Vec<_>, Vec<_>) = columns(shape, rows, seed)
        .into_iter()
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    let schema = Schema::new(fields).with_metadata([("from".to_owned(), seed.to_string())].into());
    let numbers: Vec<u64> = (0..rows as u64).map(|row| seed + row * row).collect();
    let part = Arc::new(Part {
        name: "a.csv".into(),
        columns: vec!["x".into()],
    });
    let mut origins = if seed % 2 == 0 {
        let lines = numbers.iter().map(|number| number + 2).collect();
        Origins::with_lines(part, numbers, lines)
    } else {
        Origins::of_columns(part, numbers.into(), None)
    };
    if seed % 3 == 0 {
        let names = ["a.csv".into(), "b.csv".into()].into();
        origins = origins.mixed_with(Mixed {
            names,
            index: (0..rows).map(|row| (row % 2) as u32).collect(),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let chunk = Chunk {
        batch: RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).unwrap(),
        origins,
        kind: if shape == 1 {
            RowKind::Schema(Scenario::JobLevelChange.id())
        } else {
            RowKind::Records
        },
    };
    let slice = slice.map(|(offset, length)| (offset.min(rows), length));
    Some(slice.map_or(chunk.clone(), |(offset, length)| {
        chunk.slice(offset, length.min(rows - offset))
    }))
}

fn made() -> impl Strategy<Value = Made> {
    let slice = prop::option::of((0usize..20, 0usize..30));
    let chunk = (0usize..4, 0usize..40, 0u64..50, slice).prop_map(|(shape, rows, seed, slice)| Made::Chunk {
        shape,
        rows,
        seed,
        slice,
    });
    prop_oneof![4 => chunk, 1 => any::<u32>().prop_map(Made::Checkpoint)]
}

async fn filled(folder: &Path, max_memory: usize, items: &[Made]) -> (InputBuffer, Counts, Vec<Delivered>) {
    let counts = Counts::default();
    let mut buffer = InputBuffer::new(folder.into(), max_memory, counts.clone());
    let mut delivered = Vec::new();
    for (input, made) in items.iter().enumerate() {
        let item = match (chunk(made), made) {
            (Some(chunk), _) => Item::Chunk(chunk),
            (None, made) => {
                let Made::Checkpoint(at) = made else {
                    unreachable!()
                };
                let (checkpoint, half) = Checkpoint::new(at.to_string());
                delivered.push(half);
                Item::Checkpoint(checkpoint)
            }
        };
        buffer.push(input % 3, item).await.unwrap();
    }
    (buffer, counts, delivered)
}

proptest! {
    #[test]
    fn returns_items_in_order(
        items in prop::collection::vec(made(), 0..20),
        max_memory in prop::sample::select(vec![0, 500, 5_000, usize::MAX]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, counts) = runtime.block_on(async {
            let (buffer, counts, delivered) = filled(folder.path(), max_memory, &items).await;
            let (sender, mut input) = channel(2, counts.clone());
            let take = async {
                let mut found = Vec::new();
                while let Some(item) = input.next().await {
                    found.push(item);
                }
                found
            };
            let cancel = CancellationToken::new();
            let (fed, found) = tokio::join!(buffer.feed(sender, &cancel), take);
            fed.unwrap();
            let number = found.len();
            for (position, ((input, found), made)) in found.into_iter().zip(&items).enumerate() {
                assert_eq!(input, position % 3);
                match (found, chunk(made)) {
                    (Item::Chunk(found), Some(wanted)) => {
                        assert_eq!((&found.batch, found.kind), (&wanted.batch, wanted.kind));
                        assert_eq!(found.origins.columns(), wanted.origins.columns());
                        for row in 0..wanted.num_rows() {
                            assert_eq!(found.origins.at(row), wanted.origins.at(row));
                        }
                    }
                    (Item::Checkpoint(found), None) => {
                        assert!(matches!(made, Made::Checkpoint(at) if at.to_string() == found.position()));
                        found.done();
                    }
                    _ => panic!("an item of another kind"),
                }
            }
            for half in delivered {
                assert!(half.await);
            }
            (number, counts)
        });
        prop_assert_eq!(found, items.len());
        prop_assert_eq!(counts.totals().not_sent, 0);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

fn rows(rows: usize) -> Made {
    Made::Chunk {
        shape: 0,
        rows,
        seed: 1,
        slice: None,
    }
}

#[tokio::test]
async fn counts_rows_that_were_not_taken_as_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    for max_memory in [0, usize::MAX] {
        let items = [
            rows(5),
            Made::Checkpoint(1),
            rows(6),
            rows(7),
            Made::Checkpoint(2),
        ];
        let (buffer, counts, delivered) = filled(folder.path(), max_memory, &items).await;
        let (sender, mut input) = channel(1, counts.clone());
        let take = async {
            assert!(matches!(input.next().await.unwrap().1, Item::Chunk(_)));
            if let (_, Item::Checkpoint(checkpoint)) = input.next().await.unwrap() {
                checkpoint.done();
            }
            input.drain().await;
        };
        let cancel = CancellationToken::new();
        let (fed, ()) = tokio::join!(buffer.feed(sender, &cancel), take);
        fed.unwrap();
        assert_eq!(counts.totals().not_sent, 13);
        assert_eq!(futures::future::join_all(delivered).await, [true, false]);
    }
}

#[tokio::test]
async fn cancels_the_run_before_the_rows_of_a_damaged_file_end() {
    let folder = tempfile::tempdir().unwrap();
    let (buffer, counts, _) = filled(folder.path(), 0, &[rows(5), rows(6)]).await;
    // Only the second chunk loses something.
    buffer.spool.truncate(100);
    let (sender, mut input) = channel(1, counts.clone());
    let cancel = CancellationToken::new();
    let take = async {
        while input.next().await.is_some() {}
        cancel.is_cancelled()
    };
    let (fed, cancelled_at_the_end) = tokio::join!(buffer.feed(sender, &cancel), take);
    let error = fed.unwrap_err().to_string();
    assert!(error.contains("cannot read the temporary file"), "{error}");
    assert!(cancelled_at_the_end);
    assert_eq!(counts.totals().not_sent, 6);
}

#[tokio::test]
async fn counts_rows_as_not_sent_when_the_file_cannot_be_created() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let counts = Counts::default();
    let mut buffer = InputBuffer::new(file.join("state").into(), 0, counts.clone());
    let error = buffer
        .push(0, Item::Chunk(chunk(&rows(5)).unwrap()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("state"), "{error}");
    drop(buffer);
    assert_eq!(counts.totals().not_sent, 5);
}
