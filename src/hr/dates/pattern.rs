//! Patterns such as `%m/%d/%Y`, in the language of jiff's `strtime`.
//!
//! A pattern of digits, month abbreviations, AM/PM and literals is compiled into steps that are run over the bytes
//! without allocation; they take exactly what jiff takes (one or two digits, white space before numbers). All other
//! patterns go through jiff. Either way a year must have four digits, unless the pattern is `%y`.

use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::{civil, tz};

use super::moment::{Clock, Day, Moment};
use super::scan::{Directive, Item, scan};

/// A pattern, ready to read with.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    source: String,
    /// None: jiff reads.
    steps: Option<Vec<Step>>,
    two_digit_year: bool,
    pivot: u8,
}

/// Why a pattern cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Trouble {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Literal(u8),
    Space,
    Year,
    TwoDigitYear,
    Month,
    MonthName,
    Day,
    Hour,
    Hour12,
    Meridiem,
    Minute,
    Second,
}

impl Pattern {
    /// Compiles `source`. `pivot`: where years of two digits divide.
    pub(super) fn compile(source: &str, pivot: Option<u8>) -> Result<Self, Trouble> {
        let items = scan(source)?;
        let has = |letters: &str| items.iter().any(|item| item.is_one_of(letters));
        if has("yD") && pivot.is_none() {
            return Err(Trouble::new(
                "a year of two digits (`%y`) does not say its century",
                "give `century_pivot`: with 70, years below 70 are 20yy and the others 19yy",
            ));
        }
        let by_week = has("aAuw") && ((has("G") && has("V")) || (has("Yy") && has("UW")));
        if !by_week {
            let mut missing = Vec::new();
            if !has("YyDF") {
                missing.push("year (`%Y`)");
            }
            if !has("mbBhDFj") {
                missing.push("month (`%m`)");
            }
            if !has("deDFj") {
                missing.push("day (`%d`)");
            }
            if !missing.is_empty() {
                return Err(Trouble {
                    message: format!("the format has no {}", missing.join(", no ")),
                    hint: Some("a date needs its year, month and day".to_owned()),
                });
            }
        }
        if has("Il") != has("pP") {
            return Err(Trouble::new(
                "the hour of a 12-hour clock (`%I`) and AM or PM (`%p`) need each other",
                "write `%I:%M %p`, or `%H:%M` for a 24-hour clock",
            ));
        }
        reads_back(source)?;
        Ok(Self {
            source: source.to_owned(),
            steps: steps(&items),
            two_digit_year: has("yD"),
            pivot: pivot.unwrap_or_default(),
        })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn has_two_digit_year(&self) -> bool {
        self.two_digit_year
    }

    /// Reads `text`, which has no white space around it.
    pub(super) fn read(&self, text: &str) -> Option<Moment> {
        match &self.steps {
            Some(steps) => self.run(steps, text.as_bytes()),
            None => self.read_with_jiff(text),
        }
    }

    fn read_with_jiff(&self, text: &str) -> Option<Moment> {
        let mut found = BrokenDownTime::parse(&self.source, text).ok()?;
        if self.two_digit_year {
            let year = found.year()?.rem_euclid(100);
            found.set_year(Some(self.century(year.unsigned_abs()))).ok()?;
        }
        let day = Day::from_civil(found.to_date().ok()?)?;
        let clock = match found.hour() {
            Some(_) => Some(Clock::from_civil(found.to_time().ok()?)),
            None => None,
        };
        Some(match (found.offset(), clock) {
            (Some(offset), clock) => Moment::Offset(day, clock, minutes(offset)?),
            (None, Some(clock)) => Moment::Local(day, clock),
            (None, None) => Moment::Day(day),
        })
    }

    fn run(&self, steps: &[Step], mut rest: &[u8]) -> Option<Moment> {
        let (mut year, mut month, mut day) = (0, 0, 0);
        let (mut hour, mut minute, mut second) = (None, 0, 0);
        let mut afternoon = None;
        for step in steps {
            match *step {
                Step::Literal(expected) => match rest {
                    [first, tail @ ..] if *first == expected => rest = tail,
                    _ => return None,
                },
                Step::Space => rest = rest.trim_ascii_start(),
                Step::Year => {
                    // Jiff takes a sign here; a year below zero is not of four digits.
                    year = number(rest.strip_prefix(b"+").unwrap_or(rest), 4, &mut rest)?.cast_signed();
                }
                Step::TwoDigitYear => year = self.century(number(rest, 2, &mut rest)?),
                Step::Month => month = within(number(rest, 2, &mut rest)?, 1, 12)?,
                Step::MonthName => (month, rest) = month_name(rest)?,
                Step::Day => day = within(number(rest, 2, &mut rest)?, 1, 31)?,
                Step::Hour => hour = Some(within(number(rest, 2, &mut rest)?, 0, 23)?),
                Step::Hour12 => hour = Some(within(number(rest, 2, &mut rest)?, 1, 12)?),
                Step::Minute => minute = within(number(rest, 2, &mut rest)?, 0, 59)?,
                Step::Second => second = within(number(rest, 2, &mut rest)?, 0, 60)?,
                Step::Meridiem => match rest {
                    [half @ (b'A' | b'a' | b'P' | b'p'), b'M' | b'm', tail @ ..] => {
                        afternoon = Some(half.eq_ignore_ascii_case(&b'p'));
                        rest = tail;
                    }
                    _ => return None,
                },
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let day = Day::new(year, month, day)?;
        let Some(hour) = hour else {
            return Some(Moment::Day(day));
        };
        let hour = match afternoon {
            Some(afternoon) => hour % 12 + if afternoon { 12 } else { 0 },
            None => hour,
        };
        Some(Moment::Local(day, Clock::new(hour, minute, second, 0)?))
    }

    fn century(&self, year: u16) -> i16 {
        let century = if year < u16::from(self.pivot) { 2000 } else { 1900 };
        century + year.cast_signed()
    }
}

/// Whole minutes; jiff takes seconds in an offset, which no date of today has.
fn minutes(offset: tz::Offset) -> Option<i16> {
    let minutes = i16::try_from(offset.seconds() / 60).ok()?;
    (minutes.abs() <= super::iso::MAX_OFFSET).then_some(minutes)
}

/// One to `most` digits, after white space.
#[inline]
fn number<'t>(text: &'t [u8], most: usize, rest: &mut &'t [u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let mut value = 0;
    let mut digits = 0;
    while digits < most
        && let Some(digit) = text.get(digits).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        value = value * 10 + u16::from(digit);
        digits += 1;
    }
    *rest = &text[digits..];
    (digits > 0).then_some(value)
}

fn within(value: u16, least: u8, most: u8) -> Option<u8> {
    let value = u8::try_from(value).ok()?;
    (least..=most).contains(&value).then_some(value)
}

fn month_name(text: &[u8]) -> Option<(u8, &[u8])> {
    const NAMES: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
    ];
    let (start, rest) = text.split_first_chunk::<3>()?;
    let lower = start.map(|byte| byte.to_ascii_lowercase());
    let index = NAMES.iter().position(|name| **name == lower)?;
    Some((index as u8 + 1, rest))
}

