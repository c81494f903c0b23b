//! The contract of [`Storage`], which every backend meets as far as its service goes: the local disk, standard input, OpenSSH's
//! server, moto (S3), Azurite, and servers of files in memory.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::tests::settings;
use super::{Context, FileInfo, FilePattern, Location, RenameOutcome, Storage};
use crate::error::{Error, ErrorKind};
use crate::secret::SecretFiles;

/// Writes files behind the back of the storage.
fn disk_writer(folder: PathBuf) -> impl AsyncFn(&str, &[u8]) {
    async move |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

async fn connect(path: &str, backend: Value, base: &Path) -> Arc<dyn Storage> {
    let settings = settings(backend);
    let context = Context {
        base: Arc::new(base.to_owned()),
        secret_files: SecretFiles::default(),
        cancel: CancellationToken::new(),
    };
    let connected = settings.connect(&Location::parse(path).unwrap(), &context).await;
    connected.unwrap_or_else(|error| panic!("{error:?}"))
}

async fn read(storage: &dyn Storage, file: &FileInfo) -> std::io::Result<Vec<u8>> {
    let opened = storage.open(file, &CancellationToken::new());
    let mut reader = opened.map_err(std::io::Error::other)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| content)
    });
    read.await.unwrap()
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n % 251) as u8).collect()
}

/// `write` writes a file behind the back of the storage, into the folder that the storage names `prefix`.
async fn check(storage: &dyn Storage, write: impl AsyncFn(&str, &[u8]), prefix: &str) {
    let path = |name: &str| format!("{prefix}{name}");
    let list = async |pattern: &str| {
        let files = storage.list(&FilePattern::plain(&path(pattern))).await.unwrap();
        let name = |file: &FileInfo| file.name.rsplit_once("in/").unwrap().1.to_owned();
        let mut names: Vec<String> = files.iter().map(name).collect();
        names.sort();
        names
    };
    for name in ["a.csv", "b.csv", ".hidden.csv", "c.txt", "sub/d.csv", "y[1].csv"] {
        write(&format!("in/{name}"), &content()).await;
    }

    // Listing: wildcards within a folder and across folders, hidden files, brackets, no match.
    assert_eq!(list("in/?.csv").await, ["a.csv", "b.csv"]);
    assert_eq!(list("in/**/[ad].csv").await, ["a.csv", "sub/d.csv"]);
    assert_eq!(list("in/.*.csv").await, [".hidden.csv"]);
    assert_eq!(list("in/y[1].csv").await, ["y[1].csv"]);
    assert_eq!(list("in/*.xml").await, [""; 0]);
    assert_eq!(list("in/missing.csv").await, [""; 0]);
    let missing = FilePattern::plain(&path("in/x.csv"));
    let siblings = storage.sibling_names(&missing).await.unwrap();
    assert!(siblings.iter().any(|name| name == "c.txt"), "{siblings:?}");

    check_reads(storage, &write, prefix).await;
    check_changes(storage, &write, prefix).await;
}

/// Metadata and content of `in/a.csv`, and that of `in/b.csv`, which changes.
async fn check_reads(storage: &dyn Storage, write: impl AsyncFn(&str, &[u8]), prefix: &str) {
    let (path, content) = (|name: &str| format!("{prefix}{name}"), content());
    let pattern = FilePattern::plain(&path("in/a.csv"));
    let file = storage.list(&pattern).await.unwrap().remove(0);
    let size = content.len() as u64;
    assert_eq!((file.file_name(), file.size), ("a.csv", Some(size)));
    let now = storage.stat(&file.path).await.unwrap().unwrap();
    assert!(file.is_unchanged(&now), "{file:?} {now:?}");
    assert!(storage.stat(&path("in/missing.csv")).await.unwrap().is_none());
    assert_eq!(read(storage, &file).await.unwrap(), content);
    if storage.local_path(&file).is_none() {
        let ranges = [0..10, 299_990..300_000, 100..100, 5..200_000];
        let parts = storage.read_ranges(&file, &ranges).await.unwrap();
        for (range, part) in ranges.iter().zip(parts) {
            let (start, end) = (range.start as usize, range.end as usize);
            assert!(part == content[start..end], "{range:?}");
        }
    }

    // A file that changed after it was listed is not read.
    let listed = storage.stat(&path("in/b.csv")).await.unwrap().unwrap();
    write("in/b.csv", &content[..200_000]).await;
    let error = read(storage, &listed).await.unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    assert!(error.to_string().contains("changed while it was read"), "{error}");
}

/// Renaming creates folders and never overwrites; a missing file can be deleted.
async fn check_changes(storage: &dyn Storage, write: impl AsyncFn(&str, &[u8]), prefix: &str) {
    let path = |name: &str| format!("{prefix}{name}");
    let file = storage.stat(&path("in/a.csv")).await.unwrap().unwrap();
    write("in/old/a.csv", b"older").await;
    let old = path("in/old/a.csv");
    let renamed = storage.rename(&file.path, &old).await.unwrap();
    assert_eq!(renamed, RenameOutcome::Exists);
    let new = path("in/new/2026/a.csv");
    let renamed = storage.rename(&file.path, &new).await.unwrap();
    assert_eq!(renamed, RenameOutcome::Renamed);
    assert!(storage.stat(&file.path).await.unwrap().is_none());
    for (name, expected) in [(&old, &b"older"[..]), (&new, &content())] {
        let moved = storage.stat(name).await.unwrap().unwrap();
        assert!(read(storage, &moved).await.unwrap() == expected, "{name}");
    }
    let missing = path("in/missing.csv");
    assert!(storage.rename(&missing, &path("in/x")).await.is_err());
    for _ in 0..2 {
        storage.delete(&new).await.unwrap();
    }
    assert!(storage.stat(&new).await.unwrap().is_none());
}

