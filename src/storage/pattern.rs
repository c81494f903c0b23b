//! File patterns: wildcards, and dates in names.
//!
//! `{date:%Y%m%d}` is the day of the run in a time zone, less an offset. `{any_date:%m%d%Y}` matches any date in a file name,
//! by which files can be ordered: such dates do not sort as text, and copies lose the modification time.

use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::{SignedDuration, Span, Timestamp, Zoned, tz::TimeZone};

use crate::settings::template::{Part, Template};

/// `*` stays within a folder, and hidden files match only a pattern that starts with a dot.
pub(crate) const MATCH_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path or pattern with its dates filled in.
#[derive(Debug, Clone)]
pub(crate) struct FilePattern {
    /// As in the pipeline file.
    written: Arc<str>,
    /// With wildcards only.
    glob: String,
    date_in_name: Option<Arc<DateInName>>,
}

/// A file name with a date.
#[derive(Debug)]
struct DateInName {
    before: Pattern,
    format: String,
    length: usize,
    after: Pattern,
}

/// Date directives with a fixed number of digits.
const DIRECTIVES: [char; 8] = ['Y', 'y', 'm', 'd', 'j', 'H', 'M', 'S'];

impl FilePattern {
    /// Fills in the dates: that of the run is `now` in `timezone`, less `offset`.
    pub(crate) fn new(
        path: &str,
        now: Timestamp,
        timezone: &TimeZone,
        offset: SignedDuration,
    ) -> Result<Self, String> {
        let template =
            Template::parse_known(path, &["date", "any_date"]).map_err(|error| error.to_string())?;
        let day = run_day(now, timezone, offset)?;
        let mut glob = String::new();
        let mut date_in_name: Option<(usize, &str)> = None;
        for part in template.parts() {
            let placeholder = match part {
                Part::Text(text) if date_in_name.is_some() && text.contains('/') => {
                    return Err(format!(
                        "`{{any_date:…}}` in `{path}` must be in the file name, not in a folder"
                    ));
                }
                Part::Text(text) => {
                    glob.push_str(text);
                    continue;
                }
                Part::Placeholder(placeholder) => placeholder,
            };
            let kind = &*placeholder.name;
            let format = placeholder.format.as_deref();
            let format = format.filter(|format| format.contains('%')).ok_or_else(|| {
                format!("`{{{kind}}}` in `{path}` requires a date format, such as `{{{kind}:%Y%m%d}}`")
            })?;
            let text = strtime::format(format, &day)
                .map_err(|error| format!("invalid date format in `{{{kind}:{format}}}`: {error}"))?;
            if kind == "date" {
                glob.push_str(&text);
            } else if date_in_name.replace((glob.len(), format)).is_some() {
                return Err(format!("`{path}` contains `{{any_date:…}}` twice"));
            }
        }
        let date_in_name = match date_in_name {
            Some((at, format)) => {
                let invalid = |error| format!("`{path}` is not a valid pattern: {error}");
                let name = glob[..at].rfind('/').map_or(0, |slash| slash + 1);
                let date = DateInName {
                    before: Pattern::new(&glob[name..at]).map_err(invalid)?,
                    format: format.to_owned(),
                    length: date_length(format)?,
                    after: Pattern::new(&glob[at..]).map_err(invalid)?,
                };
                // `**` would match across folders.
                let (before, after) = (&glob[..at], &glob[at..]);
                let (before, after) = (before.trim_end_matches('*'), after.trim_start_matches('*'));
                glob = format!("{before}*{after}");
                Some(Arc::new(date))
            }
            None => None,
        };
        Ok(Self {
            written: path.into(),
            glob,
            date_in_name,
        })
    }

    #[cfg(test)]
    pub(crate) fn plain(path: &str) -> Self {
        Self {
            written: path.into(),
            glob: path.to_owned(),
            date_in_name: None,
        }
    }

    /// As in the pipeline file, for messages.
    pub(crate) fn as_written(&self) -> &str {
        &self.written
    }

