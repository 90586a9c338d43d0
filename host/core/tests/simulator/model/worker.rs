//! The worker: fires what is due, begins runs and ends them; and the recorder beside it.

use std::collections::btree_map::Entry;

use super::*;
use crate::check::Begins;
use crate::guest::behave;
use crate::rest::is_at_rest;

impl World {
    /// Lets time pass, with at most so many steps of it.
    pub(super) fn pass(&mut self, time: Duration, steps: u32) -> Check {
        let until = self.mono.saturating_add(time.as_nanos() as i64);
        for _ in 0..steps {
            if !self.micro(until)? {
                break;
            }
        }
        Ok(())
    }

    /// Does the next thing that is to be done until then. Answers whether there was one.
    pub(super) fn micro(&mut self, until: i64) -> Result<bool, String> {
        self.look_at_clock()?;
        if self.fire()? || self.catch_up()? || self.note_starts() || self.grant()? || self.next_mono_event()? {
            return Ok(true);
        }
        self.is_settled()?;
        let now = self.now();
        let walls = self.wakes.iter().flatten().copied().filter(|at| *at > now);
        let stops = self.cancelled.values().filter(|cancelled| !cancelled.stopped).map(|cancelled| cancelled.stop_at);
        let waits = self.catch_ups.front().filter(|_| self.catching_up() < CATCH_UPS_AT_ONCE);
        let walls = walls.chain(stops).chain(waits.map(|_| self.next_catch_up)).min();
        let wall = walls.map_or(i64::MAX, |at| at.0.saturating_sub(self.offset));
        let ends = self.flights.iter().map(|flight| flight.ends);
        let notings = self.noting.iter().map(|noting| noting.ready);
        let next = ends.chain(notings).chain([wall, self.next_tick()]).min().unwrap_or(i64::MAX);
        if next > until {
            self.mono = until;
            return Ok(false);
        }
        self.mono = self.mono.max(next);
        Ok(true)
    }

    /// The recorder works each second. Where nothing waits for it, the simulator leaves out the seconds in which it would only claim
    /// again.
    fn next_tick(&self) -> i64 {
        // What is due and was not fired waits for the claim.
        let now = self.now();
        let claimed_for = self.wakes.iter().enumerate().filter(|(task, _)| self.needs_claim(*task));
        let claimed_for = claimed_for.filter_map(|(_, at)| *at).min();
        let blocked = claimed_for.is_some_and(|at| at <= now);
        let recorded = self.waiting.is_empty() && self.journal.is_empty() && !self.dirty;
        let busy = blocked || self.tick_stage > 0 || !recorded;
        if busy {
            return self.tick;
        }
        let Some(at) = claimed_for else { return i64::MAX };
        let claim_at = at.0.saturating_sub(self.offset).saturating_sub(CLAIM_AHEAD.as_nanos() as i64);
        let seconds = claim_at.saturating_sub(self.tick).max(0).saturating_add(SECOND - 1) / SECOND;
        self.tick.saturating_add(seconds.saturating_mul(SECOND))
    }

    pub(super) fn look_at_clock(&mut self) -> Check {
        let now = self.now();
        let last = std::mem::replace(&mut self.last_now, now);
        if last.since(now) > CLOCK_TOLERANCE {
            for task in self.tasks.keys().copied().collect::<Vec<_>>() {
                self.step(task, Input::ClockSetBack)?;
            }
        }
        Ok(())
    }

    /// Wakes the unit that is due first, if the claim covers it, or stops a run hard.
    fn fire(&mut self) -> Result<bool, String> {
        let now = self.now();
        let stop = self.cancelled.iter().find(|(_, cancelled)| !cancelled.stopped && cancelled.stop_at <= now);
        if let Some((&(task, key), _)) = stop {
            self.stop_run(task, key);
            return Ok(true);
        }
        let due = self.wakes.iter().enumerate().filter_map(|(task, at)| Some(((*at)?, task))).min();
        let may_fire = |(at, task): &(Time, usize)| *at <= now && (*at <= self.claimed || !self.needs_claim(*task));
        let Some((_, task)) = due.filter(may_fire) else { return Ok(false) };
        let Some(live) = self.tasks.get_mut(&task) else { return Ok(false) };
        self.wakes[task] = None;
        let cursor = live.unit.cursor();
        let begun = self.steps;
        self.step(task, Input::Wake)?;
        if let Some(live) = self.tasks.get_mut(&task) {
            let idle =
                self.wakes[task].is_some_and(|at| at <= now) && live.unit.cursor() == cursor && self.steps == begun + 1;
            live.idle_wakes = if idle { live.idle_wakes + 1 } else { 0 };
            ensure!(live.idle_wakes <= MAX_IDLE_WAKES, "t{task} asks to be woken at {now} again and again");
        }
        Ok(true)
    }

