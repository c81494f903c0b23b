//! The names that a `path` asks for: wildcards, and dates in names.
//!
//! `{date:%Y%m%d}` is the day of the run, in a time zone and less a lag: one name. `{any_date:%m%d%Y}` is whatever day
//! (and time) a name holds, by which files are put in order: `%m%d%Y` sorts wrongly as text, and times of files are what
//! the last copy made of them.

use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use regex::Regex;

/// `*` stays within a folder, and files whose name begins with a dot must be asked for.
pub(crate) const MATCH_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Whether a path contains wildcards.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path with its dates filled in.
#[derive(Debug, Clone)]
pub(crate) struct FilePattern {
    /// As it is in the pipeline file.
    written: Arc<str>,
    /// With wildcards only.
    text: String,
    any: Option<Arc<AnyDate>>,
}

/// What a file's name must look like, and how a date is read from it.
#[derive(Debug)]
struct AnyDate {
    name: Regex,
    format: String,
}

/// The two kinds of dates in names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfRun,
    Any,
}

/// A part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'p> {
    Text(&'p str),
    Date(Kind, &'p str),
}

/// No regular expression: what makes one of a name with `[` in it invalid.
const SET: &str = "(?<";

/// Directives of a date that stand for a number of digits that is always the same, so that a name can be taken apart.
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
    /// Fills in the dates of `path`: those of the run are of `now` in `zone`, `lag` earlier.
    ///
    /// # Errors
    /// What is wrong with a placeholder.
    pub(crate) fn new(
        path: &str,
        now: Timestamp,
        zone: &TimeZone,
        lag: SignedDuration,
    ) -> Result<Self, String> {
        let parts = parts(path)?;
        // Days of the calendar, which are not all of 24 hours.
        let days = lag.as_hours() / 24;
        let rest = lag - SignedDuration::from_hours(days * 24);
        let day = now
            .to_zoned(zone.clone())
            .checked_sub(Span::new().try_days(days).map_err(|error| error.to_string())?)
            .and_then(|day| day.checked_sub(rest))
            .map_err(|_| "the lag leads out of the range of dates".to_owned())?;
        let mut text = String::new();
        // The part of the path that the name begins in is known once the last slash is.
        let mut name = String::from("^");
        let mut any = None;
        for part in &parts {
            match *part {
                Part::Text(piece) => {
                    // Two stars side by side would go through folders.
                    let doubled = any.is_some() && text.ends_with('*') && piece.starts_with('*');
                    text.push_str(&piece[usize::from(doubled)..]);
                    for character in piece.chars() {
                        match character {
                            '/' if any.is_none() => name.truncate(1),
                            '/' => {
                                return Err(format!(
                                    "`{{any_date:…}}` in `{path}` is in a folder's name; it can be in the file's name only"
                                ));
                            }
                            // A set of characters is not what a regular expression makes of it.
                            '[' => name.push_str(SET),
                            '*' => name.push_str("[^/]*"),
                            '?' => name.push_str("[^/]"),
                            other => name.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
                        }
                    }
                }
                Part::Date(Kind::OfRun, format) => {
                    let day = jiff::fmt::strtime::format(format, &day).map_err(|error| error.to_string())?;
                    name.push_str(&regex::escape(&day));
                    text.push_str(&day);
                }
                Part::Date(Kind::Any, format) => {
                    if any.replace(format).is_some() {
                        return Err(format!("`{path}` holds `{{any_date:…}}` twice"));
                    }
                    if !text.ends_with('*') {
                        text.push('*');
                    }
                    name.push_str(&format!("({})", digits(format)?));
                }
            }
        }
        name.push('$');
        let any = match any {
            Some(format) => Some(Arc::new(AnyDate {
                name: Regex::new(&name)
                    .map_err(|_| format!("`{path}` cannot hold `{{any_date:…}}` beside `[`"))?,
                format: format.to_owned(),
            })),
            None => None,
        };
        Ok(Self {
            written: path.into(),
            text,
            any,
        })
    }

    /// A path without dates.
    #[cfg(test)]
    pub(crate) fn plain(path: &str) -> Self {
        Self {
            written: path.into(),
            text: path.to_owned(),
            any: None,
        }
    }

    /// As it is in the pipeline file, for messages.
    pub(crate) fn as_written(&self) -> &str {
        &self.written
    }

    /// The path or pattern, with wildcards only: `*` and `?` within a folder, `[…]`, `**` through folders.
    pub(crate) fn glob(&self) -> &str {
        &self.text
    }

    /// Whether it may stand for several files.
    pub(crate) fn is_pattern(&self) -> bool {
        is_pattern(&self.text)
    }

    /// The folder that the path is about, without a slash at its end: the part before the first name with a wildcard, or
    /// before the file's name. Empty if there is none; `/` alone is the root.
    pub(crate) fn folder(&self) -> &str {
        let upto = self.text.find(['*', '?', '[']).unwrap_or(self.text.len());
        match self.text[..upto].rfind('/') {
            Some(0) => "/",
            Some(at) => &self.text[..at],
            None => "",
        }
    }

    /// Whether a path, written with `/`, is wanted; a name as it is written, brackets and all, is too.
    pub(crate) fn matches(&self, path: &str) -> bool {
        path == self.text
            || (self.is_pattern()
                && Pattern::new(&self.text).is_ok_and(|pattern| pattern.matches_with(path, MATCH_OPTIONS))
                && self.matches_name(path.rsplit('/').next().unwrap_or(path)))
    }

    /// Whether a file of this name would be found: as [`matches`](Self::matches), however the place writes its names, with or
    /// without what leads to them.
    pub(crate) fn would_match(&self, name: &str) -> bool {
        let plain = |path: &str| -> String {
            let path = path.replace(std::path::MAIN_SEPARATOR, "/");
            let parts: Vec<&str> = path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect();
            parts.join("/")
        };
        let wanted = Self {
            text: plain(&self.text),
            ..self.clone()
        };
        wanted.matches(&plain(name))
    }

    /// Whether a file's name holds a date where one is asked for. True if none is.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        self.any.is_none() || self.date_in_name(name).is_some()
    }

    /// Whether names hold dates that put files in order.
    pub(crate) fn has_dates(&self) -> bool {
        self.any.is_some()
    }

    /// The date in a file's name.
    pub(crate) fn date_in_name(&self, name: &str) -> Option<DateTime> {
        let any = self.any.as_ref()?;
        let date = any.name.captures(name)?.get(1)?.as_str();
        let read = jiff::fmt::strtime::parse(&any.format, date).ok()?;
        read.to_datetime()
            .or_else(|_| read.to_date().map(|date| date.at(0, 0, 0, 0)))
            .ok()
    }
}

