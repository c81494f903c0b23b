//! Bytes that come, whatever happens to the connection.

use std::fs::File;
use std::io::{BufWriter, Write};

use hrsink::pipeline::RunOptions;
use serde_json::json;

use crate::digest::{Digest, of_lines};
use crate::needs_sshd;
use crate::pipeline::Pipeline;
use crate::proxy::Proxy;
use crate::sshd::{Settings, Sshd};

/// A file of about so many bytes, in which no place is like another.
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

/// A pipeline that reaches `sshd` by way of a proxy.
async fn by_proxy(sshd: &Sshd, name: &str) -> (Pipeline, Proxy) {
    let proxy = Proxy::to(sshd.port).await;
    let mut pipeline = Pipeline::new(sshd, name);
    let path = sshd
        .address(name)
        .replace(&format!(":{}", sshd.port), &format!(":{}", proxy.port));
    pipeline.source["path"] = json!(path);
    (pipeline, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_64_mib_unchanged() {
    needs_sshd!();
    let sshd = Sshd::start();
    let text = export(64 << 20);
    sshd.write("a.csv", &text);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    assert_eq!(pipeline.run().await.good(), of_lines(&text));
    // As it is with a small window too.
    sshd.write("a.csv", &text[..text[..3 << 20].rfind('\n').unwrap() + 1]);
    pipeline.sftp()["read_ahead"] = json!("32KiB");
    assert_eq!(
        pipeline.run().await.good().rows,
        of_lines(&text[..3 << 20]).rows - 1
    );
}

/// More than the gibibyte after which our side asks for new keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_more_than_a_gigabyte_unchanged() {
    needs_sshd!();
    let sshd = Sshd::start();
    let mut file = BufWriter::new(File::create(sshd.write("a.csv", "")).unwrap());
    let (mut hasher, rows) = (blake3::Hasher::new(), 1_100 << 10);
    file.write_all(b"line\n").unwrap();
    for line in lines().take(rows) {
        file.write_all(line.as_bytes()).unwrap();
        hasher.update(line.as_bytes());
    }
    file.flush().unwrap();
    let written = Digest {
        rows,
        hash: hasher.finalize(),
    };
    assert_eq!(Pipeline::new(&sshd, "a.csv").run().await.good(), written);
    assert_eq!(sshd.count("Accepted publickey"), 1, "{}", sshd.log());
    let exchanges = sshd.count("kex: algorithm:");
    assert!(exchanges >= 2, "{exchanges} exchanges of keys\n{}", sshd.log());
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
    assert_eq!(Pipeline::new(&sshd, "a.csv").run().await.good(), of_lines(&text));
    assert_eq!(sshd.count("Accepted publickey"), 1, "{}", sshd.log());
    let exchanges = sshd.count("kex: algorithm:");
    assert!(exchanges >= 10, "{exchanges} exchanges of keys\n{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_after_the_server_was_killed() {
    needs_sshd!();
    let mut sshd = Sshd::start();
    let text = export(24 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    // However long the server takes to be there again.
    pipeline.sftp()["retry"]["max_attempts"] = json!(20);
    pipeline.sftp()["retry"]["initial_backoff"] = json!("200ms");
    proxy.hold_after(9 << 20);
    let server = async {
        proxy.is_held().await;
        sshd.kill();
        sshd.run();
    };
    let (ran, ()) = tokio::join!(pipeline.run(), server);
    assert_eq!(ran.good(), of_lines(&text));
    assert_eq!(sshd.count("Accepted publickey"), 2, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_attempts_anew_after_progress() {
    needs_sshd!();
    let sshd = Sshd::start();
    let text = export(24 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["retry"]["max_attempts"] = json!(2);
    proxy.cut_after(5 << 20);
    let more = async {
        for connections in 2..5 {
            crate::transfer::until(|| proxy.connections() >= connections).await;
            proxy.cut_after(5 << 20);
        }
    };
    let (ran, ()) = tokio::join!(pipeline.run(), more);
    assert_eq!(ran.good(), of_lines(&text));
    assert!(proxy.connections() >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_a_lost_server_as_transient() {
    needs_sshd!();
    let mut sshd = Sshd::start();
    let text = export(24 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    proxy.hold_after(5 << 20);
    let server = async {
        proxy.is_held().await;
        sshd.kill();
    };
    let (ran, ()) = tokio::join!(pipeline.run(), server);
    ran.failed(75, &["attempts: 8", "cannot connect to sftp://127.0.0.1"]);
    // Nor is one that is not there at all.
    pipeline.sftp()["retry"]["max_attempts"] = json!(1);
    pipeline.source["path"] = json!(sshd.address("a.csv"));
    pipeline.run().await.failed(75, &["no server listens"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detects_silent_connections_by_timeout() {
    needs_sshd!();
    let sshd = Sshd::start();
    let text = export(8 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["timeout"] = json!("2s");
    proxy.hold_after(2 << 20);
    assert_eq!(pipeline.run().await.good(), of_lines(&text));
    assert_eq!(proxy.connections(), 2);
}

/// However patient one is with a single answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detects_silent_connections_by_keep_alive() {
    needs_sshd!();
    let sshd = Sshd::start();
    let text = export(8 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["timeout"] = json!("1h");
    pipeline.sftp()["keep_alive"] = json!("1s");
    proxy.hold_after(2 << 20);
    assert_eq!(pipeline.run().await.good(), of_lines(&text));
    assert_eq!(proxy.connections(), 2);
}

/// It waits for bytes that do not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_without_waiting_for_the_server() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("a.csv", export(8 << 20));
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["timeout"] = json!("1h");
    pipeline.sftp()["keep_alive"] = json!("1h");
    proxy.hold_after(2 << 20);
    let options = RunOptions::default();
    let cancel = options.cancel.clone();
    let stop = async {
        proxy.is_held().await;
        cancel.cancel();
    };
    let (ran, ()) = tokio::join!(pipeline.run_with(options), stop);
    assert_eq!(ran.code, 130, "{}", ran.told);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn does_not_retry_a_login_rejected_on_reconnect() {
    needs_sshd!();
    let sshd = Sshd::start();
    let text = export(24 << 20);
    sshd.write("a.csv", &text);
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["timeout"] = json!("2s");
    proxy.hold_after(5 << 20);
    let server = async {
        proxy.is_held().await;
        std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    };
    let (ran, ()) = tokio::join!(pipeline.run(), server);
    ran.failed(5, &["rejected the login"]);
    assert_eq!(sshd.count("Failed publickey"), 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_files_that_grow_while_read() {
    needs_sshd!();
    let sshd = Sshd::start();
    let path = sshd.write("a.csv", export(24 << 20));
    let (mut pipeline, proxy) = by_proxy(&sshd, "a.csv").await;
    pipeline.sftp()["timeout"] = json!("2s");
    proxy.hold_after(5 << 20);
    let writer = async {
        proxy.is_held().await;
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        file.write_all(b"more\n").unwrap();
    };
    let (ran, ()) = tokio::join!(pipeline.run(), writer);
    ran.failed(75, &["changed while it was read"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnects_from_the_server() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("a.csv", "line\na\n");
    assert_eq!(Pipeline::new(&sshd, "a.csv").run().await.good().rows, 1);
    sshd.wait_for("Received disconnect from", 1);
}

/// Comes back when `check` holds.
async fn until(check: impl Fn() -> bool) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), waiting)
        .await
        .expect("what is waited for happens");
}
