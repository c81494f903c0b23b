//! The endpoints of Microsoft's clouds, or custom endpoints.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use url::Url;

use crate::http::address::{is_loopback, service_url};
use crate::suggest::suggestion;

pub(crate) const EMULATOR_ADDRESS: &str = "127.0.0.1:8099";

/// The Microsoft endpoints. In a pipeline file a name (`cloud: worldwide`) or an object
/// (`cloud: {authority: …, resource: …, ingestion: …}`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Cloud {
    /// The commercial cloud. Older scripts have the resource
    /// `https://microsoft.onmicrosoft.com/4e476d41-2395-42be-89ff-34cb9186a1ac`.
    #[default]
    Worldwide,
    /// US Government Community Cloud: the sign-in of the commercial cloud, and an ingestion host of its own. Older
    /// scripts: `https://prdtrs01.prod.outlook.com/64342688-40f0-476d-8f18-ccf14147bae1`.
    Gcc,
    /// US Government GCC High (ITAR L4). Older scripts:
    /// `https://gsgotrs.onmicrosoft.com/66ace435-1e6f-4305-8abc-96f365388077`.
    GccHigh,
    /// US Department of Defense (ITAR L5). Older scripts:
    /// `https://gsgotrs.onmicrosoft.com/f02f9b48-c294-47cf-9b1a-86c1ef71896d`.
    Dod,
    /// The emulator of this program at its usual address, [`EMULATOR_ADDRESS`].
    Emulator,
    /// Custom endpoints: an emulator elsewhere, an older resource, a new cloud.
    Custom(Endpoints),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) authority: Url,
    pub(crate) resource: String,
    pub(crate) ingestion: Url,
}

/// The resource of the current scripts, the same in every cloud.
const RESOURCE: &str = "https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1";

/// Name, authority and ingestion host. That of the commercial cloud is what Microsoft's scripts use; an alias of
/// `https://login.microsoftonline.com`.
const TABLE: [(Cloud, &str, &str, &str); 5] = [
    (
        Cloud::Worldwide,
        "worldwide",
        "https://login.windows.net",
        "https://webhook.ingestion.office.com",
    ),
    (
        Cloud::Gcc,
        "gcc",
        "https://login.microsoftonline.com",
        "https://webhook-gcc.ingestion.office365.us",
    ),
    (
        Cloud::GccHigh,
        "gcc_high",
        "https://login.microsoftonline.us",
        "https://webhook-itarl4.ingestion.office365.us",
    ),
    (
        Cloud::Dod,
        "dod",
        "https://login.microsoftonline.us",
        "https://webhook-itarl5.ingestion.apps.mil",
    ),
    (
        Cloud::Emulator,
        "emulator",
        "http://127.0.0.1:8099",
        "http://127.0.0.1:8099",
    ),
];

impl Cloud {
    pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
        TABLE.into_iter().map(|(_, name, ..)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        TABLE
            .into_iter()
            .find_map(|(cloud, known, ..)| (known == name).then_some(cloud))
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        if let Self::Custom(endpoints) = self {
            return endpoints.clone();
        }
        // A test covers all rows.
        TABLE
            .into_iter()
            .find(|(cloud, ..)| cloud == self)
            .and_then(|(_, _, authority, ingestion)| Endpoints::new(authority, RESOURCE, ingestion).ok())
            .expect("each named cloud has a row of valid URLs")
    }
}

impl Endpoints {
    /// Validates the three. `https` is required, except for a loopback host. Errors do not repeat a URL, which may
    /// contain credentials.
    pub(crate) fn new(authority: &str, resource: &str, ingestion: &str) -> Result<Self, String> {
        let resource = resource.trim().trim_end_matches('/');
        if resource.is_empty() || Url::parse(resource).is_err() {
            return Err(format!(
                "`resource` must be the URI of an application, such as `{RESOURCE}`"
            ));
        }
        let base = |name: &str, text: &str| match service_url(text) {
            Ok(url) if url.query().is_some() => Err(format!("`{name}`: the URL must not contain a `?`")),
            url => url.map_err(|problem| format!("`{name}`: {problem}")),
        };
        Ok(Self {
            authority: base("authority", authority)?,
            resource: resource.to_owned(),
            ingestion: base("ingestion", ingestion)?,
        })
    }

