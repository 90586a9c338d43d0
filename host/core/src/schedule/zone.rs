//! Time zones by their IANA names, and how local times stand on the line of time.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use serde::{Deserialize, Serialize};

use super::{ScheduleError, told};
use crate::time::Time;

/// An IANA time zone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// Where a local time stands.
pub(super) enum Place {
    /// It exists; of one that exists twice, the first.
    At(Time),
    /// It does not exist, since the clock was set forward over it.
    Nowhere(Shift),
}

/// A change of a zone's offset from UTC: its clock is set forward or back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    pub(super) at: Timestamp,
    before: Offset,
    after: Offset,
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The zone of a name like `Europe/Berlin`, in any case; it keeps the name as IANA writes it.
    pub fn parse(name: &str) -> Result<Self, ScheduleError> {
        if name.eq_ignore_ascii_case("UTC") {
            // Most hosts know no other, and need no database of zones.
            return Ok(Self::utc());
        }
        let unknown = || ScheduleError::Zone(told(name));
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        let name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self { name, zone })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A time as RFC 3339 with the offset that the zone has then; in UTC where that has seconds, as most had before there were time
    /// zones, since RFC 3339 can't say them.
    pub(super) fn show(&self, time: Time) -> String {
        let timestamp = time.to_timestamp();
        match self.zone.to_offset(timestamp) {
            offset if offset.seconds() % 60 == 0 => timestamp.display_with_offset(offset).to_string(),
            _ => timestamp.to_string(),
        }
    }

    /// Where a local time stands; `None` out of range.
    pub(super) fn place(&self, local: DateTime) -> Option<Place> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local).offset();
        match ambiguous {
            // The offset before the clock was set back is that of the first pass.
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                in_range(offset.to_timestamp(local).ok()?).map(Place::At)
            }
            AmbiguousOffset::Gap { before, after } => {
                let shift = self.shift_between(after.to_timestamp(local).ok()?, before.to_timestamp(local).ok()?)?;
                Some(Place::Nowhere(shift))
            }
        }
    }

    /// The first local time, in whole seconds, that comes after `time`: those before it have been, or never are.
    pub(super) fn first_after(&self, time: Time) -> Option<DateTime> {
        let now = time.to_timestamp();
        let offset = self.zone.to_offset(now);
        let local = offset.to_datetime(now);
        // In the second pass all is over that comes twice.
        if let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(local).offset()
            && offset == after
            && let Some(shift) = self.shift_between(before.to_timestamp(local).ok()?, now)
        {
            return Some(shift.repeated().end);
        }
        let second = local.date().at(local.hour(), local.minute(), local.second(), 0);
        second.checked_add(jiff::SignedDuration::from_secs(1)).ok()
    }

    /// The changes of the offset after `after` and not after `until`.
    pub(super) fn shifts(&self, after: Time, until: Time) -> impl Iterator<Item = Shift> + '_ {
        let mut offset = self.zone.to_offset(after.to_timestamp());
        let changes = self.zone.following(after.to_timestamp());
        let changes = changes.take_while(move |change| change.timestamp() <= until.to_timestamp());
        let shifts = changes.map(move |change| {
            let before = std::mem::replace(&mut offset, change.offset());
            Shift { at: change.timestamp(), before, after: change.offset() }
        });
        shifts.filter(|shift| shift.before != shift.after)
    }

    /// The change of the offset one nanosecond after `eve`, if there is one.
    pub(super) fn shift_after_eve(&self, eve: Time) -> Option<Shift> {
        let at = eve.0.checked_add(1).map(Time)?.to_timestamp();
        let (before, after) = (self.zone.to_offset(eve.to_timestamp()), self.zone.to_offset(at));
        (before != after).then_some(Shift { at, before, after })
    }

    /// The change of the offset after `from` and not after `until`, between which there is just one.
    fn shift_between(&self, from: Timestamp, until: Timestamp) -> Option<Shift> {
        let before = self.zone.to_offset(from);
        let (mut same, mut changed) = (from.as_second(), until.as_second());
        let mut after = self.zone.to_offset(until);
        if before == after {
            return None;
        }
        while changed - same > 1 {
            let middle = same + (changed - same) / 2;
            let offset = self.zone.to_offset(Timestamp::from_second(middle).ok()?);
            if offset == before {
                same = middle;
            } else {
                (changed, after) = (middle, offset);
            }
        }
        Some(Shift { at: Timestamp::from_second(changed).ok()?, before, after })
    }
}

impl Shift {
    /// The local times that do not exist; empty if the clock was set back.
    pub(super) fn skipped(self) -> Range<DateTime> {
        self.before.to_datetime(self.at)..self.after.to_datetime(self.at)
    }

    /// The local times that exist twice; empty if the clock was set forward.
    pub(super) fn repeated(self) -> Range<DateTime> {
        self.after.to_datetime(self.at)..self.before.to_datetime(self.at)
    }

    /// The last nanosecond before it, where due times that do not exist have their place.
    pub(super) fn eve(self) -> Option<Time> {
        in_range(self.at)?.0.checked_sub(1).map(Time)
    }
}

/// A time, if it is one of ours: years 1678 to 2261.
fn in_range(timestamp: Timestamp) -> Option<Time> {
    i64::try_from(timestamp.as_nanosecond()).ok().map(Time)
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl TryFrom<String> for Zone {
    type Error = ScheduleError;

    fn try_from(name: String) -> Result<Self, ScheduleError> {
        Self::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}
