//! The calendar of one time zone: turns a [`Moment`] into the text that is sent.
//!
//! HR dates are few distinct days met millions of times, so each day's finished text is kept, with what the zone does
//! on that day: a plain date costs a look-up, a time on a day without a change of offset costs writing its digits,
//! and only the few days on which the clocks change ask the time zone's rules each time. The table is filled a year
//! at a time when the year is first met. Readers on several threads share it.

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Disambiguation, Offset, TimeZone};

use super::moment::{Clock, DAY_SECONDS, Day, Moment};
use super::settings::{OnGap, OnOverlap};
use super::write::{write, write_clock, write_day, write_offset};

/// What a calendar is made of.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) zone: TimeZone,
    pub(super) default_time: Clock,
    pub(super) on_gap: OnGap,
    pub(super) on_overlap: OnOverlap,
    pub(super) earliest: Day,
    pub(super) latest: Day,
    /// Days that mean "no value".
    pub(super) null_days: Vec<Day>,
}

/// Why there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The day means "no value".
    Null,
    TooEarly,
    TooLate,
    Gap,
    Overlap,
}

/// Where the text is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text<'a> {
    /// Here.
    Kept(&'a str),
    /// In the buffer handed in.
    Written,
}

pub(super) struct Calendar {
    rules: Rules,
    /// One for each year of the plausible range.
    years: Box<[OnceLock<Box<Year>>]>,
}

/// Every month has 31 places, so that no day of the year need be computed.
const PLACES: usize = 12 * 31;
/// `yyyy-mm-ddThh:mm:ss+hh:mm`
const WIDTH: usize = 25;

