//! The host's lives: how one ends, in good order or not, and the next begins.

use super::*;
use crate::check::Mark;

impl World {
    /// Stops in good order, as the supervisor does. Answers whether the last write was taken.
    pub(super) fn stop(&mut self) -> Result<bool, String> {
        self.halted = true;
        for task in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.step(task, Input::Halt)?;
        }
        let grace_over = self.mono + SHUTDOWN_GRACE;
        while self.is_busy() && self.mono < grace_over {
            self.micro(grace_over)?;
        }
        for (task, key) in self.flights.iter().map(|flight| (flight.task, flight.key)).collect::<Vec<_>>() {
            self.cancel(task, key);
            self.stop_run(task, key);
        }
        while self.is_busy() {
            ensure!(self.micro(grace_over + SHUTDOWN_GRACE)?, "runs go on after they were stopped");
            for (task, key) in self.flights.iter().map(|flight| (flight.task, flight.key)).collect::<Vec<_>>() {
                self.cancel(task, key);
                self.stop_run(task, key);
            }
        }
        for task in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.take_state(task)?;
        }
        self.waiting.journal.append(&mut self.journal);
        if self.refuse > 0 {
            return Ok(false);
        }
        self.store.write(&mut self.waiting);
        self.store.write_journal(&mut self.waiting)?;
        let now = self.now();
        self.store.host = Some(HostRun { started: self.started, seen: now, stopped: Some(now), claimed: now });
        Ok(true)
    }

    fn is_busy(&self) -> bool {
        !(self.flights.is_empty() && self.to_note.is_empty() && self.noting.is_empty())
    }

    /// The host is gone, and comes back after a while.
    pub(super) fn go_down(&mut self, in_good_order: bool, down: Duration, by: i64) -> Check {
        if !in_good_order && self.tick_stage == 0 && self.tick < self.mono {
            // The claims that were left out.
            let since = (self.mono - self.tick) % SECOND;
            let seen = Time(self.now().0 - since);
            let claimed = self.to_claim(seen);
            self.store.host = Some(HostRun { started: self.started, seen, stopped: None, claimed });
        }
        self.tasks.clear();
        self.wakes.clear();
        self.restless.clear();
        self.dirty = false;
        self.journal.clear();
        self.waiting = Batch::default();
        self.refuse = 0;
        self.flights.clear();
        self.cancelled.clear();
        self.to_note.clear();
        self.noting.clear();
        self.wishes.clear();
        self.catch_ups.clear();
        self.halted = false;
        self.mono += down.as_nanos() as i64;
        self.set_clock(by);
        self.life += 1;
        self.tick = self.mono + SECOND;
        self.tick_stage = 0;
        let now = self.now();
        let outage = Outage::after(self.store.host, now);
        self.started = now;
        self.last_now = now;
        self.next_catch_up = now;
        self.claim();
        self.claimed = now.saturating_add(CLAIM_AHEAD);
        self.on_time = self.claimed;
        let definitions: Vec<_> = self.store.definitions.values().cloned().collect();
        self.store_adds_up()?;
        for (task, definition) in definitions {
            self.restore(task, definition, &outage)?;
        }
        Ok(())
    }

    fn restore(&mut self, task: usize, definition: Definition, outage: &Outage) -> Check {
        let id = definition.id;
        let now = outage.up_at;
        let (state, mark) = self.store.state_of(id)?.unwrap_or((UnitState::default(), Mark::default()));
        let starts = self.store.starts_of(id);
        let oracle = Oracle::of(&definition);
        let truth = self.truths.entry(id).or_default();
        truth.take_back(mark, &definition.spec);
        let before = Seen::stored(&oracle, &state, &starts, definition.paused.is_some(), now);
        let believable = now.saturating_add(taskhost_core::unit::CLOCK_SET_BACK);
        if state.accounted > believable || truth.began_after(believable) || before.lies_after(believable) {
            truth.forget_after(now);
        }
        if crate::check::is_again(&definition.spec) {
            truth.begin_again_after(now, &before);
        }
        let mut actions = Vec::new();
        let told = self.story.is_some().then(|| format!("{outage:?}, {state:?}, {starts:?}"));
        let unit = Unit::restored(&definition, state, starts, outage, &mut actions);
        self.tell(|| format!("t{task} restored -> {actions:?} of {}", told.unwrap_or_default()));
        let truth = self.truths.entry(id).or_default();
        let seen = truth.step(&oracle, &before, None, &actions, &unit, now);
        seen.map_err(|why| format!("t{task}, restored: {why}"))?;
        let abandoned =
            |action: &&Action| matches!(action, Action::Record { record, .. } if record.outcome == Outcome::Abandoned);
        if let Some(action) = actions.iter().find(abandoned).filter(|_| outage.claimed.is_none()) {
            return Err(format!("t{task}, restored after a stop in good order: abandoned: {action:?}"));
        }
        self.register(task, definition, unit, true)?;
        for action in actions {
            if let Some((key, began, report)) = self.act(task, action)? {
                self.step(task, Input::Finished { key, began, report })?;
            }
        }
        Ok(())
    }
}
