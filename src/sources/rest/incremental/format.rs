//! How times are written in a request.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use super::DAY;
use crate::config::{Problems, suggestion};
use crate::error::{Error, Result};

const NAMES: [&str; 4] = ["iso_z", "iso_offset", "epoch_seconds", "epoch_milliseconds"];
/// How far back a start goes that stands in an hour which the clocks show twice: nobody knows which of the two the
/// service takes it for.
const OUT_OF_FOLD: i64 = 3 * 3_600_000;

/// A format of times in requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Format {
    form: Form,
    zone: TimeZone,
    /// The smallest difference it shows, in milliseconds.
    pub(super) unit: i64,
    /// Whether what it writes is one instant: it has an offset, or is in UTC.
    absolute: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Seconds,
    Milliseconds,
    Pattern(String),
}

impl Format {
    /// Checks a format; `problems` points at it.
    pub(super) fn new(text: &str, zone: &TimeZone, problems: &mut Problems<'_>) -> Option<Self> {
        let format = |form, zone: &TimeZone, unit| Self {
            form,
            zone: zone.clone(),
            unit,
            absolute: true,
        };
        match text {
            "iso_z" => Some(format(
                Form::Pattern("%Y-%m-%dT%H:%M:%SZ".to_owned()),
                &TimeZone::UTC,
                1000,
            )),
            "iso_offset" => Some(format(
                Form::Pattern("%Y-%m-%dT%H:%M:%S%:z".to_owned()),
                zone,
                1000,
            )),
            "epoch_seconds" => Some(format(Form::Seconds, &TimeZone::UTC, 1000)),
            "epoch_milliseconds" => Some(format(Form::Milliseconds, &TimeZone::UTC, 1)),
            pattern if pattern.contains('%') => Self::pattern(pattern, zone, problems),
            other => {
                let hint = suggestion(other, NAMES).unwrap_or_default();
                problems.add_with_hint(
                    format!("`{other}` is no format"),
                    format!("{hint} or write a pattern such as `%Y-%m-%d`"),
                );
                None
            }
        }
    }

    fn pattern(pattern: &str, zone: &TimeZone, problems: &mut Problems<'_>) -> Option<Self> {
        let (unit, has_offset) = match finest(pattern) {
            Ok(found) => found,
            Err((message, hint)) => {
                problems.add_with_hint(message, hint);
                return None;
            }
        };
        let utc = *zone == TimeZone::UTC;
        if pattern.ends_with('Z') && !pattern.ends_with("%Z") && !has_offset && !utc {
            problems.add_with_hint(
                "`Z` at the end says UTC, and `timezone` is another",
                "write the offset with `%:z`, or leave `timezone` out",
            );
            return None;
        }
        Some(Self {
            form: Form::Pattern(pattern.to_owned()),
            zone: zone.clone(),
            unit,
            absolute: has_offset || utc,
        })
    }

    /// The line that windows are cut on: instants, or local times where a text names no instant or whole days count.
    pub(super) fn axis(&self, granularity: i64) -> Axis {
        Axis {
            zone: if self.absolute && granularity < DAY {
                TimeZone::UTC
            } else {
                self.zone.clone()
            },
        }
    }

    /// A point of the axis as it stands in a request.
    pub(super) fn write(&self, point: i64, axis: &Axis) -> Result<Value> {
        let wrong = |error: jiff::Error| {
            Error::config("a time cannot be written in the `format` of `incremental`").with_source(error)
        };
        let civil = civil(point)?;
        let pattern = match &self.form {
            Form::Pattern(pattern) => pattern,
            Form::Seconds | Form::Milliseconds => {
                let instant = axis.instant(point)?.as_millisecond();
                return Ok(match self.form {
                    Form::Seconds => instant.div_euclid(1000).into(),
                    _ => instant.into(),
                });
            }
        };
        let text = if self.absolute {
            let zoned: Zoned = axis
                .zone
                .to_ambiguous_zoned(civil)
                .compatible()
                .map_err(wrong)?
                .with_time_zone(self.zone.clone());
            strtime::format(pattern, &zoned)
        } else {
            strtime::format(pattern, civil)
        };
        text.map(Value::String).map_err(wrong)
    }
}

