//! Cron expressions in a time zone.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::timetable::Next;
use super::zone::{Place, Shift};
use super::{ScheduleError, Zone, told};
use crate::time::Time;

/// The longest expression, in bytes.
pub const MAX_CRON_BYTES: usize = 256;

/// A cron expression in a time zone. A local time that exists twice, since the clock is set back, is due once, at the first; one that
/// does not exist is not due, and has a [`super::Gap`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "CronText", into = "CronText")]
pub struct Cron {
    expression: String,
    zone: Zone,
    pattern: Arc<Pattern>,
}

/// How it is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CronText {
    expression: String,
    timezone: Zone,
}

/// Names that stand for an expression.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A field, and what it takes.
struct Field {
    name: &'static str,
    takes: &'static str,
    letters: fn(&str) -> bool,
}

const FIELDS: [Field; 6] = [
    Field { name: "second", takes: "0 to 59", letters: no_letters },
    Field { name: "minute", takes: "0 to 59", letters: no_letters },
    Field { name: "hour", takes: "0 to 23", letters: no_letters },
    Field {
        name: "day of the month",
        takes: "1 to 31, `L` (the last), `15W` (the weekday nearest the 15th), `LW`",
        letters: day_letters,
    },
    Field { name: "month", takes: "1 to 12 or JAN to DEC", letters: month_letters },
    Field {
        name: "day of the week",
        takes: "0 to 7 or SUN to SAT (0 and 7 are Sunday), `5L` (the last Friday), `5#2` (the second), `+FRI` (and the day of the month too)",
        letters: weekday_letters,
    },
];

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Cron {
    /// Reads an expression of 5 or 6 fields, or a nickname like `@daily`.
    pub fn parse(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let refuse = |problem: String| ScheduleError::Cron { expression: told(expression), problem };
        if expression.len() > MAX_CRON_BYTES {
            return Err(refuse(format!("has {} bytes; at most {MAX_CRON_BYTES} are allowed", expression.len())));
        }
        let pattern = KNOWN.find_or(expression, || read(expression)).map_err(refuse)?;
        // As the fields are parted by white space, how much of it there was says nothing.
        let expression = expression.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { expression, zone, pattern })
    }

    /// As it was written, with single spaces.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The first due time after `after`, or the change of the clock that skips it.
    pub(super) fn next_after(&self, after: Time) -> Option<Next> {
        let mut from = self.zone.first_after(after)?;
        loop {
            let local = self.pattern.next_from(from)?;
            let (due, gap) = match self.zone.place(local)? {
                Place::At(due) => {
                    from = local.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
                    (due, false)
                }
                Place::Nowhere(shift) => {
                    from = shift.skipped().end;
                    (shift.eve()?, true)
                }
            };
            if due > after {
                return Some(Next { due, gap });
            }
        }
    }

    /// The last due time after `after` and not after `until`.
    pub(super) fn newest_until(&self, after: Time, until: Time) -> Option<Time> {
        let mut before = self.zone.first_after(until)?;
        loop {
            let local = self.pattern.last_before(before)?;
            before = match self.zone.place(local)? {
                Place::At(due) if due <= until => return (due > after).then_some(due),
                Place::At(_) => local,
                Place::Nowhere(shift) if shift.eve()? < after => return None,
                Place::Nowhere(shift) => shift.skipped().start,
            };
        }
    }

    /// How many due times there are after `after` and not after `until`: all local times of that stretch but those that do not exist.
    pub(super) fn count_between(&self, after: Time, until: Time) -> u64 {
        let (Some(from), Some(to)) = (self.zone.first_after(after), self.zone.first_after(until)) else { return 0 };
        let skipped: u64 = self.zone.shifts(after, until).map(|shift| self.pattern.count(shift.skipped())).sum();
        self.pattern.count(from..to).saturating_sub(skipped)
    }

    /// Where times are skipped that would be due, after `after` and not after `until`.
    pub(super) fn gaps_between(&self, after: Time, until: Time) -> impl Iterator<Item = Time> + '_ {
        // The place of a gap is just before the change that makes it.
        let next = |time: Time| Time(time.0.saturating_add(1));
        let shifts = self.zone.shifts(next(after), next(until));
        shifts.filter(|shift| self.pattern.count(shift.skipped()) > 0).filter_map(Shift::eve)
    }

    /// The change of the clock that has its place at `eve`, if it skips times that would be due.
    pub(super) fn gap_at(&self, eve: Time) -> Option<Shift> {
        self.zone.shift_after_eve(eve).filter(|shift| self.pattern.count(shift.skipped()) > 0)
    }
}

/// How many texts are remembered with what they come to.
const MAX_KNOWN: usize = 4096;

/// What texts in use come to. Reading one takes 35 µs, of 100,000 tasks most share a few, and equal ones share the result.
static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);

#[derive(Default)]
struct Known {
    /// Locked for a look, by who adds or loads tasks.
    by_text: Mutex<HashMap<Box<str>, Weak<Pattern>>>,
}

impl Known {
    fn find_or(&self, text: &str, read: impl FnOnce() -> Result<Pattern, String>) -> Result<Arc<Pattern>, String> {
        let known = || self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = known().get(text).and_then(Weak::upgrade) {
            return Ok(pattern);
        }
        let pattern = Arc::new(read()?);
        let mut known = known();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, pattern| pattern.strong_count() > 0);
        }
        if known.len() < MAX_KNOWN {
            known.insert(text.into(), Arc::downgrade(&pattern));
        }
        Ok(pattern)
    }
}

