use std::path::PathBuf;

use arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Int32Array,
    LargeStringArray, ListArray, NullArray, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::component::{Delivered, channel};
use crate::hr::Scenario;

/// Columns of many kinds, of no kind, and of the HR schema.
fn columns(shape: usize, rows: usize, seed: u64) -> Vec<(&'static str, ArrayRef)> {
    let number = |row: usize| (seed as usize * 31 + row * 7) % 13;
    let text = |row: usize| (number(row) > 2).then(|| format!("value {}", "ä".repeat(number(row))));
    let texts = || (0..rows).map(text);
    match shape {
        0 => vec![
            (
                "n",
                Arc::new(Int32Array::from_iter((0..rows).map(|row| number(row) as i32))),
            ),
            ("x", Arc::new(StringArray::from_iter(texts()))),
        ],
        1 => vec![("EmailAddress", Arc::new(StringArray::from_iter(texts())))],
        2 => {
            let lists = (0..rows)
                .map(|row| text(row).map(|_| (0..number(row)).map(|n| (n != 4).then_some(n as i64))))
                .map(|list| list.map(Iterator::collect::<Vec<_>>));
            let member = Arc::new(Field::new("m", DataType::Utf8, true));
            let fixed = (0..rows).map(|row| text(row).map(|_| [row as u8; 3]));
            vec![
                (
                    "flag",
                    Arc::new(BooleanArray::from_iter(
                        (0..rows).map(|row| text(row).map(|_| row % 3 == 0)),
                    )),
                ),
                ("large", Arc::new(LargeStringArray::from_iter(texts()))),
                ("view", Arc::new(StringViewArray::from_iter(texts()))),
                (
                    "bytes",
                    Arc::new(BinaryArray::from_iter(
                        texts().map(|text| text.map(String::into_bytes)),
                    )),
                ),
                (
                    "fixed",
                    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 3).unwrap()),
                ),
                (
                    "code",
                    Arc::new(
                        texts()
                            .collect::<Vec<_>>()
                            .iter()
                            .map(Option::as_deref)
                            .collect::<DictionaryArray<Int32Type>>(),
                    ),
                ),
                (
                    "when",
                    Arc::new(
                        TimestampMicrosecondArray::from_iter(
                            (0..rows).map(|row| text(row).map(|_| row as i64)),
                        )
                        .with_timezone("Europe/Berlin"),
                    ),
                ),
                (
                    "pay",
                    Arc::new(
                        Decimal128Array::from_iter((0..rows).map(|row| Some(row as i128)))
                            .with_precision_and_scale(20, 2)
                            .unwrap(),
                    ),
                ),
                (
                    "list",
                    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
                ),
                (
                    "struct",
                    Arc::new(StructArray::from(vec![(
                        member,
                        Arc::new(StringArray::from_iter(texts())) as ArrayRef,
                    )])),
                ),
                ("nothing", Arc::new(NullArray::new(rows))),
            ]
        }
        _ => vec![],
    }
}

/// One item to put in, in a form that can be made twice.
#[derive(Debug, Clone)]
enum Made {
    Checkpoint(usize, u32),
    Chunk {
        lane: usize,
        shape: usize,
        rows: usize,
        seed: u64,
        lines: bool,
        part: usize,
        slice: Option<(usize, usize)>,
    },
}

fn parts() -> [Arc<Part>; 2] {
    ["a.csv", "b.csv"].map(|name| {
        Arc::new(Part {
            name: name.into(),
            columns: vec!["x".into()],
        })
    })
}

