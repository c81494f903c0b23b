//! CSV as it is met.

use std::io::Write;

use encoding_rs::UTF_8;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::testing::{context, read, read_bytes, rows};
use super::*;
use crate::component::{Chunk, Counts, Item, Output, channel};
use crate::config::Problems;

fn text(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter()
        .map(|row| row.iter().map(|&cell| cell.to_owned()).collect())
        .collect()
}

#[tokio::test]
async fn cells_are_text_and_empty_ones_are_null() {
    let found = read_bytes("a.csv", "id,mail,end\n007,,\n\"\", a ,x\n", json!(null)).await;
    assert_eq!(found.rows(), text(&[&["007", "-", "-"], &["-", " a ", "x"]]));
    assert_eq!(found.columns(), ["id", "mail", "end"]);
    assert_eq!(found.checkpoints, [(2, "a.csv".to_owned())]);
    assert_eq!(found.totals.read, 2);
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_the_first_name() {
    let found = read_bytes("a.csv", "\u{feff}id,b\n1,2\n", json!(null)).await;
    assert_eq!(found.columns(), ["id", "b"]);
    let found = read_bytes("a.csv", "\u{feff}\"id\" , b \n1,2\n", json!(null)).await;
    assert_eq!(found.columns(), ["id", "b"]);
}

#[tokio::test]
async fn excels_unicode_text_is_read() {
    let mut bytes = vec![0xff, 0xfe];
    bytes.extend(
        "name\tcity\r\nJürgen\t東京 🗼\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes),
    );
    let found = read_bytes("a.tsv", &bytes, json!(null)).await;
    assert_eq!(found.rows(), text(&[&["Jürgen", "東京 🗼"]]));
    let found = read_bytes("a.txt", &bytes, json!({"type": "csv", "delimiter": "tab"})).await;
    assert_eq!(found.rows(), text(&[&["Jürgen", "東京 🗼"]]));
    let found = read_bytes(
        "a.tsv",
        &bytes[2..],
        json!({"type": "csv", "encoding": "utf-16le"}),
    )
    .await;
    assert_eq!(found.rows(), text(&[&["Jürgen", "東京 🗼"]]));
    // Without a mark and without the setting.
    let found = read_bytes("a.tsv", &bytes[2..], json!(null)).await;
    assert!(found.error().hints().next().unwrap().contains("utf-16le"));
}

#[tokio::test]
async fn windows_1252_with_semicolons_is_read() {
    let settings = json!({"type": "csv", "delimiter": ";", "encoding": "latin1"});
    let found = read_bytes("a.csv", b"Name;Gr\xf6\xdfe\r\nJ\xfcrgen;1,5 \x80\r\n", settings).await;
    assert_eq!(found.columns(), ["Name", "Größe"]);
    assert_eq!(found.rows(), text(&[&["Jürgen", "1,5 €"]]));
}

#[tokio::test]
async fn rows_that_are_not_utf8_are_put_aside_when_the_column_is_used() {
    let bytes = b"id,name,note\n1,J\xfcrgen,x\n2,Ann,\xff\n3,\xc3,\xa4\n4,Bob,y\n";
    let found = read_bytes("a.csv", bytes, json!(null)).await;
    assert_eq!(found.rows(), text(&[&["4", "Bob", "y"]]));
    let rejected: Vec<_> = found
        .rejected()
        .iter()
        .map(|reject| (reject.0, reject.1, reject.2))
        .collect();
    let invalid = |row| (row, Some(row + 1), "invalid_encoding");
    assert_eq!(rejected, [invalid(1), invalid(2), invalid(3)]);
    assert_eq!((found.totals.read, found.totals.rejected), (4, 3));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), bytes).unwrap();
    let found = read(folder.path(), json!({"path": "a.csv"}), Some(&["id", "other"])).await;
    assert_eq!(found.rows(), text(&[&["1"], &["2"], &["3"], &["4"]]));
    assert_eq!(found.columns(), ["id", "name", "note"]);

    let found = read_bytes("a.csv", b"id,Gr\xf6\xdfe\n1,2\n", json!(null)).await;
    assert!(found.error().hints().next().unwrap().contains("windows-1252"));
}