    fn needs_claim(&self, task: usize) -> bool {
        self.tasks.get(&task).is_some_and(|live| live.unit.needs_claim())
    }

    /// Whether every task is as one expects of it at rest.
    fn is_settled(&mut self) -> Check {
        let now = self.now();
        let wakes = self.wakes.iter().enumerate().filter_map(|(task, at)| Some(((*at)?, task)));
        let blocked = wakes.filter(|(at, task)| *at <= now && *at > self.claimed && self.needs_claim(*task)).min();
        for task in std::mem::take(&mut self.restless) {
            let Some(live) = self.tasks.get(&task).filter(|live| !live.deleted && !self.halted) else { continue };
            let wake = self.wakes[task];
            if wake.is_some_and(|at| blocked.is_some_and(|blocked| (at, task) >= blocked)) {
                // It waits for the claim, or for one that does.
                self.restless.push(task);
                continue;
            }
            let at_rest = is_at_rest(&live.oracle, &live.unit, wake, self.catch_ups.contains(&task), now);
            at_rest.map_err(|why| format!("t{task} at rest: {why}"))?;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<bool, String> {
        if self.catch_ups.is_empty() || self.catching_up() >= CATCH_UPS_AT_ONCE {
            return Ok(false);
        }
        let now = self.now();
        if now < self.next_catch_up {
            self.next_catch_up = self.next_catch_up.min(now.saturating_add(Duration::from_secs(1)));
            return Ok(false);
        }
        self.next_catch_up = now.saturating_add(CATCH_UP_SPACING);
        if let Some(task) = self.catch_ups.pop_front() {
            self.step(task, Input::CatchUp)?;
        }
        Ok(true)
    }

    /// How many runs that make up for something are going on.
    fn catching_up(&self) -> usize {
        let reason = |flight: &&Flight| {
            let run = self.tasks.get(&flight.task).and_then(|live| live.unit.run(flight.key));
            run.is_some_and(|run| matches!(run.reason, Reason::CatchUp | Reason::Backfill))
        };
        self.flights.iter().filter(reason).count() + self.to_note.len() + self.noting.len()
    }

    fn note_starts(&mut self) -> bool {
        if self.to_note.is_empty() {
            return false;
        }
        let noted = std::mem::take(&mut self.to_note);
        let starts = noted.iter().filter_map(|noted| {
            let run = self.tasks.get(&noted.task)?.unit.run(noted.key)?;
            let progress = Progress::Started { attempt: noted.attempt };
            let (key, reason, trigger, revision) = (run.key, run.reason, run.trigger.clone(), run.revision);
            Some((noted.id, OpenRun { key, reason, trigger, revision, progress }))
        });
        let starts = starts.collect();
        let ready = self.mono + self.random.below(MAX_NOTING.as_nanos() as u64) as i64;
        self.noting.push_back(Noting { ready, durable: false, starts, noted });
        true
    }

    /// Does what tasks ask for beyond their worker, as the supervisor does.
    fn grant(&mut self) -> Result<bool, String> {
        match self.wishes.pop_front() {
            None => return Ok(false),
            Some(Wish::Pause { task, id, pause }) => {
                let same = |live: &&Live| live.definition.id == id && live.definition.paused.is_none();
                if self.present(task).filter(same).is_some() {
                    self.pause(task, Some(pause))?;
                }
            }
            Some(Wish::Trigger { task, trigger }) => {
                if self.present(task).is_some() {
                    self.step(task, Input::Run { overlap: None, trigger: Some(Box::new(trigger)) })?;
                }
            }
        }
        Ok(true)
    }

    /// Something whose time has come by the clock that nobody sets: the end of a run, a start that is noted, the recorder's work.
    fn next_mono_event(&mut self) -> Result<bool, String> {
        let mono = self.mono;
        let ended = self.flights.iter().position(|flight| flight.ends <= mono);
        let noted = self.noting.iter().position(|noting| noting.ready <= mono);
        let tick = self.tick <= mono;
        let ready = [ended.is_some(), noted.is_some(), tick];
        let from = self.random.below(3) as usize;
        let Some(which) = (0..3).map(|n| (n + from) % 3).find(|n| ready[*n]) else { return Ok(false) };
        match (which, ended, noted) {
            (0, Some(at), _) => {
                let Flight { task, key, began, guest, .. } = self.flights.swap_remove(at);
                self.step(task, Input::Finished { key, began, report: guest.report })?;
            }
            (1, _, Some(at)) => self.noted(at)?,
            _ => self.record()?,
        }
        Ok(true)
    }

    /// A write of starts is durable; its runs begin one step later.
    fn noted(&mut self, at: usize) -> Check {
        if !self.noting[at].durable {
            self.noting[at].durable = true;
            let starts = std::mem::take(&mut self.noting[at].starts);
            self.store.note(starts);
            return Ok(());
        }
        let Some(noting) = self.noting.remove(at) else { return Ok(()) };
        for Noted { task, key, attempt, .. } in noting.noted {
            if let Some((key, began, report)) = self.begin(task, key, attempt)? {
                self.step(task, Input::Finished { key, began, report })?;
            }
        }
        Ok(())
    }

    /// Begins an attempt. Answers with its report if it ends at once.
    pub(super) fn begin(
        &mut self,
        task: usize,
        key: RunKey,
        attempt: u32,
    ) -> Result<Option<(RunKey, Time, RunReport)>, String> {
        let now = self.now();
        let cancelled = self.cancelled.get(&(task, key)).map(|cancelled| cancelled.stopped);
        if cancelled == Some(true) {
            return Ok(Some((key, now, RunReport::of(Outcome::Cancelled))));
        }
        let Some(live) = self.tasks.get(&task) else { return Ok(None) };
        let Some(run) = live.unit.run(key) else { return Ok(None) };
        let id = live.definition.id;
        let truth = self.truths.entry(id).or_default();
        // A start may be noted while the clock is set.
        let on_time = if self.mono - self.clock_set < SECOND { Time(i64::MAX) } else { self.on_time };
        let begins = Begins { key, attempt, reason: run.reason, life: self.life };
        let begun = truth.begin(&begins, &live.oracle, now, on_time);
        begun.map_err(|why| format!("t{task}: {why}"))?;
        self.tell(|| format!("t{task}: attempt {attempt} of {} begins", key.due));
        let guest = behave(self.seed, id, key, attempt);
        if guest.length.is_zero() && cancelled.is_none() {
            return Ok(Some((key, now, guest.report)));
        }
        let ends = self.mono + guest.length.as_nanos() as i64;
        self.flights.push(Flight { task, key, began: now, ends, guest });
        if cancelled.is_some() {
            self.told_to_end(task, key);
        }
        Ok(None)
    }

    /// Tells a run to end.
    pub(super) fn cancel(&mut self, task: usize, key: RunKey) {
        let stop_at = self.now().saturating_add(CANCEL_GRACE);
        if let Entry::Vacant(entry) = self.cancelled.entry((task, key)) {
            entry.insert(Cancelled { stop_at, stopped: false });
            self.told_to_end(task, key);
        }
    }

    fn told_to_end(&mut self, task: usize, key: RunKey) {
        let mono = self.mono;
        let Some(flight) = self.flights.iter_mut().find(|flight| (flight.task, flight.key) == (task, key)) else {
            return;
        };
        if let Some(heeds) = flight.guest.heeds {
            flight.ends = flight.ends.min(mono + heeds.as_nanos() as i64);
        }
    }

    /// Stops a run hard.
    pub(super) fn stop_run(&mut self, task: usize, key: RunKey) {
        if let Some(cancelled) = self.cancelled.get_mut(&(task, key)) {
            cancelled.stopped = true;
        }
        let mono = self.mono;
        if let Some(flight) = self.flights.iter_mut().find(|flight| (flight.task, flight.key) == (task, key)) {
            flight.ends = mono;
            flight.guest.report =
                RunReport { entry_delay: flight.guest.report.entry_delay, ..RunReport::of(Outcome::Cancelled) };
        }
    }

    pub(super) fn mark_dirty(&mut self, task: usize) {
        if let Some(live) = self.tasks.get_mut(&task) {
            live.dirty = true;
            self.dirty = true;
        }
    }

    /// The recorder's second: a claim that is durable, then in force; then what units did, handed over and written, and the journal
    /// last.
    fn record(&mut self) -> Check {
        match self.tick_stage {
            0 => self.claim(),
            1 => self.claimed = self.claimed.max(self.store.host.map_or(self.claimed, |host| host.claimed)),
            2 => {
                self.dirty = false;
                for task in self.tasks.keys().copied().collect::<Vec<_>>() {
                    self.take_state(task)?;
                }
                self.waiting.journal.append(&mut self.journal);
            }
            3 if self.refuse == 0 => self.store.write(&mut self.waiting),
            _ => {
                if self.refuse > 0 {
                    self.refuse -= 1;
                } else {
                    self.store.write_journal(&mut self.waiting)?;
                }
                self.tick_stage = 0;
                self.tick += SECOND * ((self.mono - self.tick) / SECOND + 1);
                return Ok(());
            }
        }
        self.tick_stage += 1;
        Ok(())
    }

    pub(super) fn claim(&mut self) {
        let now = self.now();
        let claimed = self.to_claim(now);
        self.store.host = Some(HostRun { started: self.started, seen: now, stopped: None, claimed });
    }

    /// Never less than before, even when the clock was set back: what has run then stays claimed.
    pub(super) fn to_claim(&self, now: Time) -> Time {
        let before = self.store.host.filter(|host| host.stopped.is_none()).map(|host| host.claimed);
        let believable = now.saturating_add(taskhost_core::unit::CLOCK_SET_BACK + Duration::from_secs(60));
        now.saturating_add(CLAIM_AHEAD).max(before.filter(|before| *before <= believable).unwrap_or(now))
    }

    /// Hands over what changed of a unit.
    pub(super) fn take_state(&mut self, task: usize) -> Check {
        if self.tasks.get(&task).is_none_or(|live| !live.dirty) || self.take_patch(task)? {
            return Ok(());
        }
        let Some(live) = self.tasks.get_mut(&task) else { return Ok(()) };
        live.dirty = false;
        let id = live.definition.id;
        let mark = self.truths.entry(id).or_default().mark();
        let state = UnitState { journal: self.place, ..live.unit.hand_over() };
        live.handed_over = state.clone();
        self.waiting.states.insert(id, (Arc::new(state), mark));
        self.waiting.records.extend(live.unit.history.take_unwritten().into_iter().map(|record| (id, record)));
        self.waiting.ended.extend(live.ended.drain(..).map(|key| (id, key)));
        Ok(())
    }

    /// Hands over a patch, if that says what changed. What was handed over must then be what the unit has.
    pub(super) fn take_patch(&mut self, task: usize) -> Result<bool, String> {
        let Some(live) = self.tasks.get_mut(&task) else { return Ok(false) };
        let Some(patch) = live.unit.patch().filter(|_| live.ended.is_empty()) else { return Ok(false) };
        let (id, mut bytes) = (live.definition.id, Vec::new());
        patch.encode(id, &mut bytes);
        let read = Patches::of(&bytes).next().and_then(Result::ok).and_then(|(_, _, patch)| Patch::decode(patch));
        ensure!(read == Some(patch), "t{task}: {patch:?} reads back as {read:?}");
        let before = live.handed_over.clone();
        ensure!(patch.apply(&mut live.handed_over), "t{task}: {patch:?} does not fit {before:?}");
        let state = UnitState { journal: before.journal, ..live.unit.state() };
        ensure!(live.handed_over == state, "t{task}: {patch:?} makes {:?} of what is {state:?}", live.handed_over);
        live.dirty = false;
        let mark = self.truths.entry(id).or_default().mark();
        self.journal.push(JournalPatch { task: id, place: self.place, patch, mark });
        self.place += 1;
        Ok(true)
    }
}