/// A line of times in milliseconds: as UTC has them, or as the clocks of a zone show them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    zone: TimeZone,
}

impl Axis {
    /// Where an instant is, or before it: a local time that is shown twice goes back before both.
    pub(super) fn point(&self, instant: i64) -> i64 {
        let Ok(at) = Timestamp::from_millisecond(instant) else {
            return instant;
        };
        let point = instant.saturating_add(i64::from(self.zone.to_offset(at).seconds()) * 1000);
        let twice = civil(point).is_ok_and(|civil| {
            matches!(
                self.zone.to_ambiguous_timestamp(civil).offset(),
                AmbiguousOffset::Fold { .. }
            )
        });
        if twice { point - OUT_OF_FOLD } else { point }
    }

    /// The first instant at a point.
    pub(super) fn instant(&self, point: i64) -> Result<Timestamp> {
        self.zone
            .to_ambiguous_timestamp(civil(point)?)
            .earlier()
            .map_err(out_of_range)
    }
}

fn civil(point: i64) -> Result<DateTime> {
    Timestamp::from_millisecond(point)
        .map(|at| TimeZone::UTC.to_datetime(at))
        .map_err(out_of_range)
}

fn out_of_range(error: jiff::Error) -> Error {
    Error::config("a time of `incremental` is out of range").with_source(error)
}

/// The smallest difference that a pattern shows, and whether it has an offset.
fn finest(pattern: &str) -> std::result::Result<(i64, bool), (String, &'static str)> {
    let (mut year, mut month, mut day, mut offset) = (false, false, false, false);
    let (mut hour, mut half, mut twelve, mut minute, mut second) = (false, false, false, false, false);
    let mut fraction = false;
    let mut instant = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        let mut directive = String::new();
        let letter = loop {
            match chars.next() {
                Some(c @ ('-' | '_' | '0' | '^' | '#' | '.' | ':' | '1'..='9')) => directive.push(c),
                Some(c) => break c,
                None => {
                    return Err((
                        "the pattern ends within a directive".to_owned(),
                        "a percent sign itself is written `%%`",
                    ));
                }
            }
        };
        match letter {
            'Y' => year = true,
            'm' | 'b' | 'B' | 'h' => month = true,
            'd' | 'e' => day = true,
            'j' => (month, day) = (true, true),
            'F' => (year, month, day) = (true, true, true),
            'H' | 'k' => hour = true,
            'I' | 'l' => twelve = true,
            'p' | 'P' => half = true,
            'M' => minute = true,
            'S' => second = true,
            'R' => (hour, minute) = (true, true),
            'T' => (hour, minute, second) = (true, true, true),
            'f' if directive.ends_with('3') => fraction = true,
            'f' => {
                return Err((
                    format!("`%{directive}f` writes fractions of any length"),
                    "write milliseconds: `%.3f`, or `%3f` without the point",
                ));
            }
            's' => instant = true,
            'z' => offset = true,
            'a' | 'A' | '%' => {}
            other => {
                return Err((
                    format!("the pattern has `%{directive}{other}`, which is not known here"),
                    "known are %Y %m %b %B %d %e %j %F, %H %I %p %M %S %R %T %.3f %s, %z and %a",
                ));
            }
        }
    }
    if instant {
        return Ok((1000, true));
    }
    if !(year && month && day) {
        return Err((
            "the pattern does not name a day: year, month and day are needed".to_owned(),
            "such as `%Y-%m-%d` or `%m/%d/%Y %I:%M:%S %p`",
        ));
    }
    if twelve != half {
        return Err((
            "`%I` and `%p` belong together: one without the other is no time of day".to_owned(),
            "such as `%I:%M:%S %p`, or `%H:%M:%S`",
        ));
    }
    let hour = hour || twelve;
    if minute && !hour || second && !minute || fraction && !second {
        return Err((
            "the pattern has a smaller part of the time without the greater one".to_owned(),
            "such as `%H:%M:%S`",
        ));
    }
    let unit = match (hour, minute, second, fraction) {
        (_, _, _, true) => 1,
        (_, _, true, _) => 1000,
        (_, true, ..) => 60_000,
        (true, ..) => 3_600_000,
        _ => DAY,
    };
    Ok((unit, offset))
}