    /// With wildcards only: `*` and `?` within a folder, `[…]`, `**` across folders.
    pub(crate) fn glob(&self) -> &str {
        &self.glob
    }

    pub(crate) fn is_pattern(&self) -> bool {
        is_pattern(&self.glob)
    }

    /// The folder in front of the first wildcard, or of the file, without a slash at its end; `/` is the root.
    pub(crate) fn folder(&self) -> &str {
        let end = self.glob.find(['*', '?', '[']).unwrap_or(self.glob.len());
        match self.glob[..end].rfind('/') {
            Some(0) => "/",
            Some(at) => &self.glob[..at],
            None => "",
        }
    }

    /// Whether a path with `/` matches; so does the literal name, brackets included.
    pub(crate) fn matches(&self, path: &str) -> bool {
        path == self.glob
            || (self.is_pattern()
                && Pattern::new(&self.glob).is_ok_and(|pattern| pattern.matches_with(path, MATCH_OPTIONS))
                && self.matches_name(path.rsplit('/').next().unwrap_or(path)))
    }

    /// Whether a file with this name would be listed: as [`matches`](Self::matches), but independent of separators and of
    /// a leading slash.
    pub(crate) fn would_match(&self, name: &str) -> bool {
        let normalize = |path: &str| -> String {
            let path = path.replace(std::path::MAIN_SEPARATOR, "/");
            let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
            parts.collect::<Vec<_>>().join("/")
        };
        let pattern = Self {
            glob: normalize(&self.glob),
            ..self.clone()
        };
        pattern.matches(&normalize(name))
    }

    /// Whether a file name contains the date, if the pattern requires one.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        self.date_in_name.is_none() || self.date_in_name(name).is_some()
    }

    pub(crate) fn has_dates(&self) -> bool {
        self.date_in_name.is_some()
    }

    pub(crate) fn date_in_name(&self, name: &str) -> Option<DateTime> {
        let DateInName {
            before,
            format,
            length,
            after,
        } = &**self.date_in_name.as_ref()?;
        // As with `*` in a regular expression, the last one counts.
        name.char_indices().rev().find_map(|(at, _)| {
            let (start, rest) = name.split_at(at);
            let (date, end) = rest.split_at_checked(*length)?;
            let is_match = before.matches_with(start, MATCH_OPTIONS) && after.matches(end);
            let parsed = strtime::parse(format, date).ok().filter(|_| is_match)?;
            parsed
                .to_datetime()
                .or_else(|_| parsed.to_date().map(|date| date.at(0, 0, 0, 0)))
                .ok()
        })
    }
}

/// The day of the run, less `offset`; its days are calendar days, not 24 hours.
fn run_day(now: Timestamp, timezone: &TimeZone, offset: SignedDuration) -> Result<Zoned, String> {
    let days = offset.as_hours() / 24;
    let rest = offset - SignedDuration::from_hours(days * 24);
    let days = Span::new().try_days(days).map_err(|error| error.to_string())?;
    now.to_zoned(timezone.clone())
        .checked_sub(days)
        .and_then(|day| day.checked_sub(rest))
        .map_err(|_| "the date offset leads out of the range of dates".to_owned())
}

