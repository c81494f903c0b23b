//! Settings into a reader: every problem at its own key.

use jiff::tz::{self, TimeZone};

use super::calendar::{Calendar, Rules};
use super::moment::{Clock, Day, Moment};
use super::named::Named;
use super::pattern::Pattern;
use super::read::{DateReader, Format, NullValue, Texts};
use super::settings::DateSettings;
use super::{iso, scan};
use crate::config::{Problems, suggestion};
use crate::hr::space::trim;

impl DateSettings {
    /// Notes what is wrong with each key that is given, whatever a base may add. For the two halves of a
    /// [`merged_over`](Self::merged_over), so that a problem is noted where it was written; when neither has any,
    /// [`DateReader::new`] on the merged settings finds what is left.
    pub fn validate(&self, problems: &mut Problems<'_>) {
        let pivot = self.century_pivot.or(Some(0));
        formats(self, pivot, problems);
        keys(self, problems);
    }
}

impl DateReader {
    /// Compiles `settings`. None when there are problems; they are noted at their keys, below `problems`.
    pub fn new(settings: &DateSettings, problems: &mut Problems<'_>) -> Option<Self> {
        let formats = formats(settings, settings.century_pivot, problems);
        let keys = keys(settings, problems);
        if settings.timezone.is_none() {
            problems.at("timezone").add_with_hint(
                "is missing: dates without an offset need a time zone",
                "give the zone in which the HR system means its dates, such as `timezone: America/New_York`, or a \
                 fixed offset such as `timezone: \"+02:00\"`",
            );
        }
        let (formats, keys) = (formats?, keys?);
        let rules = Rules {
            zone: keys.zone?,
            default_time: keys.default_time,
            on_gap: settings.on_gap.unwrap_or_default(),
            on_overlap: settings.on_overlap.unwrap_or_default(),
            earliest: keys.earliest,
            latest: keys.latest,
            null_days: Vec::new(),
        };
        let iso8601 = settings.iso8601.unwrap_or(true);
        if !iso8601 && formats.is_empty() {
            problems.at("formats").add_with_hint(
                "no text would be understood: `iso8601` is off, and there are no formats",
                "give at least one format, or leave `iso8601` out",
            );
            return None;
        }
        Some(assemble(settings, rules, formats, iso8601))
    }
}

fn assemble(settings: &DateSettings, mut rules: Rules, formats: Vec<Format>, iso8601: bool) -> DateReader {
    let epoch = formats
        .iter()
        .any(|format| matches!(format, Format::Named(named) if named.is_epoch()));
    let texts = Texts::new(&formats, iso8601, &rules);
    let variants = variants(&formats, iso8601, settings.century_pivot);
    let mut reader = DateReader {
        calendar: Calendar::new(rules.clone()),
        formats,
        iso8601,
        iso8601_digits: !epoch,
        null_values: Vec::new(),
        nulls_first: false,
        texts,
        variants,
    };
    for value in settings.null_values.iter().flatten() {
        let text = trim(value);
        match reader.moment(text, &mut String::new()) {
            // Found by its day, in whatever form; the table knows it at no cost.
            Some(Moment::Day(day)) => rules.null_days.push(day),
            Some(_) => reader.nulls_first = true,
            None => {}
        }
        // Typed columns are read without formats: a date there means the day as well.
        if let Some(Moment::Day(day)) = iso::read(text, true) {
            rules.null_days.push(day);
        }
        reader.null_values.push(NullValue {
            lower: text.to_lowercase(),
            number: text.parse().ok(),
        });
    }
    rules.null_days.sort_unstable();
    rules.null_days.dedup();
    reader.calendar = Calendar::new(rules);
    reader
}

/// None when there are problems.
fn formats(settings: &DateSettings, pivot: Option<u8>, problems: &mut Problems<'_>) -> Option<Vec<Format>> {
    let mut compiled = Vec::new();
    let given = settings.formats.as_deref().unwrap_or_default();
    let mut problems = problems.at("formats");
    for (index, source) in given.iter().enumerate() {
        let format = match Named::from_name(source) {
            Some(named) => Ok(Format::Named(named)),
            None => Pattern::compile(source, pivot).map(Format::Pattern),
        };
        match format {
            Ok(_) if given[..index].contains(source) => {
                problems.at_index(index).add(format!("`{source}` is given twice"));
            }
            Ok(format) => compiled.push(format),
            Err(trouble) => match trouble.hint {
                Some(hint) => problems.at_index(index).add_with_hint(trouble.message, hint),
                None => problems.at_index(index).add(trouble.message),
            },
        }
    }
    (compiled.len() == given.len()).then_some(compiled)
}

