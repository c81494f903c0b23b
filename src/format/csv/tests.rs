//! CSV files of real systems.

use encoding_rs::UTF_8;
use serde_json::{Value, json};

use super::*;
use crate::format::contract::Sample;
use crate::format::testing::{Outcome, decode, read, read_used};

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

fn table(text: &str) -> Vec<Vec<String>> {
    let rows = text.split(" / ").filter(|row| !row.is_empty());
    rows.map(|row| row.split('|').map(str::to_owned).collect())
        .collect()
}

fn csv(settings: &Value) -> Value {
    let mut csv = json!({"type": "csv"});
    csv.as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    csv
}

/// Lines of JSON arrays.
fn cases<const N: usize>(text: &str) -> impl Iterator<Item = [Value; N]> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| {
        serde_json::from_str::<Vec<Value>>(line)
            .unwrap()
            .try_into()
            .unwrap()
    })
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test]
async fn reads_the_forms_of_csv() {
    // Settings, content, columns, rows.
    const CASES: &str = r##"
        [{}, "id,mail,end\n007,,\n\"\", a ,x\n", "id|mail|end", "007|-|- / -| a |x"]
        [{}, "\ufeff\"id\" , b \n1,2\n", "id|b", "1|2"]
        [{}, "a,b\n\"x \"\"y\"\"\",\"1,2\"\n", "a|b", "x \"y\"|1,2"]
        [{"escape": "\\", "comment": "#"}, "# no\na,b\n\"x \\\"y\\\"\",z\n#x,y\n", "a|b", "x \"y\"|z"]
        [{"quote": "'"}, "a,b\n'1,2',\"\n", "a|b", "1,2|\""]
        [{"quote": null}, "a,b\n\"1,2\n\"x,y\n", "a|b", "\"1|2 / \"x|y"]
        [{"quote": ""}, "a,b\n\"1,2\n", "a|b", "\"1|2"]
        [{"columns": ["x", "y"]}, "1,2\n3,4\n", "x|y", "1|2 / 3|4"]
        [{"columns": ["x", "y"], "header": true}, "a,b\n3,4\n", "x|y", "3|4"]
        [{"header": false}, "1,2\n", "column_1|column_2", "1|2"]
        [{}, "id, id ,,x\n1,2,3,4\n", "id|id_2|column_3|x", "1|2|3|4"]
        [{}, "id,,id,id_2,id,column_2\n1,2,3,4,5,6\n", "id|column_2_2|id_3|id_2|id_4|column_2", "1|2|3|4|5|6"]
        [{"columns": ["a"]}, "", "a", ""]
        [{}, "a,b\r\n\r\n", "a|b", ""]
        [{}, "sep=;\r\na;b\r\n1;2\r\n", "a|b", "1|2"]
        [{}, "\ufeffSEP=;\na;b\n1;2\n", "a|b", "1|2"]
        [{"delimiter": "|"}, "\"sep=;\"\na;b\n1;2\n", "a|b", "1|2"]
        [{}, "sep=\t\na\tb\n1\t2\n", "a|b", "1|2"]
        [{}, "sep=,\na,b\n1,2\n", "a|b", "1|2"]
        [{"skip_first": 2, "skip_last": 2}, "x\ny\nid,b\nTRL\n", "id|b", ""]
        [{"skip_last": 1}, "id\nA\nB\n\"Total\n", "id", "A / B"]
        [{"skip_last": 2}, "id\nA\nB\n\"Total\n", "id", "A"]
        [{"skip_last": 5}, "id\nA\nB\n\"Total\n", "id", ""]
        [{}, "a,b\n1,\"2\"", "a|b", "1|2"]
    "##;
    for [settings, content, columns, rows] in cases(CASES) {
        let found = read("a.csv", content.as_str().unwrap(), csv(&settings)).await;
        let (rows, columns) = (table(rows.as_str().unwrap()), table(columns.as_str().unwrap()));
        assert_eq!(
            (
                found.rows(),
                found.columns(),
                found.rejected(),
                found.chunks.len()
            ),
            (rows, &*columns[0], vec![], 1),
            "{content} {settings}"
        );
    }
}

#[tokio::test]
async fn reads_other_encodings() {
    let unicode_text = [b"\xff\xfe".to_vec(), utf16("name\tcity\r\nJürgen\t東京 🗼\r\n")].concat();
    let latin = b"name;city\r\nJ\xfcrgen;1,5 \x80\r\n".to_vec();
    let western = json!({"delimiter": ";", "encoding": "latin1"});
    let japanese = json!({"delimiter": ";", "encoding": "shift_jis"});
    let tokyo = "Jürgen|東京 🗼";
    for (name, content, settings, row) in [
        ("a.tsv", &unicode_text[..], json!({}), tokyo),
        ("a.txt", &unicode_text, json!({"delimiter": "tab"}), tokyo),
        (
            "a.tsv",
            &unicode_text[2..],
            json!({"encoding": "utf-16le"}),
            tokyo,
        ),
        ("a.csv", &latin, western, "Jürgen|1,5 €"),
        // What is not valid is replaced, not lost.
        ("a.csv", b"name;city\n\x81;x\n", japanese, "\u{fffd}|x"),
    ] {
        let found = read(name, content, csv(&settings)).await;
        let actual = (found.rows(), found.columns());
        assert_eq!(actual, (table(row), &table("name|city")[0][..]), "{settings}");
    }
}