fn chunk(made: &Made, parts: &[Arc<Part>; 2]) -> Option<Chunk> {
    let Made::Chunk {
        shape,
        rows,
        seed,
        lines,
        part,
        slice,
        ..
    } = made
    else {
        return None;
    };
    let (fields, columns): (Vec<_>, Vec<_>) = columns(*shape, *rows, *seed)
        .into_iter()
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    let schema = Schema::new(fields).with_metadata([("from".to_owned(), seed.to_string())].into());
    let numbers: Vec<u64> = (0..*rows as u64).map(|row| seed + row * row).collect();
    let part = parts[*part].clone();
    let origins = if *lines {
        let lines = numbers.iter().map(|number| number + 2).collect();
        Origins::with_lines(part, numbers, lines)
    } else {
        Origins::of_columns(part, numbers.into(), None)
    };
    // Rows of several parts.
    let origins = if seed % 3 == 0 {
        origins.mixed_with(Mixed {
            names: ["a.csv".into(), "b.csv".into()].into(),
            index: (0..*rows).map(|row| (row % 2) as u32).collect(),
        })
    } else {
        origins
    };
    let chunk = Chunk {
        batch: with_rows(Arc::new(schema), columns, *rows).unwrap(),
        origins,
        kind: if *shape == 1 {
            RowKind::Hr(Scenario::JobLevelChange)
        } else {
            RowKind::Records
        },
    };
    Some(match *slice {
        Some((offset, len)) => {
            let offset = offset.min(*rows);
            chunk.slice(offset, len.min(*rows - offset))
        }
        None => chunk,
    })
}

