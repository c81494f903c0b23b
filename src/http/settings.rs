//! Settings of every component that speaks HTTP: one name and one shape for each.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use url::Url;

pub(crate) use super::retry::RetrySettings;
use super::tls::Identity;
use super::transport::TransportConfig;
use crate::component::Problems;
use crate::error::Result;
use crate::secret::{Secret, SecretFiles, SecretRef};

/// TLS: certificate authorities to trust, a client certificate, the minimum version.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSettings {
    /// A PEM file of certificate authorities to trust in addition to the system's, for networks that inspect TLS.
    /// Relative to the pipeline file.
    #[schemars(example = &"proxy-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// The client certificate (mutual TLS): a PEM file, or `{env: NAME}` for PEM text in an environment variable. The
    /// certificates of its issuers may follow it.
    #[schemars(example = &"client.crt")]
    pub certificate_file: Option<PemSource>,
    /// The private key of the client certificate, not encrypted: a PEM file, or `{env: NAME}`. May be the same file as
    /// `certificate_file`.
    #[schemars(example = &"client.key")]
    pub key_file: Option<PemSource>,
    /// The minimum TLS version: `"1.2"` or `"1.3"`.
    #[schemars(example = &"1.3")]
    pub min_version: TlsVersion,
}

impl TlsSettings {
    /// Reports a certificate without a key and a key without a certificate; `problems` is at this block.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let (given, missing) = match (&self.certificate_file, &self.key_file) {
            (Some(_), None) => ("certificate_file", "key_file"),
            (None, Some(_)) => ("key_file", "certificate_file"),
            _ => return,
        };
        problems.at(missing).add_with_hint(
            format!("`{given}` requires `{missing}`"),
            "if one PEM file contains both, set both keys to it",
        );
    }

    /// Reads certificate and key, and puts all settings into `transport`. Paths are relative to `base`.
    pub(crate) fn apply(
        &self,
        base: &Path,
        files: &SecretFiles,
        transport: &mut TransportConfig,
    ) -> Result<()> {
        if let (Some(certificate), Some(key)) = (&self.certificate_file, &self.key_file) {
            let read = |source: &PemSource| source.0.read(base, files);
            transport.identity = Some(Identity::from_pem(&read(certificate)?, &read(key)?)?);
        }
        transport.ca_file = self.ca_file.as_ref().map(|path| base.join(path));
        transport.min_tls = self.min_version;
        Ok(())
    }
}

/// A text, or a reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextOrSecret {
    Text(String),
    Secret(SecretRef),
}

impl TextOrSecret {
    pub(crate) fn read(&self, base: &Path, files: &SecretFiles) -> Result<Secret> {
        match self {
            Self::Text(text) => Ok(Secret::new(text.as_str())),
            Self::Secret(reference) => reference.read(base, files),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for TextOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextOrSecret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a secret by reference: `{env: NAME}` or `{file: PATH}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrSecret, E> {
                Ok(TextOrSecret::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOrSecret, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(TextOrSecret::Secret)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for TextOrSecret {
    fn schema_name() -> Cow<'static, str> {
        "TextOrSecret".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretRef>();
        json_schema!({
            "description": "A text, or where a secret is kept: `{env: NAME}` or `{file: PATH}`.",
            "anyOf": [{"type": "string"}, secret],
            "examples": ["hrsink", {"env": "HR_USER"}],
        })
    }
}

/// Where a certificate or key is stored: the path of a PEM file, or `{env: NAME}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PemSource(SecretRef);

impl<'de> Deserialize<'de> for PemSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrSecret::deserialize(deserializer)? {
            TextOrSecret::Secret(reference) => Ok(Self(reference)),
            // The text is a key: it is not repeated.
            TextOrSecret::Text(text) if text.contains("-----") || text.contains('\n') => Err(
                de::Error::custom("expected the path of a PEM file, not the PEM text itself"),
            ),
            TextOrSecret::Text(path) => Ok(Self(SecretRef::File(path.into()))),
        }
    }
}

impl JsonSchema for PemSource {
    fn schema_name() -> Cow<'static, str> {
        "PemSource".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretRef>();
        json_schema!({
            "description": "The path of a PEM file, or `{env: NAME}`.",
            "anyOf": [{"type": "string"}, secret],
        })
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, JsonSchema)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// The proxy of a component: an `http://` or `https://` URL, or `none`. `Debug` shows no URL, which may contain
/// credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// That of the system: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, and the system settings on Windows and macOS.
    #[default]
    System,
    Direct,
    Url(Url),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Direct => "Direct",
            Self::Url(_) => "Url(hidden)",
        })
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self::Direct);
        }
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(Self::Url(url)),
            // The URL may hold a password and is not repeated.
            _ => Err(de::Error::custom(
                "expected the URL of a proxy such as `http://proxy.example.com:3128`, or `none`",
            )),
        }
    }
}

impl JsonSchema for Proxy {
    fn schema_name() -> Cow<'static, str> {
        "Proxy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The URL of a proxy, or `none`.",
            "examples": ["http://proxy.example.com:3128", "none"],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requires_certificate_and_key_together() {
        for (settings, expected) in [
            (json!({"certificate_file": "a.pem"}), Some("key_file")),
            (json!({"key_file": {"env": "A"}}), Some("certificate_file")),
            (json!({"certificate_file": "a.pem", "key_file": "a.pem"}), None),
            (json!({"min_version": "1.3"}), None),
        ] {
            let tls: TlsSettings = serde_json::from_value(settings).unwrap();
            let mut found = Vec::new();
            tls.validate(&mut Problems::new(&mut found));
            let found = found.first().map(|problem| &*problem.path);
            assert_eq!(found, expected);
        }
        let unquoted: TlsSettings = serde_saphyr::from_str("min_version: 1.3").unwrap();
        assert_eq!(unquoted.min_version, TlsVersion::Tls13);
        assert!(serde_json::from_value::<TlsSettings>(json!({"min_version": "1.1"})).is_err());
    }

    #[test]
    fn never_repeats_what_may_be_secret() {
        let proxy = serde_json::from_value::<Proxy>(json!("ftp://u:marker@proxy")).unwrap_err();
        let key = serde_json::from_value::<PemSource>(json!("-----BEGIN marker")).unwrap_err();
        assert!(!format!("{proxy} {key}").contains("marker"));
        let proxy: Proxy = serde_json::from_value(json!("http://u:marker@proxy")).unwrap();
        assert!(!format!("{proxy:?}").contains("marker"));
    }
}