#[tokio::test]
async fn rows_are_counted_when_no_column_is_used() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "a\n1\n2\n").unwrap();
    let found = read(folder.path(), json!({"path": "a.csv"}), Some(&[])).await;
    assert_eq!(found.rows().len(), 2);
}

#[tokio::test]
async fn lines_are_those_on_which_records_begin() {
    let content = "title\n\nid,note\n1,\"a\nb\r\nc\"\n\n# left out, \"\n\n2,x\n3,\"\n\"\n4,y";
    let settings = json!({"type": "csv", "skip_first": 2, "comment": "#"});
    let expected = [(1, Some(4)), (2, Some(10)), (3, Some(11)), (4, Some(13))];
    let found = read_bytes("a.csv", content, settings.clone()).await;
    assert_eq!(
        found.rows(),
        text(&[&["1", "a\nb\r\nc"], &["2", "x"], &["3", "\n"], &["4", "y"]])
    );
    assert_eq!(found.origins(), expected);
    let unix = content.replace("\r\n", "\n");
    for ends in ["\r\n", "\r"] {
        let found = read_bytes("a.csv", unix.replace('\n', ends), settings.clone()).await;
        assert_eq!(found.origins(), expected, "{ends:?}");
        assert_eq!(found.rows()[3], ["4", "y"]);
    }
}

#[tokio::test]
async fn quotes_escapes_and_comments_are_as_set() {
    let found = read_bytes("a.csv", "a,b\n\"x \"\"y\"\"\",\"1,2\"\n", json!(null)).await;
    assert_eq!(found.rows(), text(&[&["x \"y\"", "1,2"]]));
    let settings = json!({"type": "csv", "escape": "\\", "comment": "#"});
    let found = read_bytes("a.csv", "# no header\na,b\n\"x \\\"y\\\"\",z\n#x,y\n", settings).await;
    assert_eq!(found.rows(), text(&[&["x \"y\"", "z"]]));
    let settings = json!({"type": "csv", "quote": "'"});
    let found = read_bytes("a.csv", "a,b\n'1,2',\"\n", settings).await;
    assert_eq!(found.rows(), text(&[&["1,2", "\""]]));
    for quote in [json!(null), json!("")] {
        let settings = json!({"type": "csv", "quote": quote});
        let found = read_bytes("a.csv", "a,b\n\"1,2\n\"x,y\n", settings).await;
        assert_eq!(found.rows(), text(&[&["\"1", "2"], &["\"x", "y"]]));
    }
}

#[tokio::test]
async fn banners_and_trailers_are_skipped() {
    let content = "Leavers, \"as of\r\n\r\nid,b\r\n1,2\r\n3,4\r\n5,6\r\nTRL,3,x\r\nEND\r\n";
    let settings = json!({"type": "csv", "skip_first": 2, "skip_last": 2});
    let found = read_bytes("a.csv", content, settings.clone()).await;
    assert_eq!(found.rows(), text(&[&["1", "2"], &["3", "4"], &["5", "6"]]));
    assert_eq!(found.origins()[2], (3, Some(6)));
    assert_eq!(found.rejected(), []);
    let found = read_bytes("a.csv", "x\ny\nid,b\nTRL\n", settings.clone()).await;
    assert_eq!(found.rows().len(), 0);
    let found = read_bytes("a.csv", "x\n", settings).await;
    assert!(found.error().to_string().contains("ends after 1 lines"));
}

