//! Which Microsoft endpoints: the clouds as a table, or endpoints given one by one.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use url::{Host, Url};

use crate::config::suggestion;

/// Where the local emulator listens unless told otherwise.
pub const EMULATOR_ADDRESS: &str = "127.0.0.1:8099";

/// Which Microsoft endpoints to talk to. In a pipeline file a name (`cloud: worldwide`) or an object
/// (`cloud: {authority: …, resource: …, ingestion: …}`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cloud {
    /// The commercial cloud.
    ///
    /// Resource of older scripts: `https://microsoft.onmicrosoft.com/4e476d41-2395-42be-89ff-34cb9186a1ac`.
    #[default]
    Worldwide,
    /// US Government Community Cloud: signs in where the commercial cloud does, and has an ingestion host of its own.
    ///
    /// Resource of older scripts: `https://prdtrs01.prod.outlook.com/64342688-40f0-476d-8f18-ccf14147bae1`.
    Gcc,
    /// US Government GCC High (ITAR L4).
    ///
    /// Resource of older scripts: `https://gsgotrs.onmicrosoft.com/66ace435-1e6f-4305-8abc-96f365388077`.
    GccHigh,
    /// US Department of Defense (ITAR L5).
    ///
    /// Resource of older scripts: `https://gsgotrs.onmicrosoft.com/f02f9b48-c294-47cf-9b1a-86c1ef71896d`.
    Dod,
    /// The emulator of this program at its usual address, [`EMULATOR_ADDRESS`].
    Emulator,
    /// Endpoints given one by one: an emulator elsewhere, an older resource, a new cloud.
    Custom(Endpoints),
}

/// The three places of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where tokens come from.
    pub authority: Url,
    /// What a token is asked for.
    pub resource: String,
    /// Where uploads go.
    pub ingestion: Url,
}

struct Row {
    name: &'static str,
    cloud: Cloud,
    authority: &'static str,
    resource: &'static str,
    ingestion: &'static str,
}

/// The resource of the current scripts, the same in every cloud.
const RESOURCE: &str = "https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1";

const TABLE: &[Row] = &[
    Row {
        name: "worldwide",
        cloud: Cloud::Worldwide,
        // What Microsoft's scripts use; an alias of `https://login.microsoftonline.com`.
        authority: "https://login.windows.net",
        resource: RESOURCE,
        ingestion: "https://webhook.ingestion.office.com",
    },
    Row {
        name: "gcc",
        cloud: Cloud::Gcc,
        authority: "https://login.microsoftonline.com",
        resource: RESOURCE,
        ingestion: "https://webhook-gcc.ingestion.office365.us",
    },
    Row {
        name: "gcc_high",
        cloud: Cloud::GccHigh,
        authority: "https://login.microsoftonline.us",
        resource: RESOURCE,
        ingestion: "https://webhook-itarl4.ingestion.office365.us",
    },
    Row {
        name: "dod",
        cloud: Cloud::Dod,
        authority: "https://login.microsoftonline.us",
        resource: RESOURCE,
        ingestion: "https://webhook-itarl5.ingestion.apps.mil",
    },
    Row {
        name: "emulator",
        cloud: Cloud::Emulator,
        authority: "http://127.0.0.1:8099",
        resource: RESOURCE,
        ingestion: "http://127.0.0.1:8099",
    },
];

impl Cloud {
    /// The names that stand for clouds.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        TABLE.iter().map(|row| row.name)
    }

    /// The cloud of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.cloud.clone())
    }

    /// The name; `custom` for endpoints given one by one.
    pub fn name(&self) -> &'static str {
        TABLE
            .iter()
            .find(|row| row.cloud == *self)
            .map_or("custom", |row| row.name)
    }

    /// The endpoints.
    pub fn endpoints(&self) -> Endpoints {
        if let Self::Custom(endpoints) = self {
            return endpoints.clone();
        }
        // Every other variant has a row, and every row holds URLs: a test goes through all of them.
        TABLE
            .iter()
            .find(|row| row.cloud == *self)
            .and_then(|row| Endpoints::new(row.authority, row.resource, row.ingestion).ok())
            .expect("each named cloud has a row of valid URLs")
    }
}

impl Endpoints {
    /// Checks and keeps the three. `https` is required, except for a loopback host.
    ///
    /// # Errors
    /// Which of the three is wrong, and how.
    pub fn new(authority: &str, resource: &str, ingestion: &str) -> Result<Self, String> {
        let resource = resource.trim().trim_end_matches('/');
        if resource.is_empty() || Url::parse(resource).is_err() {
            return Err(format!(
                "`resource` must be the URI of the application that tokens are asked for, such as `{RESOURCE}`"
            ));
        }
        Ok(Self {
            authority: base("authority", authority)?,
            resource: resource.to_owned(),
            ingestion: base("ingestion", ingestion)?,
        })
    }

    /// Whether all of it is on this machine: an emulator. No proxy and no certificate store is needed then.
    pub fn is_local(&self) -> bool {
        [&self.authority, &self.ingestion]
            .into_iter()
            .all(|url| url.scheme() == "http" && is_loopback(url))
    }

