//! Time zones of settings.

use std::borrow::Cow;

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{TimeZone, db};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use crate::suggest::suggestion;

const NOTATION: &str = "expected an IANA name such as `America/New_York`, or an offset such as `+02:00`";

/// A time zone: an IANA name such as `America/New_York`, or a fixed offset such as `+02:00`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timezone {
    name: String,
    zone: TimeZone,
}

impl Timezone {
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The name as it is written.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let zone = if name.starts_with(['+', '-']) {
            offset(name).ok_or_else(|| format!("`{name}` is not an offset: write `+hh:mm` or `-hh:mm`"))?
        } else {
            named(name)?
        };
        Ok(Self {
            name: name.to_owned(),
            zone,
        })
    }
}

impl Default for Timezone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

fn offset(name: &str) -> Option<TimeZone> {
    let zone = DateTimeParser::new().parse_time_zone(name).ok()?;
    let seconds = zone.to_fixed_offset().ok()?.seconds();
    (name.len() == "+00:00".len() && seconds.abs() <= 14 * 3600).then_some(zone)
}

fn named(name: &str) -> Result<TimeZone, String> {
    // These zones exist, and rarely mean what people want.
    let fixed = match name.to_ascii_uppercase().as_str() {
        "UTC" => return Ok(TimeZone::UTC),
        "EST" => Some(("-05:00", "America/New_York")),
        "MST" => Some(("-07:00", "America/Denver")),
        _ => None,
    };
    if let Some((offset, zone)) = fixed {
        return Err(format!(
            "`{name}` is UTC{offset} all year, without daylight saving time: give `{zone}`, or `{offset}` for the fixed \
             offset"
        ));
    }
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => {
            let names: Vec<_> = db().available().map(|name| name.as_str().to_owned()).collect();
            let near = suggestion(name, names.iter().map(String::as_str));
            let hint = near.unwrap_or_else(|| NOTATION.to_owned());
            Err(format!("`{name}` is not a time zone; {hint}"))
        }
    }
}

impl<'de> Deserialize<'de> for Timezone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Timezone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl JsonSchema for Timezone {
    fn schema_name() -> Cow<'static, str> {
        "Timezone".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IANA time zone, or a fixed offset.",
            "examples": ["America/New_York", "Europe/Berlin", "UTC", "+02:00"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_offsets_or_suggests() {
        for name in ["UTC", "utc", "America/New_York", "+05:30", "-08:00"] {
            assert_eq!(Timezone::parse(name).unwrap().name(), name);
        }
        for (name, expected) in [
            ("America/NewYork", "did you mean `America/New_York`"),
            ("Nowhere", "is not a time zone"),
            ("EST", "give `America/New_York`"),
            ("+2:00", "is not an offset"),
            ("+15:00", "is not an offset"),
        ] {
            let error = Timezone::parse(name).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