#[tokio::test]
async fn a_trailer_with_an_open_quote_is_skipped_and_loses_no_record_before_it() {
    let content = "id\nA\nB\n\"Total\n";
    let skip = |count: usize| json!({"type": "csv", "skip_last": count});
    let found = read_bytes("a.csv", content, skip(1)).await;
    assert_eq!(found.rows(), text(&[&["A"], &["B"]]));
    assert_eq!(found.origins(), [(1, Some(2)), (2, Some(3))]);
    assert_eq!(found.rejected(), []);
    let found = read_bytes("a.csv", content, skip(2)).await;
    assert_eq!(found.rows(), text(&[&["A"]]));
    let found = read_bytes("a.csv", content, skip(5)).await;
    assert_eq!(found.rows().len(), 0);
    let found = read_bytes("a.csv", content, skip(0)).await;
    assert_eq!(found.rows(), text(&[&["A"], &["B"]]));
    assert_eq!(found.rejected()[0].0, 3);
    // Lines swallowed by the quote may be people, wanted or not.
    let found = read_bytes("a.csv", "id\nA\n\"B\nC\n", skip(1)).await;
    assert!(
        found.error().to_string().contains("never closed"),
        "{}",
        found.error()
    );
}

#[tokio::test]
async fn names_can_be_given() {
    let given = |header| json!({"type": "csv", "columns": ["x", "y"], "header": header});
    let found = read_bytes("a.csv", "1,2\n3,4\n", given(json!(null))).await;
    assert_eq!(found.columns(), ["x", "y"]);
    assert_eq!(found.rows().len(), 2);
    assert_eq!(found.origins()[0], (1, Some(1)));
    let found = read_bytes("a.csv", "a,b\n3,4\n", given(json!(true))).await;
    assert_eq!(found.rows(), text(&[&["3", "4"]]));
    assert_eq!(found.origins()[0], (1, Some(2)));
    let found = read_bytes("a.csv", "a,b,c\n3,4,5\n", given(json!(true))).await;
    assert!(
        found
            .error()
            .to_string()
            .contains("has 3 columns, `columns` names 2")
    );
    let found = read_bytes("a.csv", "1,2\n3,4\n", json!({"type": "csv", "header": false})).await;
    assert_eq!(found.columns(), ["column_1", "column_2"]);
    assert_eq!(found.rows().len(), 2);
}

#[tokio::test]
async fn every_column_can_be_named() {
    let found = read_bytes("a.csv", "id, id ,,x\n1,2,3,4\n", json!(null)).await;
    assert_eq!(found.columns(), ["id", "id_2", "column_3", "x"]);
    assert_eq!(found.rows(), text(&[&["1", "2", "3", "4"]]));
}

#[tokio::test]
async fn excels_separator_line_sets_the_delimiter() {
    for (first, delimiter) in [
        ("sep=;", ";"),
        ("\u{feff}SEP=;", ";"),
        ("\"sep=;\"", ";"),
        ("sep=\t", "\t"),
        ("sep=,", ","),
    ] {
        let content = format!("{first}\r\na,b\r\n1,2\r\n").replace(',', delimiter);
        let found = read_bytes("a.csv", content, json!(null)).await;
        assert_eq!(found.columns(), ["a", "b"], "{first}");
        assert_eq!(found.origins(), [(1, Some(3))]);
    }
    let found = read_bytes(
        "a.csv",
        "sep=;\na;b\n1;2\n",
        json!({"type": "csv", "delimiter": "|"}),
    )
    .await;
    assert_eq!(found.columns(), ["a", "b"]);
}

#[tokio::test]
async fn ragged_records_are_put_aside_with_their_counts() {
    let found = read_bytes("a.csv", "a,b,c\n1,2,3\n1,2\n1,2,3,4\nx\n\n4,5,6\n", json!(null)).await;
    assert_eq!(found.rows(), text(&[&["1", "2", "3"], &["4", "5", "6"]]));
    assert_eq!(found.origins(), [(1, Some(2)), (5, Some(7))]);
    assert_eq!(
        found.rejected(),
        [
            (
                2,
                Some(3),
                "ragged_row",
                "the record has 2 values where the file has 3 columns"
            ),
            (
                3,
                Some(4),
                "ragged_row",
                "the record has 4 values where the file has 3 columns"
            ),
            (
                4,
                Some(5),
                "ragged_row",
                "the record has 1 value where the file has 3 columns"
            ),
        ]
    );
    assert_eq!((found.totals.read, found.totals.rejected), (5, 3));
}

