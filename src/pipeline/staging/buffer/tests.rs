use arrow::array::{
    BooleanArray, DictionaryArray, Int32Array, ListArray, NullArray, StringArray, StringViewArray,
    StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;
use crate::component::{Delivered, channel, contract};
use crate::hr::Scenario;

/// Columns of many types.
fn columns(rows: usize) -> RecordBatch {
    let text = |row: usize| (!row.is_multiple_of(3)).then(|| format!("value {}", "ä".repeat(row)));
    let texts: Vec<Option<String>> = (0..rows).map(text).collect();
    let strings = StringArray::from_iter(texts.iter().cloned());
    let codes: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
    let lists = texts
        .iter()
        .map(|text| text.as_ref().map(|text| vec![Some(text.len() as i64), None]));
    let times = TimestampMicrosecondArray::from_iter((0..rows).map(|row| text(row).map(|_| row as i64)));
    let member = Arc::new(Field::new("m", DataType::Utf8, true));
    let flags: BooleanArray = texts.iter().map(|text| text.as_ref().map(|_| true)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int32Array::from_iter_values(0..rows as i32))),
        ("flag", Arc::new(flags)),
        (
            "view",
            Arc::new(StringViewArray::from_iter(texts.iter().cloned())),
        ),
        ("code", Arc::new(codes)),
        ("when", Arc::new(times.with_timezone("Europe/Berlin"))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ),
        (
            "struct",
            Arc::new(StructArray::from(vec![(member, Arc::new(strings) as ArrayRef)])),
        ),
        ("nothing", Arc::new(NullArray::new(rows))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn rows(rows: usize) -> Item {
    Item::Chunk(contract::chunk(
        "a.csv",
        1,
        &format!("x\n{}", "value\n".repeat(rows)),
    ))
}

/// Chunks with all kinds of columns and origins.
fn chunks() -> Vec<Chunk> {
    let part = Arc::new(Part {
        name: "a.csv".into(),
        columns: vec!["x".into()],
    });
    let numbers: UInt64Array = (0..40_u64).map(|row| Some(row * row)).collect();
    let lines: UInt64Array = (0..40).map(|row| (row % 2 > 0).then_some(row + 2)).collect();
    let mixed = Mixed {
        names: ["a.csv".into(), "b.csv".into()].into(),
        index: (0..40).map(|row| Some(row % 2)).collect(),
    };
    let with_lines = Origins::of_columns(part.clone(), numbers.clone(), Some(lines));
    let plain = Origins::of_columns(part, numbers, None);
    let none = RecordBatchOptions::new().with_row_count(Some(40));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &none).unwrap();
    let all = Chunk::records(columns(40), with_lines.clone());
    let kind = RowKind::Schema(Scenario::JobLevelChange.id());
    vec![
        all.clone(),
        all.slice(7, 20),
        all.slice(3, 0),
        Chunk { kind, ..all },
        Chunk::records(none, plain.clone()),
        Chunk::records(columns(40), plain.mixed_with(mixed.clone())),
        Chunk::records(columns(40), with_lines.mixed_with(mixed)).slice(1, 9),
    ]
}

async fn filled(folder: &Path, max_memory: usize, items: Vec<Item>) -> (InputBuffer, Counts) {
    let counts = Counts::default();
    let mut buffer = InputBuffer::new(folder.into(), max_memory, counts.clone());
    for (input, item) in items.into_iter().enumerate() {
        buffer.push(input % 3, item).await.unwrap();
    }
    (buffer, counts)
}

fn checkpoint(position: &str, delivered: &mut Vec<Delivered>) -> Item {
    let (checkpoint, half) = Checkpoint::new(position);
    delivered.push(half);
    Item::Checkpoint(checkpoint)
}

#[tokio::test]
async fn returns_items_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for max_memory in [0, 5_000, usize::MAX] {
        let mut delivered = Vec::new();
        let mut items = Vec::new();
        for (at, chunk) in chunks().into_iter().enumerate() {
            items.push(Item::Chunk(chunk));
            items.push(checkpoint(&at.to_string(), &mut delivered));
        }
        let (buffer, counts) = filled(folder.path(), max_memory, items).await;
        let (sender, mut input) = channel(2, counts.clone());
        let receive = async {
            for (at, expected) in chunks().iter().enumerate() {
                let Some((number, Item::Chunk(chunk))) = input.next().await else {
                    panic!("chunk {at} is missing")
                };
                assert_eq!(number, 2 * at % 3);
                assert_eq!((&chunk.batch, chunk.kind), (&expected.batch, expected.kind));
                assert_eq!(chunk.origins.columns(), expected.origins.columns());
                for row in 0..expected.num_rows() {
                    assert_eq!(chunk.origins.at(row), expected.origins.at(row));
                }
                let Some((_, Item::Checkpoint(checkpoint))) = input.next().await else {
                    panic!("checkpoint {at} is missing")
                };
                assert_eq!(checkpoint.position(), at.to_string());
                checkpoint.done();
            }
            assert!(input.next().await.is_none());
        };
        let cancel = CancellationToken::new();
        let (fed, ()) = tokio::join!(buffer.feed(sender, &cancel), receive);
        fed.unwrap();
        assert!(
            futures::future::join_all(delivered)
                .await
                .into_iter()
                .all(|done| done)
        );
        assert_eq!(counts.totals().not_sent, 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn cancels_the_run_before_the_rows_of_a_damaged_file_end() {
    let folder = tempfile::tempdir().unwrap();
    let (buffer, counts) = filled(folder.path(), 0, vec![rows(5), rows(6)]).await;
    // Only the second chunk loses something.
    buffer.spool.truncate(100);
    let (sender, mut input) = channel(1, counts.clone());
    let cancel = CancellationToken::new();
    let receive = async {
        while input.next().await.is_some() {}
        cancel.is_cancelled()
    };
    let (fed, cancelled_at_the_end) = tokio::join!(buffer.feed(sender, &cancel), receive);
    let error = fed.unwrap_err().to_string();
    assert!(error.contains("cannot read the temporary file"), "{error}");
    assert!(cancelled_at_the_end);
    assert_eq!(counts.totals().not_sent, 6);
}
