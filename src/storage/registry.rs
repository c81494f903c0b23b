//! The backends: what each declares, and the settings of a source for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer};

use super::flatten::FlatSettings;
use super::location::{Location, RemoteLocation};
use super::{Storage, local, object, sftp, stdin, web};
use crate::component::{Problems, problems_error};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Key of its settings in a source, and its cargo feature.
    pub(crate) key: &'static str,
    /// URL schemes; the first is the usual one.
    pub(crate) schemes: &'static [&'static str],
    pub(crate) summary: &'static str,
    pub(crate) is_built_in: bool,
    /// Default of the time for which a file must not have changed.
    pub(crate) quiet_period: Duration,
    /// Files cannot be renamed or deleted.
    pub(crate) is_read_only: bool,
    /// Connecting verifies the server and logs in.
    pub(crate) connect_logs_in: bool,
    /// Why its settings are required; `None` if defaults may do.
    pub(crate) requires_settings: Option<&'static str>,
}

impl Backend {
    /// Defaults for the keys that most backends share.
    pub(super) const DEFAULT: Self = Self {
        key: "",
        schemes: &[],
        summary: "",
        is_built_in: true,
        quiet_period: Duration::ZERO,
        is_read_only: false,
        connect_logs_in: false,
        requires_settings: None,
    };
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

/// Declares the backends by the types of their settings, whose key, schema and decoding follow.
macro_rules! backends {
    ($($settings:ty),+ $(,)?) => {
        pub(crate) static BACKENDS: &[&Backend] = &[$(&<$settings>::BACKEND),+];

        impl FlatSettings for Settings {
            fn keys() -> impl Iterator<Item = &'static str> {
                BACKENDS.iter().map(|backend| backend.key)
            }

            fn set<'de, D: Deserializer<'de>>(&mut self, key: &str, value: D) -> Result<(), D::Error> {
                $(if key == <$settings>::BACKEND.key {
                    if let Some(settings) = Option::<$settings>::deserialize(value)? {
                        self.0.push((&<$settings>::BACKEND, Arc::new(settings)));
                    }
                    return Ok(());
                })+
                Ok(())
            }
        }

        impl JsonSchema for Settings {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                "StorageSettings".into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mut properties = serde_json::Map::new();
                $(properties.insert(
                    <$settings>::BACKEND.key.to_owned(),
                    generator.subschema_for::<$settings>().into(),
                );)+
                schemars::json_schema!({"type": "object", "properties": properties})
            }
        }

        fn default_settings(backend: &Backend) -> Option<Arc<dyn BackendSettings>> {
            $(if backend.key == <$settings>::BACKEND.key {
                return Some(Arc::new(<$settings>::default()));
            })+
            None
        }
    };
}

// One line for each backend.
backends! {
    sftp::SftpConfig,
    object::S3Config,
    object::AzureConfig,
    object::GcsConfig,
    web::HttpsConfig,
}

/// The settings of a source for storage backends, each under the key of its backend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(Vec<(&'static Backend, Arc<dyn BackendSettings>)>);

impl Settings {
    /// The settings of a backend, or the defaults if those may do.
    fn of(&self, backend: &Backend) -> Option<Arc<dyn BackendSettings>> {
        let given = self.0.iter().find(|(of, _)| of.key == backend.key);
        match (given, backend.requires_settings) {
            (None, None) => default_settings(backend),
            (given, _) => given.map(|(_, settings)| settings.clone()),
        }
    }

    /// Reports what is wrong with the location or the settings; `problems` is at the source.
    pub(crate) fn validate(&self, location: &Location, problems: &mut Problems<'_>) {
        let used = location.backend();
        for (backend, _) in &self.0 {
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
