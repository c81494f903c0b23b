//! Authentication against a scripted service.

mod assertion;
mod refresh;
mod settings;
mod token;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use test_server::{Reply, Request, Server, Step};

use super::*;
use crate::component::{Problem, Problems, RunInfo};
use crate::error::{Error, ErrorKind};
use crate::http::auth::{Authenticator, Credentials};
use crate::http::settings::Proxy;
use crate::http::transport::TransportConfig;

const SECRET: &str = "s3cret-marker+/=\"x\"";
const TOKEN: &str = "tok3n-marker";

struct Fixture {
    folder: tempfile::TempDir,
    run: RunInfo,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = RunInfo::new(folder.path());
        let fixture = Self { folder, run };
        fixture.secret("secret", SECRET);
        fixture
    }

    fn secret(&self, name: &str, text: &str) {
        use std::io::Write as _;
        let mut file = crate::disk::create_private(&self.folder.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn build(&self, config: Value) -> crate::error::Result<Authenticator> {
        let config: AuthConfig = serde_json::from_value(config).unwrap();
        assert_eq!(problems(&config), Vec::new());
        // Each has its own tokens.
        static BUILT: AtomicUsize = AtomicUsize::new(0);
        let way = BUILT.fetch_add(1, Ordering::Relaxed).to_string();
        config.build(&self.run, &client(), &way)
    }

    async fn failure(&self, config: Value) -> (ErrorKind, String) {
        let error = authorization(&self.build(config).unwrap()).await.unwrap_err();
        (error.kind(), shown(&error))
    }
}

fn client() -> reqwest::Client {
    let config = TransportConfig {
        tls: false,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    config.client().unwrap()
}

fn problems(config: &AuthConfig) -> Vec<Problem> {
    let mut found = Vec::new();
    config.validate(&mut Problems::new(&mut found).at("auth"));
    found
}

async fn authorized(auth: &Authenticator, url: &str) -> Result<(reqwest::Request, Credentials), Error> {
    let mut request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
    let granted = auth.authorize(&mut request).await;
    let granted = granted.map_err(|error| token_error(auth.provider().unwrap(), &error, None))?;
    let shown = format!("{:?} {granted:?} {auth:?}", request.headers());
    assert!(!shown.contains("marker"), "{shown}");
    Ok((request, granted))
}

async fn authorization(auth: &Authenticator) -> Result<String, Error> {
    let (request, _) = authorized(auth, "https://api.contoso.com/x").await?;
    Ok(request.headers()["authorization"].to_str().unwrap().to_owned())
}

fn shown(error: &Error) -> String {
    let hints: Vec<_> = error.hints().collect();
    let shown = format!("{} | {} | {error:?}", error.chain(), hints.join(" | "));
    assert!(!shown.contains("marker"), "{shown}");
    shown
}

fn form(request: &Request) -> Value {
    let form = request.form().into_iter();
    Value::Object(form.map(|(name, value)| (name, Value::from(value))).collect())
}

fn gives(token: &str) -> Step {
    Reply::ok(json!({"token_type": "Bearer", "expires_in": 3600, "access_token": token})).into()
}

fn credentials(server: &Server) -> Value {
    json!({
        "type": "oauth2_client_credentials", "token_url": format!("{}/token?version=1", server.url()),
        "client_id": "app", "client_secret": {"file": "secret"},
    })
}

fn with(mut config: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        config[name.as_str()] = value.clone();
    }
    config
}
