//! Patterns such as `%m/%d/%Y`, read by jiff's `strtime`. A year must have four digits, unless the pattern has `%y`.

use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::{civil, tz};

use super::moment::Moment;
use super::named::NAMED;
use crate::suggest::suggestion;

#[derive(Debug, Clone)]
pub(super) struct Pattern {
    source: String,
    pub(super) two_digit_year: bool,
    pivot: u64,
}

/// Why a pattern cannot be used, and a hint.
pub(super) type PatternError = (String, String);

fn error<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, PatternError> {
    Err((message.into(), hint.into()))
}

impl Pattern {
    /// Checks `source`. `pivot`: where years of two digits divide.
    pub(super) fn compile(source: &str, pivot: Option<u64>) -> Result<Self, PatternError> {
        let letters = directives(source)?;
        let has = |any: &str| letters.iter().any(|letter| any.as_bytes().contains(letter));
        if has("yD") && pivot.is_none() {
            return error(
                "a year of two digits (`%y`) does not say its century",
                "set `century_pivot`: with 70, years below 70 are 20yy and the others 19yy",
            );
        }
        let by_week = has("aAuw") && ((has("G") && has("V")) || (has("Yy") && has("UW")));
        if !by_week {
            let parts = [
                ("YyDF", "year (`%Y`)"),
                ("mbBhDFj", "month (`%m`)"),
                ("deDFj", "day (`%d`)"),
            ];
            let missing = parts.into_iter().filter(|(any, _)| !has(any));
            let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
            if !missing.is_empty() {
                let message = format!("the format has no {}", missing.join(", no "));
                return error(message, "a date needs its year, month and day");
            }
        }
        if has("Il") != has("pP") {
            return error(
                "the hour of a 12-hour clock (`%I`) and AM or PM (`%p`) need each other",
                "write `%I:%M %p`, or `%H:%M` for a 24-hour clock",
            );
        }
        reads_back(source)?;
        Ok(Self {
            source: source.to_owned(),
            two_digit_year: has("yD"),
            pivot: pivot.unwrap_or_default(),
        })
    }

    /// Reads `text`, which is trimmed.
    pub(super) fn read(&self, text: &str) -> Option<Moment> {
        let mut found = BrokenDownTime::parse(&self.source, text).ok()?;
        if self.two_digit_year {
            let year = found.year()?.rem_euclid(100);
            let is_recent = u64::from(year.unsigned_abs()) < self.pivot;
            let century = if is_recent { 2000 } else { 1900 };
            found.set_year(Some(century + year)).ok()?;
        }
        let time = match found.hour() {
            Some(_) => Some(found.to_time().ok()?),
            None => None,
        };
        Moment::of(found.to_date().ok()?, time, found.offset())
    }
}

/// Checks that jiff reads what it writes by the pattern, which finds what the letters alone do not show, such as minutes
/// without hours.
fn reads_back(source: &str) -> Result<(), PatternError> {
    const HINT: &str = "separate its parts, and give each of them once";
    let sample = civil::date(2024, 11, 25).at(13, 14, 15, 0);
    let read = tz::TimeZone::fixed(tz::offset(-5))
        .to_zoned(sample)
        .and_then(|zoned| strtime::format(source, &zoned))
        .and_then(|text| BrokenDownTime::parse(source, text))
        .and_then(|found| found.to_datetime());
    let problem = match read {
        Ok(found) if found.date() == sample.date() => return Ok(()),
        Ok(_) => "is not read back as the same date".to_owned(),
        Err(cause) => format!("cannot be read back: {cause}"),
    };
    error(format!("a date written in this format {problem}"), HINT)
}

fn directives(source: &str) -> Result<Vec<u8>, PatternError> {
    const KNOWN: &[u8] = b"AaBbCDdeFfGHhIjklMmNnPpRSTtUuVWwYyz%";
    if !source.contains('%') {
        return not_a_pattern(source);
    }
    let mut letters = Vec::new();
    let mut rest = source.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            continue;
        }
        while let [b'_' | b'0'..=b'9' | b'-' | b'^' | b'#' | b':' | b'.', tail @ ..] = rest {
            rest = tail;
        }
        let [letter, tail @ ..] = rest else {
            return error("the format ends after a `%`", "write `%%` for a percent sign");
        };
        rest = tail;
        if !KNOWN.contains(letter) {
            return unknown(*letter);
        }
        letters.push(*letter);
    }
    Ok(letters)
}