/// The steps of a pattern simple enough, which gives each part at most once.
fn steps(items: &[Item]) -> Option<Vec<Step>> {
    use Step::{
        Day, Hour, Hour12, Literal, Meridiem, Minute, Month, MonthName, Second, Space, TwoDigitYear, Year,
    };
    let mut steps = Vec::new();
    for item in items {
        match item {
            Item::Literal(byte) => steps.push(Literal(*byte)),
            Item::Space => steps.push(Space),
            Item::Directive(Directive { letter, plain: true }) => match letter {
                b'Y' => steps.push(Year),
                b'y' => steps.push(TwoDigitYear),
                b'm' => steps.push(Month),
                b'b' | b'h' => steps.push(MonthName),
                b'd' | b'e' => steps.push(Day),
                b'H' | b'k' => steps.push(Hour),
                b'I' | b'l' => steps.push(Hour12),
                b'p' | b'P' => steps.push(Meridiem),
                b'M' => steps.push(Minute),
                b'S' => steps.push(Second),
                b'F' => steps.extend([Year, Literal(b'-'), Month, Literal(b'-'), Day]),
                b'D' => steps.extend([Month, Literal(b'/'), Day, Literal(b'/'), TwoDigitYear]),
                b'T' => steps.extend([Hour, Literal(b':'), Minute, Literal(b':'), Second]),
                b'R' => steps.extend([Hour, Literal(b':'), Minute]),
                _ => return None,
            },
            Item::Directive(_) => return None,
        }
    }
    let once = |of: &[Step]| steps.iter().filter(|step| of.contains(step)).count();
    let simple = once(&[Year, TwoDigitYear]) == 1
        && once(&[Month, MonthName]) == 1
        && once(&[Day]) == 1
        && once(&[Hour, Hour12]) <= 1
        && once(&[Minute]) <= 1
        && once(&[Second]) <= 1
        && once(&[Meridiem]) <= 1;
    simple.then_some(steps)
}

