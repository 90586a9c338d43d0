//! What a cron expression matches, with no time zone: dates and times as a clock on the wall shows them.
//!
//! `croner` reads the expression and says which days match. Only that is kept, as 150 bytes of bits (a `croner::Cron` has over 5 KB, and
//! there may be 100,000 tasks): a day matches by its month, its number, the weekday and the length of the month, so 28 sets of days
//! say it for all months there ever are. Bits also count without walking: the times of ten years are 120 sets of days.

use std::ops::Range;

use jiff::civil::{Date, DateTime, Time, date};

/// How long a search goes on: the calendar repeats after 400 years.
const CALENDAR_MONTHS: usize = 400 * 12;

/// The shortest month, in days.
const MIN_MONTH_DAYS: i8 = 28;

/// The years in which months of every length begin on every weekday.
const SAMPLE_YEARS: Range<i16> = 2000..2028;

/// The matching times. Bit `n` of each set stands for the number `n` of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u16,
    /// The days of a month, by its length (28 to 31) and the weekday of its first day (from Monday).
    days: [[u32; 7]; 4],
}

impl Pattern {
    /// What an expression comes to; `None` if it never matches.
    pub(super) fn of(cron: &croner::Cron) -> Option<Self> {
        let fields = &cron.pattern;
        let set = |field: &croner::CronComponent| field.values().into_iter().fold(0, |set, value| set | 1_u64 << value);
        let months = fields.months.values().into_iter().fold(0, |set, month| set | 1_u16 << month);
        let mut days = [[0; 7]; 4];
        let mut known = [[false; 7]; 4];
        let mut ever = false;
        for first in SAMPLE_YEARS.flat_map(|year| (1..=12).map(move |month| date(year, month, 1))) {
            let (length, weekday) = kind_of_month(first);
            if !known[length][weekday] {
                known[length][weekday] = true;
                days[length][weekday] = matching_days(fields, first);
            }
            ever |= months & 1 << first.month() != 0 && days[length][weekday] != 0;
        }
        let pattern = Self {
            seconds: set(&fields.seconds),
            minutes: set(&fields.minutes),
            hours: set(&fields.hours),
            months,
            days,
        };
        let times = [pattern.seconds, pattern.minutes, pattern.hours];
        (ever && times.iter().all(|set| *set != 0)).then_some(pattern)
    }

