//! Quantities with units, as people write them: `400s`, `15m`, `20d`, `4MiB`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A length of time with its unit, such as `400s`, `15m`, `1h 30m` or `20d`. A bare number is refused: nobody knows
/// whether it means seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time with its unit, such as `400s`, `15m` or `20d`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                humantime::parse_duration(text)
                    .map(HumanDuration)
                    .map_err(|error| {
                        E::custom(format!(
                            "`{text}` is not a length of time such as `400s`, `15m` or `20d`: {error}"
                        ))
                    })
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time with its unit.",
            "examples": ["400s", "15m", "1h 30m", "20d"],
        })
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes: a whole number, or one with a unit such as `4MiB` (1,024s) or `4MB` (1,000s).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as `4MiB` or 4194304")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::custom("a number of bytes is not negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse::<bytesize::ByteSize>()
                    .map(|size| ByteSize(size.as_u64()))
                    .map_err(|error| {
                        E::custom(format!(
                            "`{text}` is not a number of bytes such as `4MiB`: {error}"
                        ))
                    })
            }
        }
        deserializer.deserialize_any(Size)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "A number of bytes, with a unit such as MiB or without.",
            "examples": ["4MiB", 4_194_304],
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_for_time_and_optional_for_bytes() {
        let time = |text: &str| serde_json::from_str::<HumanDuration>(text);
        assert_eq!(time(r#""20d""#).unwrap().0, Duration::from_secs(20 * 86_400));
        assert!(time("400").unwrap_err().to_string().contains("with its unit"));
        assert!(time(r#""400""#).is_err());
        let bytes = |text: &str| serde_json::from_str::<ByteSize>(text);
        assert_eq!(bytes(r#""4MiB""#).unwrap().0, 4 << 20);
        assert_eq!(bytes("512").unwrap().0, 512);
        assert!(bytes("-1").is_err());
    }
}