#[tokio::test]
async fn reports_files_that_cannot_be_read() {
    // Settings, content, part of the error or its hints.
    const CASES: &str = r#"
        [{}, "", "not even a header"]
        [{}, "\ufeff", "not even a header"]
        [{}, "\r\n\n", "not even a header"]
        [{"skip_first": 2}, "x\n", "ends after 1 lines"]
        [{"columns": ["x", "y"], "header": true}, "a,b,c\n3,4,5\n", "has 3 columns, `columns` names 2"]
        [{}, "n\u0000a\u0000", "utf-16le"]
        [{}, "a,b\n1,2\n3,\"x\n5,6\n7,8\n", "line 3 of `a.csv` is never closed"]
        [{}, "a,b\n1,2\n3,\"x\n5,6\n7,8\n", "(2 more lines)"]
        [{"skip_last": 1}, "id\nA\n\"B\nC\n", "never closed"]
        [{"max_record_bytes": 10}, "a,b\n1,2\n3,\"x\n5,6\n7,8\n9,\"\n", "line 3 of `a.csv` is longer"]
    "#;
    let text = |found: &Outcome| {
        let error = found.error();
        format!("{error} {}", error.hints().collect::<Vec<_>>().join(" "))
    };
    for [settings, content, expected] in cases(CASES) {
        let text = text(&read("a.csv", content.as_str().unwrap(), csv(&settings)).await);
        assert!(text.contains(expected.as_str().unwrap()), "{text}");
    }
    for (content, expected) in [
        (&b"id,Gr\xf6\xdfe\n1,2\n"[..], "windows-1252"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PAR1\x15\0", "format `parquet`"),
    ] {
        let text = text(&read("a.csv", content, json!(null)).await);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn rejects_records_and_reads_on() {
    let content = "a,b,c\n1,2,3\n1,2\n1,2,3,4\nx\n\n4,5,6\n7,8,\"y\n";
    let found = read("a.csv", content, json!(null)).await;
    assert_eq!(found.rows(), table("1|2|3 / 4|5|6"));
    assert_eq!(found.origins(), [(1, Some(2)), (5, Some(7))]);
    let ragged = "ragged_row";
    let columns = |values: &str| format!("the record has {values} where the file has 3 columns");
    let unclosed = "the quote opened in this record is never closed".to_owned();
    for (reject, (row, line, code, message)) in found.rejected().into_iter().zip([
        (2, 3, ragged, columns("2 values")),
        (3, 4, ragged, columns("4 values")),
        (4, 5, ragged, columns("1 value")),
        (6, 8, "invalid_record", unclosed),
    ]) {
        assert_eq!(reject, (row, Some(line), code, &*message));
    }
    assert_eq!((found.totals.read, found.totals.rejected), (6, 4));
}

#[tokio::test]
async fn rejects_invalid_utf8_in_used_columns_only() {
    let bytes = b"id,name,note\n1,J\xf6rg,\xff\n2,Ann,b\xff\n3,Ann,ok\n";
    let found = read_used("a.csv", bytes, &["id", "name", "x"]).await;
    assert_eq!(found.rows(), table("2|Ann / 3|Ann"));
    assert_eq!(found.rejected()[0].0, 1);
    assert!(found.rejected()[0].3.contains("`name`") && found.rejected()[0].3.contains("`encoding`"));
    assert_eq!(found.columns(), ["id", "name", "note"]);
}

#[derive(Debug)]
struct Buffered(CsvOptions, usize);

impl Format for Buffered {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let dialect = self.0.dialect("", &mut Problems::new(&mut Vec::new())).unwrap();
        let text = TextReader::new(out.name.clone(), (input.open)()?, UTF_8)?;
        read_with(text, &dialect, out, self.1)
    }
}

fn buffered(content: &[u8], settings: Value, buffer: usize) -> Outcome {
    decode(
        content,
        Buffered(serde_json::from_value(settings).unwrap(), buffer),
        false,
    )
}

#[test]
fn counts_lines_with_every_line_break_and_buffer() {
    let content = "title\n\nid,note\n1,\"a\nb\r\nc\"\n\n# left out, \"\n\n2,\"\"\"é\"\n3,\"\n\"\n4,y";
    let settings = json!({"skip_first": 2, "comment": "#"});
    let expected = [(1, Some(4)), (2, Some(10)), (3, Some(11)), (4, Some(13))];
    let unix = content.replace("\r\n", "\n");
    for content in [
        content.to_owned(),
        unix.replace('\n', "\r\n"),
        unix.replace('\n', "\r"),
    ] {
        for buffer in (1..9).chain([1 << 16]) {
            let found = buffered(content.as_bytes(), settings.clone(), buffer);
            assert_eq!(found.origins(), expected, "{buffer} {content:?}");
            let rows = found.rows();
            assert_eq!((&*rows[1][1], &*rows[3][1]), ("\"é", "y"), "{buffer}");
        }
    }
    let content = "Leavers, \"as of\r\n\r\nid,b\r\n1,2\r\n3,4\r\n5,6\r\nTRL,3,x\r\nEND\r\n";
    let found = buffered(content.as_bytes(), json!({"skip_first": 2, "skip_last": 2}), 3);
    assert_eq!(found.origins(), [(1, Some(4)), (2, Some(5)), (3, Some(6))]);
}