#[tokio::test]
async fn a_file_of_nothing_is_an_error_and_one_of_a_header_is_not() {
    for content in ["", "\u{feff}", "\r\n\n"] {
        let found = read_bytes("a.csv", content, json!(null)).await;
        assert!(
            found.error().to_string().contains("not even a header"),
            "{content:?}"
        );
    }
    let found = read_bytes("a.csv", "", json!({"type": "csv", "columns": ["a"]})).await;
    assert_eq!((found.rows().len(), found.columns().len()), (0, 1));
    for content in ["a,b", "a,b\r\n\r\n"] {
        let found = read_bytes("a.csv", content, json!(null)).await;
        assert_eq!(found.rows().len(), 0);
        assert_eq!((found.chunks.len(), found.chunks[0].batch.num_columns()), (1, 2));
    }
}

#[tokio::test]
async fn a_quote_that_is_never_closed_loses_no_rows_in_silence() {
    let found = read_bytes("a.csv", "a,b\n1,2\n3,\"x\n", json!(null)).await;
    assert_eq!(found.rows(), text(&[&["1", "2"]]));
    assert_eq!(
        found.rejected(),
        [(
            2,
            Some(3),
            "invalid_record",
            "the quote opened in this record is never closed"
        )]
    );
    let found = read_bytes("a.csv", "a,b\n1,2\n3,\"x\n5,6\n7,8\n", json!(null)).await;
    let message = found.error().to_string();
    assert!(
        message.contains("line 3") && message.contains("2 more lines"),
        "{message}"
    );
    let settings = json!({"type": "csv", "max_record_bytes": 10});
    let found = read_bytes("a.csv", "a,b\n1,2\n3,\"x\n5,6\n7,8\n9,\"\n", settings).await;
    let error = found.error();
    assert!(error.to_string().contains("line 3"), "{error}");
    assert!(error.hints().next().unwrap().contains("quote"));
    // Closed at the very end, without a line end.
    let found = read_bytes("a.csv", "a,b\n1,\"2\"", json!(null)).await;
    assert_eq!(found.rows(), text(&[&["1", "2"]]));
    assert_eq!(found.rejected(), []);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn packed_files_are_read_whole_or_not_at_all() {
    let content = (0..2000_u64).fold("a,b\n".to_owned(), |text, n| {
        text + &format!("{n},{}\n", n * n * 7919)
    });
    let (head, tail) = content.split_at(content.len() / 2);
    let mut members = gzip(head.as_bytes());
    members.extend(gzip(tail.as_bytes()));
    let zstd = zstd::encode_all(content.as_bytes(), 3).unwrap();
    for (name, packed) in [("a.csv.gz", &members), ("A.CSV.ZST", &zstd)] {
        let found = read_bytes(name, packed, json!(null)).await;
        assert_eq!(found.rows().len(), 2000, "{name}");
        let found = read_bytes(name, &packed[..packed.len() - 9], json!(null)).await;
        let error = found.error();
        assert!(error.chain().contains("damaged or cut off"), "{}", error.chain());
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut damaged = members.clone();
    let middle = damaged.len() / 3;
    damaged[middle] ^= 0x55;
    let found = read_bytes("a.csv.gz", &damaged, json!(null)).await;
    assert!(found.error().chain().contains("damaged or cut off"));
    let found = read_bytes("a.csv", &members, json!(null)).await;
    assert!(found.error().hints().next().unwrap().contains("packing: gzip"));
}

#[tokio::test]
async fn long_files_come_in_chunks_in_order() {
    let content = (0..20_000).fold("n,note\n".to_owned(), |text, n| text + &format!("{n},x\n"));
    let found = read_bytes("a.csv", content, json!(null)).await;
    let counted: Vec<usize> = found.chunks.iter().map(Chunk::num_rows).collect();
    assert_eq!(counted, [8192, 8192, 3616]);
    let numbers: Vec<String> = found.rows().into_iter().map(|row| row[0].clone()).collect();
    assert!(
        numbers
            .iter()
            .enumerate()
            .all(|(index, number)| *number == index.to_string())
    );
    // Long cells make chunks of fewer rows.
    let content = (0..10).fold("a\n".to_owned(), |text, _| text + &"y".repeat(1 << 20) + "\n");
    let found = read_bytes("a.csv", content, json!(null)).await;
    let counted: Vec<usize> = found.chunks.iter().map(Chunk::num_rows).collect();
    assert_eq!(counted, [4, 4, 2]);
}

/// Decodes on this thread with a read buffer of `buffer` bytes.
fn decode(content: &[u8], settings: serde_json::Value, buffer: usize) -> (Vec<Chunk>, usize) {
    let options: CsvOptions = serde_json::from_value(settings).unwrap();
    let dialect = options
        .dialect(DEFAULT_DELIMITER, &mut Problems::new(&mut Vec::new()))
        .unwrap();
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
    let raw = Box::new(std::io::Cursor::new(content.to_vec()));
    let text = TextReader::new("test".into(), raw, UTF_8).unwrap();
    read_with(text, &dialect, &feed, buffer).unwrap();
    drop(feed);
    let mut chunks = Vec::new();
    while let Some((_, Item::Chunk(chunk))) = futures::executor::block_on(input.next()) {
        chunks.push(chunk);
    }
    (chunks, cx.rejects.kept().len())
}

proptest! {
    #[test]
    fn what_is_written_is_read_wherever_buffers_end(
        table in (1_usize..5).prop_flat_map(|width| {
            prop::collection::vec(prop::collection::vec("[a,;\"\\\\\r\né ]{0,6}", width), 1..8)
        }),
        crlf in any::<bool>(),
        buffer in 1_usize..9,
        skip_last in 0_usize..3,
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new()
            .terminator(terminator)
            .quote_style(csv::QuoteStyle::Always)
            .from_writer(Vec::new());
        let header: Vec<String> = (0..table[0].len()).map(|n| format!("c{n}")).collect();
        writer.write_record(&header).unwrap();
        for row in &table {
            writer.write_record(row).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let (small, rejected) = decode(&content, json!({"skip_last": skip_last}), buffer);
        let expected: Vec<Vec<String>> = table[..table.len().saturating_sub(skip_last)]
            .iter()
            .map(|row| row.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell.clone() }).collect())
            .collect();
        prop_assert_eq!(rejected, 0);
        prop_assert_eq!(rows(&small), expected);
        let (large, _) = decode(&content, json!({"skip_last": skip_last}), 1 << 16);
        let lines = |chunks: &[Chunk]| -> Vec<_> {
            chunks.iter().flat_map(|chunk| (0..chunk.num_rows()).map(|row| chunk.origins.at(row))).collect()
        };
        prop_assert_eq!(lines(&small), lines(&large));
    }

    #[test]
    fn any_bytes_are_read_the_same_wherever_buffers_end(
        content in "[a,;\"\r\n#]{0,40}",
        buffer in 1_usize..5,
    ) {
        // No unclosed quote, whose error is another test's.
        let closed = content.matches('"').count() % 2 == 0;
        prop_assume!(closed);
        let content = format!("x,y\n{}\n", content.replace('"', "\"\""));
        let settings = json!({"comment": "#", "quote": null});
        let (small, rejected_small) = decode(content.as_bytes(), settings.clone(), buffer);
        let (large, rejected_large) = decode(content.as_bytes(), settings, 1 << 16);
        prop_assert_eq!(rows(&small), rows(&large));
        prop_assert_eq!(rejected_small, rejected_large);
    }
}
