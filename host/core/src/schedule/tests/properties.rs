//! Rules that hold for all schedules, on schedules made by chance (with a fixed seed).

use std::collections::HashSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::schedule::pattern::Pattern;

const MINUTE: i64 = 60_000_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// Zones, each with days on which its clock is changed.
const ZONES: [(&str, &[&str]); 9] = [
    ("Europe/Berlin", &["2027-03-28T01:00:00Z", "2027-10-31T01:00:00Z"]),
    ("America/New_York", &["2027-03-14T07:00:00Z", "2027-11-07T06:00:00Z"]),
    ("America/St_Johns", &["2006-04-02T03:31:00Z", "2006-10-29T02:31:00Z"]),
    ("Australia/Lord_Howe", &["2027-04-03T15:00:00Z", "2027-10-02T15:30:00Z"]),
    ("America/Sao_Paulo", &["2018-11-04T03:00:00Z", "2018-02-18T02:00:00Z"]),
    ("Asia/Beirut", &["2027-03-27T22:00:00Z", "2027-10-30T21:00:00Z"]),
    ("Pacific/Apia", &["2011-12-30T10:00:00Z", "2012-03-31T14:00:00Z"]),
    ("Africa/Casablanca", &["2027-02-07T02:00:00Z", "2027-03-14T02:00:00Z"]),
    ("Asia/Kolkata", &["2027-03-14T02:00:00Z"]),
];

fn expression(chance: &mut StdRng) -> String {
    let minute = ["*", "0", "30", "*/7", "*/20", "15-45/10", "0,59", "5,35"].choose(chance);
    let hour = ["*", "*", "0", "2", "1-3", "*/6", "0,23", "2,14"].choose(chance);
    let day = ["*", "*", "*", "*/2", "28-31", "L", "LW", "15W", "1,30"].choose(chance);
    let month = ["*", "*", "*", "*", "3,10", "2-4", "NOV"].choose(chance);
    let weekday = ["*", "*", "*", "SUN", "1-5", "SUN#1", "SUNL", "+SUN", "7"].choose(chance);
    let fields = [minute, hour, day, month, weekday].map(|field| *field.expect("some"));
    let expression = fields.join(" ");
    // Some never come, as `15W` is no Sunday.
    if Cron::parse(&expression, Zone::utc()).is_ok() { expression } else { self::expression(chance) }
}

/// What a clock on the wall shows: each minute of a stretch, with its local time. Both zones and stretches here have whole minutes.
fn watch(zone: &str, from: Time, days: i64) -> Vec<(Time, DateTime)> {
    let zone = TimeZone::get(zone).expect(zone);
    let minutes = (0..days * DAY / MINUTE).map(|minute| Time(from.0 + minute * MINUTE));
    minutes.map(|time| (time, zone.to_datetime(time.to_timestamp()))).collect()
}

/// The places by watching the clock: a time is due when the clock first shows one that matches, and what it jumps over is a gap.
fn places_by_watching(parsed: &croner::Cron, shown: &[(Time, DateTime)]) -> Vec<(Time, u64)> {
    let matches = |local: &DateTime| parsed.is_time_matching(local).expect("a time");
    let minute = jiff::SignedDuration::from_mins(1);
    let mut seen = HashSet::new();
    let mut places = Vec::new();
    let mut newest = shown[0].1;
    for (time, local) in shown {
        let mut skipped = 0;
        let mut missing = newest + minute;
        while missing < *local {
            skipped += u64::from(matches(&missing));
            missing += minute;
        }
        if skipped > 0 {
            places.push((Time(time.0 - 1), skipped));
        }
        newest = newest.max(*local);
        if seen.insert(*local) && matches(local) {
            places.push((*time, 0));
        }
    }
    places
}

fn croner(expression: &str) -> croner::Cron {
    let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    parser.parse(expression).expect(expression)
}

