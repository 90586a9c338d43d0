//! Which due times a task has: what the schedules' timetable says, and the time of adding where that is due too.

use std::sync::Arc;

use taskhost_core::ports::Definition;
use taskhost_core::schedule::{Passed, Slot};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;

/// The due times of a task, as its timetable has them.
#[derive(Clone)]
pub(crate) struct Oracle {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) anchor: Time,
    pub(crate) at_once: bool,
}

impl Oracle {
    pub(crate) fn of(definition: &Definition) -> Self {
        let Definition { spec, added_at, due_at_once, .. } = definition;
        Self { spec: Arc::clone(spec), anchor: *added_at, at_once: *due_at_once }
    }

    /// Before the first due time that it may have.
    pub(crate) fn beginning(&self) -> Time {
        Time(self.anchor.0 - i64::from(self.at_once))
    }

    pub(crate) fn next(&self, after: Time) -> Option<Slot> {
        let next = self.spec.timetable(self.anchor).next_after(after);
        let at_once = (self.at_once && after < self.anchor).then_some(Slot { due: self.anchor, gap: None });
        match (next, at_once) {
            (Some(next), Some(at_once)) if next.due < at_once.due => Some(next),
            (next, at_once) => at_once.or(next),
        }
    }

    pub(crate) fn is_slot(&self, due: Time) -> bool {
        self.next(Time(due.0 - 1)).is_some_and(|slot| slot.due == due && slot.gap.is_none())
    }

    pub(crate) fn count(&self, after: Time, until: Time) -> Passed {
        let mut passed = self.spec.timetable(self.anchor).count_between(after, until);
        let extra = self.at_once && after < self.anchor && self.anchor <= until;
        let given = || self.spec.timetable(self.anchor).next_after(Time(self.anchor.0 - 1));
        let is_extra = extra && given().is_none_or(|slot| slot.due != self.anchor || slot.gap.is_some());
        passed.due += u64::from(is_extra);
        passed
    }

    /// The due times after `after` and not after `until`.
    pub(crate) fn list(&self, after: Time, until: Time) -> Vec<Time> {
        let mut list = Vec::new();
        let mut from = after;
        while let Some(slot) = self.next(from).filter(|slot| slot.due <= until) {
            from = slot.due;
            if slot.gap.is_none() {
                list.push(slot.due);
            }
        }
        list
    }
}