struct Keys {
    zone: Option<TimeZone>,
    default_time: Clock,
    earliest: Day,
    latest: Day,
}

/// None when there are problems.
fn keys(settings: &DateSettings, problems: &mut Problems<'_>) -> Option<Keys> {
    let zone = settings
        .timezone
        .as_deref()
        .map(|name| time_zone(name, &mut problems.at("timezone")));
    let default_time = match settings.default_time.as_deref() {
        None => Some(Clock::MIDNIGHT),
        Some(text) => {
            let clock = clock(text);
            if clock.is_none() {
                problems.at("default_time").add_with_hint(
                    format!("`{text}` is no time of day"),
                    "write `hh:mm` or `hh:mm:ss`, such as `17:00`",
                );
            }
            clock
        }
    };
    let mut day = |key: &str, text: Option<&str>, default: (i16, u8, u8)| match text {
        None => Day::new(default.0, default.1, default.2),
        Some(text) => {
            let day = match iso::read(text, false) {
                Some(Moment::Day(day)) => Some(day),
                _ => None,
            };
            if day.is_none() {
                problems.at(key).add_with_hint(
                    format!("`{text}` is no date"),
                    "write `yyyy-mm-dd`, such as `1990-01-01`",
                );
            }
            day
        }
    };
    let earliest = day("earliest", settings.earliest.as_deref(), (1980, 1, 1));
    let latest = day("latest", settings.latest.as_deref(), (2100, 1, 1));
    let mut ordered = true;
    if let (Some(earliest), Some(latest)) = (earliest, latest)
        && earliest > latest
    {
        ordered = false;
        problems.at("latest").add_with_hint(
            format!(
                "{} is before {}, the earliest plausible day",
                latest.to_civil(),
                earliest.to_civil()
            ),
            "`earliest` is 1980-01-01 and `latest` is 2100-01-01 where they are left out",
        );
    }
    let mut pivot_fits = true;
    if let Some(pivot) = settings.century_pivot.filter(|pivot| *pivot > 100) {
        pivot_fits = false;
        problems.at("century_pivot").add_with_hint(
            format!("{pivot} is out of range"),
            "give a number from 0 to 100, such as 70",
        );
    }
    let zone = match zone {
        None => None,
        Some(zone) => Some(zone?),
    };
    (ordered && pivot_fits).then_some(Keys {
        zone,
        default_time: default_time?,
        earliest: earliest?,
        latest: latest?,
    })
}

fn clock(text: &str) -> Option<Clock> {
    let mut parts = text.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => second?,
        None => 0,
    };
    let complete = parts.next().is_none() && second < 60;
    Clock::new(hour, minute, second, 0).filter(|_| complete)
}

fn time_zone(name: &str, problems: &mut Problems<'_>) -> Option<TimeZone> {
    const FORMS: &str = "give an IANA name such as `America/New_York`, or a fixed offset such as `+02:00`";
    if name.starts_with(['+', '-']) {
        let Some(minutes) = iso::offset(name.as_bytes()) else {
            problems.add_with_hint(
                format!("`{name}` is no offset"),
                "write `+hh:mm` or `-hh:mm`, at most 14 hours",
            );
            return None;
        };
        return tz::Offset::from_seconds(i32::from(minutes) * 60)
            .ok()
            .map(TimeZone::fixed);
    }
    // Names that exist, and rarely mean what is wanted.
    let fixed = match name.to_ascii_uppercase().as_str() {
        "EST" => Some(("-05:00", "America/New_York")),
        "MST" => Some(("-07:00", "America/Denver")),
        _ => None,
    };
    if let Some((offset, zone)) = fixed {
        problems.add_with_hint(
            format!("`{name}` is UTC{offset} all year, without daylight saving"),
            format!("give `{zone}` for the zone that people live in, or `{offset}` for the fixed offset"),
        );
        return None;
    }
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Some(zone),
        _ => {
            let names: Vec<String> = tz::db()
                .available()
                .map(|name| name.as_str().to_owned())
                .collect();
            let near = suggestion(name, names.iter().map(String::as_str));
            problems.add_with_hint(
                format!("`{name}` is no time zone"),
                near.map_or_else(|| FORMS.to_owned(), |near| format!("{near} {FORMS}")),
            );
            None
        }
    }
}