    /// Whether all endpoints are on this machine (an emulator): no proxy and no certificate store is needed.
    pub(crate) fn is_local(&self) -> bool {
        [&self.authority, &self.ingestion]
            .into_iter()
            .all(|url| url.scheme() == "http" && is_loopback(url))
    }

    /// The cloud of the table that this ingestion host belongs to.
    pub(crate) fn cloud_of_ingestion(&self) -> Option<&'static str> {
        let host = self.ingestion.host_str()?;
        TABLE
            .into_iter()
            .find_map(|(_, name, _, url)| (url.strip_prefix("https://") == Some(host)).then_some(name))
    }
}

#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CustomEndpoints {
    /// The URL of the host that issues tokens.
    #[schemars(example = &"https://login.microsoftonline.com")]
    authority: String,
    /// The resource to request tokens for, as in Microsoft's sample script for this cloud.
    #[schemars(example = RESOURCE)]
    resource: String,
    /// The URL of the host that receives uploads.
    #[schemars(example = &"https://webhook.ingestion.office.com")]
    ingestion: String,
}

impl<'de> Deserialize<'de> for Cloud {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CloudVisitor;
        impl<'de> Visitor<'de> for CloudVisitor {
            type Value = Cloud;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<_> = Cloud::names().map(|name| format!("`{name}`")).collect();
                write!(
                    f,
                    "one of {}, or {{authority: …, resource: …, ingestion: …}}",
                    names.join(", ")
                )
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Cloud, E> {
                Cloud::from_name(name).ok_or_else(|| {
                    let advice = suggestion(name, Cloud::names()).unwrap_or_default();
                    E::custom(format!("unknown cloud `{name}`; {advice}"))
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cloud, A::Error> {
                let custom = CustomEndpoints::deserialize(MapAccessDeserializer::new(map))?;
                Endpoints::new(&custom.authority, &custom.resource, &custom.ingestion)
                    .map(Cloud::Custom)
                    .map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(CloudVisitor)
    }
}

impl JsonSchema for Cloud {
    fn schema_name() -> Cow<'static, str> {
        "Cloud".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::names().collect();
        let custom = CustomEndpoints::json_schema(generator);
        json_schema!({
            "description": "The Microsoft endpoints: a name, or custom endpoints.",
            "anyOf": [{"type": "string", "enum": names}, custom],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Cloud, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_names_and_custom_endpoints() {
        for (cloud, name, authority, ingestion) in TABLE {
            assert_eq!(parse(&format!("{name:?}")).unwrap(), cloud);
            let endpoints = cloud.endpoints();
            assert_eq!(endpoints, Endpoints::new(authority, RESOURCE, ingestion).unwrap());
            let local = cloud == Cloud::Emulator;
            let actual = (endpoints.is_local(), endpoints.cloud_of_ingestion().is_none());
            assert_eq!(actual, (local, local));
        }
        let emulator = Cloud::Emulator.endpoints().ingestion;
        assert_eq!(emulator.as_str(), format!("http://{EMULATOR_ADDRESS}/"));
        let custom = r#"{"authority": "http://localhost:9000/", "resource": "https://r.example/x", "ingestion": "https://i.example"}"#;
        assert_eq!(parse(custom).unwrap().endpoints().resource, "https://r.example/x");
        for case in r#"
            "gcchigh" => unknown cloud `gcchigh`; did you mean `gcc_high`
            {"authority": "https://a.io", "ingestion": "https://b.io"} => resource
            {"authority": "https://a.io", "resourc": "x"} => resourc
            3 => `worldwide`
            {"authority": "https://a.io/?a=b", "resource": "https://r.io", "ingestion": "https://b.io"} => `authority`: the URL must not contain a `?`
            {"authority": "https://a.io", "resource": "https://r.io", "ingestion": "http://b.io"} => `ingestion`: the URL must start with `https://`
        "#.trim().lines() {
            let (text, expected) = case.split_once(" => ").unwrap();
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
