//! File patterns: wildcards, and dates in names.
//!
//! `{date:%Y%m%d}` is the day of the run in a time zone, less an offset. `{any_date:%m%d%Y}` matches any date in a file name,
//! by which files can be ordered: such dates do not sort as text, and copies lose the modification time.

use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::{SignedDuration, Span, Timestamp, Zoned, tz::TimeZone};
use regex::Regex;

use crate::settings::template::{Part, Template};

/// `*` stays within a folder, and hidden files match only a pattern that starts with a dot.
pub(crate) const MATCH_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Whether a path contains wildcards.
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
    name: Regex,
    format: String,
}

/// Not a valid regular expression: marks a name with `[`, which cannot be combined with a date.
const INVALID: &str = "(?<";

/// Date directives with a fixed number of digits.
const DIRECTIVES: [(char, &str); 8] = [
    ('Y', r"\d{4}"),
    ('y', r"\d{2}"),
    ('m', r"\d{2}"),
    ('d', r"\d{2}"),
    ('j', r"\d{3}"),
    ('H', r"\d{2}"),
    ('M', r"\d{2}"),
    ('S', r"\d{2}"),
];

impl FilePattern {
    /// Fills in the dates: that of the run is `now` in `timezone`, less `offset`.
    ///
    /// # Errors
    /// A placeholder is invalid.
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
        let mut name = String::from("^");
        let mut date_format: Option<&str> = None;
        for part in template.parts() {
            let placeholder = match part {
                Part::Text(text) => {
                    // `**` would match across folders.
                    let is_doubled = date_format.is_some() && glob.ends_with('*') && text.starts_with('*');
                    glob.push_str(&text[usize::from(is_doubled)..]);
                    add_to_name(&mut name, text, date_format.is_some()).map_err(|()| {
                        format!("`{{any_date:…}}` in `{path}` must be in the file name, not in a folder")
                    })?;
                    continue;
                }
                Part::Placeholder(placeholder) => placeholder,
            };
            let kind = &*placeholder.name;
            let format = placeholder
                .format
                .as_deref()
                .filter(|format| format.contains('%'));
            let format = format.ok_or_else(|| {
                format!("`{{{kind}}}` in `{path}` requires a date format, such as `{{{kind}:%Y%m%d}}`")
            })?;
            let text = strtime::format(format, &day)
                .map_err(|error| format!("invalid date format in `{{{kind}:{format}}}`: {error}"))?;
            if kind == "date" {
                name.push_str(&regex::escape(&text));
                glob.push_str(&text);
                continue;
            }
            if date_format.replace(format).is_some() {
                return Err(format!("`{path}` contains `{{any_date:…}}` twice"));
            }
            if !glob.ends_with('*') {
                glob.push('*');
            }
            name.push_str(&format!("({})", date_regex(format)?));
        }
        name.push('$');
        let date_in_name = match date_format {
            Some(format) => Some(Arc::new(DateInName {
                name: Regex::new(&name)
                    .map_err(|_| format!("`{path}` cannot combine `{{any_date:…}}` with `[`"))?,
                format: format.to_owned(),
            })),
            None => None,
        };
        Ok(Self {
            written: path.into(),
            glob,
            date_in_name,
        })
    }

    /// A path without dates.
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

    /// Whether it may match several files.
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
            let parts: Vec<&str> = path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect();
            parts.join("/")
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

    /// Whether file names contain dates.
    pub(crate) fn has_dates(&self) -> bool {
        self.date_in_name.is_some()
    }

    /// The date in a file name.
    pub(crate) fn date_in_name(&self, name: &str) -> Option<DateTime> {
        let expected = self.date_in_name.as_ref()?;
        let date = expected.name.captures(name)?.get(1)?.as_str();
        let parsed = strtime::parse(&expected.format, date).ok()?;
        parsed
            .to_datetime()
            .or_else(|_| parsed.to_date().map(|date| date.at(0, 0, 0, 0)))
            .ok()
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

/// Adds a text with wildcards to the regular expression of the file name; a slash starts the name anew.
fn add_to_name(name: &mut String, text: &str, has_date: bool) -> Result<(), ()> {
    for character in text.chars() {
        match character {
            '/' if has_date => return Err(()),
            '/' => name.truncate(1),
            '[' => name.push_str(INVALID),
            '*' => name.push_str("[^/]*"),
            '?' => name.push_str("[^/]"),
            other => name.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    Ok(())
}

/// The regular expression of a date.
fn date_regex(format: &str) -> Result<String, String> {
    let mut expression = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            continue;
        }
        let directive = characters.next();
        let Some((_, digits)) = DIRECTIVES.iter().find(|(known, _)| Some(*known) == directive) else {
            let known: Vec<String> = DIRECTIVES.iter().map(|(known, _)| format!("%{known}")).collect();
            let known = known.join(", ");
            return Err(format!(
                "`{{any_date:{format}}}` supports {known}, which have a fixed number of digits"
            ));
        };
        expression.push_str(digits);
    }
    let has_day = format.contains("%j") || (format.contains("%m") && format.contains("%d"));
    if !has_day || !(format.contains("%Y") || format.contains("%y")) {
        return Err(format!(
            "`{{any_date:{format}}}` requires a year, a month and a day"
        ));
    }
    Ok(expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(path: &str) -> Result<FilePattern, String> {
        let timezone = TimeZone::get("Europe/Berlin").unwrap();
        let now = "2026-03-01T23:30:00Z".parse().unwrap();
        FilePattern::new(path, now, &timezone, SignedDuration::from_hours(24))
    }

    #[test]
    fn fills_in_the_day_of_the_run_less_the_offset() {
        let found = pattern("sent-{date:%Y}/leavers-{date:%Y%m%d}.csv").unwrap();
        assert_eq!(
            (found.glob(), found.folder()),
            ("sent-2026/leavers-20260301.csv", "sent-2026")
        );
        assert!(!found.is_pattern());
        let timezone = TimeZone::get("Europe/Berlin").unwrap();
        for (now, day) in [
            // Half past midnight on the 30th; the 29th had 23 hours.
            ("2026-03-29T22:30:00Z", "20260329"),
            // The 25th has 25 hours.
            ("2026-10-25T22:30:00Z", "20261024"),
        ] {
            let offset = SignedDuration::from_hours(24);
            let found = FilePattern::new("{date:%Y%m%d}", now.parse().unwrap(), &timezone, offset).unwrap();
            assert_eq!(found.glob(), day, "{now}");
        }
    }

    #[test]
    fn reads_dates_in_names() {
        let found = pattern("/out/Demog01*{any_date:%m%d%Y%H%M%S}.csv").unwrap();
        assert_eq!(found.glob(), "/out/Demog01*.csv");
        for (name, expected) in [
            ("Demog0109112019124039.csv", Some("2019-09-11T12:40:39")),
            ("Demog0199112019124039.csv", None),
            ("Demog01.csv", None),
        ] {
            let date = found.date_in_name(name).map(|date| date.to_string());
            assert_eq!(date.as_deref(), expected, "{name}");
            assert_eq!(found.matches_name(name), expected.is_some(), "{name}");
        }
        let date = pattern("a-{any_date:%y%j}.csv")
            .unwrap()
            .date_in_name("a-26032.csv");
        assert_eq!(date.unwrap().to_string(), "2026-02-01T00:00:00");
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
            ("a[12]-{any_date:%Y%m%d}.csv", "with `[`"),
            ("{dat:%Y}.csv", "did you mean `date`"),
        ] {
            let message = pattern(path).unwrap_err();
            assert!(message.contains(expected), "{path}: {message}");
        }
    }

    #[test]
    fn matches_paths() {
        for (path, folder) in [
            ("/out/*.csv", "/out"),
            ("/*.csv", "/"),
            ("out/a-*/b.csv", "out"),
            ("a.csv", ""),
            ("out/a.csv", "out"),
        ] {
            assert_eq!(FilePattern::plain(path).folder(), folder, "{path}");
        }
        for (glob, path, expected) in [
            ("out/**/*.csv", "out/x/y/a.csv", true),
            ("out/*.csv", "out/x/a.csv", false),
            ("out/*.csv", "out/.a.csv", false),
            ("out/a[1].csv", "out/a[1].csv", true),
        ] {
            assert_eq!(FilePattern::plain(glob).matches(path), expected, "{glob} {path}");
        }
        // Keys of stores have no leading slash.
        for (glob, name, expected) in [
            ("/in/**/*.csv", "in/archive/a.csv", true),
            ("./in/*.csv", "in/a.csv", true),
            ("in//*.csv", "/in/a.csv", true),
            ("in/*.csv", "in/archive/a.csv", false),
        ] {
            assert_eq!(
                FilePattern::plain(glob).would_match(name),
                expected,
                "{glob} {name}"
            );
        }
    }
}