#[test]
fn cron_is_due_when_the_clock_on_the_wall_first_shows_its_times() {
    let mut chance = StdRng::seed_from_u64(1);
    for round in 0..400 {
        let (name, changes) = ZONES[round % ZONES.len()];
        let change = time(changes.choose(&mut chance).expect("some"));
        let from = Time(change.0 - 2 * DAY);
        let expression = expression(&mut chance);
        let schedules = [cron(&expression, name)];
        let table = timetable(&schedules);
        let shown = watch(name, from, 4);
        let expected = places_by_watching(&croner(&expression), &shown);
        let (first, last) = (from, Time(from.0 + 4 * DAY - MINUTE));

        let slots = std::iter::successors(table.next_after(Time(first.0 - 1)), |slot| table.next_after(slot.due));
        let slots = slots.take_while(|slot| slot.due <= last);
        let slots: Vec<_> = slots.map(|slot| (slot.due, slot.gap.map_or(0, |gap| gap.times))).collect();
        assert_eq!(slots, expected, "{expression} in {name} from {from}");

        for _ in 0..20 {
            // At places, and just beside them, too.
            let mut any = || match expected.choose(&mut chance).filter(|_| chance.random()) {
                Some((place, _)) => Time(place.0 + chance.random_range(-1..=1)),
                None => Time(chance.random_range(first.0..last.0)),
            };
            let (after, until) = (any(), any());
            let within: Vec<_> = expected.iter().filter(|(due, _)| after < *due && *due <= until).collect();
            let told = format!("{expression} in {name} after {after} until {until}");
            let next = table.next_after(after).map(|slot| slot.due).filter(|due| *due <= until);
            assert_eq!(next, within.first().map(|(due, _)| *due), "{told}");
            let newest = within.iter().rfind(|(_, skipped)| *skipped == 0).map(|(due, _)| *due);
            assert_eq!(table.newest_until(after, until), newest, "{told}");
            let due = within.iter().filter(|(_, skipped)| *skipped == 0).count() as u64;
            let nonexistent = within.iter().map(|(_, skipped)| skipped).sum();
            assert_eq!(table.count_between(after, until), Passed { due, nonexistent }, "{told}");
        }
    }
}

#[test]
fn a_pattern_finds_and_counts_what_croner_finds() {
    let mut chance = StdRng::seed_from_u64(2);
    for _ in 0..300 {
        let second = ["0", "*", "*/17", "30"].choose(&mut chance).expect("some");
        let expression = format!("{second} {}", expression(&mut chance));
        let parsed = croner(&expression);
        let pattern = Pattern::of(&parsed).expect("it comes");
        let start = TimeZone::UTC
            .to_datetime(jiff::Timestamp::from_second(chance.random_range(-9e9 as i64..9e9 as i64)).expect("in range"));
        let (mut forth, mut back) = (start, start);
        for found in 0..20 {
            forth = parsed.find_next_occurrence(&forth, false).expect("a next one");
            let after = jiff::SignedDuration::from_secs(1);
            let place = format!("{expression} number {found} from {start}");
            let last = pattern.last_before(forth).expect("one before");
            assert_eq!(pattern.next_from(last + after), Some(forth), "{place}");
            assert_eq!(pattern.count(start + after..forth), found, "{place}");
            back = parsed.find_previous_occurrence(&back, false).expect("one before");
            assert_eq!(pattern.count(back..start), found + 1, "{place}");
            let next = pattern.next_from(back + after).expect("a next one");
            assert_eq!(pattern.last_before(next), Some(back), "{place}");
        }
    }
}

#[test]
fn counting_and_the_newest_agree_with_walking_for_any_schedules() {
    let mut chance = StdRng::seed_from_u64(3);
    for round in 0..300 {
        let start = time("2027-03-20T00:00:00Z").0;
        let whole = |time: i64| time - time.rem_euclid(10 * MINUTE);
        let mut schedules = Vec::new();
        for _ in 0..chance.random_range(1..4) {
            schedules.push(match chance.random_range(0..5) {
                0 => cron(&expression(&mut chance), ZONES[round % 4].0),
                1 => cron(&expression(&mut chance), ZONES[chance.random_range(0..ZONES.len())].0),
                2 => Schedule::At(Time(whole(start + chance.random_range(0..20 * DAY)))),
                _ => {
                    let interval =
                        Interval::new(Duration::from_secs(60 * chance.random_range(7..2000))).expect("in range");
                    let phase = Duration::from_secs(60 * chance.random_range(0..7));
                    Schedule::Every(Every { interval, phase, align: chance.random() })
                }
            });
        }
        let bound = |chance: &mut StdRng| {
            chance.random_bool(0.2).then(|| Time(whole(start + chance.random_range(0..20 * DAY))))
        };
        let table = Timetable {
            schedules: &schedules,
            anchor: Time(whole(start + chance.random_range(-DAY..10 * DAY))),
            starts_at: bound(&mut chance),
            expires_at: bound(&mut chance),
        };
        let after = Time(start + chance.random_range(0..10 * DAY));
        let until = Time(after.0 + chance.random_range(0..10 * DAY));
        let slots = std::iter::successors(table.next_after(after), |slot| table.next_after(slot.due));
        let slots: Vec<_> = slots.take_while(|slot| slot.due <= until).collect();
        let told = format!("{table:?} after {after} until {until}");
        assert!(slots.windows(2).all(|pair| pair[0].due < pair[1].due), "{told}");
        let due = slots.iter().filter(|slot| slot.gap.is_none());
        assert_eq!(table.newest_until(after, until), due.clone().next_back().map(|slot| slot.due), "{told}");
        let nonexistent = slots.iter().filter_map(|slot| slot.gap.as_ref()).map(|gap| gap.times).sum();
        assert_eq!(table.count_between(after, until), Passed { due: due.count() as u64, nonexistent }, "{told}");
    }
}
