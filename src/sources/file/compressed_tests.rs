//! Compressed files through the whole source.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::codec::{MAX_WINDOW_LOG, RATIO_FREE_BYTES};
use crate::sources::file::testing::{Outcome, read};

use crate::error::ErrorKind;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

const MIB: u64 = 1 << 20;
const ROWS_PER_MIB: u64 = 1 << 10;

/// A header and so many MiB of rows, all the same.
fn bomb(pack: fn(&[u8]) -> Vec<u8>, mib: u64) -> Vec<u8> {
    let row = format!("{},8901234\n", "x".repeat(1015));
    assert_eq!(row.len() as u64 * ROWS_PER_MIB, MIB);
    let block = pack(row.repeat(ROWS_PER_MIB as usize).as_bytes());
    [pack(b"a,b\n"), block.repeat(mib as usize)].concat()
}

async fn read_packed(name: &str, content: &[u8], more: Value) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), content).unwrap();
    let mut config = json!({"path": name});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    read(folder.path(), config, None).await
}

#[tokio::test]
async fn a_bomb_ends_the_run_where_the_ratio_is_passed() {
    for (name, packed) in [("bomb.csv.gz", bomb(gzip, 64)), ("bomb.csv.zst", bomb(zstd, 64))] {
        let found = read_packed(name, &packed, json!({})).await;
        let error = found.error();
        assert_eq!(error.kind(), ErrorKind::Input);
        let text = error.chain();
        assert!(text.contains(&format!("`{name}`")), "{text}");
        assert!(text.contains("`max_compression_ratio` is 200"), "{text}");
        assert!(
            error.hints().any(|hint| hint.contains("max_compression_ratio")),
            "{error:?}"
        );
        assert!(
            RATIO_FREE_BYTES.max(200 * packed.len() as u64) / MIB < 32,
            "the bomb is one"
        );
        assert_eq!(found.totals.read, 0, "nothing of it is passed on");
        assert!(found.checkpoints.is_empty(), "the file was not finished");
    }
}

#[tokio::test]
async fn the_bound_is_a_setting_and_small_files_never_reach_it() {
    let packed = bomb(zstd, 17);
    assert!(read_packed("a.csv.zst", &packed, json!({})).await.result.is_err());
    let all = read_packed("a.csv.zst", &packed, json!({"max_compression_ratio": 1_000_000})).await;
    assert_eq!((all.result.is_ok(), all.totals.read), (true, 17 * ROWS_PER_MIB));

    // Below where it begins to count, however strict.
    for (name, packed) in [("a.csv.gz", bomb(gzip, 15)), ("a.csv.zst", bomb(zstd, 15))] {
        let found = read_packed(name, &packed, json!({"max_compression_ratio": 1})).await;
        assert_eq!(
            (found.result.is_ok(), found.totals.read),
            (true, 15 * ROWS_PER_MIB)
        );
    }
}

#[tokio::test]
async fn an_ordinary_large_export_passes() {
    // Names and dates that repeat, numbers that do not: some ten times smaller when packed.
    let mut rows = 0_u64;
    let mut block = String::new();
    while (block.len() as u64) < MIB {
        rows += 1;
        let number = rows.wrapping_mul(2_654_435_761) % 1_000_000;
        block.push_str(&format!(
            "user{number}@contoso.com,Operations,Germany,2026-03-02,2026-04-01\n"
        ));
    }
    let header = b"upn,department,country,resigned,last_day\n";
    for (name, pack) in [("a.csv.gz", gzip as fn(&[u8]) -> Vec<u8>), ("a.csv.zst", zstd)] {
        let packed = [pack(header), pack(block.as_bytes()).repeat(17)].concat();
        let found = read_packed(name, &packed, json!({})).await;
        assert!(found.result.is_ok(), "{:?}", found.result);
        assert_eq!(found.totals.read, 17 * rows);
    }
}

#[tokio::test]
async fn a_zstd_window_beyond_the_bound_is_refused_and_not_called_damage() {
    let pack = |window_log: u32| {
        let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        packed.window_log(window_log).unwrap();
        packed.write_all(b"a,b\n1,2\n").unwrap();
        packed.finish().unwrap()
    };
    let found = read_packed("a.csv.zst", &pack(MAX_WINDOW_LOG), json!({})).await;
    assert_eq!(found.rows(), [["1", "2"]]);
    let found = read_packed("a.csv.zst", &pack(MAX_WINDOW_LOG + 1), json!({})).await;
    let text = found.error().chain();
    assert!(text.contains("128.0 MiB") && !text.contains("damaged"), "{text}");
    assert!(found.error().hints().next().unwrap().contains("--long=27"));
    assert_eq!(found.error().kind(), ErrorKind::Input);
}