    /// The cloud of the table that this ingestion host belongs to.
    pub(crate) fn cloud_of_ingestion(&self) -> Option<&'static str> {
        let host = self.ingestion.host_str()?;
        TABLE
            .iter()
            .find(|row| row.ingestion.strip_prefix("https://") == Some(host))
            .map(|row| row.name)
    }
}

fn base(name: &str, text: &str) -> Result<Url, String> {
    // The text is not repeated: it may hold credentials.
    let url = Url::parse(text.trim()).map_err(|error| {
        format!("`{name}` must be a URL such as `https://login.microsoftonline.com` ({error})")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{name}` must not hold a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "`{name}` must end with the host or a path, without `?` and `#`"
        ));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(format!(
            "`{name}` must start with `https://`: credentials and HR data would be readable on the way (`http://` is \
             for an emulator on this machine)"
        )),
        _ => Err(format!("`{name}` must start with `https://`")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Given {
    /// Where tokens come from, such as `https://login.microsoftonline.com`.
    authority: String,
    /// What a token is asked for: the resource of Microsoft's sample script for this cloud.
    resource: String,
    /// Where uploads go, such as `https://webhook.ingestion.office.com`.
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
                let given = Given::deserialize(MapAccessDeserializer::new(map))?;
                Endpoints::new(&given.authority, &given.resource, &given.ingestion)
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
        let given = Given::json_schema(generator);
        json_schema!({
            "description": "Which Microsoft endpoints to talk to: a name, or the endpoints one by one.",
            "anyOf": [{"type": "string", "enum": names}, given],
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
    fn every_name_has_endpoints_and_comes_back() {
        for name in Cloud::names() {
            let cloud = parse(&format!("{name:?}")).unwrap();
            assert_eq!(cloud.name(), name);
            let endpoints = cloud.endpoints();
            assert_eq!(endpoints.is_local(), name == "emulator");
        }
        assert!(
            Cloud::Emulator
                .endpoints()
                .ingestion
                .as_str()
                .contains(EMULATOR_ADDRESS)
        );
    }

    #[test]
    fn the_table_is_the_documented_one() {
        let of = |cloud: Cloud| {
            let Endpoints {
                authority,
                ingestion,
                resource,
            } = cloud.endpoints();
            assert_eq!(resource, RESOURCE);
            (authority.to_string(), ingestion.to_string())
        };
        let pair = |authority: &str, ingestion: &str| (authority.to_owned(), ingestion.to_owned());
        assert_eq!(
            of(Cloud::Worldwide),
            pair(
                "https://login.windows.net/",
                "https://webhook.ingestion.office.com/"
            )
        );
        assert_eq!(
            of(Cloud::Gcc),
            pair(
                "https://login.microsoftonline.com/",
                "https://webhook-gcc.ingestion.office365.us/"
            )
        );
        assert_eq!(
            of(Cloud::GccHigh),
            pair(
                "https://login.microsoftonline.us/",
                "https://webhook-itarl4.ingestion.office365.us/"
            )
        );
        assert_eq!(
            of(Cloud::Dod),
            pair(
                "https://login.microsoftonline.us/",
                "https://webhook-itarl5.ingestion.apps.mil/"
            )
        );
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let error = parse(r#""gcchigh""#).unwrap_err();
        assert!(
            error.contains("unknown cloud `gcchigh`; did you mean `gcc_high`"),
            "{error}"
        );
    }

    #[test]
    fn endpoints_can_be_given_one_by_one() {
        let cloud = parse(
            r#"{"authority": "http://localhost:9000/", "resource": "https://fabrikam.example/x", "ingestion": "https://in.fabrikam.example"}"#,
        )
        .unwrap();
        let Cloud::Custom(endpoints) = &cloud else {
            panic!("{cloud:?}")
        };
        assert_eq!(endpoints.resource, "https://fabrikam.example/x");
        assert!(!endpoints.is_local());
    }

    #[test]
    fn what_is_unsafe_or_unusable_is_refused_without_being_repeated() {
        let refused =
            |authority: &str| Endpoints::new(authority, RESOURCE, "https://in.contoso.com").unwrap_err();
        assert!(refused("http://login.contoso.com").contains("must start with `https://`"));
        assert!(refused("ftp://login.contoso.com").contains("must start with `https://`"));
        assert!(refused("http://localhost.contoso.com").contains("https"));
        assert!(refused("https://login.contoso.com/?a=b").contains("without `?`"));
        let error = refused("https://me:hunter2-marker@login.contoso.com");
        assert!(
            error.contains("password") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(
            parse(r#"{"authority": "https://a.example", "ingestion": "https://b.example"}"#)
                .unwrap_err()
                .contains("resource")
        );
        assert!(
            parse(r#"{"authority": "https://a.example", "resourc": "x"}"#)
                .unwrap_err()
                .contains("resourc")
        );
        assert!(parse("3").unwrap_err().contains("`worldwide`"));
    }

    #[test]
    fn the_schema_takes_a_name_or_an_object() {
        let schema = serde_json::to_value(schemars::schema_for!(Cloud)).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&serde_json::json!("gcc")));
        assert!(!validator.is_valid(&serde_json::json!("gccc")));
        assert!(validator.is_valid(&serde_json::json!(
            {"authority": "https://a.example", "resource": "https://b.example", "ingestion": "https://c.example"}
        )));
        assert!(!validator.is_valid(&serde_json::json!({"authority": "https://a.example"})));
    }
}
