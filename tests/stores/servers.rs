//! Azurite and moto's server, each a process of its own that ends with the test.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};

/// The account of Azurite, and its key, which everybody knows.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A client without proxy and decompression.
pub(crate) fn client() -> reqwest::Client {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().no_gzip().build().unwrap()
}

/// Connects the clients of stores through [`client`].
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(client()))
    }
}

/// Writes a file that only its owner can read.
#[allow(dead_code, reason = "used by the contract suite of storage backends")]
pub(crate) fn write_secret(path: &std::path::Path, content: &str) {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

const STARTS: Duration = Duration::from_secs(90);

/// A server.
pub(crate) struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool(variable: &str, below_cache: &str) -> PathBuf {
    let in_cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        cache.join("hrsink").join(below_cache)
    };
    let path = std::env::var_os(variable).map_or_else(in_cache, PathBuf::from);
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} does not exist: tests/external.sh installs it"
    );
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start(mut command: Command, port: u16, folder: tempfile::TempDir) -> Server {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        url: format!("http://127.0.0.1:{port}"),
        _folder: folder,
    };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < STARTS, "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

/// moto's server; `env` sets how it behaves.
pub(crate) fn moto(env: &[(&str, &str)]) -> Server {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(tool("HRSINK_TEST_MOTO", "moto/bin/moto_server"));
    command
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .envs(env.iter().copied())
        .current_dir(folder.path());
    start(command, port, folder)
}

/// Azurite's blob service.
pub(crate) fn azurite() -> Server {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let program = tool("HRSINK_TEST_AZURITE", "azurite/node_modules/.bin/azurite-blob");
    let mut command = Command::new(program);
    command
        .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
        .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
        .arg("--location")
        .arg(folder.path());
    start(command, port, folder)
}

impl Server {
    /// Makes a bucket of S3, and a client that writes into it.
    pub(crate) async fn bucket(&self, name: &str) -> Arc<dyn ObjectStore> {
        let made = client().put(format!("{}/{name}", self.url)).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        let store = AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name(name)
            .with_access_key_id("AKIATEST")
            .with_secret_access_key("secret")
            .with_http_connector(Connector)
            .build();
        Arc::new(store.unwrap())
    }

    /// The address of the account's blobs.
    pub(crate) fn account(&self) -> String {
        format!("{}/{ACCOUNT}", self.url)
    }

    /// Makes a container of Azure, and a client that writes into it.
    pub(crate) async fn container(&self, name: &str) -> Arc<dyn ObjectStore> {
        let sas = account_sas("racwdl");
        let made = client()
            .put(format!("{}/{name}?restype=container&{sas}", self.account()))
            .header("Content-Length", "0")
            .send()
            .await
            .unwrap();
        assert!(made.status().is_success(), "{made:?}");
        let store = MicrosoftAzureBuilder::new()
            .with_account(ACCOUNT)
            .with_access_key(KEY)
            .with_endpoint(self.account())
            .with_allow_http(true)
            .with_container_name(name)
            .with_http_connector(Connector)
            .build();
        Arc::new(store.unwrap())
    }
}

/// A shared access signature for all of the account's blobs.
pub(crate) fn account_sas(permissions: &str) -> String {
    let (version, expiry) = ("2021-12-02", "2099-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{expiry}\n\nhttps,http\n{version}\n\n");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &BASE64_STANDARD.decode(KEY).unwrap());
    let signature = BASE64_STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()));
    let pairs = [
        ("sv", version),
        ("ss", "b"),
        ("srt", "sco"),
        ("sp", permissions),
        ("se", expiry),
        ("spr", "https,http"),
        ("sig", &*signature),
    ];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs).finish()
}

/// Writes an object.
pub(crate) async fn put(store: &dyn ObjectStore, key: &str, content: impl Into<bytes::Bytes>) {
    let content: bytes::Bytes = content.into();
    let key = Path::parse(key).unwrap();
    store.put(&key, content.into()).await.unwrap();
}

/// All keys, in order.
pub(crate) async fn keys(store: &dyn ObjectStore) -> Vec<String> {
    use futures::TryStreamExt as _;
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut keys: Vec<String> = all.into_iter().map(|meta| meta.location.to_string()).collect();
    keys.sort();
    keys
}