    /// The first match that is not before `from`.
    pub(super) fn next_from(&self, from: DateTime) -> Option<DateTime> {
        if self.has_day(from.date())
            && let Some(time) = self.time_from(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let day = self.day_from(from.date().tomorrow().ok()?)?;
        Some(day.to_datetime(self.time_from(Time::MIN)?))
    }

    /// The last match that is before `before`.
    pub(super) fn last_before(&self, before: DateTime) -> Option<DateTime> {
        let until = before.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
        if self.has_day(until.date())
            && let Some(time) = self.time_until(until.time())
        {
            return Some(until.date().to_datetime(time));
        }
        let day = self.day_until(until.date().yesterday().ok()?)?;
        Some(day.to_datetime(self.time_until(Time::MAX)?))
    }

    /// How many matches there are from one time on and before another.
    pub(super) fn count(&self, range: Range<DateTime>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = |at: DateTime| if self.has_day(at.date()) { self.count_before(at.time()) } else { 0 };
        let per_day = u64::from(self.hours.count_ones() * self.minutes.count_ones() * self.seconds.count_ones());
        let days = self.count_days(range.start.date(), range.end.date());
        days * per_day + before(range.end) - before(range.start)
    }

    /// How many times of a range at least one of the patterns matches.
    pub(super) fn count_any(patterns: &[&Self], range: Range<DateTime>) -> u64 {
        if let [pattern] = patterns {
            return pattern.count(range);
        }
        let (mut count, mut from) = (0, range.start);
        while let Some(time) = Self::next_of_any(patterns, from).filter(|time| *time < range.end) {
            count += 1;
            match time.checked_add(jiff::SignedDuration::from_secs(1)) {
                Ok(after) => from = after,
                Err(_) => break,
            }
        }
        count
    }

    /// The first time not before `from` that at least one of the patterns matches.
    pub(super) fn next_of_any(patterns: &[&Self], from: DateTime) -> Option<DateTime> {
        patterns.iter().filter_map(|pattern| pattern.next_from(from)).min()
    }

    fn days_of(&self, first: Date) -> u32 {
        if self.months & 1 << first.month() == 0 {
            return 0;
        }
        let (length, weekday) = kind_of_month(first);
        self.days[length][weekday]
    }

    fn has_day(&self, day: Date) -> bool {
        self.days_of(day.first_of_month()) & 1 << day.day() != 0
    }

    fn day_from(&self, from: Date) -> Option<Date> {
        let mut first = from.first_of_month();
        let mut days = self.days_of(first) & u32::MAX << from.day();
        for _ in 0..CALENDAR_MONTHS {
            if days != 0 {
                return Date::new(first.year(), first.month(), days.trailing_zeros() as i8).ok();
            }
            first = first.last_of_month().tomorrow().ok()?;
            days = self.days_of(first);
        }
        None
    }

    fn day_until(&self, until: Date) -> Option<Date> {
        let mut first = until.first_of_month();
        let mut days = self.days_of(first) & u32::MAX >> (31 - until.day());
        for _ in 0..CALENDAR_MONTHS {
            if days != 0 {
                return Date::new(first.year(), first.month(), days.ilog2() as i8).ok();
            }
            first = first.yesterday().ok()?.first_of_month();
            days = self.days_of(first);
        }
        None
    }

    /// How many days match from `start` on and before `end`.
    fn count_days(&self, start: Date, end: Date) -> u64 {
        let (mut first, last) = (start.first_of_month(), end.first_of_month());
        let mut count = 0;
        let mut from = u32::MAX << start.day();
        while first <= last {
            let until = if first == last { !(u32::MAX << end.day()) } else { u32::MAX };
            count += u64::from((self.days_of(first) & from & until).count_ones());
            match first.last_of_month().tomorrow() {
                Ok(next) => first = next,
                Err(_) => break,
            }
            from = u32::MAX;
        }
        count
    }

    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = lowest_from(self.seconds, second)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = lowest_from(self.minutes, minute + 1) {
                return Time::new(hour, minute, lowest_from(self.seconds, 0)?, 0).ok();
            }
        }
        let hour = lowest_from(self.hours, hour + 1)?;
        Time::new(hour, lowest_from(self.minutes, 0)?, lowest_from(self.seconds, 0)?, 0).ok()
    }

    fn time_until(&self, until: Time) -> Option<Time> {
        let (hour, minute, second) = (until.hour(), until.minute(), until.second());
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = highest_until(self.seconds, second)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = highest_until(self.minutes, minute - 1) {
                return Time::new(hour, minute, highest_until(self.seconds, 59)?, 0).ok();
            }
        }
        let hour = highest_until(self.hours, hour - 1)?;
        Time::new(hour, highest_until(self.minutes, 59)?, highest_until(self.seconds, 59)?, 0).ok()
    }

    /// How many times of a day are before this one.
    fn count_before(&self, time: Time) -> u64 {
        let below = |set: u64, number: i8| u64::from((set & !(u64::MAX << number)).count_ones());
        let per_minute = u64::from(self.seconds.count_ones());
        let per_hour = u64::from(self.minutes.count_ones()) * per_minute;
        let mut count = below(self.hours, time.hour()) * per_hour;
        if has(self.hours, time.hour()) {
            count += below(self.minutes, time.minute()) * per_minute;
            if has(self.minutes, time.minute()) {
                count += below(self.seconds, time.second());
            }
        }
        count
    }
}

fn has(set: u64, number: i8) -> bool {
    set & 1 << number != 0
}

/// The lowest number of a set that is at least `from`, which is at most 60.
fn lowest_from(set: u64, from: i8) -> Option<i8> {
    let rest = set & u64::MAX << from;
    (rest != 0).then(|| rest.trailing_zeros() as i8)
}

/// The highest number of a set that is at most `until`, which is at least -1 and at most 59.
fn highest_until(set: u64, until: i8) -> Option<i8> {
    let rest = set & !(u64::MAX << (until + 1));
    (rest != 0).then(|| rest.ilog2() as i8)
}

/// Where [`Pattern::days`] has the month that begins on this day.
fn kind_of_month(first: Date) -> (usize, usize) {
    let length = first.days_in_month() - MIN_MONTH_DAYS;
    (length as usize, first.weekday().to_monday_zero_offset() as usize)
}

/// The days that match of the month that begins on this day, whether or not the month does.
fn matching_days(fields: &croner::CronPattern, first: Date) -> u32 {
    let day_matches = |day: &i8| {
        let sunday_based = first.weekday().to_sunday_zero_offset() + day - 1;
        let weekday = croner::Weekday::from_days_from_sunday(sunday_based as u32);
        let matches = fields.day_match(i32::from(first.year()), first.month() as u32, *day as u32, weekday);
        matches.unwrap_or(false)
    };
    (1..=first.days_in_month()).filter(day_matches).fold(0, |set, day| set | 1 << day)
}
