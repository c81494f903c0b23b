//! Numbers, durations and sizes with a range. [`UNBOUNDED`] as the maximum means there is none.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use super::{ByteSize, HumanDuration};

/// Milliseconds in a second, for the range of a [`BoundedDuration`].
pub const SECOND: u64 = 1000;
/// Milliseconds in a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Milliseconds in an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Milliseconds in a day of 24 hours.
pub const DAY: u64 = 24 * HOUR;
/// Bytes in a KiB, for the range of a [`BoundedSize`].
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;
/// No maximum.
pub const UNBOUNDED: u64 = u64::MAX;

/// Declares a type of `u64` with a range. `$read` turns what is decoded into the number, `$show` a number into text.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $what:literal, $from:ty, $read:expr, $show:expr, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name<const MIN: u64, const MAX: u64>(u64);

        impl<const MIN: u64, const MAX: u64> $name<MIN, MAX> {
            /// A value within the range; for defaults, where a wrong one does not compile.
            ///
            /// # Panics
            /// `value` is out of range.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                assert!(MIN <= value && value <= MAX, "a default out of its range");
                Self(value)
            }

            /// A value, if it is within the range.
            #[must_use]
            pub const fn checked(value: u64) -> Option<Self> {
                if MIN <= value && value <= MAX { Some(Self(value)) } else { None }
            }

            fn range() -> String {
                let show = $show;
                if MAX == UNBOUNDED {
                    format!("at least {}", show(MIN))
                } else {
                    format!("{} to {}", show(MIN), show(MAX))
                }
            }
        }

        impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for $name<MIN, MAX> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = $read;
                let value = read(<$from>::deserialize(deserializer)?);
                Self::checked(value).ok_or_else(|| {
                    let show = $show;
                    let (value, range) = (show(value), Self::range());
                    D::Error::custom(format!("{} out of range: expected {range}, found {value}", $what))
                })
            }
        }

        impl<const MIN: u64, const MAX: u64> JsonSchema for $name<MIN, MAX> {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn schema_id() -> Cow<'static, str> {
                format!("{}<{MIN}, {MAX}>", stringify!($name)).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                // Also for strings, which no keyword of JSON Schema bounds.
                schema.insert("x-range".to_owned(), Self::range().into());
                if schema.get("x-unit").is_none_or(|unit| unit == "bytes") {
                    schema.insert("minimum".to_owned(), MIN.into());
                    if MAX != UNBOUNDED {
                        schema.insert("maximum".to_owned(), MAX.into());
                    }
                }
                schema
            }
        }

        impl<const MIN: u64, const MAX: u64> fmt::Display for $name<MIN, MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show = $show;
                show(self.0).fmt(f)
            }
        }
    };
}

bounded! {
    /// A whole number from `MIN` to `MAX`.
    BoundedInt, "number", u64, |value: u64| value, |value: u64| value.to_string(), {"type": "integer"}
}
bounded! {
    /// A [`HumanDuration`] from `MIN` to `MAX` milliseconds.
    BoundedDuration, "duration", HumanDuration,
    |value: HumanDuration| u64::try_from(value.0.as_millis()).unwrap_or(u64::MAX),
    |value: u64| HumanDuration(Duration::from_millis(value)).to_string(),
    {"type": "string", "x-unit": "duration"}
}
bounded! {
    /// A [`ByteSize`] from `MIN` to `MAX` bytes.
    BoundedSize, "size", ByteSize, |value: ByteSize| value.0, |value: u64| ByteSize(value).to_string(),
    {"type": ["string", "integer"], "x-unit": "bytes"}
}

impl<const MIN: u64, const MAX: u64> BoundedInt<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number, for counts of things in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number; saturates.
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for BoundedInt<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> BoundedDuration<MIN, MAX> {
    /// The duration.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for BoundedDuration<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const MIN: u64, const MAX: u64> BoundedSize<MIN, MAX> {
    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, for sizes in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for BoundedSize<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A `timeout` or `connect_timeout`: a large report may take half an hour.
pub(crate) type Timeout = BoundedDuration<1, { 2 * HOUR }>;

/// A ratio from 0 to `MAX`: 0.2 is a fifth.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio<const MAX: u64 = 1>(f64);

impl<const MAX: u64> Ratio<MAX> {
    /// A ratio within the range; for defaults.
    ///
    /// # Panics
    /// `value` is out of range.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        assert!(0.0 <= value && value <= Self::max(), "a default out of its range");
        Self(value)
    }

    /// The ratio.
    pub const fn get(self) -> f64 {
        self.0
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    const fn max() -> f64 {
        if MAX == UNBOUNDED { f64::MAX } else { MAX as f64 }
    }

    fn range() -> String {
        if MAX == UNBOUNDED {
            "at least 0".to_owned()
        } else {
            format!("0 to {MAX}")
        }
    }
}

impl<'de, const MAX: u64> Deserialize<'de> for Ratio<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        // Not a number is out of range, too.
        if (0.0..=Self::max()).contains(&value) {
            return Ok(Self(value));
        }
        let range = Self::range();
        Err(D::Error::custom(format!(
            "ratio out of range: expected {range}, found {value}; 20 % is written 0.2"
        )))
    }
}

impl<const MAX: u64> Serialize for Ratio<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<const MAX: u64> JsonSchema for Ratio<MAX> {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }
    fn schema_id() -> Cow<'static, str> {
        format!("Ratio<{MAX}>").into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "number", "minimum": 0, "x-range": Self::range()});
        if MAX != UNBOUNDED {
            schema.insert("maximum".to_owned(), MAX.into());
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, from_value, json};

    use super::*;

    type Rows = BoundedInt<1, 50_000>;
    type Memory = BoundedSize<{ 8 * MIB }, UNBOUNDED>;

    fn refuses<T: DeserializeOwned + fmt::Debug>(value: Value, expected: &str) {
        let error = from_value::<T>(value).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn decodes_within_the_range_and_names_it_otherwise() {
        assert_eq!(from_value::<Rows>(json!(50_000)).unwrap().as_usize(), 50_000);
        assert_eq!(from_value::<Timeout>(json!("400s")).unwrap().get().as_secs(), 400);
        assert_eq!(from_value::<Memory>(json!(8 << 20)).unwrap().get(), 8 << 20);
        assert_eq!(from_value::<Ratio>(json!(0.2)).unwrap().get(), 0.2);
        refuses::<Rows>(json!(0), "number out of range: expected 1 to 50000, found 0");
        refuses::<Timeout>(json!("3h"), "duration out of range: expected 1ms to 2h, found 3h");
        refuses::<Memory>(
            json!("1MB"),
            "size out of range: expected at least 8MiB, found 976.6 KiB",
        );
        refuses::<Ratio>(json!(20), "ratio out of range: expected 0 to 1, found 20");
        refuses::<Ratio<UNBOUNDED>>(json!(-1), "ratio out of range: expected at least 0");
    }
}