/// Whether jiff reads what it writes by the pattern: what the letters alone do not show, such as minutes without
/// hours.
fn reads_back(source: &str) -> Result<(), Trouble> {
    let sample = civil::date(2024, 11, 25).at(13, 14, 15, 0);
    let read = tz::TimeZone::fixed(tz::offset(-5))
        .to_zoned(sample)
        .and_then(|zoned| strtime::format(source, &zoned))
        .and_then(|text| BrokenDownTime::parse(source, text))
        .and_then(|found| found.to_datetime());
    match read {
        Ok(found) if found.date() == sample.date() => Ok(()),
        Ok(_) => Err(Trouble::new(
            "a date written by this format is not the same date when it is read again",
            "separate its parts, or give each of them once",
        )),
        Err(error) => Err(Trouble {
            message: format!("a date written by this format cannot be read again: {error}"),
            hint: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::compile(source, Some(70)).unwrap()
    }

    fn day(year: i16, month: u8, of_month: u8) -> Moment {
        Moment::Day(Day::new(year, month, of_month).unwrap())
    }

    fn local(source: &str, text: &str) -> String {
        match pattern(source).read(text) {
            Some(Moment::Local(day, clock)) => format!("{} {}", day.to_civil(), clock.to_civil()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn everyday_patterns_are_compiled() {
        for source in [
            "%m/%d/%Y",
            "%d.%m.%Y",
            "%Y%m%d",
            "%F %T",
            "%d-%b-%Y",
            "%m/%d/%Y %I:%M %p",
            "%-m/%-d/%y",
            "%D",
        ] {
            assert!(pattern(source).steps.is_some(), "{source}");
        }
        for source in [
            "%A, %d %B %Y",
            "%Y-%j",
            "%03d.%m.%Y",
            "%Y-%m-%dT%H:%M:%S%z",
            "%G-W%V-%u",
        ] {
            assert!(pattern(source).steps.is_none(), "{source}");
        }
    }

    #[test]
    fn padding_is_optional_and_days_must_exist() {
        let us = pattern("%m/%d/%Y");
        assert_eq!(us.read("1/5/2024"), Some(day(2024, 1, 5)));
        assert_eq!(us.read("01/05/2024"), Some(day(2024, 1, 5)));
        for text in [
            "13/01/2024",
            "02/30/2024",
            "1/5/24",
            "1/5/02024",
            "1/5/2024x",
            "1/5",
            "",
            "-1/5/2024",
        ] {
            assert_eq!(us.read(text), None, "{text}");
        }
    }

    #[test]
    fn names_clocks_and_offsets() {
        assert_eq!(pattern("%d-%b-%Y").read("15-JAN-2024"), Some(day(2024, 1, 15)));
        assert_eq!(
            pattern("%B %d, %Y").read("January 15, 2024"),
            Some(day(2024, 1, 15))
        );
        assert_eq!(
            pattern("%a %d %b %Y").read("Tue 15 Jan 2024"),
            None,
            "it was a Monday"
        );
        assert_eq!(
            local("%m/%d/%Y %I:%M %p", "1/15/2024 12:05 am"),
            "2024-01-15 00:05:00"
        );
        assert_eq!(
            local("%m/%d/%Y %I:%M:%S%p", "1/15/2024 3:05:60PM"),
            "2024-01-15 15:05:59"
        );
        assert_eq!(
            local("%F %H:%M:%S%.f", "2024-01-15 09:05:06.25"),
            "2024-01-15 09:05:06.25"
        );
        let expected = Moment::Offset(Day::new(2018, 10, 1).unwrap(), None, -420);
        assert_eq!(pattern("%Y-%m-%d%:z").read("2018-10-01-07:00"), Some(expected));
        assert_eq!(pattern("%Y-%m-%d%:z").read("2018-10-01-17:00"), None);
    }

    #[test]
    fn the_pivot_divides_the_centuries() {
        for source in ["%d.%m.%y", "%d. %B %y"] {
            let (below, at) = match source {
                "%d.%m.%y" => ("1.5.69", "1.5.70"),
                _ => ("1. May 69", "1. May 70"),
            };
            assert_eq!(pattern(source).read(below), Some(day(2069, 5, 1)), "{source}");
            assert_eq!(pattern(source).read(at), Some(day(1970, 5, 1)), "{source}");
        }
    }

    #[test]
    fn patterns_that_cannot_give_a_date_are_refused() {
        for (source, part) in [
            ("%m/%d", "no year"),
            ("%Y", "no month (`%m`), no day"),
            ("%H:%M", "no year"),
            ("%m/%d/%y", "century"),
            ("%D", "century"),
            ("%Y-%m-%d %I:%M", "12-hour"),
            ("%Y-%m-%d %H:%M %p", "12-hour"),
            ("%Y-%m-%d %M", "read again"),
            ("%Y-%m-%d %m", ""),
        ] {
            match Pattern::compile(source, None) {
                Err(trouble) => assert!(trouble.message.contains(part), "{source}: {}", trouble.message),
                Ok(_) => assert_eq!(part, "", "{source}"),
            }
        }
    }

    /// Without the compiled steps.
    fn by_jiff(pattern: &Pattern, text: &str) -> Option<Moment> {
        pattern.read_with_jiff(text)
    }

    const SOURCES: [&str; 16] = [
        "%Y-%m-%d",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d%m%Y",
        "%Y%m%d",
        "%F %T",
        "%e/%m/%Y %R",
        "%d-%b-%Y",
        "%y%m%d",
        "%D",
        "%m/%d/%Y %I:%M:%S %p",
        "%l%p %d %h %Y",
        "%_d  %0m\t%-Y",
        "%% %d %m %Y",
        "%Hh%M %d/%m/%y",
        "%d é %m é %Y",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn steps_agree_with_jiff_on_any_text(
            source in prop::sample::select(SOURCES.as_slice()),
            text in "[-+0-9/. :%apmAPMjanfebé\\t]{0,20}|[0-9]{1,3}[-/. ][0-9]{1,3}[-/. ][0-9]{1,5}|[0-9]{5,9}",
        ) {
            let pattern = pattern(source);
            prop_assert!(pattern.steps.is_some());
            prop_assert_eq!(pattern.read(&text), by_jiff(&pattern, &text));
        }

        #[test]
        fn steps_agree_with_jiff_on_dates_and_near_dates(
            source in prop::sample::select(SOURCES.as_slice()),
            days in -7300i32..40_000, second in 0i32..86_400,
            at in 0usize..30, with in "[-+0-9/. :apAP\\t]?",
        ) {
            let pattern = pattern(source);
            let when = civil::date(1970, 1, 1) + jiff::ToSpan::days(days);
            let when = when.at(0, 0, 0, 0) + jiff::ToSpan::seconds(second);
            let text = strtime::format(source, when).unwrap();
            let read = pattern.read(&text);
            prop_assert_eq!(read, by_jiff(&pattern, &text));
            if !pattern.two_digit_year {
                let (Some(Moment::Day(day)) | Some(Moment::Local(day, _))) = read else {
                    return Err(TestCaseError::fail("not read back"));
                };
                prop_assert_eq!(day.to_civil(), when.date());
            }
            // One character put in, or one taken out.
            let mut chars: Vec<char> = text.chars().collect();
            let at = at % chars.len();
            match with.chars().next() {
                Some(c) => chars.insert(at, c),
                None => drop(chars.remove(at)),
            }
            let text: String = chars.into_iter().collect();
            prop_assert_eq!(pattern.read(&text), by_jiff(&pattern, &text));
        }
    }
}
