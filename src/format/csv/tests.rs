//! CSV files of real systems.

use encoding_rs::UTF_8;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::format::contract::Sample;
use crate::format::testing::{Outcome, Reading, read};

inventory::submit! {
    Sample {
        format: "csv",
        write: |notes| {
            let rows = notes.iter().zip(1..).map(|(note, id)| format!("{id},\"{note}\"\n"));
            format!("id,note\n{}", rows.collect::<String>()).into()
        },
        invalid_second: Some(b"id,note\n1,a\n2\n3,c\n"),
    }
}

/// Rows written as `a|b / c|d`.
fn table(text: &str) -> Vec<Vec<String>> {
    let rows = text.split(" / ").filter(|row| !row.is_empty());
    rows.map(|row| row.split('|').map(str::to_owned).collect())
        .collect()
}

#[expect(clippy::needless_pass_by_value, reason = "called with `json!`")]
fn csv(settings: Value) -> Value {
    let mut csv = json!({"type": "csv"});
    csv.as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    csv
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test]
async fn reads_the_forms_of_csv() {
    let unicode_text = [b"\xff\xfe".to_vec(), utf16("name\tcity\r\nJürgen\t東京 🗼\r\n")].concat();
    let null = || json!(null);
    let cases: Vec<(&str, Vec<u8>, Value, &str, &str)> = vec![
        // Cells are text, empty ones null.
        (
            "a.csv",
            b"id,mail,end\n007,,\n\"\", a ,x\n".into(),
            null(),
            "id|mail|end",
            "007|-|- / -| a |x",
        ),
        (
            "a.csv",
            "\u{feff}\"id\" , b \n1,2\n".into(),
            null(),
            "id|b",
            "1|2",
        ),
        (
            "a.tsv",
            unicode_text.clone(),
            null(),
            "name|city",
            "Jürgen|東京 🗼",
        ),
        (
            "a.txt",
            unicode_text.clone(),
            csv(json!({"delimiter": "tab"})),
            "name|city",
            "Jürgen|東京 🗼",
        ),
        (
            "a.tsv",
            unicode_text[2..].into(),
            csv(json!({"encoding": "utf-16le"})),
            "name|city",
            "Jürgen|東京 🗼",
        ),
        (
            "a.csv",
            b"Name;Gr\xf6\xdfe\r\nJ\xfcrgen;1,5 \x80\r\n".into(),
            csv(json!({"delimiter": ";", "encoding": "latin1"})),
            "Name|Größe",
            "Jürgen|1,5 €",
        ),
        // Quotes, escapes, comments.
        (
            "a.csv",
            b"a,b\n\"x \"\"y\"\"\",\"1,2\"\n".into(),
            null(),
            "a|b",
            "x \"y\"|1,2",
        ),
        (
            "a.csv",
            b"# no header\na,b\n\"x \\\"y\\\"\",z\n#x,y\n".into(),
            csv(json!({"escape": "\\", "comment": "#"})),
            "a|b",
            "x \"y\"|z",
        ),
        (
            "a.csv",
            b"a,b\n'1,2',\"\n".into(),
            csv(json!({"quote": "'"})),
            "a|b",
            "1,2|\"",
        ),
        (
            "a.csv",
            b"a,b\n\"1,2\n\"x,y\n".into(),
            csv(json!({"quote": null})),
            "a|b",
            "\"1|2 / \"x|y",
        ),
        (
            "a.csv",
            b"a,b\n\"1,2\n".into(),
            csv(json!({"quote": ""})),
            "a|b",
            "\"1|2",
        ),
        // Column names.
        (
            "a.csv",
            b"1,2\n3,4\n".into(),
            csv(json!({"columns": ["x", "y"]})),
            "x|y",
            "1|2 / 3|4",
        ),
        (
            "a.csv",
            b"a,b\n3,4\n".into(),
            csv(json!({"columns": ["x", "y"], "header": true})),
            "x|y",
            "3|4",
        ),
        (
            "a.csv",
            b"1,2\n".into(),
            csv(json!({"header": false})),
            "column_1|column_2",
            "1|2",
        ),
        (
            "a.csv",
            b"id, id ,,x\n1,2,3,4\n".into(),
            null(),
            "id|id_2|column_3|x",
            "1|2|3|4",
        ),
        ("a.csv", b"".into(), csv(json!({"columns": ["a"]})), "a", ""),
        ("a.csv", b"a,b\r\n\r\n".into(), null(), "a|b", ""),
        // Excel's separator line.
        ("a.csv", b"sep=;\r\na;b\r\n1;2\r\n".into(), null(), "a|b", "1|2"),
        ("a.csv", "\u{feff}SEP=;\na;b\n1;2\n".into(), null(), "a|b", "1|2"),
        (
            "a.csv",
            b"\"sep=;\"\na;b\n1;2\n".into(),
            csv(json!({"delimiter": "|"})),
            "a|b",
            "1|2",
        ),
        ("a.csv", b"sep=\t\na\tb\n1\t2\n".into(), null(), "a|b", "1|2"),
        ("a.csv", b"sep=,\na,b\n1,2\n".into(), null(), "a|b", "1|2"),
        // Trailers, also with an open quote.
        (
            "a.csv",
            b"x\ny\nid,b\nTRL\n".into(),
            csv(json!({"skip_first": 2, "skip_last": 2})),
            "id|b",
            "",
        ),
        (
            "a.csv",
            b"id\nA\nB\n\"Total\n".into(),
            csv(json!({"skip_last": 1})),
            "id",
            "A / B",
        ),
        (
            "a.csv",
            b"id\nA\nB\n\"Total\n".into(),
            csv(json!({"skip_last": 2})),
            "id",
            "A",
        ),
        (
            "a.csv",
            b"id\nA\nB\n\"Total\n".into(),
            csv(json!({"skip_last": 5})),
            "id",
            "",
        ),
        // Closed at the very end, without a line break.
        ("a.csv", b"a,b\n1,\"2\"".into(), null(), "a|b", "1|2"),
    ];
    for (name, content, settings, columns, rows) in cases {
        let found = read(name, &content, settings.clone()).await;
        let case = String::from_utf8_lossy(&content);
        assert_eq!(found.rows(), table(rows), "{case} {settings}");
        assert_eq!(found.columns(), table(columns)[0], "{case} {settings}");
        assert_eq!((found.rejected(), found.chunks.len()), (vec![], 1), "{case}");
    }
}