async fn check_refuses_changes(storage: &dyn Storage, path: &str) {
    let renamed = storage.rename(path, &format!("{path}.done")).await.map(|_| ());
    for refused in [renamed, storage.delete(path).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Input);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input() {
    const IS_CHILD: &str = "HRSINK_CONTRACT_OF_STANDARD_INPUT";
    if std::env::var_os(IS_CHILD).is_none() {
        // Runs this test once more, with a standard input of its own.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "storage::contract::standard_input"])
            .env(IS_CHILD, "1");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&content()).unwrap();
        assert!(child.wait().unwrap().success());
        return;
    }
    let storage = connect("-", json!({}), Path::new("")).await;
    let files = storage.list(&FilePattern::plain("-")).await.unwrap();
    assert_eq!((files.len(), storage.is_rereadable(&files[0])), (1, false));
    assert_eq!(storage.stat(&files[0].path).await.unwrap(), None);
    assert!(read(&*storage, &files[0]).await.unwrap() == content());
    check_refuses_changes(&*storage, &files[0].path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_disk() {
    let folder = tempfile::tempdir().unwrap();
    let storage = connect("in/*", json!({}), folder.path()).await;
    check(&*storage, disk_writer(folder.path().to_owned()), "").await;
}

#[cfg(unix)]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "in tests/")]
#[path = "../../tests/sftp/sshd.rs"]
mod sshd;

#[cfg(all(unix, feature = "sftp"))]
#[tokio::test(flavor = "multi_thread")]
async fn sftp() {
    if !crate::external::enabled("SFTP") {
        return;
    }
    let sshd = sshd::Sshd::start();
    let key = sshd.login_key("login", &["-t", "ed25519", "-N", ""]);
    let settings = json!({"sftp": {
        "username": sshd::me(),
        "auth": [{"private_key": {"file": key}}],
        "host_keys": [sshd.fingerprint("ed25519")],
    }});
    let storage = connect(&sshd.address("in/*"), settings, Path::new("")).await;
    let files = sshd.path("files");
    let prefix = format!("{}/", files.display());
    check(&*storage, disk_writer(files), &prefix).await;
}

#[cfg(all(feature = "s3", feature = "azure"))]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "in tests/")]
#[path = "../../tests/stores/servers.rs"]
mod servers;

#[cfg(all(feature = "s3", feature = "azure"))]
#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    if !crate::external::enabled("S3 with moto's server") {
        return;
    }
    let server = servers::moto(&[]);
    let store = server.bucket("hr-data").await;
    let folder = tempfile::tempdir().unwrap();
    for (name, secret) in [("id", "AKIATEST"), ("secret", "secret")] {
        servers::write_secret(&folder.path().join(name), secret);
    }
    let settings = json!({"s3": {
        "endpoint": server.url, "region": "us-east-1",
        "access_key_id": {"file": "id"}, "secret_access_key": {"file": "secret"},
    }});
    let storage = connect("s3://hr-data/in/*", settings, folder.path()).await;
    let write = async |name: &str, content: &[u8]| servers::put(&*store, name, content.to_vec()).await;
    check(&*storage, write, "").await;
}

#[cfg(all(feature = "s3", feature = "azure"))]
#[tokio::test(flavor = "multi_thread")]
async fn azure() {
    if !crate::external::enabled("Azure Blob Storage with Azurite") {
        return;
    }
    let server = servers::azurite();
    let store = server.container("hr-data").await;
    let folder = tempfile::tempdir().unwrap();
    servers::write_secret(&folder.path().join("key"), servers::KEY);
    let settings = json!({"azure": {
        "account": servers::ACCOUNT, "endpoint": server.account(), "access_key": {"file": "key"},
    }});
    let storage = connect("az://hr-data/in/*", settings, folder.path()).await;
    let write = async |name: &str, content: &[u8]| servers::put(&*store, name, content.to_vec()).await;
    check(&*storage, write, "").await;
}

#[cfg(feature = "http-storage")]
#[allow(dead_code, reason = "shared with tests/")]
#[path = "../../tests/stores/objects.rs"]
mod objects;

#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread")]
async fn gcs() {
    let server = objects::Objects::start();
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(objects::KEY.as_bytes()).unwrap();
    let settings = json!({"gcs": {"endpoint": server.url(), "service_account": {"file": key.path()}}});
    let storage = connect("gs://hr-data/in/*", settings, Path::new("")).await;
    let write = async |name: &str, content: &[u8]| server.put(name, content);
    check(&*storage, write, "").await;
}

#[cfg(feature = "https")]
#[tokio::test(flavor = "multi_thread")]
async fn web() {
    let server = objects::Objects::start();
    let path = format!("{}/hr-data/in/a.csv", server.url());
    let storage = connect(&path, json!({}), Path::new("")).await;
    for name in ["in/a.csv", "in/b.csv"] {
        server.put(name, &content());
    }
    let write = async |name: &str, content: &[u8]| server.put(name, content);
    check_reads(&*storage, write, "/hr-data/").await;
    check_refuses_changes(&*storage, "/hr-data/in/a.csv").await;
}