/// Reads an expression, or says what is wrong with it.
fn read(expression: &str) -> Result<Pattern, String> {
    if let Some(strange) = expression.chars().find(|c| !(c.is_ascii_graphic() || matches!(c, ' ' | '\t'))) {
        return Err(format!("has the character U+{:04X}, which means nothing in one", u32::from(strange)));
    }
    let text = expression.trim().to_ascii_uppercase();
    if text.is_empty() {
        return Err("is empty; it has five fields, as in `0 3 * * *`".to_owned());
    }
    if text.contains('=') {
        return Err("has a `=`; the time zone stands beside it, as `timezone`".to_owned());
    }
    let text = if text.starts_with('@') { nickname(&text)?.to_owned() } else { text };
    let mut fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields.len() {
        5 => fields.insert(0, "0"),
        6 => {}
        7 => {
            return Err(
                "has 7 fields, and a year can't be one; use `at` for a single time, or `starts_at` and `expires_at`"
                    .to_owned(),
            );
        }
        count => {
            return Err(format!(
                "has {count} fields; it has five (minute, hour, day of the month, month, day of the week), or six with the second first"
            ));
        }
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        let strange = text.split(',').find(|item| item.is_empty() || !(field.letters)(item));
        if let Some(item) = strange {
            return Err(misfit(item, field));
        }
    }
    let listed = |day| fields[3].split(',').any(|item| item == day);
    if listed("L") && listed("LW") {
        return Err("has both `L` and `LW` for its day of the month; give each a schedule of its own".to_owned());
    }
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    let cron = match parser.parse(&fields.join(" ")) {
        Ok(cron) => cron,
        Err(error) => return Err(first_misfit(&parser, &fields).unwrap_or_else(|| format!("is invalid: {error}"))),
    };
    Pattern::of(&cron).ok_or_else(|| "never comes: no calendar has such a day".to_owned())
}

fn nickname(text: &str) -> Result<&'static str, String> {
    if text == "@REBOOT" {
        return Err("names no time; a task can't wait for its host to start, only for a time like `@daily`".to_owned());
    }
    if text.starts_with("@EVERY") {
        return Err("is a rate; give that as `every`".to_owned());
    }
    let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let names = || NICKNAMES.map(|(name, _)| name).join(", ");
    known.map(|(_, fields)| *fields).ok_or_else(|| format!("is no nickname; those are {}", names()))
}

/// What `croner` refuses, told by trying each item of each field on its own.
fn first_misfit(parser: &CronParser, fields: &[&str]) -> Option<String> {
    for (index, field) in FIELDS.iter().enumerate() {
        for item in fields[index].split(',') {
            let mut alone = ["*"; FIELDS.len()];
            alone[index] = item;
            if parser.parse(&alone.join(" ")).is_err() {
                return Some(misfit(item, field));
            }
        }
    }
    None
}

fn misfit(item: &str, field: &Field) -> String {
    let Field { name, takes, .. } = field;
    if item.is_empty() {
        return format!("has an empty item in the list of its {name}");
    }
    format!(
        "has `{}` for its {name}; that is {takes}, ranges upwards like `2-5`, steps like `*/2` or `2-10/2`, and lists of them",
        told(item)
    )
}

// `croner` puts numbers for names wherever they stand, so that `JAN1` would be November and `MON` a minute. What letters may stand where
// is therefore checked before.

fn no_letters(item: &str) -> bool {
    !item.contains(|c: char| c.is_ascii_alphabetic())
}

fn day_letters(item: &str) -> bool {
    let item = item.strip_suffix('W').unwrap_or(item);
    item == "L" || no_letters(item)
}

fn month_letters(item: &str) -> bool {
    range_letters(item, &MONTHS)
}

fn weekday_letters(item: &str) -> bool {
    let item = item.strip_prefix('+').unwrap_or(item);
    let (item, last) = match item.split_once('#') {
        Some((days, nth)) => (days, matches!(nth, "L" | "1" | "2" | "3" | "4" | "5")),
        None => (item.strip_suffix('L').unwrap_or(item), item != "L"),
    };
    last && range_letters(item, &WEEKDAYS)
}

fn range_letters(item: &str, names: &[&str]) -> bool {
    let (range, step) = item.split_once('/').unwrap_or((item, ""));
    no_letters(step) && range.split('-').all(|end| names.contains(&end) || no_letters(end))
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone) == (&other.expression, &other.zone)
    }
}

impl Eq for Cron {}

impl Hash for Cron {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.expression, &self.zone).hash(state);
    }
}

impl TryFrom<CronText> for Cron {
    type Error = ScheduleError;

    fn try_from(CronText { expression, timezone }: CronText) -> Result<Self, ScheduleError> {
        Self::parse(&expression, timezone)
    }
}

impl From<Cron> for CronText {
    fn from(cron: Cron) -> Self {
        Self { expression: cron.expression, timezone: cron.zone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_in_use_are_read_once() {
        let known = Known::default();
        let daily = known.find_or("0 3 * * *", || read("0 3 * * *")).expect("an expression");
        let again = known.find_or("0 3 * * *", || panic!("it is known")).expect("an expression");
        assert!(Arc::ptr_eq(&daily, &again));
        drop((daily, again));
        assert!(known.find_or("0 3 * * *", || Err("is read again".to_owned())).is_err());
    }

    #[test]
    fn no_more_texts_are_remembered_than_the_bound() {
        let known = Known::default();
        let hold = |number: usize| {
            let read = || read("0 3 * * *");
            known.find_or(&number.to_string(), read).expect("an expression")
        };
        let held: Vec<_> = (0..=MAX_KNOWN).map(hold).collect();
        assert_eq!(known.by_text.lock().expect("no panic").len(), MAX_KNOWN);
        drop(held);
        hold(0);
        hold(MAX_KNOWN + 1);
        assert_eq!(known.by_text.lock().expect("no panic").len(), 2, "those that nobody uses any more give way");
    }
}