#[tokio::test]
async fn reports_files_that_cannot_be_read() {
    let null = || json!(null);
    for (content, settings, expected) in [
        (&b""[..], null(), "not even a header"),
        (b"\xef\xbb\xbf", null(), "not even a header"),
        (b"\r\n\n", null(), "not even a header"),
        (b"x\n", csv(json!({"skip_first": 2})), "ends after 1 lines"),
        (
            b"a,b,c\n3,4,5\n",
            csv(json!({"columns": ["x", "y"], "header": true})),
            "has 3 columns, `columns` names 2",
        ),
        (b"id,Gr\xf6\xdfe\n1,2\n", null(), "windows-1252"),
        (&utf16("name\r\n"), null(), "utf-16le"),
        (b"\x1f\x8b\x08\0", null(), "compression: gzip"),
        (
            b"a,b\n1,2\n3,\"x\n5,6\n7,8\n",
            null(),
            "line 3 of `a.csv` is never closed",
        ),
        (b"a,b\n1,2\n3,\"x\n5,6\n7,8\n", null(), "(2 more lines)"),
        // Lines inside an open quote may be people.
        (b"id\nA\n\"B\nC\n", csv(json!({"skip_last": 1})), "never closed"),
        (
            b"a,b\n1,2\n3,\"x\n5,6\n7,8\n9,\"\n",
            csv(json!({"max_record_bytes": 10})),
            "line 3 of `a.csv` is longer",
        ),
    ] {
        let found = read("a.csv", content, settings).await;
        let error = found.error();
        let text = format!("{error} {}", error.hints().collect::<Vec<_>>().join(" "));
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn counts_lines_with_every_line_break() {
    let content = "title\n\nid,note\n1,\"a\nb\r\nc\"\n\n# left out, \"\n\n2,x\n3,\"\n\"\n4,y";
    let settings = csv(json!({"skip_first": 2, "comment": "#"}));
    let expected = [(1, Some(4)), (2, Some(10)), (3, Some(11)), (4, Some(13))];
    let unix = content.replace("\r\n", "\n");
    for content in [
        content.to_owned(),
        unix.replace('\n', "\r\n"),
        unix.replace('\n', "\r"),
    ] {
        let found = read("a.csv", &content, settings.clone()).await;
        assert_eq!(found.origins(), expected, "{content:?}");
        assert_eq!(found.rows()[3], ["4", "y"]);
    }
    let content = "Leavers, \"as of\r\n\r\nid,b\r\n1,2\r\n3,4\r\n5,6\r\nTRL,3,x\r\nEND\r\n";
    let found = read("a.csv", content, csv(json!({"skip_first": 2, "skip_last": 2}))).await;
    assert_eq!(found.origins(), [(1, Some(4)), (2, Some(5)), (3, Some(6))]);
}

#[tokio::test]
async fn rejects_records_and_reads_on() {
    let found = read(
        "a.csv",
        "a,b,c\n1,2,3\n1,2\n1,2,3,4\nx\n\n4,5,6\n7,8,\"y\n",
        json!(null),
    )
    .await;
    assert_eq!(found.rows(), table("1|2|3 / 4|5|6"));
    assert_eq!(found.origins(), [(1, Some(2)), (5, Some(7))]);
    let ragged = "ragged_row";
    assert_eq!(
        found.rejected(),
        [
            (
                2,
                Some(3),
                ragged,
                "the record has 2 values where the file has 3 columns"
            ),
            (
                3,
                Some(4),
                ragged,
                "the record has 4 values where the file has 3 columns"
            ),
            (
                4,
                Some(5),
                ragged,
                "the record has 1 value where the file has 3 columns"
            ),
            (
                6,
                Some(8),
                "invalid_record",
                "the quote opened in this record is never closed"
            ),
        ]
    );
    assert_eq!((found.totals.read, found.totals.rejected), (6, 4));
}

#[tokio::test]
async fn rejects_invalid_utf8_in_used_columns_only() {
    let bytes = b"id,name,note\n1,J\xf6rg,\xff\n2,Ann,b\xff\n3,Ann,ok\n";
    let found = Reading::new("a.csv", bytes, json!(null))
        .columns(&["id", "name", "x"])
        .run()
        .await;
    assert_eq!(found.rows(), table("2|Ann / 3|Ann"));
    assert_eq!(found.rejected()[0].0, 1);
    assert!(found.rejected()[0].3.contains("`name`") && found.rejected()[0].3.contains("`encoding`"));
    assert_eq!(found.columns(), ["id", "name", "note"]);
}

/// Reads `buffer` bytes at a time.
#[derive(Debug)]
struct Buffered(CsvOptions, usize);

impl Format for Buffered {
    fn validate(&self, _: &mut Problems<'_>) {}

    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let dialect = self.0.dialect("", &mut Problems::new(&mut Vec::new())).unwrap();
        let text = TextReader::new(out.name.clone(), (input.open)()?, UTF_8)?;
        read_with(text, &dialect, out, self.1)
    }
}

fn decode(content: &[u8], settings: Value, buffer: usize) -> Outcome {
    let reader = Buffered(serde_json::from_value(settings).unwrap(), buffer);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reading = Reading::new("a.csv", content, json!(null));
    runtime.block_on(reading.run_with(Some(Box::new(reader))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn reads_what_is_written_with_any_buffer(
        table in (1_usize..5).prop_flat_map(|width| {
            prop::collection::vec(prop::collection::vec("[a,;\"\\\\\r\né ]{0,6}", width), 1..8)
        }),
        crlf in any::<bool>(),
        buffer in 1_usize..9,
        skip_last in 0_usize..3,
    ) {
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new()
            .terminator(terminator)
            .quote_style(::csv::QuoteStyle::Always)
            .from_writer(Vec::new());
        let header: Vec<String> = (0..table[0].len()).map(|n| format!("c{n}")).collect();
        writer.write_record(&header).unwrap();
        for row in &table {
            writer.write_record(row).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let small = decode(&content, json!({"skip_last": skip_last}), buffer);
        let cell = |cell: &String| if cell.is_empty() { "-".to_owned() } else { cell.clone() };
        let expected: Vec<Vec<String>> = table[..table.len().saturating_sub(skip_last)]
            .iter()
            .map(|row| row.iter().map(cell).collect())
            .collect();
        prop_assert_eq!(small.rejects.len(), 0);
        prop_assert_eq!(small.rows(), expected);
        let large = decode(&content, json!({"skip_last": skip_last}), 1 << 16);
        prop_assert_eq!(small.origins(), large.origins());
    }

    #[test]
    fn reads_any_bytes_alike_with_any_buffer(content in "[a,;\"\r\n#]{0,40}", buffer in 1_usize..5) {
        let content = format!("x,y\n{content}\n");
        let settings = json!({"comment": "#", "quote": null});
        let small = decode(content.as_bytes(), settings.clone(), buffer);
        let large = decode(content.as_bytes(), settings, 1 << 16);
        prop_assert_eq!(small.rows(), large.rows());
        prop_assert_eq!(small.rejected(), large.rejected());
    }
}
