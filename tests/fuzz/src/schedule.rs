//! Durations, times, cron expressions, names and the other small texts; and what schedules made of them come to.
//!
//! Of the input each line is read as every one of them; a line with a `;` as a cron expression and its time zone.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use taskhost_core::label::{Selector, check_label};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, RunId};
use taskhost_core::plugin::Sha256;
use taskhost_core::schedule::{
    Every, Interval, MAX_INTERVAL, MAX_SCHEDULES, MIN_INTERVAL, Schedule, ScheduleText, Timetable, Zone, parse_time,
};
use taskhost_core::time::{Time, format_duration, parse_duration};

use super::check_message;

/// How many due times are looked at.
const WALKED_PLACES: usize = 20;

/// What the lines of an input are, read as schedules and their bounds.
#[derive(Default)]
struct Read {
    schedules: Vec<Schedule>,
    times: Vec<Time>,
}

pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut read = Read::default();
    for line in text.lines() {
        read.durations(line);
        read.times(line);
        read.crons(line);
        names(line);
    }
    read.timetables();
}

impl Read {
    fn durations(&mut self, line: &str) {
        match parse_duration(line) {
            // What is longer than all time there is, is refused wherever a duration is given.
            Ok(duration) if duration > Duration::from_nanos(i64::MAX.cast_unsigned()) => {}
            Ok(duration) => {
                let written = format_duration(duration);
                assert_eq!(parse_duration(&written), Ok(duration), "{written}");
                assert_eq!(format_duration(parse_duration(&written).expect("as before")), written);
            }
            Err(error) => check_message(&error.to_string()),
        }
        match Interval::parse(line) {
            Ok(interval) => {
                assert!((MIN_INTERVAL..=MAX_INTERVAL).contains(&interval.get()), "{interval:?}");
                // A phase below the interval, and whether it is aligned: by what was written.
                let phase = interval.get().mul_f64((line.len() % 5) as f64 / 5.0);
                self.add(Schedule::Every(Every { interval, phase, align: line.len().is_multiple_of(2) }));
                self.add(Schedule::Delay(interval));
            }
            Err(error) => check_message(&error.to_string()),
        }
    }

    fn times(&mut self, line: &str) {
        match parse_time(line) {
            Ok(time) => {
                assert_eq!(parse_time(&time.to_string()), Ok(time));
                self.times.push(time);
                self.add(Schedule::At(time));
            }
            Err(error) => check_message(&error.to_string()),
        }
    }

    fn crons(&mut self, line: &str) {
        let (cron, timezone) = match line.split_once(';') {
            Some((cron, timezone)) => (cron, Some(timezone)),
            None => (line, None),
        };
        if let Some(timezone) = timezone {
            match Zone::parse(timezone) {
                Ok(zone) => assert_eq!(Zone::parse(zone.name()).as_ref().map(Zone::name), Ok(zone.name())),
                Err(error) => check_message(&error.to_string()),
            }
        }
        let (cron, timezone) = (Some(cron.to_owned()), timezone.map(str::to_owned));
        match Schedule::parse(ScheduleText { cron, timezone, ..ScheduleText::default() }, &Zone::utc()) {
            Ok(schedule) => self.add(schedule),
            Err(error) => check_message(&error.to_string()),
        }
    }

    fn add(&mut self, schedule: Schedule) {
        // As it is written and as it is stored, it reads back the same.
        assert_eq!(Schedule::parse(schedule.to_text(), &Zone::utc()), Ok(schedule.clone()));
        let stored = serde_json::to_string(&schedule).expect("a schedule is JSON");
        assert_eq!(serde_json::from_str::<Schedule>(&stored).expect(&stored), schedule);
        if self.schedules.len() < MAX_SCHEDULES {
            self.schedules.push(schedule);
        }
    }

    /// Each schedule alone and all together, from the first time of the input, within bounds made of the others.
    fn timetables(&self) {
        let mut times = self.times.iter().copied();
        let from = times.next().unwrap_or(Time(1_800_000_000_000_000_000));
        let anchor = times.next().unwrap_or(from);
        let bounds = (times.next(), times.next());
        for one in &self.schedules {
            timetable(
                &Timetable { schedules: std::slice::from_ref(one), anchor, starts_at: None, expires_at: None },
                from,
            );
        }
        let all = Timetable { schedules: &self.schedules, anchor, starts_at: None, expires_at: None };
        timetable(&all, from);
        timetable(&Timetable { starts_at: bounds.0, expires_at: bounds.1, ..all }, from);
        for warning in all.warnings(from, Duration::from_secs(60), None) {
            check_message(&warning.to_string());
        }
    }
}

fn timetable(table: &Timetable<'_>, from: Time) {
    let mut places = Vec::new();
    let mut after = from;
    while places.len() < WALKED_PLACES
        && let Some(place) = table.next_after(after)
    {
        assert!(place.due > after, "{table:?}: {} comes after {after}", place.due);
        assert!(table.starts_at.is_none_or(|start| place.due.0 >= start.0.saturating_sub(1)), "{table:?}: {place:?}");
        assert!(table.expires_at.is_none_or(|end| place.due < end), "{table:?}: {place:?}");
        after = place.due;
        places.push(place);
    }
    let Some(last) = places.last() else { return };
    let due_times: Vec<Time> = places.iter().filter(|place| place.gap.is_none()).map(|place| place.due).collect();
    assert_eq!(table.newest_until(from, last.due), due_times.last().copied(), "{table:?} after {from}");
    let nonexistent: u64 = places.iter().filter_map(|place| place.gap.as_ref()).map(|gap| gap.times).sum();
    let passed = table.count_between(from, last.due);
    assert_eq!((passed.due, passed.nonexistent), (due_times.len() as u64, nonexistent), "{table:?} after {from}");
    for due in due_times {
        assert_eq!(parse_time(&table.local(due)), Ok(due), "{table:?}");
    }
}

fn names(line: &str) {
    match TaskName::new(line) {
        Ok(name) => {
            assert_eq!(TaskName::new(name.as_str()), Ok(name.clone()));
            check_message(name.as_str());
        }
        Err(error) => check_message(&error.to_string()),
    }
    read_back::<RunId>(line);
    read_back::<Outcome>(line);
    read_back::<Sha256>(line);
    if let Err(error) = line.parse::<Selector>() {
        check_message(&error.to_string());
    }
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    match check_label(key, value) {
        Ok(()) => {
            // What a label may be, a selector can pick.
            let labels = [(key.to_owned(), value.to_owned())].into();
            let selector: Selector = format!("{key}={value}").parse().expect("a label can be selected");
            assert!(selector.matches(&labels), "{line}");
        }
        Err(error) => check_message(&error.to_string()),
    }
}

/// What is read is written so that it reads back the same.
fn read_back<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            assert_eq!(written.parse::<T>().ok(), Some(value), "{written}");
        }
        Err(error) => check_message(&error.to_string()),
    }
}