/// What a placeholder's date looks like in digits.
fn digits(format: &str) -> Result<String, String> {
    let mut found = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            found.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            continue;
        }
        let directive = characters.next();
        let Some((_, digits)) = DIRECTIVES.iter().find(|(known, _)| Some(*known) == directive) else {
            let known: Vec<String> = DIRECTIVES.iter().map(|(known, _)| format!("%{known}")).collect();
            return Err(format!(
                "`{{any_date:{format}}}` can hold {}, which always have as many digits",
                known.join(", ")
            ));
        };
        found.push_str(digits);
    }
    let day = format.contains("%j") || (format.contains("%m") && format.contains("%d"));
    if !day || !(format.contains("%Y") || format.contains("%y")) {
        return Err(format!(
            "`{{any_date:{format}}}` makes no day: it needs a year, a month and a day"
        ));
    }
    Ok(found)
}

/// Tells placeholders from text. Other braces are part of a name.
fn parts(path: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let next = [("{date", Kind::OfRun), ("{any_date", Kind::Any)]
            .into_iter()
            .filter_map(|(begin, kind)| rest.find(begin).map(|at| (at, begin, kind)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, begin, kind)) = next else {
            parts.push(Part::Text(rest));
            return Ok(parts);
        };
        parts.push(Part::Text(&rest[..at]));
        let after = &rest[at + begin.len()..];
        let name = &begin[1..];
        let (format, behind) = after
            .strip_prefix(':')
            .and_then(|format| format.split_once('}'))
            .filter(|(format, _)| format.contains('%') && !format.contains(['/', '{']))
            .ok_or_else(|| format!("`{{{name}…}}` in `{path}` is written `{{{name}:%Y%m%d}}`, with the form of the date in the name"))?;
        // What the form cannot be used for shows when it is used; the day does not matter.
        jiff::fmt::strtime::format(format, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)).map_err(
            |error| format!("the form of the date in `{{{name}:{format}}}` cannot be read: {error}"),
        )?;
        parts.push(Part::Date(kind, format));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str) -> Result<FilePattern, String> {
        let now: Timestamp = "2026-03-01T23:30:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        FilePattern::new(path, now, &zone, SignedDuration::from_hours(24))
    }

    #[test]
    fn the_day_of_the_run_is_of_its_zone_and_less_the_lag() {
        let found = wanted("sent-{date:%Y}/leavers-{date:%Y%m%d}.csv").unwrap();
        assert_eq!(found.glob(), "sent-2026/leavers-20260301.csv");
        assert!(!found.is_pattern());
        assert_eq!(found.folder(), "sent-2026");
    }

    #[test]
    fn a_day_earlier_is_the_day_before_where_clocks_change_too() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (now, day) in [
            ("2026-03-29T22:30:00Z", "20260329"), // half past midnight on the 30th; the 29th had 23 hours
            ("2026-10-25T22:30:00Z", "20261024"), // the 25th has 25
        ] {
            let lag = SignedDuration::from_hours(24);
            let found = FilePattern::new("{date:%Y%m%d}", now.parse().unwrap(), &zone, lag).unwrap();
            assert_eq!(found.glob(), day, "{now}");
        }
    }

    #[test]
    fn a_date_in_a_name_is_read_and_other_names_are_not_wanted() {
        let found = wanted("/out/Demog01*{any_date:%m%d%Y%H%M%S}.csv").unwrap();
        assert_eq!(found.glob(), "/out/Demog01*.csv");
        let date = |name| found.date_in_name(name).map(|date| date.to_string());
        assert_eq!(
            date("Demog0109112019124039.csv").as_deref(),
            Some("2019-09-11T12:40:39")
        );
        assert_eq!(date("Demog0199112019124039.csv"), None);
        assert_eq!(date("Demog01.csv"), None);
        assert!(found.matches_name("Demog0109112019124039.csv") && !found.matches_name("Demog01x.csv"));
        let found = wanted("a-{any_date:%y%j}.csv").unwrap();
        assert_eq!(
            found.date_in_name("a-26032.csv").unwrap().to_string(),
            "2026-02-01T00:00:00"
        );
    }

    #[test]
    fn what_is_wrong_with_a_placeholder_is_said() {
        for (path, said) in [
            ("a-{date}.csv", "{date:%Y%m%d}"),
            ("a-{date:%!}.csv", "cannot be read"),
            ("a-{any_date:%b%d%Y}.csv", "as many digits"),
            ("a-{any_date:%H%M}.csv", "makes no day"),
            ("{any_date:%Y%m%d}/a.csv", "folder"),
            ("{any_date:%Y%m%d}-{any_date:%Y%m%d}.csv", "twice"),
            ("a[12]-{any_date:%Y%m%d}.csv", "beside `[`"),
        ] {
            let message = wanted(path).unwrap_err();
            assert!(message.contains(said), "{path}: {message}");
        }
        assert_eq!(wanted("{x}.csv").unwrap().glob(), "{x}.csv");
    }

    #[test]
    fn folders_are_what_comes_before_wildcards() {
        for (path, folder) in [
            ("/out/*.csv", "/out"),
            ("/*.csv", "/"),
            ("out/a-*/b.csv", "out"),
            ("a.csv", ""),
            ("out/a.csv", "out"),
        ] {
            assert_eq!(FilePattern::plain(path).folder(), folder, "{path}");
        }
        assert!(FilePattern::plain("out/**/*.csv").matches("out/x/y/a.csv"));
        assert!(!FilePattern::plain("out/*.csv").matches("out/x/a.csv"));
        assert!(!FilePattern::plain("out/*.csv").matches("out/.a.csv"));
        assert!(FilePattern::plain("out/a[1].csv").matches("out/a[1].csv"));
        // Keys of stores have no slash before them.
        for (path, name) in [
            ("/in/**/*.csv", "in/archive/a.csv"),
            ("./in/*.csv", "in/a.csv"),
            ("in//*.csv", "/in/a.csv"),
        ] {
            assert!(FilePattern::plain(path).would_match(name), "{path}");
        }
        assert!(!FilePattern::plain("in/*.csv").would_match("in/archive/a.csv"));
    }
}