fn made() -> impl Strategy<Value = Made> {
    let chunk = (
        0usize..3,
        0usize..4,
        0usize..40,
        0u64..50,
        any::<bool>(),
        0usize..2,
        prop::option::of((0usize..20, 0usize..30)),
    )
        .prop_map(|(lane, shape, rows, seed, lines, part, slice)| Made::Chunk {
            lane,
            shape,
            rows,
            seed,
            lines,
            part,
            slice,
        });
    let checkpoint = (0usize..3, any::<u32>()).prop_map(|(lane, at)| Made::Checkpoint(lane, at));
    prop_oneof![4 => chunk, 1 => checkpoint]
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

async fn fill(spool: &mut Spool, items: &[Made], parts: &[Arc<Part>; 2]) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    for item in items {
        let (lane, item) = match (item, chunk(item, parts)) {
            (Made::Chunk { lane, .. }, Some(chunk)) => (*lane, Item::Chunk(chunk)),
            (Made::Checkpoint(lane, at), _) => {
                let (checkpoint, half) = Checkpoint::new(at.to_string());
                delivered.push(half);
                (*lane, Item::Checkpoint(checkpoint))
            }
            _ => unreachable!(),
        };
        spool.push(lane, item).await.unwrap();
    }
    spool.end().await.unwrap();
    delivered
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_order(
        items in prop::collection::vec(made(), 0..20),
        limit in prop::sample::select(vec![0, 500, 5_000, usize::MAX]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let parts = parts();
        let counts = Counts::default();
        let out = now(async {
            let mut spool = Spool::new(folder.path().into(), limit, counts.clone());
            let delivered = fill(&mut spool, &items, &parts).await;
            let (sender, mut input) = channel(2, counts.clone());
            let cancel = CancellationToken::new();
            let take = async {
                let mut out = Vec::new();
                while let Some(item) = input.next().await {
                    out.push(item);
                }
                out
            };
            let (fed, out) = tokio::join!(spool.feed(sender, &cancel), take);
            fed.unwrap();
            for (at, item) in out.iter().zip(&items) {
                match (at, item) {
                    ((lane, Item::Chunk(found)), Made::Chunk { lane: wanted_lane, .. }) => {
                        let wanted = chunk(item, &parts).unwrap();
                        assert_eq!(lane, wanted_lane);
                        assert_eq!(found.batch, wanted.batch);
                        assert_eq!(found.kind, wanted.kind);
                        assert_eq!(found.origins.columns(), wanted.origins.columns());
                        for row in 0..wanted.num_rows() {
                            assert_eq!(found.origins.at(row), wanted.origins.at(row));
                        }
                        assert!(Arc::ptr_eq(found.origins.part(), wanted.origins.part()));
                    }
                    ((lane, Item::Checkpoint(found)), Made::Checkpoint(wanted_lane, at)) => {
                        assert_eq!((lane, found.position()), (wanted_lane, at.to_string().as_str()));
                    }
                    _ => panic!("an item of another kind"),
                }
            }
            let number = out.len();
            for (_, item) in out {
                if let Item::Checkpoint(checkpoint) = item {
                    checkpoint.done();
                }
            }
            for half in delivered {
                assert!(half.await);
            }
            number
        });
        prop_assert_eq!(out, items.len());
        prop_assert_eq!(counts.totals().not_sent, 0);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

fn rows(rows: usize) -> Made {
    Made::Chunk {
        lane: 0,
        shape: 0,
        rows,
        seed: 1,
        lines: false,
        part: 0,
        slice: None,
    }
}

#[tokio::test]
async fn rows_that_nobody_took_are_not_sent_and_their_checkpoints_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    for limit in [0, usize::MAX] {
        let counts = Counts::default();
        let mut spool = Spool::new(folder.path().into(), limit, counts.clone());
        let items = [
            rows(5),
            Made::Checkpoint(0, 1),
            rows(6),
            rows(7),
            Made::Checkpoint(0, 2),
        ];
        let mut delivered = fill(&mut spool, &items, &parts()).await.into_iter();
        let (sender, mut input) = channel(1, counts.clone());
        let cancel = CancellationToken::new();
        let take = async {
            let (_, first) = input.next().await.unwrap();
            let (_, second) = input.next().await.unwrap();
            assert!(matches!(first, Item::Chunk(_)));
            if let Item::Checkpoint(checkpoint) = second {
                checkpoint.done();
            }
            input.drain().await;
        };
        let (fed, ()) = tokio::join!(spool.feed(sender, &cancel), take);
        fed.unwrap();
        assert_eq!(counts.totals().not_sent, 13);
        assert!(delivered.next().unwrap().await);
        assert!(!delivered.next().unwrap().await);
    }
}

#[tokio::test]
async fn a_damaged_file_cancels_the_run_before_the_rows_end() {
    let folder = tempfile::tempdir().unwrap();
    let counts = Counts::default();
    let mut spool = Spool::new(folder.path().into(), 0, counts.clone());
    fill(&mut spool, &[rows(5), rows(6)], &parts()).await;
    let Store::Reading(file) = &spool.store else {
        panic!("in a file")
    };
    // Only the second chunk loses something.
    let bytes = file.get_ref().metadata().unwrap().len();
    file.get_ref().set_len(bytes - 100).unwrap();
    let (sender, mut input) = channel(1, counts.clone());
    let cancel = CancellationToken::new();
    let take = async {
        while input.next().await.is_some() {}
        cancel.is_cancelled()
    };
    let (fed, cancelled_at_the_end) = tokio::join!(spool.feed(sender, &cancel), take);
    assert!(fed.unwrap_err().to_string().contains("read rows back"));
    assert!(cancelled_at_the_end);
    assert_eq!(counts.totals().not_sent, 6);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let counts = Counts::default();
    let mut spool = Spool::new(file.join("state").into(), 0, counts.clone());
    let chunk = chunk(&rows(5), &parts()).unwrap();
    let error = spool.push(0, Item::Chunk(chunk)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("state"), "{error}");
    drop(spool);
    assert_eq!(counts.totals().not_sent, 5);
}

#[test]
fn a_full_disk_is_a_passing_cause_and_the_hint_says_where() {
    let spool = Spool::new(Path::new("/var/state").into(), 0, Counts::default());
    let full = into_io(ArrowError::from(io::Error::from(io::ErrorKind::StorageFull)));
    let error = spool.cannot_write(full);
    assert_eq!(error.kind(), ErrorKind::Passing);
    assert!(error.hints().any(|hint| hint.contains("/var/state")));
    let other = spool.cannot_write(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(other.kind(), ErrorKind::Unexpected);
}
