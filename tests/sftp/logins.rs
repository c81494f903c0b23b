//! Login methods, and how often each is tried.

use serde_json::json;

use crate::other_server::OtherServer;
use crate::pipeline::{Pipeline, serving};
use crate::sshd::{Account, Settings, Sshd, me};
use crate::{needs_root, needs_sshd};

const EXPORT: &str = "line\na\nb\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepts_keys_of_all_algorithms_and_formats() {
    let Some((sshd, mut pipeline)) = serving("a.csv", EXPORT) else {
        return;
    };
    pipeline.write("passphrase", "open sesame");
    for (number, (args, is_encrypted)) in [
        ("-t ed25519", false),
        ("-t ecdsa -b 384", false),
        ("-t rsa -b 2048", false),
        ("-t ed25519 -a 2", true),
        ("-t rsa -b 2048 -m PEM", false),
        ("-t rsa -b 2048 -m PEM", true),
        ("-t rsa -b 2048 -m PKCS8", false),
        ("-t ecdsa -m PKCS8", false),
        ("-t ecdsa -m PKCS8", true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut all: Vec<&str> = args.split(' ').collect();
        all.extend(["-N", if is_encrypted { "open sesame" } else { "" }]);
        let key = sshd.login_key(&format!("key{number}"), &all);
        let mut entry = json!({"private_key": {"file": key}});
        if is_encrypted {
            entry["passphrase"] = json!({"file": "passphrase"});
        }
        pipeline.sftp()["auth"] = json!([entry]);
        assert_eq!(pipeline.rows().await, 2, "{args}");
    }
    assert_eq!(sshd.count("Accepted publickey"), 9);
    // RSA keys sign with SHA-2.
    assert_eq!(sshd.count("Failed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_a_rejected_key_once() {
    let Some((sshd, mut pipeline)) = serving("a.csv", EXPORT) else {
        return;
    };
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    pipeline.sftp()["retry"]["max_attempts"] = json!(4);
    let said = [
        "rejected the login of `",
        "not retried, because accounts lock",
        "the server accepts",
    ];
    pipeline.fails(5, &said).await;
    sshd.wait_for("[preauth]", 1);
    assert_eq!(sshd.count("Failed publickey"), 1, "{}", sshd.log());
    // With the one that waits for the server to start.
    assert_eq!(sshd.count("Connection from"), 2);
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
    assert_eq!(pipeline.rows().await, 2);

    pipeline.write("password", "hunter2-marker");
    let message = format!("rejected the login of `{}`", account.name);
    let ran = pipeline.fails(5, &[&message, "`password`"]).await;
    assert!(!ran.told.contains("marker"), "{}", ran.told);
    assert_eq!(sshd.count("Failed password"), 1, "{}", sshd.log());

    // Two methods: each once, in their order.
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    let key = sshd.path("login");
    pipeline.sftp()["auth"] = json!([{"private_key": {"file": key}}, {"password": {"file": "password"}}]);
    pipeline.fails(5, &["`private_key`, `password`"]).await;
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
    assert_eq!(pipeline.rows().await, 2);
    assert_eq!(sshd.count("Partial publickey"), 1, "{}", sshd.log());
    assert_eq!(sshd.count("Accepted password"), 1, "{}", sshd.log());
    pipeline.sftp()["auth"] = json!([{"private_key": {"file": key}}]);
    pipeline.fails(5, &["the server accepts `password`"]).await;
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
    assert_eq!(pipeline.rows().await, 2);
    assert_eq!(*server.answers.lock().unwrap(), ["right-marker"]);
    pipeline.write("password", "wrong-marker");
    let ran = pipeline.fails(5, &["`keyboard_interactive`"]).await;
    assert!(!ran.told.contains("marker"), "{}", ran.told);
    assert_eq!(server.answers.lock().unwrap().len(), 2);
    pipeline.sftp()["auth"] = json!([{"password": {"file": "password"}}]);
    pipeline.fails(5, &["rejected the login"]).await;

    let server = OtherServer::asks(&[("Password: ", "right-marker"), ("Verification code: ", "1")]).await;
    let said = ["something other than a password: `Verification code:`"];
    asked(&server, path).fails(5, &said).await;
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
    let hint = "`algorithms: {kex: [diffie-hellman-group14-sha1]}`";
    pipeline.fails(2, &["no common kex algorithm", hint]).await;
    pipeline.sftp()["algorithms"] = json!({"kex": ["diffie-hellman-group14-sha1"]});
    let hint = "`algorithms: {cipher: [aes256-cbc]}`";
    pipeline.fails(2, &[hint]).await;
    pipeline.sftp()["algorithms"]["cipher"] = json!(["aes256-cbc"]);
    assert_eq!(pipeline.rows().await, 2);
    let ran = tokio::task::spawn_blocking(move || pipeline.run_program());
    let (code, _, told) = ran.await.unwrap();
    assert_eq!(code, 0, "{told}");
    for weak in [
        "kex than `diffie-hellman-group14-sha1`",
        "cipher than `aes256-cbc`",
    ] {
        let warning = format!("no better {weak}, which is weak");
        assert!(told.contains(&warning), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_the_user_from_the_url() {
    let Some((sshd, mut pipeline)) = serving("a.csv", EXPORT) else {
        return;
    };
    let user = format!("sftp://{}@", me());
    pipeline.source["path"] = json!(sshd.address("a.csv").replace("sftp://", &user));
    pipeline.unset("username");
    assert_eq!(pipeline.rows().await, 2);
}
