//! NDJSON and JSON as they are met.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::testing::{context, read, read_bytes, rows};
use super::*;
use crate::component::{Chunk, Counts, Item, Output, channel};

#[tokio::test]
async fn nested_objects_and_lists_become_columns_of_their_kind() {
    let content = concat!(
        "{\"id\":\"007\",\"address\":{\"city\":\"Köln\"},\"tags\":[1,2]}\r\n",
        "\n",
        "{\"id\":\"008\",\"address\":{\"city\":null,\"zip\":\"01067\"}}",
    );
    let found = read_bytes("a.ndjson", content, json!(null)).await;
    assert_eq!(found.rows().len(), 2);
    let batch = &found.chunks[0].batch;
    let city = batch.column_by_name("address").unwrap().as_struct();
    assert_eq!(
        city.column_by_name("city").unwrap().as_string::<i32>().value(0),
        "Köln"
    );
    assert_eq!(
        city.column_by_name("zip").unwrap().as_string::<i32>().value(1),
        "01067"
    );
    let tags = batch.column_by_name("tags").unwrap().as_list::<i32>();
    assert_eq!(
        tags.value(0).as_primitive::<Int64Type>().values().as_ref(),
        &[1, 2]
    );
    assert_eq!(found.origins(), [(1, Some(1)), (2, Some(3))]);
}

#[tokio::test]
async fn bad_lines_are_put_aside_and_the_others_go_on() {
    let content = b"\xef\xbb\xbf{\"a\":1}\n{\"a\":}\n[1]\n{\"a\":2}\n{\"a\":\"\xff\"}\n{\"a\":{\"b\":1}}\n{\"a\":3} x\n{\"a\":4}\n";
    let found = read_bytes("a.jsonl", content, json!(null)).await;
    assert_eq!(found.rows(), [["1"], ["2"], ["4"]]);
    assert_eq!(found.origins(), [(1, Some(1)), (4, Some(4)), (8, Some(8))]);
    let rejected: Vec<_> = found
        .rejected()
        .iter()
        .map(|reject| (reject.0, reject.1, reject.2))
        .collect();
    let expected = [
        (2, "invalid_record"),
        (3, "invalid_record"),
        (5, "invalid_encoding"),
        (6, "invalid_record"),
        (7, "invalid_record"),
    ];
    assert_eq!(
        rejected,
        expected.map(|(row, code)| (row, Some(row), code)).to_vec()
    );
    assert_eq!((found.totals.read, found.totals.rejected), (8, 5));
}

#[tokio::test]
async fn a_key_or_type_of_the_last_record_counts_for_all() {
    let mut content = "{\"id\":1}\n".repeat(20_000);
    content += "{\"id\":\"0x1\",\"late\":true}\n";
    let found = read_bytes("a.ndjson", content, json!(null)).await;
    let rows = found.rows();
    assert_eq!(rows.len(), 20_001);
    assert_eq!(rows[0], ["1", "-"]);
    assert_eq!(rows[20_000], ["0x1", "true"]);
    assert_eq!(found.chunks[0].batch.schema(), found.chunks[2].batch.schema());
}

#[tokio::test]
async fn unused_keys_are_named_but_not_built() {
    let folder = tempfile::tempdir().unwrap();
    let content = "{\"a\":1,\"b\":{\"deep\":[{}]}}\n{\"b\":\"other kind\",\"a\":2}\n{\"c\":\"\\ud800\",\"a\":3}\n{\"a\":4}\n";
    std::fs::write(folder.path().join("a.ndjson"), content).unwrap();
    let found = read(
        folder.path(),
        json!({"path": "a.ndjson"}),
        Some(&["a", "missing"]),
    )
    .await;
    assert_eq!(found.rows(), [["1"], ["2"], ["4"]]);
    assert_eq!(found.columns(), ["a", "b", "c"]);
    assert_eq!(found.rejected()[0].0, 3);
}

#[tokio::test]
async fn a_json_array_is_read_with_lines() {
    let content = " [\n  {\"a\": \"x, ]}\\\"\"},\n  {\"a\": [\n1]}, 5,\n  {\"a\": \"z\"}\n]\n";
    let found = read_bytes("a.json", content, json!(null)).await;
    assert_eq!(found.rows(), [["x, ]}\""], ["z"]]);
    assert_eq!(found.origins(), [(1, Some(2)), (4, Some(5))]);
    let rejected = found.rejected();
    assert_eq!((rejected[0].0, rejected[0].1), (2, Some(3)));
    assert_eq!((rejected[1].0, rejected[1].1), (3, Some(4)));
    let found = read_bytes("a.json", "{\"a\": 1}\n", json!(null)).await;
    assert_eq!(found.rows(), [["1"]]);
}

