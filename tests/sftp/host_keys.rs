//! No login is sent to a server whose host key is not known.

use serde_json::json;

use crate::needs_sshd;
use crate::pipeline::Pipeline;
use crate::sshd::{Settings, Sshd, keygen};

fn reading(sshd: &Sshd) -> Pipeline {
    sshd.write("a.csv", "line\na\n");
    let mut pipeline = Pipeline::new(sshd, "a.csv");
    pipeline.unset("host_keys");
    pipeline
}

/// No login was started.
#[track_caller]
fn nothing_was_sent(sshd: &Sshd) {
    let log = sshd.log();
    for word in ["Accepted", "Failed", "Postponed", "user "] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_unknown_servers_and_prints_the_line_to_add() {
    needs_sshd!();
    let sshd = Sshd::start();
    let mut pipeline = reading(&sshd);
    let fingerprint = sshd.fingerprint("ed25519");
    let line = format!("[127.0.0.1]:{} {}", sshd.port, sshd.host_key("ed25519"));
    let setting = format!("`host_keys: [\"{fingerprint}\"]`");
    let said = [
        "is not known",
        &fingerprint,
        &line,
        "compare this fingerprint",
        &setting,
    ];
    pipeline.fails(2, &said).await;
    // The file may be missing.
    pipeline.sftp()["known_hosts"] = json!("known_hosts");
    let said = ["is not known", "add this line to `known_hosts`"];
    pipeline.fails(2, &said).await;
    nothing_was_sent(&sshd);

    pipeline.write("known_hosts", &format!("# servers\n{line}\n"));
    assert_eq!(pipeline.rows().await, 1);
    // As OpenSSH hides names.
    keygen(&["-H", "-f", pipeline.path("known_hosts").to_str().unwrap()]);
    let hidden = std::fs::read_to_string(pipeline.path("known_hosts")).unwrap();
    assert!(
        hidden.contains("|1|") && !hidden.contains("127.0.0.1"),
        "{hidden}"
    );
    assert_eq!(pipeline.rows().await, 1);
    // Or the printed setting.
    pipeline.unset("known_hosts");
    pipeline.sftp()["host_keys"] = json!([fingerprint]);
    assert_eq!(pipeline.rows().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_changed_host_keys_without_a_retry() {
    needs_sshd!();
    let sshd = Sshd::start();
    let mut pipeline = reading(&sshd);
    let other = pipeline.path("other");
    keygen(&["-t", "ed25519", "-N", "", "-f", other.to_str().unwrap()]);
    let public = std::fs::read_to_string(pipeline.path("other.pub")).unwrap();
    pipeline.write("known_hosts", &format!("\n[127.0.0.1]:{} {public}", sshd.port));
    pipeline.sftp()["known_hosts"] = json!("known_hosts");
    let known = keygen(&["-lf", other.to_str().unwrap()]);
    let known = known.split_whitespace().nth(1).unwrap();
    // That of the start may be logged late.
    sshd.wait_for("Connection closed by", 1);
    let connections = sshd.count("Connection from");
    let print = sshd.fingerprint("ed25519");
    let said = ["HAS CHANGED", &print, known, "line 2 of `known_hosts`"];
    pipeline.fails(2, &said).await;
    sshd.wait_for("Connection closed by", connections + 1);
    assert_eq!(sshd.count("Connection from"), connections + 1, "{}", sshd.log());
    nothing_was_sent(&sshd);
    // As with a pin.
    pipeline.unset("known_hosts");
    pipeline.sftp()["host_keys"] = json!([public.trim()]);
    pipeline.fails(2, &["HAS CHANGED", known, "`host_keys`"]).await;
    nothing_was_sent(&sshd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_the_known_key_of_a_server_with_several() {
    needs_sshd!();
    let sshd = Sshd::with(&Settings {
        host_keys: &["ed25519", "ecdsa", "rsa"],
        ..Settings::default()
    });
    let mut pipeline = reading(&sshd);
    pipeline.sftp()["known_hosts"] = json!("known_hosts");
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let line = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key(kind));
        pipeline.write("known_hosts", &line);
        assert_eq!(pipeline.rows().await, 1, "{kind}");
    }
    // A fingerprint does not contain the algorithm.
    pipeline.unset("known_hosts");
    for kind in ["rsa", "ecdsa"] {
        pipeline.sftp()["host_keys"] = json!([sshd.fingerprint(kind)]);
        assert_eq!(pipeline.rows().await, 1, "{kind}");
    }
    let other = "SHA256:uNiVztksCsDhcc0u9e8BrWiFbs5t65qwSPtAu0Ug4zg";
    pipeline.sftp()["host_keys"] = json!([other]);
    pipeline.fails(2, &["HAS CHANGED", other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_revoked_keys() {
    needs_sshd!();
    let sshd = Sshd::start();
    let mut pipeline = reading(&sshd);
    let key = sshd.host_key("ed25519");
    let lines = format!("[127.0.0.1]:{} {key}\n@revoked * {key}\n", sshd.port);
    pipeline.write("known_hosts", &lines);
    pipeline.sftp()["known_hosts"] = json!("known_hosts");
    let said = ["is revoked (line 2 of `known_hosts`)"];
    pipeline.fails(2, &said).await;
    nothing_was_sent(&sshd);
}