fn unknown<T>(letter: u8) -> Result<T, PatternError> {
    const NO_ZONE: &str = "leave the name out of the value, and set `timezone`";
    let (what, hint) = match letter {
        b'Z' => (
            "names of zones such as EST cannot be read: they mean different zones to different people",
            NO_ZONE,
        ),
        b'Q' => ("names of zones inside a value cannot be read", NO_ZONE),
        b's' => (
            "seconds since 1970 cannot be part of a format",
            "use the format `epoch_seconds`, which stands alone",
        ),
        b'g' => (
            "years of two digits by ISO week cannot be read",
            "use the format `%G-W%V-%u`",
        ),
        b'c' | b'r' | b'X' | b'x' => (
            "formats that depend on the locale cannot be read",
            "spell it out, such as `%m/%d/%Y %I:%M:%S %p`",
        ),
        _ => (
            "not a directive that can be read",
            "known are `%Y` year, `%m` month, `%d` day, `%b` Jan, `%B` January, `%H` hour, `%I` hour with `%p` AM \
             or PM, `%M` minute, `%S` second, `%.f` fraction, `%z` and `%:z` offset, `%j` day of the year, `%a` Mon",
        ),
    };
    match letter {
        0..=127 => error(format!("`%{}`: {what}", char::from(letter)), hint),
        _ => error(format!("a character beyond ASCII: {what}"), hint),
    }
}

/// Neither a name nor a pattern: a misspelled name, or the letters of another language (`MM/dd/yyyy`).
fn not_a_pattern<T>(source: &str) -> Result<T, PatternError> {
    const LETTERS: &str =
        "yyyy=%Y YYYY=%Y yy=%y YY=%y MMMM=%B MMM=%b MM=%m dd=%d DD=%d HH=%H hh=%I mm=%M ss=%S";
    let message = format!("`{source}` is not a format: it has no `%` and is not one of the names");
    let mut pattern = source.to_owned();
    for (letters, directive) in LETTERS.split(' ').filter_map(|pair| pair.split_once('=')) {
        pattern = pattern.replace(letters, directive);
    }
    if !pattern.contains("%Y") && !pattern.contains("%y") {
        let near = suggestion(source, NAMED.map(|(name, _)| name));
        let hint =
            near.unwrap_or_else(|| "formats are written as in strftime, such as `%m/%d/%Y`".to_owned());
        return error(message, hint);
    }
    // In `yyyy-mm-dd`, minutes would make no sense.
    if !["%m", "%b", "%B"].iter().any(|month| pattern.contains(month)) {
        pattern = pattern.replacen("%M", "%m", 1);
    }
    error(
        message,
        format!("formats are written as in strftime: did you mean `{pattern}`?"),
    )
}

/// Patterns that a value of the wrong kind most likely fits: day and month swapped, the year in two digits.
pub(super) fn variants(source: &str) -> Vec<String> {
    let letters = directives(source).unwrap_or_default();
    let is_one_of = |any: &str, letter: &u8| any.as_bytes().contains(letter);
    let count = |any: &str| letters.iter().filter(|letter| is_one_of(any, letter)).count();
    let spelled_out = source.replace("%F", "%Y-%m-%d").replace("%D", "%m/%d/%y");
    let mut variants = Vec::new();
    if count("mFD") == 1 && count("deFD") == 1 {
        variants.push(map_letters(&spelled_out, |letter| match letter {
            'm' => 'd',
            'd' | 'e' => 'm',
            other => other,
        }));
    }
    if count("YF") == 1 {
        variants.push(map_letters(&spelled_out, |letter| {
            if letter == 'Y' { 'y' } else { letter }
        }));
    }
    variants
}

/// `source` with the letters of its directives replaced.
fn map_letters(source: &str, to: impl Fn(char) -> char) -> String {
    let mut directive = false;
    let mapped = source.chars().map(|c| {
        let mapped = if directive { to(c) } else { c };
        // Flags and widths are between the `%` and its letter.
        directive = c == '%' && !directive || directive && !c.is_alphabetic() && c != '%';
        mapped
    });
    mapped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_patterns_that_cannot_be_used() {
        for case in "%m/%d | no year |
            %Y | no month (`%m`), no day |
            %H:%M | no year |
            %m/%d/%y | century | `century_pivot`
            %D | century | `century_pivot`
            %Y-%m-%d %I:%M | 12-hour |
            %Y-%m-%d %H:%M %p | 12-hour |
            %Y-%m-%d %M | read back |
            %Y-%m-%d %Z | EST | timezone
            %Y-%m-%d %Q | zones | timezone
            %s | seconds since 1970 | epoch_seconds
            %c | locale | %m/%d/%Y
            %Y-%m-%L | `%L`: not a directive | `%d` day
            %Y-%m-% | ends after a `%` | %%
            %Y-%m-%é | beyond ASCII | `%d` day
            MM/dd/yyyy | not a format | `%m/%d/%Y`
            DD.MM.YYYY HH:mm | not a format | `%d.%m.%Y %H:%M`
            yyyy-mm-dd | not a format | `%Y-%m-%d`
            dd-MMM-yy | not a format | `%d-%b-%y`
            excel | not a format | `excel_serial`"
            .lines()
        {
            let parts: Vec<&str> = case.split('|').map(str::trim).collect();
            let [source, message, hint] = parts[..] else {
                panic!("{case}")
            };
            let error = Pattern::compile(source, None).unwrap_err();
            assert!(error.0.contains(message) && error.1.contains(hint), "{error:?}");
        }
    }
}