/// The length of a date in this format.
fn date_length(format: &str) -> Result<usize, String> {
    let mut length = 0;
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            length += character.len_utf8();
            continue;
        }
        let directive = characters.next();
        let Some(directive) = directive.filter(|directive| DIRECTIVES.contains(directive)) else {
            let known = DIRECTIVES.map(|known| format!("%{known}")).join(", ");
            return Err(format!(
                "`{{any_date:{format}}}` supports {known}, which have a fixed number of digits"
            ));
        };
        length += match directive {
            'Y' => 4,
            'j' => 3,
            _ => 2,
        };
    }
    let has_day = format.contains("%j") || (format.contains("%m") && format.contains("%d"));
    if !has_day || !(format.contains("%Y") || format.contains("%y")) {
        return Err(format!(
            "`{{any_date:{format}}}` requires a year, a month and a day"
        ));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern_at(path: &str, now: &str) -> Result<FilePattern, String> {
        let timezone = TimeZone::get("Europe/Berlin").unwrap();
        let day = SignedDuration::from_hours(24);
        FilePattern::new(path, now.parse().unwrap(), &timezone, day)
    }

    fn pattern(path: &str) -> Result<FilePattern, String> {
        pattern_at(path, "2026-03-01T23:30:00Z")
    }

    #[test]
    fn fills_in_the_day_of_the_run_less_the_offset() {
        for (now, day) in [
            ("2026-03-01T23:30:00Z", "2026/0301"),
            // Half past midnight on the 30th; the 29th had 23 hours.
            ("2026-03-29T22:30:00Z", "2026/0329"),
            // The 25th has 25 hours.
            ("2026-10-25T22:30:00Z", "2026/1024"),
        ] {
            let found = pattern_at("{date:%Y}/{date:%m%d}", now).unwrap();
            assert_eq!((found.glob(), found.is_pattern()), (day, false), "{now}");
        }
    }

    #[test]
    fn reads_dates_in_names() {
        let found = pattern("/out/Demog01*{any_date:%m%d%Y%H%M%S}.csv").unwrap();
        assert_eq!(found.glob(), "/out/Demog01*.csv");
        for (name, expected) in [
            ("Demog0109112019124039.csv", Some("2019-09-11T12:40:39")),
            (
                "Demog01-2-0911201912403901022020000000.csv",
                Some("2020-01-02T00:00:00"),
            ),
            ("Demog0199112019124039.csv", None),
            ("Demog01.csv", None),
            ("Demog010911201912403é.csv", None),
        ] {
            let date = found.date_in_name(name).map(|date| date.to_string());
            assert_eq!(date.as_deref(), expected, "{name}");
            assert_eq!(found.matches_name(name), expected.is_some(), "{name}");
        }
        let found = pattern("a[12]-{any_date:%y%j}*.csv").unwrap();
        assert_eq!(found.glob(), "a[12]-*.csv");
        let date = found.date_in_name("a2-26032.csv").unwrap();
        assert_eq!(date.to_string(), "2026-02-01T00:00:00");
        assert_eq!(pattern("{{x}}.csv").unwrap().glob(), "{x}.csv");
    }

    #[test]
    fn rejects_invalid_placeholders() {
        for (path, expected) in [
            ("a-{date}.csv", "{date:%Y%m%d}"),
            ("a-{date:%!}.csv", "invalid date format"),
            ("a-{any_date:%b%d%Y}.csv", "fixed number of digits"),
            ("a-{any_date:%H%M}.csv", "requires a year"),
            ("{any_date:%Y%m%d}/a.csv", "folder"),
            ("{any_date:%Y%m%d}-{any_date:%Y%m%d}.csv", "twice"),
            ("a[12-{any_date:%Y%m%d}.csv", "not a valid pattern"),
            ("{dat:%Y}.csv", "did you mean `date`"),
        ] {
            let message = pattern(path).unwrap_err();
            assert!(message.contains(expected), "{path}: {message}");
        }
    }

    #[test]
    fn finds_folders_and_ignores_leading_slashes() {
        for (path, folder) in [
            ("/out/*.csv", "/out"),
            ("/*.csv", "/"),
            ("out/a-*/b.csv", "out"),
            ("a.csv", ""),
            ("out/a.csv", "out"),
        ] {
            assert_eq!(FilePattern::plain(path).folder(), folder, "{path}");
        }
        // Keys of stores have no leading slash.
        for (glob, name) in [
            ("/in/**/*.csv", "in/archive/a.csv"),
            ("./in/*.csv", "in/a.csv"),
            ("in//*.csv", "/in/a.csv"),
        ] {
            assert!(FilePattern::plain(glob).would_match(name), "{glob} {name}");
        }
    }
}
