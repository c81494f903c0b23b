//! How times are written in a request.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde_json::Value;

use crate::component::Problems;
use crate::error::{Error, Result};
use crate::suggest::suggestion;

pub(super) const DAY: i64 = 86_400_000;
const NAMES: [&str; 4] = ["iso_z", "iso_offset", "epoch_seconds", "epoch_milliseconds"];
/// How far a start in an ambiguous hour goes back: the service may take it for either of two instants.
const BEFORE_FOLD: i64 = 3 * 3_600_000;

/// A format of times in requests.
///
/// Spans are split into windows on a line of times in milliseconds: as UTC has them, or as the clocks of a zone show
/// them where a text names no instant or whole days count.
#[derive(Debug, Clone)]
pub(super) struct Format {
    notation: Notation,
    zone: TimeZone,
    /// The smallest difference that it shows, in milliseconds.
    pub(super) unit: i64,
    /// Whether a text names one instant: it has an offset or is in UTC.
    absolute: bool,
}

#[derive(Debug, Clone)]
enum Notation {
    Seconds,
    Milliseconds,
    Pattern(String),
}

impl Format {
    pub(super) fn new(text: &str, zone: &TimeZone, problems: &mut Problems<'_>) -> Option<Self> {
        let pattern = |pattern: &str| Notation::Pattern(pattern.to_owned());
        let utc = &TimeZone::UTC;
        let (notation, zone, (unit, absolute)) = match text {
            "iso_z" => (pattern("%Y-%m-%dT%H:%M:%SZ"), utc, (1000, true)),
            "iso_offset" => (pattern("%Y-%m-%dT%H:%M:%S%:z"), zone, (1000, true)),
            "epoch_seconds" => (Notation::Seconds, utc, (1000, true)),
            "epoch_milliseconds" => (Notation::Milliseconds, utc, (1, true)),
            text if text.contains('%') => {
                let checked = check(text, zone);
                let checked = checked.map_err(|(message, hint)| problems.add_with_hint(message, hint));
                (pattern(text), zone, checked.ok()?)
            }
            other => {
                let near = suggestion(other, NAMES).map_or(String::new(), |near| near + " ");
                problems.add_with_hint(
                    format!("unknown format `{other}`"),
                    format!("{near}write a name or a pattern such as `%Y-%m-%d`"),
                );
                return None;
            }
        };
        Some(Self {
            notation,
            zone: zone.clone(),
            unit,
            absolute,
        })
    }

    /// The zone whose clocks the line shows.
    fn line(&self) -> TimeZone {
        match self.absolute && self.unit < DAY {
            true => TimeZone::UTC,
            false => self.zone.clone(),
        }
    }

    /// The point of an instant; an ambiguous local time goes back before both of its instants.
    pub(super) fn point(&self, instant: i64) -> i64 {
        let Ok(at) = Timestamp::from_millisecond(instant) else {
            return instant;
        };
        let zone = self.line();
        let point = instant.saturating_add(i64::from(zone.to_offset(at).seconds()) * 1000);
        let is_ambiguous = |civil| {
            let offset = zone.to_ambiguous_timestamp(civil).offset();
            matches!(offset, AmbiguousOffset::Fold { .. })
        };
        match civil(point) {
            Ok(civil) if is_ambiguous(civil) => point - BEFORE_FOLD,
            _ => point,
        }
    }

    /// The first instant at a point.
    pub(super) fn instant(&self, point: i64) -> Result<Timestamp> {
        let at = self.line().to_ambiguous_timestamp(civil(point)?);
        at.earlier().map_err(out_of_range)
    }