struct Year {
    /// The texts of all places' days at the default time, one after the other.
    texts: String,
    state: [State; PLACES],
    /// The offset in seconds during the whole UTC day, where it does not change.
    utc_offset: [Option<i32>; PLACES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has no text: there is no such day, or it is outside the range or of jiff's time line.
    Outside,
    /// Means "no value".
    Null,
    /// All local times of the day have the offset that its text ends with.
    Steady,
    /// The offset changes on the day.
    Changes,
}

fn place(day: Day) -> usize {
    usize::from(day.month() - 1) * 31 + usize::from(day.day() - 1)
}

impl Year {
    fn text(&self, place: usize) -> &str {
        &self.texts[place * WIDTH..(place + 1) * WIDTH]
    }
}

impl Calendar {
    pub(super) fn new(rules: Rules) -> Self {
        let years = usize::try_from(rules.latest.year() - rules.earliest.year() + 1).unwrap_or_default();
        Self {
            rules,
            years: (0..years).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The text of `moment`; `buffer` is overwritten when it is not kept ready.
    pub(super) fn text(&self, moment: Moment, buffer: &mut String) -> Result<Text<'_>, Reason> {
        buffer.clear();
        match moment {
            Moment::Day(day) => {
                let (year, place) = self.look(day)?;
                return Ok(Text::Kept(year.text(place)));
            }
            Moment::Local(day, clock) => {
                let (year, place) = self.look(day)?;
                if year.state[place] == State::Steady {
                    let text = year.text(place);
                    // Written by the default time, which on a steady day is on the day itself.
                    buffer.push_str(&text[..11]);
                    write_clock(buffer, clock);
                    buffer.push_str(&text[19..]);
                } else {
                    let (local, offset) = self.resolve(day, clock, true)?;
                    write(buffer, local, offset);
                }
            }
            Moment::Offset(day, clock, minutes) => {
                self.look(day)?;
                write_day(buffer, day);
                write_clock(buffer, clock.unwrap_or(self.rules.default_time));
                write_offset(buffer, i32::from(minutes) * 60);
            }
            Moment::Instant { seconds, nanos } => self.instant(seconds, nanos, buffer)?,
        }
        Ok(Text::Written)
    }

    /// Whether `moment` has a text or means "no value". `buffer` is overwritten.
    pub(super) fn is_plausible(&self, moment: Moment, buffer: &mut String) -> bool {
        matches!(self.text(moment, buffer), Ok(_) | Err(Reason::Null))
    }

    fn instant(&self, seconds: i64, nanos: u32, buffer: &mut String) -> Result<(), Reason> {
        let outside = if seconds < 0 {
            Reason::TooEarly
        } else {
            Reason::TooLate
        };
        let utc = Day::from_epoch(seconds.div_euclid(DAY_SECONDS)).ok_or(outside)?;
        // Sentinels such as 9999-12-31 are written as an instant of that day in UTC, which may be the day before in
        // the zone.
        if self.rules.null_days.contains(&utc) {
            return Err(Reason::Null);
        }
        let steady = self.year(utc.year()).and_then(|year| year.utc_offset[place(utc)]);
        let offset = match steady {
            Some(offset) => offset,
            None => {
                let instant = Timestamp::from_second(seconds).map_err(|_| outside)?;
                self.rules.zone.to_offset(instant).seconds()
            }
        };
        let local = seconds + i64::from(offset);
        let day = Day::from_epoch(local.div_euclid(DAY_SECONDS)).ok_or(outside)?;
        self.look(day)?;
        write_day(buffer, day);
        write_clock(buffer, Clock::from_seconds(local, nanos));
        write_offset(buffer, offset);
        Ok(())
    }

    /// The year and place of a day that has a text.
    fn look(&self, day: Day) -> Result<(&Year, usize), Reason> {
        let place = place(day);
        if let Some(year) = self.year(day.year()) {
            match year.state[place] {
                State::Steady | State::Changes => return Ok((year, place)),
                State::Null => return Err(Reason::Null),
                State::Outside => {}
            }
        }
        Err(if self.rules.null_days.contains(&day) {
            Reason::Null
        } else if day < self.rules.earliest {
            Reason::TooEarly
        } else {
            Reason::TooLate
        })
    }

    fn year(&self, year: i16) -> Option<&Year> {
        let index = usize::try_from(year - self.rules.earliest.year()).ok()?;
        Some(self.years.get(index)?.get_or_init(|| self.fill(year)))
    }

    fn fill(&self, number: i16) -> Box<Year> {
        let mut year = Box::new(Year {
            texts: String::with_capacity(PLACES * WIDTH),
            state: [State::Outside; PLACES],
            utc_offset: [None; PLACES],
        });
        let (steady_local, steady_utc) = self.steady_days(number);
        for index in 0..PLACES {
            let day = Day::new(number, (index / 31 + 1) as u8, (index % 31 + 1) as u8);
            let before = year.texts.len();
            if let Some(day) = day {
                if steady_utc[index] {
                    let midnight = Timestamp::from_second(day.to_epoch() * DAY_SECONDS);
                    year.utc_offset[index] = midnight.ok().map(|at| self.rules.zone.to_offset(at).seconds());
                }
                let resolved = self.resolve(day, self.rules.default_time, false);
                year.state[index] = if self.rules.null_days.contains(&day) {
                    State::Null
                } else if day < self.rules.earliest || day > self.rules.latest {
                    State::Outside
                } else if let Ok((local, offset)) = resolved {
                    write(&mut year.texts, local, offset);
                    if steady_local[index] {
                        State::Steady
                    } else {
                        State::Changes
                    }
                } else {
                    State::Outside
                };
            }
            if year.texts.len() != before + WIDTH {
                year.texts.truncate(before);
                year.texts.extend(std::iter::repeat_n(' ', WIDTH));
            }
        }
        year
    }

    /// The days of a year, local and UTC, on which the zone's offset does not change.
    fn steady_days(&self, number: i16) -> ([bool; PLACES], [bool; PLACES]) {
        let mut local = [true; PLACES];
        let mut utc = [true; PLACES];
        let mark = |days: &mut [bool; PLACES], from: i64, to: i64| {
            for number_of_day in from.div_euclid(DAY_SECONDS)..=to.div_euclid(DAY_SECONDS) {
                if let Some(day) = Day::from_epoch(number_of_day).filter(|day| day.year() == number) {
                    days[place(day)] = false;
                }
            }
        };
        // Two days more at both ends than any offset needs.
        let seconds = |year: i16| {
            let first = Day::new(year, 1, 1).map_or(i64::MAX, |day| day.to_epoch() * DAY_SECONDS);
            first.clamp(
                Timestamp::MIN.as_second() + 3 * DAY_SECONDS,
                Timestamp::MAX.as_second(),
            )
        };
        let from = Timestamp::from_second(seconds(number) - 2 * DAY_SECONDS).unwrap_or(Timestamp::MIN);
        let until = seconds(number + 1).saturating_add(2 * DAY_SECONDS);
        let mut before = self.rules.zone.to_offset(from).seconds();
        for transition in self.rules.zone.following(from) {
            let at = transition.timestamp().as_second();
            if at > until {
                break;
            }
            let after = transition.offset().seconds();
            let (low, high) = (before.min(after), before.max(after));
            mark(&mut local, at + i64::from(low), at + i64::from(high));
            mark(&mut utc, at, at);
            before = after;
        }
        (local, utc)
    }

    /// The local time that is sent for a local time given, and its offset. The two differ for times that the clocks
    /// skip. `strict`: whether a time skipped or met twice may be a reason to reject. A plain date never is: its
    /// time is the default one, not the record's.
    fn resolve(&self, day: Day, clock: Clock, strict: bool) -> Result<(DateTime, Offset), Reason> {
        let wanted = DateTime::from_parts(day.to_civil(), clock.to_civil());
        let found = self.rules.zone.to_ambiguous_timestamp(wanted);
        let choice = match found.offset() {
            AmbiguousOffset::Unambiguous { .. } => Disambiguation::Compatible,
            AmbiguousOffset::Gap { .. } => match self.rules.on_gap {
                OnGap::Later => Disambiguation::Later,
                OnGap::Earlier => Disambiguation::Earlier,
                OnGap::Reject if strict => return Err(Reason::Gap),
                OnGap::Reject => Disambiguation::Compatible,
            },
            AmbiguousOffset::Fold { .. } => match self.rules.on_overlap {
                OnOverlap::Earlier => Disambiguation::Earlier,
                OnOverlap::Later => Disambiguation::Later,
                OnOverlap::Reject if strict => return Err(Reason::Overlap),
                OnOverlap::Reject => Disambiguation::Compatible,
            },
        };
        // Fails only within a day of jiff's last year.
        let instant = found.disambiguate(choice).map_err(|_| Reason::TooLate)?;
        let offset = self.rules.zone.to_offset(instant);
        Ok((offset.to_datetime(instant), offset))
    }
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan, civil};
    use proptest::prelude::*;

