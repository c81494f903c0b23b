//! Transfers over connections that break.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use hrsink::pipeline::RunOptions;
use serde_json::json;

use crate::digest::{Digest, of_lines};
use crate::needs_sshd;
use crate::pipeline::{Pipeline, Ran, serving};
use crate::proxy::Proxy;
use crate::sshd::{Settings, Sshd};

/// A file of about so many bytes without repetitions.
fn export(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 2048);
    text.push_str("line\n");
    let mut lines = lines();
    while text.len() < bytes {
        text.push_str(&lines.next().unwrap());
    }
    text
}

/// Lines of 1 KiB.
fn lines() -> impl Iterator<Item = String> {
    std::iter::successors(Some(1_u64), |number| {
        Some(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    })
    .map(|number| format!("{number:016x}").repeat(64) + "\n")
}

/// A file on a server behind a proxy.
struct Transfer {
    sshd: Sshd,
    text: String,
    pipeline: Pipeline,
    proxy: Proxy,
}

impl Transfer {
    /// `None` if tests against real servers are not requested.
    async fn start(bytes: usize) -> Option<Self> {
        let text = export(bytes);
        let (sshd, mut pipeline) = serving("a.csv", &text)?;
        let proxy = Proxy::to(sshd.port).await;
        let (direct, through_proxy) = (format!(":{}", sshd.port), format!(":{}", proxy.port));
        pipeline.source["path"] = json!(sshd.address("a.csv").replace(&direct, &through_proxy));
        Some(Self {
            sshd,
            text,
            pipeline,
            proxy,
        })
    }

    /// Runs the pipeline, and acts once the proxy holds the connection after so many bytes.
    async fn run_held(&mut self, bytes: u64, act: impl FnOnce(&mut Sshd)) -> Ran {
        self.proxy.hold_after(bytes);
        let acts = async {
            self.proxy.is_held().await;
            act(&mut self.sshd);
        };
        tokio::join!(self.pipeline.run(), acts).0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_64_mib_unchanged() {
    let text = export(64 << 20);
    let Some((sshd, mut pipeline)) = serving("a.csv", &text) else {
        return;
    };
    assert_eq!(pipeline.read().await, of_lines(&text));
    // With a small window too.
    let short = &text[..text[..3 << 20].rfind('\n').unwrap() + 1];
    sshd.write("a.csv", short);
    pipeline.sftp()["read_ahead"] = json!("32KiB");
    assert_eq!(pipeline.read().await, of_lines(short));
}

/// More than the gibibyte after which the client requests new keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_more_than_a_gigabyte_unchanged() {
    let Some((sshd, pipeline)) = serving("a.csv", "") else {
        return;
    };
    let mut file = BufWriter::new(File::create(sshd.path("files/a.csv")).unwrap());
    let (mut hasher, rows) = (blake3::Hasher::new(), 1_100 << 10);
    file.write_all(b"line\n").unwrap();
    for line in lines().take(rows) {
        file.write_all(line.as_bytes()).unwrap();
        hasher.update(line.as_bytes());
    }
    file.flush().unwrap();
    let hash = hasher.finalize();
    assert_eq!(pipeline.read().await, Digest { rows, hash });
    exchanged_keys(&sshd, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_rekeying_by_the_server() {
    needs_sshd!();
    let sshd = Sshd::with(&Settings {
        lines: "RekeyLimit 4M".to_owned(),
        ..Settings::default()
    });
    let text = export(48 << 20);
    sshd.write("a.csv", &text);
    assert_eq!(Pipeline::new(&sshd, "a.csv").read().await, of_lines(&text));
    exchanged_keys(&sshd, 10);
}

/// At least so many times, with one login.
fn exchanged_keys(sshd: &Sshd, min: usize) {
    assert_eq!(sshd.count("Accepted publickey"), 1, "{}", sshd.log());
    let exchanges = sshd.count("kex: algorithm:");
    assert!(exchanges >= min, "{exchanges} exchanges of keys\n{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_after_the_server_was_killed() {
    let Some(mut transfer) = Transfer::start(24 << 20).await else {
        return;
    };
    // However long the server takes to restart.
    transfer.pipeline.sftp()["retry"]["max_attempts"] = json!(20);
    transfer.pipeline.sftp()["retry"]["initial_backoff"] = json!("200ms");
    let restart = |sshd: &mut Sshd| {
        sshd.kill();
        sshd.run();
    };
    let ran = transfer.run_held(9 << 20, restart).await;
    assert_eq!(ran.good(), of_lines(&transfer.text));
    let log = transfer.sshd.log();
    assert_eq!(transfer.sshd.count("Accepted publickey"), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_attempts_anew_after_progress() {
    let Some(mut transfer) = Transfer::start(24 << 20).await else {
        return;
    };
    transfer.pipeline.sftp()["retry"]["max_attempts"] = json!(2);
    let proxy = &transfer.proxy;
    proxy.cut_after(5 << 20);
    let cut_again = async {
        for connections in 2..5 {
            while proxy.connections() < connections {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.cut_after(5 << 20);
        }
    };
    let (ran, _) = tokio::join!(
        transfer.pipeline.run(),
        tokio::time::timeout(Duration::from_secs(120), cut_again)
    );
    assert_eq!(ran.good(), of_lines(&transfer.text));
    assert!(proxy.connections() >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_a_lost_server_as_transient() {
    let Some(mut transfer) = Transfer::start(24 << 20).await else {
        return;
    };
    let ran = transfer.run_held(5 << 20, Sshd::kill).await;
    ran.failed(75, &["attempts: 8", "cannot connect to sftp://127.0.0.1"]);
    transfer.pipeline.sftp()["retry"]["max_attempts"] = json!(1);
    transfer.pipeline.source["path"] = json!(transfer.sshd.address("a.csv"));
    transfer.pipeline.fails(75, &["no server listens"]).await;
}

/// The first limit detects it, even if the second is long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detects_silent_connections_by_timeout_and_by_keep_alive() {
    for (timeout, keep_alive) in [("2s", "15s"), ("1h", "1s")] {
        let Some(mut transfer) = Transfer::start(8 << 20).await else {
            return;
        };
        transfer.pipeline.sftp()["timeout"] = json!(timeout);
        transfer.pipeline.sftp()["keep_alive"] = json!(keep_alive);
        let ran = transfer.run_held(2 << 20, |_| {}).await;
        assert_eq!(ran.good(), of_lines(&transfer.text));
        assert_eq!(transfer.proxy.connections(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_without_waiting_for_the_server() {
    let Some(mut transfer) = Transfer::start(8 << 20).await else {
        return;
    };
    transfer.pipeline.sftp()["timeout"] = json!("1h");
    transfer.pipeline.sftp()["keep_alive"] = json!("1h");
    transfer.proxy.hold_after(2 << 20);
    let options = RunOptions::default();
    let cancel = options.cancel.clone();
    let stop = async {
        transfer.proxy.is_held().await;
        cancel.cancel();
    };
    let (ran, ()) = tokio::join!(transfer.pipeline.run_with(options), stop);
    assert_eq!(ran.code, 130, "{}", ran.told);
    assert_eq!(transfer.proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn does_not_retry_a_login_rejected_on_reconnect() {
    let Some(mut transfer) = Transfer::start(24 << 20).await else {
        return;
    };
    transfer.pipeline.sftp()["timeout"] = json!("2s");
    let lock_out = |sshd: &mut Sshd| std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    let ran = transfer.run_held(5 << 20, lock_out).await;
    ran.failed(5, &["rejected the login"]);
    let log = transfer.sshd.log();
    assert_eq!(transfer.sshd.count("Failed publickey"), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_files_that_grow_while_read() {
    let Some(mut transfer) = Transfer::start(24 << 20).await else {
        return;
    };
    transfer.pipeline.sftp()["timeout"] = json!("2s");
    let grow = |sshd: &mut Sshd| {
        let mut file = File::options()
            .append(true)
            .open(sshd.path("files/a.csv"))
            .unwrap();
        file.write_all(b"more\n").unwrap();
    };
    let ran = transfer.run_held(5 << 20, grow).await;
    ran.failed(75, &["changed while it was read"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnects_from_the_server() {
    let Some((sshd, pipeline)) = serving("a.csv", "line\na\n") else {
        return;
    };
    assert_eq!(pipeline.rows().await, 1);
    sshd.wait_for("Received disconnect from", 1);
}
