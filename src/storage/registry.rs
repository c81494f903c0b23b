//! The backends: what each declares, and the settings of a source for them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::flatten::FlatSettings;
use super::location::{Location, RemoteLocation};
use super::{Storage, local, stdin};
use crate::component::{Problem, Problems, decode, problems_error};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};
use crate::suggest::quoted;

/// An entry of the registry of backends. A backend registers itself with `inventory`.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Key of its settings in a source, and its cargo feature.
    pub(crate) key: &'static str,
    /// URL schemes; the first is the usual one.
    pub(crate) schemes: &'static [&'static str],
    /// Examples of URLs, for the documentation of `path`.
    pub(crate) urls: &'static [&'static str],
    pub(crate) summary: &'static str,
    pub(crate) is_built_in: bool,
    /// Default of the time for which a file must not have changed.
    pub(crate) quiet_period: Duration,
    /// Why files cannot be renamed or deleted; `None` if they can.
    pub(crate) read_only: Option<&'static str>,
    /// Connecting verifies the server and logs in.
    pub(crate) connect_logs_in: bool,
    /// Why its settings are required; `None` if defaults may do.
    pub(crate) requires_settings: Option<&'static str>,
    pub(super) decode: fn(Value, &mut Problems<'_>) -> Option<Arc<dyn BackendSettings>>,
    pub(super) default_settings: fn() -> Arc<dyn BackendSettings>,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

inventory::collect!(Backend);

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Backend {}

impl Backend {
    /// A backend with settings `S`, and defaults for the keys that most backends share.
    pub(super) const fn new<S: BackendSettings + Default + DeserializeOwned + JsonSchema + 'static>() -> Self
    {
        Self {
            key: "",
            schemes: &[],
            urls: &[],
            summary: "",
            is_built_in: true,
            quiet_period: Duration::ZERO,
            read_only: None,
            connect_logs_in: false,
            requires_settings: None,
            decode: |settings, problems| Some(Arc::new(decode::<S>(settings, problems)?)),
            default_settings: || Arc::new(S::default()),
            schema: |generator| generator.subschema_for::<S>(),
        }
    }
}

/// Every backend, by key.
pub(crate) fn backends() -> &'static [&'static Backend] {
    static BACKENDS: OnceLock<Vec<&'static Backend>> = OnceLock::new();
    BACKENDS.get_or_init(|| {
        let mut all: Vec<_> = inventory::iter::<Backend>.into_iter().collect();
        all.sort_by_key(|backend| backend.key);
        all
    })
}

/// Adds the URLs of all backends to the description of a key, for `#[schemars(transform = …)]`.
pub(crate) fn describe_urls(schema: &mut Schema) {
    let urls = quoted(backends().iter().flat_map(|backend| backend.urls));
    let own = schema.get("description");
    let own = own.and_then(Value::as_str).unwrap_or_default();
    let description = format!("{own} URLs: {urls}.");
    schema.insert("description".to_owned(), description.into());
}

#[async_trait]
pub(super) trait BackendSettings: std::fmt::Debug + Send + Sync {
    /// Reports invalid settings, given the location. `problems` is at the source, so that `path` can be named.
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>);

    /// Connects; an error if a secret cannot be read, or the storage cannot be reached or rejects the login.
    async fn connect(&self, location: &RemoteLocation, _cx: &Context) -> Result<Arc<dyn Storage>> {
        // `validate` has reported it.
        let key = location.backend.key;
        Err(Error::unexpected(format!("this build lacks the feature `{key}`")))
    }
}

/// What a backend needs of a run.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "only remote backends use it")]
pub(crate) struct Context {
    /// The folder of relative paths.
    pub(crate) base: Arc<PathBuf>,
    pub(crate) secret_files: SecretFiles,
    pub(crate) cancel: tokio_util::sync::CancellationToken,
}

#[allow(dead_code, reason = "only remote backends use it")]
impl Context {
    pub(super) fn read(&self, secret: &SecretRef) -> Result<Secret> {
        secret.read(&self.base, &self.secret_files)
    }
}