    use super::*;

    fn rules(zone: &str) -> Rules {
        Rules {
            zone: TimeZone::get(zone).unwrap(),
            default_time: Clock::MIDNIGHT,
            on_gap: OnGap::Later,
            on_overlap: OnOverlap::Earlier,
            earliest: Day::new(1950, 1, 1).unwrap(),
            latest: Day::new(2100, 1, 1).unwrap(),
            null_days: Vec::new(),
        }
    }

    fn text(calendar: &Calendar, moment: Moment) -> Result<String, Reason> {
        let mut buffer = String::new();
        Ok(match calendar.text(moment, &mut buffer)? {
            Text::Kept(text) => text.to_owned(),
            Text::Written => buffer,
        })
    }

    const ZONES: [&str; 7] = [
        "America/New_York",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Africa/Casablanca",
        "UTC",
    ];

    /// What jiff says, without the table.
    fn plainly(zone: &TimeZone, at: DateTime) -> String {
        let zoned = zone.to_ambiguous_zoned(at).compatible().unwrap();
        zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
    }

    /// Apia left out a day in 2011, Sao Paulo changed at midnight until 2019.
    #[test]
    fn every_hour_of_years_with_changes_agrees_with_jiff() {
        for name in ZONES {
            let calendar = Calendar::new(rules(name));
            let zone = TimeZone::get(name).unwrap();
            for day in (2011..=2018)
                .step_by(7)
                .flat_map(|year| civil::date(year, 1, 1).series(1.day()).take(366))
            {
                let known = Day::from_civil(day).unwrap();
                let plain = text(&calendar, Moment::Day(known)).unwrap();
                assert_eq!(plain, plainly(&zone, day.at(0, 0, 0, 0)), "{name} {day}");
                for hour in 0..24 {
                    let at = day.at(hour, 30, 0, 0);
                    let local = Moment::Local(known, Clock::from_civil(at.time()));
                    assert_eq!(text(&calendar, local).unwrap(), plainly(&zone, at), "{name} {at}");

                    let seconds = known.to_epoch() * DAY_SECONDS + i64::from(hour) * 3600;
                    let instant = Timestamp::from_second(seconds).unwrap();
                    assert_eq!(
                        text(&calendar, Moment::Instant { seconds, nanos: 0 }).unwrap(),
                        instant
                            .to_zoned(zone.clone())
                            .strftime("%Y-%m-%dT%H:%M:%S%:z")
                            .to_string(),
                        "{name} {instant}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_local_time_agrees_with_jiff(
            zone in prop::sample::select(ZONES.as_slice()),
            days in -7300i64..47_000, second in 0i64..86_400, nanos in prop_oneof![Just(0u32), 0u32..1_000_000_000],
        ) {
            let day = Day::from_epoch(days).unwrap();
            let clock = Clock::from_seconds(second, nanos / 100 * 100);
            let at = DateTime::from_parts(day.to_civil(), clock.to_civil());
            prop_assert_eq!(text(&Calendar::new(rules(zone)), Moment::Local(day, clock)).unwrap(), plainly(&TimeZone::get(zone).unwrap(), at));
        }
    }

    #[test]
    fn a_gap_goes_later_earlier_or_is_rejected() {
        let at = |zone, on_gap, (year, month, day), hour, minute| {
            let calendar = Calendar::new(Rules {
                on_gap,
                ..rules(zone)
            });
            text(
                &calendar,
                Moment::Local(
                    Day::new(year, month, day).unwrap(),
                    Clock::new(hour, minute, 0, 0).unwrap(),
                ),
            )
        };
        let new_york = |on_gap| at("America/New_York", on_gap, (2024, 3, 10), 2, 30);
        assert_eq!(new_york(OnGap::Later).unwrap(), "2024-03-10T03:30:00-04:00");
        assert_eq!(new_york(OnGap::Earlier).unwrap(), "2024-03-10T01:30:00-05:00");
        assert_eq!(new_york(OnGap::Reject), Err(Reason::Gap));
        assert_eq!(
            at("Europe/Berlin", OnGap::Later, (2024, 3, 31), 2, 0).unwrap(),
            "2024-03-31T03:00:00+02:00"
        );
        assert_eq!(
            at("Europe/Berlin", OnGap::Reject, (2024, 3, 31), 3, 0).unwrap(),
            "2024-03-31T03:00:00+02:00"
        );
        assert_eq!(
            at("Australia/Sydney", OnGap::Later, (2024, 10, 6), 2, 15).unwrap(),
            "2024-10-06T03:15:00+11:00"
        );
    }

    #[test]
    fn an_overlap_is_the_earlier_the_later_or_rejected() {
        let at = |zone, on_overlap, (year, month, day), hour| {
            let calendar = Calendar::new(Rules {
                on_overlap,
                ..rules(zone)
            });
            text(
                &calendar,
                Moment::Local(
                    Day::new(year, month, day).unwrap(),
                    Clock::new(hour, 30, 0, 0).unwrap(),
                ),
            )
        };
        let new_york = |on_overlap| at("America/New_York", on_overlap, (2024, 11, 3), 1);
        assert_eq!(new_york(OnOverlap::Earlier).unwrap(), "2024-11-03T01:30:00-04:00");
        assert_eq!(new_york(OnOverlap::Later).unwrap(), "2024-11-03T01:30:00-05:00");
        assert_eq!(new_york(OnOverlap::Reject), Err(Reason::Overlap));
        assert_eq!(
            at("Europe/Berlin", OnOverlap::Later, (2024, 10, 27), 2).unwrap(),
            "2024-10-27T02:30:00+01:00"
        );
        assert_eq!(
            at("Australia/Sydney", OnOverlap::Earlier, (2024, 4, 7), 2).unwrap(),
            "2024-04-07T02:30:00+11:00"
        );
    }

    #[test]
    fn a_plain_date_is_not_rejected_for_a_midnight_it_never_spoke_of() {
        let calendar = Calendar::new(Rules {
            on_gap: OnGap::Reject,
            ..rules("America/Sao_Paulo")
        });
        let day = Day::new(2018, 11, 4).unwrap();
        assert_eq!(
            text(&calendar, Moment::Day(day)).unwrap(),
            "2018-11-04T01:00:00-02:00"
        );
        assert_eq!(
            text(&calendar, Moment::Local(day, Clock::MIDNIGHT)),
            Err(Reason::Gap)
        );
    }

    #[test]
    fn the_range_holds_at_both_ends_and_null_days_beat_it() {
        let end = Day::new(9999, 12, 31).unwrap();
        let epoch = Day::new(1970, 1, 1).unwrap();
        let calendar = Calendar::new(Rules {
            null_days: vec![end, epoch],
            ..rules("America/New_York")
        });
        let day = |year, month, day| text(&calendar, Moment::Day(Day::new(year, month, day).unwrap()));
        assert_eq!(day(1949, 12, 31), Err(Reason::TooEarly));
        assert!(day(1950, 1, 1).is_ok());
        assert_eq!(day(2100, 1, 1).unwrap(), "2100-01-01T00:00:00-05:00");
        assert_eq!(day(2100, 1, 2), Err(Reason::TooLate));
        assert_eq!(day(9999, 12, 31), Err(Reason::Null));
        assert_eq!(day(1970, 1, 1), Err(Reason::Null));
        // 9999-12-31T00:00:00Z is the day before in New York.
        let seconds = end.to_epoch() * DAY_SECONDS;
        assert_eq!(
            text(&calendar, Moment::Instant { seconds, nanos: 0 }),
            Err(Reason::Null)
        );
        assert_eq!(
            text(
                &calendar,
                Moment::Instant {
                    seconds: i64::MAX,
                    nanos: 0
                }
            ),
            Err(Reason::TooLate)
        );
        assert_eq!(
            text(
                &calendar,
                Moment::Instant {
                    seconds: i64::MIN,
                    nanos: 0
                }
            ),
            Err(Reason::TooEarly)
        );
    }

    #[test]
    fn the_widest_range_is_no_panic() {
        let calendar = Calendar::new(Rules {
            earliest: Day::new(1000, 1, 1).unwrap(),
            latest: Day::new(9999, 12, 31).unwrap(),
            ..rules("America/New_York")
        });
        assert!(text(&calendar, Moment::Day(Day::new(1000, 1, 1).unwrap())).is_ok());
        assert!(text(&calendar, Moment::Day(Day::new(9999, 12, 29).unwrap())).is_ok());
        let last = Moment::Local(
            Day::new(9999, 12, 31).unwrap(),
            Clock::new(23, 59, 59, 0).unwrap(),
        );
        assert!(text(&calendar, last).is_err());
    }

    #[test]
    fn own_offsets_stay_and_days_without_time_take_the_default() {
        let calendar = Calendar::new(Rules {
            default_time: Clock::new(17, 30, 0, 0).unwrap(),
            ..rules("America/New_York")
        });
        let day = Day::new(2024, 7, 1).unwrap();
        assert_eq!(
            text(&calendar, Moment::Day(day)).unwrap(),
            "2024-07-01T17:30:00-04:00"
        );
        assert_eq!(
            text(&calendar, Moment::Offset(day, None, -420)).unwrap(),
            "2024-07-01T17:30:00-07:00"
        );
        let clock = Clock::new(9, 0, 0, 120_000_099).unwrap();
        assert_eq!(
            text(&calendar, Moment::Offset(day, Some(clock), 330)).unwrap(),
            "2024-07-01T09:00:00.12+05:30"
        );
    }
}