    /// A point as it is written in a request.
    pub(super) fn write(&self, point: i64) -> Result<Value> {
        let pattern = match &self.notation {
            Notation::Pattern(pattern) => pattern,
            Notation::Seconds => return Ok(self.instant(point)?.as_millisecond().div_euclid(1000).into()),
            Notation::Milliseconds => return Ok(self.instant(point)?.as_millisecond().into()),
        };
        let civil = civil(point)?;
        let text = if self.absolute {
            let zoned = self.line().to_ambiguous_zoned(civil).compatible();
            zoned
                .map(|zoned| zoned.with_time_zone(self.zone.clone()))
                .and_then(|zoned| strtime::format(pattern, &zoned))
        } else {
            strtime::format(pattern, civil)
        };
        text.map(Value::String)
            .map_err(|error| Error::config("`incremental.format` cannot write a time").with_source(error))
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

/// A unit in milliseconds and a yes or no; or a message and a hint.
type Checked = Result<(i64, bool), (String, &'static str)>;

/// The unit of a pattern, and whether its texts name one instant.
fn check(pattern: &str, zone: &TimeZone) -> Checked {
    let (unit, has_offset) = resolution(pattern)?;
    let utc = *zone == TimeZone::UTC;
    if pattern.ends_with('Z') && !has_offset && !utc {
        let message = "`Z` at the end means UTC, and `timezone` is different";
        return Err((
            message.to_owned(),
            "write the offset with `%:z`, or remove `timezone`",
        ));
    }
    Ok((unit, has_offset || utc))
}

/// The smallest difference that a pattern shows, and whether it has an offset.
fn resolution(pattern: &str) -> Checked {
    let wrong = |message: &str, hint| Err((message.to_owned(), hint));
    // The parts of a time that the directives write, one letter each.
    let mut parts = String::new();
    let mut rest = pattern;
    while let Some((_, after)) = rest.split_once('%') {
        let is_flag = |c: char| matches!(c, '-' | '_' | '0' | '^' | '#' | '.' | ':' | '1'..='9');
        let directive = after.trim_start_matches(is_flag);
        let flags = &after[..after.len() - directive.len()];
        let Some(letter) = directive.chars().next() else {
            return wrong(
                "the pattern ends within a directive",
                "a percent sign itself is written `%%`",
            );
        };
        rest = &directive[letter.len_utf8()..];
        parts.push_str(match letter {
            'Y' => "Y",
            'm' | 'b' | 'B' | 'h' => "m",
            'd' | 'e' => "d",
            'j' => "md",
            'F' => "Ymd",
            'H' | 'k' => "H",
            'I' | 'l' => "I",
            'p' | 'P' => "p",
            'M' => "M",
            'S' => "S",
            'R' => "HM",
            'T' => "HMS",
            'f' if flags.ends_with('3') => "f",
            'f' => {
                return wrong(
                    &format!("`%{flags}f` writes fractions of any length"),
                    "write milliseconds: `%.3f`, or `%3f` without the point",
                );
            }
            's' => "s",
            'z' => "z",
            'a' | 'A' | '%' => "",
            other => {
                return wrong(
                    &format!("unsupported directive `%{flags}{other}`"),
                    "supported are %Y %m %b %B %d %e %j %F, %H %I %p %M %S %R %T %.3f %s, %z and %a",
                );
            }
        });
    }
    let has = |part: char| parts.contains(part);
    if has('s') {
        return Ok((1000, true));
    }
    if !(has('Y') && has('m') && has('d')) {
        return wrong(
            "the pattern does not name a day: year, month and day are required",
            "such as `%Y-%m-%d` or `%m/%d/%Y %I:%M:%S %p`",
        );
    }
    if has('I') != has('p') {
        return wrong(
            "`%I` and `%p` require each other",
            "such as `%I:%M:%S %p`, or `%H:%M:%S`",
        );
    }
    let hour = has('H') || has('I');
    if has('M') && !hour || has('S') && !has('M') || has('f') && !has('S') {
        return wrong(
            "the pattern has a smaller part of the time without the larger one",
            "such as `%H:%M:%S`",
        );
    }
    let unit = match (hour, has('M'), has('S'), has('f')) {
        (.., true) => 1,
        (_, _, true, _) => 1000,
        (_, true, ..) => 60_000,
        (true, ..) => 3_600_000,
        _ => DAY,
    };
    Ok((unit, has('z')))
}
