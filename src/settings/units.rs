//! Quantities with units, as people write them: `400s`, `15m`, `20d`, `4MiB`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A duration with its unit, such as `400s`, `15m`, `1h 30m` or `20d`. A bare number is refused, because its unit would
/// be a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as `400s`, `15m` or `20d`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                humantime::parse_duration(text).map(HumanDuration).map_err(|error| {
                    E::custom(format!(
                        "invalid duration `{text}`: {error}; write it with its unit, such as `400s`, `15m` or `20d`"
                    ))
                })
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes: a whole number, or one with a unit such as `4MiB` (powers of 1024) or `4MB` (powers of 1000).
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
                    .map_err(|_| E::custom("a number of bytes cannot be negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse::<bytesize::ByteSize>()
                    .map(|size| ByteSize(size.as_u64()))
                    .map_err(|error| {
                        E::custom(format!(
                            "invalid size `{text}`, expected one such as `4MiB`: {error}"
                        ))
                    })
            }
        }
        deserializer.deserialize_any(Size)
    }
}

/// As it is written in a pipeline file: `4MiB`, or the number where no unit divides it.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
        ];
        match units
            .iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => bytesize::ByteSize(self.0).fmt(f),
        }
    }
}

/// The text of a quantity is what its `Display` writes.
macro_rules! quantity {
    ($type:ident, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

quantity! { HumanDuration, "Duration", {"type": "string", "x-unit": "duration"} }
quantity! { ByteSize, "ByteSize", {"type": ["string", "integer"], "minimum": 0, "x-unit": "bytes"} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requires_units_for_durations_and_accepts_them_for_sizes() {
        let time = |text: &str| serde_json::from_str::<HumanDuration>(text);
        assert_eq!(time(r#""20d""#).unwrap().0, Duration::from_secs(20 * 86_400));
        assert!(time("400").unwrap_err().to_string().contains("with its unit"));
        assert!(time(r#""400""#).is_err());
        let bytes = |text: &str| serde_json::from_str::<ByteSize>(text);
        assert_eq!(bytes(r#""4MiB""#).unwrap().0, 4 << 20);
        assert_eq!(bytes("512").unwrap().0, 512);
        assert!(bytes("-1").is_err());
        for (size, shown) in [(4 << 20, "4MiB"), (512, "512 B"), (0, "0 B"), (1536, "1.5 KiB")] {
            assert_eq!(ByteSize(size).to_string(), shown);
        }
    }
}
