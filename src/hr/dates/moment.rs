//! What a value says before the time zone has been asked: a day, a time on a day, or an instant.

use jiff::civil;

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;

/// A day of the proleptic Gregorian calendar, of a year with four digits. Exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day {
    year: i16,
    month: u8,
    day: u8,
}

impl Day {
    /// None: there is no such day, or its year does not have four digits.
    pub(super) fn new(year: i16, month: u8, day: u8) -> Option<Self> {
        const LONG: [u8; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let longest = *LONG.get(usize::from(month))?;
        let exists = (1..=longest).contains(&day) && (day < 29 || month != 2 || is_leap(year));
        (exists && (1000..=9999).contains(&year)).then_some(Self { year, month, day })
    }

    pub(super) fn from_civil(date: civil::Date) -> Option<Self> {
        Self::new(
            date.year(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    }

    /// From days since 1970-01-01.
    pub(super) fn from_epoch(days: i64) -> Option<Self> {
        // Years 1000 to 9999; keeps the arithmetic below in range.
        if !(-354_285..=2_932_896).contains(&days) {
            return None;
        }
        // Counts from 0000-03-01, so that the leap day is a year's last; eras of 400 years are all alike.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = match month {
            0..10 => (era * 400 + year_of_era, month + 3),
            _ => (era * 400 + year_of_era + 1, month - 9),
        };
        Self::new(
            i16::try_from(year).ok()?,
            u8::try_from(month).ok()?,
            u8::try_from(day).ok()?,
        )
    }

    /// Days since 1970-01-01.
    pub(super) fn to_epoch(self) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
    }

    pub(super) fn to_civil(self) -> civil::Date {
        // Never panics: a `Day` exists.
        civil::date(self.year, self.month.cast_signed(), self.day.cast_signed())
    }

    pub(super) fn year(self) -> i16 {
        self.year
    }

    pub(super) fn month(self) -> u8 {
        self.month
    }

    pub(super) fn day(self) -> u8 {
        self.day
    }
}

fn is_leap(year: i16) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) nanos: u32,
}

impl Clock {
    pub(super) const MIDNIGHT: Self = Self {
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
    };

    /// A leap second, 60, becomes 59, as jiff has it. None: there is no such time.
    pub(super) fn new(hour: u8, minute: u8, second: u8, nanos: u32) -> Option<Self> {
        let exists = hour < 24 && minute < 60 && second <= 60 && nanos < 1_000_000_000;
        exists.then_some(Self {
            hour,
            minute,
            second: second.min(59),
            nanos,
        })
    }

    /// From the seconds since midnight, taken modulo a day.
    pub(super) fn from_seconds(seconds: i64, nanos: u32) -> Self {
        let seconds = seconds.rem_euclid(DAY_SECONDS) as u32;
        Self {
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
            nanos,
        }
    }

    pub(super) fn from_civil(time: civil::Time) -> Self {
        Self {
            hour: time.hour().unsigned_abs(),
            minute: time.minute().unsigned_abs(),
            second: time.second().unsigned_abs(),
            nanos: time.subsec_nanosecond().unsigned_abs(),
        }
    }

    pub(super) fn to_civil(self) -> civil::Time {
        // Never panics: a `Clock` is in range.
        civil::time(
            self.hour.cast_signed(),
            self.minute.cast_signed(),
            self.second.cast_signed(),
            self.nanos.cast_signed(),
        )
    }
}

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A day without a time: the default time is put in, in the time zone of the settings.
    Day(Day),
    /// A local time, in the time zone of the settings.
    Local(Day, Clock),
    /// A day, or a local time, with its own offset in minutes.
    Offset(Day, Option<Clock>, i16),
    /// A point on the world's time line, shown in the time zone of the settings.
    Instant {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: i64,
        /// Nanoseconds on top.
        nanos: u32,
    },
}

impl Moment {
    /// A civil date-time counted as if it were UTC, as types without zone do. With `midnight_is_day`, a time of
    /// midnight means that there is none.
    pub(super) fn from_local(seconds: i64, nanos: u32, midnight_is_day: bool) -> Option<Self> {
        let day = Day::from_epoch(seconds.div_euclid(DAY_SECONDS))?;
        let clock = Clock::from_seconds(seconds, nanos);
        Some(if midnight_is_day && clock == Clock::MIDNIGHT {
            Self::Day(day)
        } else {
            Self::Local(day, clock)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_that_do_not_exist_are_none() {
        for (year, month, day) in [
            (2023, 2, 29),
            (1900, 2, 29),
            (2024, 4, 31),
            (2024, 13, 1),
            (2024, 0, 1),
            (2024, 1, 0),
            (999, 1, 1),
        ] {
            assert_eq!(Day::new(year, month, day), None, "{year}-{month}-{day}");
        }
        assert!(Day::new(2000, 2, 29).is_some() && Day::new(2024, 2, 29).is_some());
        assert_eq!(
            Day::from_epoch(-354_285).map(Day::to_civil),
            Some(civil::date(1000, 1, 1))
        );
        assert_eq!(Day::from_epoch(-354_286), None);
        assert_eq!(
            Day::from_epoch(2_932_896).map(Day::to_civil),
            Some(civil::date(9999, 12, 31))
        );
        assert_eq!(Day::from_epoch(2_932_897), None);
    }

    proptest! {
        #[test]
        fn day_numbers_agree_with_jiff(days in -354_285i64..=2_932_896) {
            let day = Day::from_epoch(days).unwrap();
            let offset = jiff::ToSpan::days(i32::try_from(days).unwrap());
            prop_assert_eq!(day.to_civil(), civil::date(1970, 1, 1).checked_add(offset).unwrap());
            prop_assert_eq!(day.to_epoch(), days);
        }
    }
}
