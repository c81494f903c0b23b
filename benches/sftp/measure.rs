//! The servers, the clients, and the clock.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/sftp/sshd.rs"]
mod sshd;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sshd::{Sshd, me};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LARGE: usize = 1_000_000_000;
const SMALL: usize = 32 << 20;
const ONE_WAY: Duration = Duration::from_millis(25);

/// An export of about so many bytes.
fn export(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 256);
    text.push_str("employee_id,work_email,status,resign_date,last_day,department,manager,location,notes\n");
    let mut id = 0_usize;
    while text.len() < bytes {
        let (month, day) = (id % 12 + 1, id % 28 + 1);
        // One in twenty leaves; the sink is not what is measured.
        let status = if id.is_multiple_of(20) {
            "Terminated"
        } else {
            "Active"
        };
        let _ = writeln!(
            text,
            "{id:08},emp.{id}@contoso.com,{status},2026-{month:02}-{day:02},2026-{month:02}-28,Research and Development,\
             mgr.{}@contoso.com,Building 7,\"Laptop, badge and keys are with the front desk\"",
            id / 9
        );
        id += 1;
    }
    text
}

/// Measures, and prints what came of it.
pub(crate) fn all() {
    let runs = std::env::var("HRSINK_BENCH_RUNS").map_or(5, |runs| runs.parse().unwrap());
    let sshd = Sshd::start();
    let key = sshd.login_key("login", &["-t", "ed25519", "-N", ""]);
    let large = sshd.write("large.csv", export(LARGE));
    let small = sshd.write("small.csv", export(SMALL));
    let bytes = std::fs::metadata(&large).unwrap().len();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();

    let write_pipeline = |port: u16, path: &Path, read_ahead: &str| {
        let pipeline = json!({
            "sources": {"export": {
                "type": "file", "path": format!("sftp://127.0.0.1:{port}{}", path.display()),
                "select": {"quiet_period": "0s", "incremental": false},
                "sftp": {
                    "username": me(), "auth": [{"private_key": {"file": key}}],
                    "host_keys": [sshd.fingerprint("ed25519")], "read_ahead": read_ahead,
                },
            }},
            "transforms": {"leavers": {
                "type": "hr_schema", "inputs": ["export"], "scenario": "employee_resignation",
                "where": "status = 'Terminated'",
                "fields": {
                    "EmailAddress": "work_email", "ResignationDate": "resign_date", "LastWorkingDate": "last_day",
                },
            }},
            "sinks": {"out": {"type": "file", "inputs": ["leavers"], "path": "out.csv"}},
        });
        std::fs::write(sshd.path("pipeline.json"), pipeline.to_string()).unwrap();
    };
    let run = |port: u16, path: &Path, read_ahead: &str| {
        write_pipeline(port, path, read_ahead);
        program(&sshd.path(""))
    };

    let (mut theirs, mut ours, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        theirs.push(sftp(&key, sshd.port, &large, &[]));
        let (time, memory) = run(sshd.port, &large, "4MiB");
        ours.push(time);
        peak = peak.max(memory);
    }
    let base = median(&mut theirs);
    println!("\n1 GB from sshd on loopback, median of {runs}");
    let rate = |time: f64| bytes as f64 / 1e6 / time;
    println!(
        "  sftp (OpenSSH) to /dev/null     {base:7.3} s  {:6.0} MB/s",
        rate(base)
    );
    let time = median(&mut ours);
    println!(
        "  hrsink, with mapping            {time:7.3} s  {:6.0} MB/s  {:.2} times sftp's speed",
        rate(time),
        base / time
    );
    println!("  peak memory of the program      {} MB", peak / 1024);

    let proxy = runtime.block_on(delayed(sshd.port));
    let mut stepwise = Vec::new();
    let mut ours = [Vec::new(), Vec::new()];
    for _ in 0..runs.min(3) {
        stepwise.push(sftp(&key, proxy, &small, &["-R", "1", "-B", "32768"]));
        ours[0].push(run(proxy, &small, "4MiB").0);
        ours[1].push(run(proxy, &small, "16MiB").0);
    }
    let base = median(&mut stepwise);
    println!(
        "\n32 MiB over a round trip of {:?}, median of {}",
        ONE_WAY * 2,
        runs.min(3)
    );
    println!("  sftp, one read at a time        {base:7.3} s");
    for (name, times) in ["4MiB", "16MiB"].into_iter().zip(&mut ours) {
        let time = median(times);
        println!(
            "  hrsink, read_ahead {name:<11}  {time:7.3} s  {:.1} times that speed",
            base / time
        );
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// What OpenSSH's client takes.
fn sftp(key: &Path, port: u16, path: &Path, args: &[&str]) -> Duration {
    let begin = Instant::now();
    let status = Command::new("sftp")
        .args([
            "-q",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .args(["-P", &port.to_string(), "-i"])
        .arg(key)
        .args(args)
        .arg(format!("127.0.0.1:{}", path.display()))
        .arg("/dev/null")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    begin.elapsed()
}

/// What the whole program takes, and its peak memory in kilobytes.
fn program(folder: &Path) -> (Duration, u64) {
    let begin = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args([
            "-f",
            "%M",
            "-o",
            "memory",
            env!("CARGO_BIN_EXE_hrsink"),
            "run",
            "pipeline.json",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    let time = begin.elapsed();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let peak = std::fs::read_to_string(folder.join("memory")).unwrap();
    (time, peak.trim().parse().unwrap())
}

/// A port from which connections go on to `port`, every byte 25 ms later.
async fn delayed(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(delay(from_client, to_server));
            tokio::spawn(delay(from_server, to_client));
        }
    });
    own
}

async fn delay(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    // As many as come: a way that is long, not narrow.
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; 256 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if sender
            .send((Instant::now() + ONE_WAY, buffer[..length].to_vec()))
            .is_err()
        {
            return;
        }
    }
}