#[tokio::test]
async fn a_broken_array_is_an_error_and_never_a_short_file() {
    for (content, expected) in [
        ("", "empty"),
        ("5", "neither an array nor an object"),
        ("[{\"a\":1},\n{\"a\":", "cut off"),
        ("[{\"a\":1}", "cut off"),
        ("[{\"a\":1} {\"a\":2}]", "comma"),
        ("[{\"a\":1},]", "no value"),
        ("[{\"a\":1}] x", "more after the end"),
        ("{\"a\":1}\n{\"a\":2}", "more after the end"),
    ] {
        let found = read_bytes("a.json", content, json!(null)).await;
        let message = found.error().to_string();
        assert!(message.contains(expected), "{content}: {message}");
    }
    let settings = json!({"type": "ndjson", "max_record_bytes": "10B"});
    let found = read_bytes("a.json", "{\"a\":1}\n{\"a\":\"too long\"}\n", settings).await;
    assert!(found.error().to_string().contains("line 2"));
}

#[tokio::test]
async fn no_records_are_no_rows_of_the_columns_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), "\n").unwrap();
    std::fs::write(folder.path().join("a.json"), "[ ]").unwrap();
    let found = read(folder.path(), json!({"path": "a.*json"}), Some(&["x"])).await;
    assert_eq!(found.rows().len(), 0);
    assert_eq!((found.chunks.len(), found.columns()), (2, &["x".to_owned()][..]));
}

/// Decodes on this thread, with `sample` as if from standard input.
fn decode(content: &str, layout: Layout, buffer: usize, sample: Option<usize>) -> (Vec<Chunk>, Vec<String>) {
    let cx = context(std::path::Path::new(""), None);
    let (sender, mut input) = channel(1000, Counts::default());
    let out = Output::source(
        vec![(sender, 0)],
        cx.counts.clone(),
        CancellationToken::new(),
        None,
    );
    let feed = Feed {
        name: "test".into(),
        cx: cx.clone(),
        out,
        added: Default::default(),
    };
    let content = content.as_bytes().to_vec();
    let open = || {
        let raw = Box::new(std::io::Cursor::new(content.clone()));
        TextReader::new("test".into(), raw, encoding_rs::UTF_8)
    };
    let sizes = (buffer, sample.unwrap_or_default());
    read_with(&open, sample.is_none(), layout, 1 << 20, &feed, sizes).unwrap();
    drop(feed);
    let mut chunks = Vec::new();
    while let Some((_, Item::Chunk(chunk))) = futures::executor::block_on(input.next()) {
        chunks.push(chunk);
    }
    let rejects = cx.rejects.kept();
    let messages = rejects
        .iter()
        .map(|reject| reject.faults[0].message.to_string())
        .collect();
    (chunks, messages)
}

#[test]
fn a_warning_shows_no_keys_that_may_be_values() {
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let logged = |content: &str| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || decode(content, Layout::Array, 64, None));
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    };
    let log = logged("{\"leavers\":[]}");
    assert!(log.contains("one object") && log.contains("leavers"), "{log}");
    let log = logged("{\"adele@contoso.com\":1,\"name\":2}");
    assert!(log.contains("one object") && !log.contains("adele"), "{log}");
}

#[test]
fn what_a_sample_did_not_show_is_put_aside() {
    let content = "{\"a\":1}\n{\"a\":2}\n{\"a\":3,\"b\":1}\n{\"a\":\"x\"}\n{\"a\":4}\n";
    let (chunks, rejected) = decode(content, Layout::Lines, 64, Some(10));
    assert_eq!(rows(&chunks), [["1"], ["2"], ["4"]]);
    assert!(
        rejected[0].contains("8 MiB") && rejected[1].contains("a text here"),
        "{rejected:?}"
    );
    let (chunks, rejected) = decode(content, Layout::Lines, 64, Some(1000));
    assert_eq!((rows(&chunks).len(), rejected.len()), (5, 0));
}

proptest! {
    #[test]
    fn what_is_written_is_read_wherever_buffers_end(
        values in prop::collection::vec(prop::option::of("[a\"\\\\{}\\[\\],é\n ]{0,6}"), 1..8),
        buffer in 1_usize..9,
        pretty in any::<bool>(),
    ) {
        let records: Vec<serde_json::Value> = values.iter().map(|value| json!({"a": value, "n": [{}]})).collect();
        let expected: Vec<String> = values.iter().map(|value| value.clone().unwrap_or_else(|| "-".into())).collect();
        let array = if pretty { serde_json::to_string_pretty(&records) } else { serde_json::to_string(&records) };
        let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
        for (content, layout) in [(array.unwrap(), Layout::Array), (lines.join("\n"), Layout::Lines)] {
            let (chunks, rejected) = decode(&content, layout, buffer, None);
            prop_assert_eq!(rejected.len(), 0);
            let found: Vec<String> = rows(&chunks).into_iter().map(|row| row[0].clone()).collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}
