//! How fast the stages are, each beside something well known that does the same work in the same run.
//!
//! ```text
//! cargo bench                        all
//! cargo bench -- decode              one stage
//! ```
//!
//! Read the medians, and the ratio to the baseline of the same group: absolute times are the machine's.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use axum::extract::Request;
use axum::routing::post;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use hrsink::config::Notation;
use hrsink::config::PipelineConfig;
use hrsink::pipeline::{Observer, RunOptions, run};
use hrsink::plugin::{
    Chunk, ComponentConfig, Counts, Item, Origins, Output, Part, Problems, RunInfo, SourceConfig,
    SourceContext, TransformConfig, TransformContext, channel, decode_component,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const HEADER: &str = "worker_id,full_name,work_email,status,resign_date,last_day,country,department,notes\n";

/// A row of an HR export: mixed-case addresses with white space, US dates, a note that needs quoting now and then.
fn row(out: &mut String, i: usize) {
    let status = if i % 10 == 9 { "Active" } else { "Terminated" };
    let mail = match i % 3 {
        0 => format!("Emp.{i}@Contoso.com "),
        1 => format!("emp.{i}@contoso.com"),
        _ => format!(" EMP.{i}@CONTOSO.COM"),
    };
    let note = [
        "",
        "Voluntary resignation.",
        "\"Laptop, badge and \"\"phone\"\" returned\"",
        "\"two\nlines\"",
    ][i % 4];
    let (month, day, year) = (i % 12 + 1, i % 28 + 1, 2015 + i % 11);
    let _ = writeln!(
        out,
        "W{i:07},Employee {i},{mail},{status},{month:02}/{day:02}/{year},{month:02}/28/{year},United States,Research,{note}"
    );
}

fn csv_text(rows: usize) -> String {
    let mut text = String::from(HEADER);
    (0..rows).for_each(|i| row(&mut text, i));
    text
}

fn component<C: ComponentConfig + ?Sized>(settings: serde_json::Value) -> Box<C> {
    let serde_json::Value::Object(settings) = settings else {
        panic!("settings are a map");
    };
    let mut found = Vec::new();
    let config = decode_component(settings, &mut Problems::new(&mut found));
    config.unwrap_or_else(|| panic!("{found:?}"))
}

/// Reading a CSV file into columns, beside the `csv` crate walking over the same records.
fn decode(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("export.csv");
    let text = csv_text(200_000);
    std::fs::write(&path, &text).expect("the file can be written");
    let mut group = c.benchmark_group("decode");
    group
        .throughput(Throughput::Bytes(text.len() as u64))
        .sample_size(10);
    group.bench_function("csv_crate_records", |b| {
        b.iter(|| {
            let mut reader = csv::Reader::from_path(&path).expect("the file is there");
            let mut record = csv::ByteRecord::new();
            let mut cells = 0;
            while reader.read_byte_record(&mut record).expect("valid CSV") {
                cells += record.len();
            }
            black_box(cells)
        });
    });
    let runtime = Runtime::new().expect("a runtime");
    for (name, columns) in [
        ("all_columns", None),
        (
            "four_columns",
            Some(["work_email", "status", "resign_date", "last_day"]),
        ),
    ] {
        let config: Box<dyn SourceConfig> = component(serde_json::json!({"type": "file", "path": path}));
        group.bench_function(name, |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut cx = SourceContext::new("bench", RunInfo::new("."));
                    cx.columns =
                        columns.map(|names| Arc::new(names.iter().map(ToString::to_string).collect()));
                    let source = config.build(cx).await.expect("the source");
                    let (sender, mut input) = channel(2, Counts::default());
                    let output = Output::source(
                        vec![(sender, 0)],
                        Counts::default(),
                        CancellationToken::new(),
                        None,
                    );
                    let reading = source.run(output);
                    let counting = async {
                        let mut rows = 0;
                        while let Some((_, item)) = input.next().await {
                            if let Item::Chunk(chunk) = item {
                                rows += chunk.num_rows();
                            }
                        }
                        rows
                    };
                    let (result, rows) = tokio::join!(reading, counting);
                    result.expect("the file can be read");
                    assert_eq!(rows, 200_000);
                });
            });
        });
    }
    group.finish();
}

/// Rows as the file source gives them.
fn chunks(rows: usize) -> Vec<Chunk> {
    let mut reader = csv::Reader::from_reader(std::io::Cursor::new(csv_text(rows)));
    let records: Vec<csv::StringRecord> = reader
        .records()
        .map(|record| record.expect("valid CSV"))
        .collect();
    let names = ["work_email", "status", "resign_date", "last_day"];
    let part = Arc::new(Part {
        name: "bench".into(),
        columns: names.iter().map(ToString::to_string).collect(),
    });
    let mut out = Vec::new();
    for (number, records) in records.chunks(8_192).enumerate() {
        let column = |index: usize| {
            let values: StringArray = records.iter().map(|record| record.get(index)).collect();
            Arc::new(values) as _
        };
        let batch = RecordBatch::try_from_iter(
            names
                .iter()
                .zip([2, 3, 4, 5])
                .map(|(name, index)| (*name, column(index))),
        );
        let origins = Origins::consecutive(part.clone(), number as u64 * 8_192 + 1, records.len());
        out.push(Chunk::records(batch.expect("equal lengths"), origins));
    }
    out
}

