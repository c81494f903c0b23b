//! Who may come in, and how often it is tried.

use serde_json::json;

use crate::other_server::OtherServer;
use crate::pipeline::Pipeline;
use crate::sshd::{Account, Settings, Sshd, me};
use crate::{needs_root, needs_sshd};

const EXPORT: &str = "line\na\nb\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepts_keys_of_all_algorithms_and_formats() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("a.csv", EXPORT);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    pipeline.write("passphrase", "open sesame");
    for (name, args, locked) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..], false),
        ("ecdsa", &["-t", "ecdsa", "-b", "384", "-N", ""], false),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", ""], false),
        ("locked", &["-t", "ed25519", "-N", "open sesame", "-a", "2"], true),
        (
            "pkcs1",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""],
            false,
        ),
        (
            "pkcs1-locked",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame"],
            true,
        ),
        (
            "pkcs8",
            &["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""],
            false,
        ),
        ("pkcs8-ecdsa", &["-t", "ecdsa", "-m", "PKCS8", "-N", ""], false),
        (
            "pkcs8-locked",
            &["-t", "ecdsa", "-m", "PKCS8", "-N", "open sesame"],
            true,
        ),
    ] {
        let mut entry = json!({"private_key": {"file": sshd.login_key(name, args)}});
        if locked {
            entry["passphrase"] = json!({"file": "passphrase"});
        }
        pipeline.sftp()["auth"] = json!([entry]);
        assert_eq!(pipeline.run().await.good().rows, 2, "{name}");
    }
    assert_eq!(sshd.count("Accepted publickey"), 9);
    // With SHA-2, whatever the key is called.
    assert_eq!(sshd.count("Failed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_a_rejected_key_once() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("a.csv", EXPORT);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    pipeline.sftp()["retry"]["max_attempts"] = json!(4);
    pipeline.run().await.failed(
        5,
        &[
            "rejected the login of `",
            "`private_key`",
            "not retried, because accounts lock",
            "the server accepts",
        ],
    );
    sshd.wait_for("[preauth]", 1);
    assert_eq!(sshd.count("Failed publickey"), 1, "{}", sshd.log());
    assert_eq!(
        sshd.count("Connection from"),
        2,
        "with the one that waits for it to start"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_a_rejected_password_once() {
    needs_root!("logins by password");
    let sshd = Sshd::start();
    let account = Account::make();
    sshd.write("a.csv", EXPORT);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    pipeline.write("password", &account.password);
    pipeline.sftp()["username"] = json!(account.name);
    pipeline.sftp()["auth"] = json!([{"password": {"file": "password"}}]);
    assert_eq!(pipeline.run().await.good().rows, 2);

    pipeline.write("password", "hunter2-marker");
    let ran = pipeline.run().await;
    ran.failed(
        5,
        &[&format!("rejected the login of `{}`", account.name), "`password`"],
    );
    assert!(!ran.told.contains("marker"), "{}", ran.told);
    assert_eq!(sshd.count("Failed password"), 1, "{}", sshd.log());

    // Two ways: each once, in their order.
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    let key = sshd.path("login");
    pipeline.sftp()["auth"] = json!([{"private_key": {"file": key}}, {"password": {"file": "password"}}]);
    pipeline.run().await.failed(5, &["`private_key`, `password`"]);
    assert_eq!(sshd.count("Failed password"), 2, "{}", sshd.log());
    assert_eq!(sshd.count("Failed publickey"), 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn supports_two_factors() {
    needs_root!("two factors");
    let sshd = Sshd::with(&Settings {
        lines: "AuthenticationMethods publickey,password\n".to_owned(),
        ..Settings::default()
    });
    let account = Account::make();
    sshd.write("a.csv", EXPORT);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    pipeline.write("password", &account.password);
    let key = sshd.path("login");
    pipeline.sftp()["username"] = json!(account.name);
    // The server takes the key first, whatever stands first here.
    pipeline.sftp()["auth"] = json!([{"private_key": {"file": key}}, {"password": {"file": "password"}}]);
    assert_eq!(pipeline.run().await.good().rows, 2);
    assert_eq!(sshd.count("Partial publickey"), 1, "{}", sshd.log());
    assert_eq!(sshd.count("Accepted password"), 1, "{}", sshd.log());
    pipeline.sftp()["auth"] = json!([{"private_key": {"file": key}}]);
    pipeline.run().await.failed(5, &["the server accepts `password`"]);
}

fn asked(server: &OtherServer, path: &str) -> Pipeline {
    let mut pipeline = Pipeline::at(&format!("sftp://127.0.0.1:{}{path}", server.port));
    pipeline.write("password", "right-marker");
    pipeline.sftp()["host_keys"] = json!([server.fingerprint]);
    pipeline.sftp()["auth"] = json!([{"keyboard_interactive": {"file": "password"}}]);
    pipeline
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_password_prompts_only() {
    needs_sshd!();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, EXPORT).unwrap();
    let path = path.to_str().unwrap();

    let server = OtherServer::asks(&[("Password: ", "right-marker")]).await;
    let mut pipeline = asked(&server, path);
    assert_eq!(pipeline.run().await.good().rows, 2);
    assert_eq!(*server.answers.lock().unwrap(), ["right-marker"]);
    pipeline.write("password", "wrong-marker");
    let ran = pipeline.run().await;
    ran.failed(5, &["`keyboard_interactive`"]);
    assert!(!ran.told.contains("marker"), "{}", ran.told);
    assert_eq!(server.answers.lock().unwrap().len(), 2);
    pipeline.sftp()["auth"] = json!([{"password": {"file": "password"}}]);
    pipeline.run().await.failed(5, &["rejected the login"]);

    let server = OtherServer::asks(&[("Password: ", "right-marker"), ("Verification code: ", "1")]).await;
    asked(&server, path)
        .run()
        .await
        .failed(5, &["something other than a password: `Verification code:`"]);
    assert_eq!(*server.answers.lock().unwrap(), ["right-marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requires_weak_algorithms_to_be_enabled() {
    needs_sshd!();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, EXPORT).unwrap();
    let server = OtherServer::old(&[("Password: ", "right-marker")]).await;
    let mut pipeline = asked(&server, path.to_str().unwrap());
    pipeline.run().await.failed(
        2,
        &[
            "no common kex algorithm",
            "`algorithms: {kex: [diffie-hellman-group14-sha1]}`",
        ],
    );
    pipeline.sftp()["algorithms"] = json!({"kex": ["diffie-hellman-group14-sha1"]});
    pipeline
        .run()
        .await
        .failed(2, &["`algorithms: {cipher: [aes256-cbc]}`"]);
    pipeline.sftp()["algorithms"]["cipher"] = json!(["aes256-cbc"]);
    assert_eq!(pipeline.run().await.good().rows, 2);
    let (code, _, told) = tokio::task::spawn_blocking(move || pipeline.run_program())
        .await
        .unwrap();
    assert_eq!(code, 0, "{told}");
    for weak in [
        "kex than `diffie-hellman-group14-sha1`",
        "cipher than `aes256-cbc`",
    ] {
        assert!(
            told.contains(&format!("no better {weak}, which is weak")),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_the_user_from_the_url() {
    needs_sshd!();
    let sshd = Sshd::start();
    sshd.write("a.csv", EXPORT);
    let mut pipeline = Pipeline::new(&sshd, "a.csv");
    let address = sshd
        .address("a.csv")
        .replace("sftp://", &format!("sftp://{}@", me()));
    pipeline.source["path"] = json!(address);
    pipeline.sftp().as_object_mut().unwrap().remove("username");
    assert_eq!(pipeline.run().await.good().rows, 2);
}