/// Patterns that are not among the formats, and what to say of a value that fits one.
fn variants(formats: &[Format], iso8601: bool, pivot: Option<u8>) -> Vec<(Pattern, String)> {
    let given: Vec<&str> = formats
        .iter()
        .filter_map(|format| match format {
            Format::Pattern(pattern) => Some(pattern.source()),
            Format::Named(_) => None,
        })
        .collect();
    let mut found: Vec<(Pattern, String)> = Vec::new();
    for source in given.iter().copied().chain(iso8601.then_some("%Y-%m-%d")) {
        for variant in scan::variants(source) {
            let known = given.contains(&variant.as_str()) || found.iter().any(|(p, _)| p.source() == variant);
            // What a value of the variant would read as does not matter, only that it fits.
            let Some(pattern) = Pattern::compile(&variant, pivot.or(Some(70)))
                .ok()
                .filter(|_| !known)
            else {
                continue;
            };
            let needs = if pattern.has_two_digit_year() && pivot.is_none() {
                ", which needs `century_pivot`"
            } else {
                ""
            };
            found.push((pattern, format!("would be a date as `{variant}`{needs}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Problem;

    fn settings(value: Value) -> DateSettings {
        serde_json::from_value(value).unwrap()
    }

    fn problems(value: Value) -> Vec<Problem> {
        let mut found = Vec::new();
        let reader = DateReader::new(&settings(value), &mut Problems::new(&mut found).at("dates"));
        assert_eq!(reader.is_none(), !found.is_empty(), "{found:?}");
        found
    }

    #[test]
    fn all_problems_at_once_each_at_its_key() {
        let found = problems(json!({
            "formats": ["%m/%d/%Y", "%d.%m", "%m/%d/%y", "MM/dd/yyyy", "%m/%d/%Y"],
            "timezone": "New_York",
            "default_time": "25:00",
            "earliest": "01/01/1990",
            "century_pivot": null,
        }));
        let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "dates.formats[1]",
                "dates.formats[2]",
                "dates.formats[3]",
                "dates.formats[4]",
                "dates.timezone",
                "dates.default_time",
                "dates.earliest"
            ]
        );
        assert!(
            found[4].hint.as_deref().unwrap().contains("America/New_York"),
            "{:?}",
            found[4]
        );
        let one = |value| problems(value).remove(0);
        assert_eq!(one(json!({})).path, "dates.timezone");
        assert!(
            one(json!({}))
                .hint
                .unwrap()
                .contains("timezone: America/New_York")
        );
        assert!(
            one(json!({"timezone": "EST"}))
                .message
                .contains("without daylight saving")
        );
        assert_eq!(one(json!({"timezone": "+25:00"})).path, "dates.timezone");
        assert_eq!(one(json!({"timezone": "Etc/Unknown"})).path, "dates.timezone");
        assert_eq!(
            one(json!({"timezone": "UTC", "iso8601": false})).path,
            "dates.formats"
        );
        assert_eq!(
            one(json!({"timezone": "UTC", "earliest": "2101-01-01"})).path,
            "dates.latest"
        );
        assert_eq!(
            one(json!({"timezone": "UTC", "century_pivot": 101})).path,
            "dates.century_pivot"
        );
    }

    #[test]
    fn half_of_a_merge_is_checked_by_itself() {
        let found = |value| {
            let mut found = Vec::new();
            settings(value).validate(&mut Problems::new(&mut found));
            found
                .into_iter()
                .map(|problem: Problem| problem.path)
                .collect::<Vec<_>>()
        };
        // What the other half may bring is no problem yet.
        assert!(found(json!({"formats": ["%m/%d/%y"]})).is_empty());
        assert_eq!(
            found(json!({"formats": ["%m/%d"], "timezone": "Nowhere"})),
            ["formats[0]", "timezone"]
        );
    }
}
