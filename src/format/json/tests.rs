//! NDJSON and JSON files of real systems.

use serde_json::json;

use super::*;
use crate::format::contract::Sample;
use crate::format::testing::{Outcome, decode, read, read_used};

fn lines(notes: &[String]) -> Vec<String> {
    let rows = notes.iter().zip(1..);
    rows.map(|(note, id)| json!({"id": id, "note": note}).to_string())
        .collect()
}

inventory::submit! {
    Sample {
        format: "ndjson",
        write: |notes| lines(notes).into_iter().map(|line| line + "\n").collect::<String>().into(),
        invalid_second: Some(b"{\"id\":1}\n{\"id\":\n{\"id\":3}\n"),
    }
}

inventory::submit! {
    Sample {
        format: "json",
        write: |notes| format!("[{}]", lines(notes).join(",\n")).into(),
        invalid_second: Some(b"[{\"id\":1},\n5,\n{\"id\":3}]"),
    }
}

#[tokio::test]
async fn rejects_records_and_reads_on() {
    let content = b"\xef\xbb\xbf{\"a\":1}\n{\"a\":}\n[1]\n{\"a\":2}\n{\"a\":\"\xff\"}\n{\"a\":{\"b\":1}}\n{\"a\":3} x\n{\"a\":4}\n";
    let found = read("a.jsonl", content, json!(null)).await;
    assert_eq!(found.rows(), [["1"], ["2"], ["4"]]);
    assert_eq!(found.origins(), [(1, Some(1)), (4, Some(4)), (8, Some(8))]);
    let rejected = found.rejected();
    assert!(rejected.iter().all(|reject| reject.1 == Some(reject.0)));
    let rejected: Vec<_> = rejected.iter().map(|reject| (reject.0, reject.2)).collect();
    let (invalid, encoding) = ("invalid_record", "invalid_encoding");
    assert_eq!(
        rejected,
        [
            (2, invalid),
            (3, invalid),
            (5, encoding),
            (6, invalid),
            (7, invalid)
        ]
    );
    assert_eq!((found.totals.read, found.totals.rejected), (8, 5));
}

#[tokio::test]
async fn infers_columns_from_all_records() {
    let mut content = "{\"id\":1}\n".repeat(20_000);
    content += "{\"id\":\"0x1\",\"late\":true}\n";
    let found = read("a.ndjson", content, json!(null)).await;
    let rows = found.rows();
    assert_eq!(rows.len(), 20_001);
    let actual = (rows[0].join(" "), rows[20_000].join(" "));
    assert_eq!(actual, ("1 -".into(), "0x1 true".into()));
    assert_eq!(found.chunks[0].batch.schema(), found.chunks[2].batch.schema());
}

#[tokio::test]
async fn names_unused_keys_without_building_them() {
    let content = "{\"a\":1,\"b\":{\"deep\":[{}]}}\n{\"b\":\"other kind\",\"a\":2}\n{\"c\":\"\\ud800\",\"a\":3}\n{\"a\":4}\n";
    let found = read_used("a.ndjson", content, &["a", "missing"]).await;
    assert_eq!(found.rows(), [["1"], ["2"], ["4"]]);
    assert_eq!(found.columns(), ["a", "b", "c"]);
    assert_eq!(found.rejected()[0].0, 3);
}

#[tokio::test]
async fn reports_files_that_cannot_be_read() {
    for (format, content, expected) in [
        ("json", "", "empty"),
        ("json", "5", "neither an array nor an object"),
        ("json", "[{\"a\":1},\n{\"a\":", "truncated"),
        ("json", "[{\"a\":1}", "truncated"),
        ("json", "[{\"a\":1} {\"a\":2}]", "comma"),
        ("json", "[{\"a\":1},]", "no value"),
        ("json", "[{\"a\":1}] x", "more after the end"),
        ("json", "{\"a\":1}\n{\"a\":2}", "more after the end"),
        ("ndjson", "{\"a\":1}\n{\"a\":\"too long\"}\n", "line 2"),
    ] {
        let settings = json!({"type": format, "max_record_bytes": "10B"});
        let found = read("a", content, settings).await;
        let message = found.error().to_string();
        assert!(message.contains(expected), "{content}: {message}");
    }
}

impl Format for Reader {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        Self::read(self, input, out)
    }
}

/// Reads `buffer` bytes at a time, and infers columns from `sample` bytes of a stream.
fn sized(content: &str, layout: Layout, buffer: usize, sample: Option<usize>) -> Outcome {
    let reader = Reader {
        layout,
        max_record: 1 << 20,
        buffer,
        sample: sample.unwrap_or_default(),
    };
    decode(content.as_bytes(), reader, sample.is_some())
}

#[test]
fn warns_about_a_single_object_without_keys_that_may_be_values() {
    for (content, shown) in [
        ("{\"leavers\":[]}", true),
        ("{\"adele@contoso.com\":1,\"name\":2}", false),
    ] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let file = log.reopen().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(file).finish();
        tracing::subscriber::with_default(subscriber, || sized(content, Layout::Array, 64, None));
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert!(log.contains("one object") && !log.contains("adele"), "{log}");
        assert_eq!(log.contains("leavers"), shown);
    }
}

#[test]
fn rejects_what_the_sample_did_not_show() {
    let content = "{\"a\":1}\n{\"a\":2}\n{\"a\":3,\"b\":1}\n{\"a\":\"x\"}\n{\"a\":4}\n";
    let found = sized(content, Layout::Lines, 64, Some(10));
    assert_eq!(found.rows(), [["1"], ["2"], ["4"]]);
    let rejected = found.rejected();
    let holds = rejected[0].3.contains("8 MiB") && rejected[1].3.contains("a text here");
    assert!(holds, "{rejected:?}");
    let found = sized(content, Layout::Lines, 64, Some(1000));
    assert_eq!((found.rows().len(), found.rejects.len()), (5, 0));
}

#[test]
fn reads_an_array_with_lines_and_any_buffer() {
    let content = " [\n  {\"a\": \"x, ]}\\\\\\\"\"},\n  {\"a\": [\n1]}, 5,\n  {\"a\": \"é\"}\n]\n";
    for buffer in (1..9).chain([1 << 16]) {
        let found = sized(content, Layout::Array, buffer, None);
        assert_eq!(found.rows(), [["x, ]}\\\""], ["é"]], "{buffer}");
        assert_eq!(found.origins(), [(1, Some(2)), (4, Some(5))]);
        let rejected = found.rejected();
        let rejected: Vec<_> = rejected.iter().map(|reject| (reject.0, reject.1)).collect();
        assert_eq!(rejected, [(2, Some(3)), (3, Some(4))]);
        assert_eq!(sized("{\"a\": 1}\n", Layout::Array, buffer, None).rows(), [["1"]]);
    }
}