/// Mapping to the HR schema, beside a loop over the rows that does the same with the standard library and jiff.
fn map(c: &mut Criterion) {
    let rows = 200_000;
    let chunks = chunks(rows);
    let mut group = c.benchmark_group("map");
    group
        .throughput(Throughput::Elements(rows as u64))
        .sample_size(10);
    group.bench_function("row_by_row", |b| {
        let zone = jiff::tz::TimeZone::get("America/New_York").expect("a zone");
        b.iter(|| {
            let mut out = Vec::new();
            for chunk in &chunks {
                let column = |name: &str| {
                    let column = chunk.batch.column_by_name(name).expect("the column");
                    column.as_any().downcast_ref::<StringArray>().expect("text")
                };
                let (mail, status) = (column("work_email"), column("status"));
                let (resigned, last) = (column("resign_date"), column("last_day"));
                for row in 0..chunk.num_rows() {
                    if status.value(row) != "Terminated" {
                        continue;
                    }
                    let date = |text: &str| {
                        let date = jiff::civil::Date::strptime("%m/%d/%Y", text).expect("a date");
                        zone.to_zoned(date.at(0, 0, 0, 0))
                            .expect("in range")
                            .strftime("%FT%T%:z")
                            .to_string()
                    };
                    out.push((
                        mail.value(row).trim().to_lowercase(),
                        date(resigned.value(row)),
                        date(last.value(row)),
                    ));
                }
            }
            black_box(out.len())
        });
    });
    let runtime = Runtime::new().expect("a runtime");
    let config: Box<dyn TransformConfig> = component(serde_json::json!({
        "type": "hr_schema",
        "scenario": "employee_resignation",
        "where": "status = 'Terminated'",
        "dates": {"formats": ["%m/%d/%Y"], "timezone": "America/New_York"},
        "fields": {"EmailAddress": "lower(work_email)", "ResignationDate": "resign_date", "LastWorkingDate": "last_day"},
    }));
    group.bench_function("hr_schema", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let cx = TransformContext::new("bench", RunInfo::new("."), Vec::new());
                let transform = config.build(cx).await.expect("the transform");
                let (to_transform, mut input) = channel(2, Counts::default());
                let (to_end, mut end) = channel(2, Counts::default());
                let out = Output::transform(vec![(to_end, 0)], Counts::default());
                let feed = async {
                    let to_transform = to_transform;
                    for chunk in &chunks {
                        let chunk = chunk.clone();
                        if to_transform.send((0, Item::Chunk(chunk))).await.is_err() {
                            break;
                        }
                    }
                };
                let counting = async {
                    let mut rows = 0;
                    while let Some((_, item)) = end.next().await {
                        if let Item::Chunk(chunk) = item {
                            rows += chunk.num_rows();
                        }
                    }
                    rows
                };
                let (result, (), mapped) = tokio::join!(transform.run(&mut input, out), feed, counting);
                result.expect("the rows can be mapped");
                assert_eq!(mapped, rows * 9 / 10);
            });
        });
    });
    group.finish();
}

/// The token and ingestion endpoints, as fast as they can be: bodies are read and dropped.
async fn receiver() -> String {
    let token = || async {
        axum::Json(serde_json::json!({"token_type": "Bearer", "expires_in": "3599", "access_token": "bench"}))
    };
    let upload = |request: Request| async {
        let mut body = request.into_body().into_data_stream();
        let mut bytes = 0;
        while let Some(Ok(part)) = body.next().await {
            bytes += part.len();
        }
        bytes.to_string()
    };
    let app = axum::Router::new()
        .route("/{tenant}/oauth2/token", post(token))
        .route("/api/signals", post(upload));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    #[expect(clippy::disallowed_methods, reason = "ends with the bench")]
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}

/// A million rows from the file to the receiver, beside counting the file's lines.
fn end_to_end(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("export.csv");
    write_rows(&path, 1_000_000);
    let size = std::fs::metadata(&path).expect("the file is there").len();
    let runtime = Runtime::new().expect("a runtime");
    let url = runtime.block_on(receiver());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "bench").expect("the file can be written");
    #[cfg(unix)]
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("it is ours");
    let text = format!(
        r#"
sources: {{e: {{type: file, path: "{}"}}}}
transforms:
  t:
    type: hr_schema
    inputs: [e]
    scenario: employee_resignation
    where: status = 'Terminated'
    dates: {{formats: ["%m/%d/%Y"], timezone: America/New_York}}
    fields: {{EmailAddress: lower(work_email), ResignationDate: resign_date, LastWorkingDate: last_day}}
sinks:
  s:
    type: m365_hr
    inputs: [t]
    cloud: {{authority: "{url}", resource: "https://contoso.com/job", ingestion: "{url}"}}
    tenant_id: contoso.com
    job_id: b8be4a7d-e338-43eb-a69e-c513cd458eba
    auth: {{type: client_secret, client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e, client_secret: {{file: "{}"}}}}
"#,
        path.display(),
        secret.display(),
    );
    let config = PipelineConfig::parse(&text, Notation::Yaml, &folder.path().join("p.yaml"), &|_| None)
        .expect("valid");
    let mut group = c.benchmark_group("end_to_end_1M");
    group.throughput(Throughput::Bytes(size)).sample_size(10);
    group.bench_function("count_lines", |b| {
        b.iter(|| {
            let bytes = std::fs::read(&path).expect("the file is there");
            black_box(bytes.iter().filter(|byte| **byte == b'\n').count())
        });
    });
    group.bench_function("hrsink", |b| {
        b.iter(|| {
            let report = runtime.block_on(run(&config, RunOptions::default(), &Observer::default()));
            assert_eq!(
                (report.exit_code, report.rows.accepted),
                (0, 900_000),
                "{:?}",
                report.error
            );
        });
    });
    group.finish();
}

fn write_rows(path: &Path, rows: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("the file can be made"));
    file.write_all(HEADER.as_bytes()).expect("the disk has room");
    let mut text = String::new();
    for i in 0..rows {
        text.clear();
        row(&mut text, i);
        file.write_all(text.as_bytes()).expect("the disk has room");
    }
}

criterion_group!(benches, decode, map, end_to_end);
criterion_main!(benches);