/// The settings of a source for storage backends, each under the key of its backend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    given: Vec<(&'static Backend, Option<Arc<dyn BackendSettings>>)>,
    /// What decoding found, by the key of the backend.
    problems: Vec<(&'static str, Problem)>,
}

impl FlatSettings for Settings {
    fn keys() -> impl Iterator<Item = &'static str> {
        backends().iter().map(|backend| backend.key)
    }

    fn set<'de, D: Deserializer<'de>>(&mut self, key: &str, value: D) -> Result<(), D::Error> {
        let Some(value) = Option::<Value>::deserialize(value)? else {
            return Ok(());
        };
        for backend in backends().iter().filter(|backend| backend.key == key) {
            let mut found = Vec::new();
            let settings = (backend.decode)(value.clone(), &mut Problems::new(&mut found));
            self.given.push((backend, settings));
            self.problems
                .extend(found.into_iter().map(|problem| (backend.key, problem)));
        }
        Ok(())
    }
}

impl JsonSchema for Settings {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StorageSettings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let backends = backends().iter();
        let properties: serde_json::Map<_, _> = backends
            .map(|backend| (backend.key.to_owned(), (backend.schema)(generator).into()))
            .collect();
        schemars::json_schema!({"type": "object", "properties": properties})
    }
}

impl Settings {
    /// The settings of a backend, or the defaults if those may do; `None` if they are missing or invalid.
    fn of(&self, backend: &Backend) -> Option<Arc<dyn BackendSettings>> {
        let given = self.given.iter().find(|(of, _)| *of == backend);
        match (given, backend.requires_settings) {
            (None, None) => Some((backend.default_settings)()),
            (given, _) => given.and_then(|(_, settings)| settings.clone()),
        }
    }

    /// Reports what is wrong with the location or the settings; `problems` is at the source.
    pub(crate) fn validate(&self, location: &Location, problems: &mut Problems<'_>) {
        let used = location.backend();
        for (key, problem) in &self.problems {
            let at = [key, &*problem.path].join(".");
            problems
                .at(at.trim_end_matches('.'))
                .add_with(problem.message.clone(), problem.hint.clone());
        }
        for (backend, _) in &self.given {
            if used.is_none_or(|used| used.key != backend.key) {
                problems.at(backend.key).add_with_hint(
                    format!("requires a `path` that starts with `{}://`", backend.schemes[0]),
                    "remove it, or correct `path`",
                );
            }
        }
        let Location::Remote(location) = location else {
            return;
        };
        let backend = location.backend;
        if !backend.is_built_in {
            let (scheme, feature) = (backend.schemes[0], backend.key);
            problems.at("path").add_with_hint(
                format!("`{scheme}://` is not in this build of hrsink"),
                format!(
                    "use a build with the feature `{feature}`: `cargo install hrsink --features {feature}`"
                ),
            );
        }
        match self.of(backend) {
            Some(settings) => settings.validate(location, problems),
            None if self.given.iter().any(|(of, _)| *of == backend) => {}
            None => problems.at(backend.key).add_with_hint(
                format!("is required: {}", backend.requires_settings.unwrap_or_default()),
                format!("see docs/src/how-to/{}.md for an example", backend.key),
            ),
        }
    }

    pub(crate) async fn connect(&self, location: &Location, cx: &Context) -> Result<Arc<dyn Storage>> {
        let mut problems = Vec::new();
        self.validate(location, &mut Problems::new(&mut problems));
        if !problems.is_empty() {
            return Err(problems_error("", problems));
        }
        let base = cx.base.clone();
        match location {
            Location::StandardInput => Ok(Arc::new(stdin::StandardInput)),
            Location::Local(_) => Ok(Arc::new(local::Local { base })),
            Location::Remote(remote) => match self.of(remote.backend) {
                Some(settings) => settings.connect(remote, cx).await,
                None => Err(Error::unexpected("a storage backend without settings")),
            },
        }
    }
}
