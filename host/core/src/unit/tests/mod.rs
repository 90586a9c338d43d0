mod missed;
mod overlap;
mod pause;
mod restore;
mod retry;

use std::time::Duration;

use super::*;
use crate::outcome::Outcome;
use crate::schedule::{ScheduleText, Zone};
use crate::spec::{RetryText, SpecPatch};
use crate::time::Told;

const SECOND: i64 = 1_000_000_000;
const ADDED: Time = Time(1_700_000_000 * SECOND + 5);

fn after_add(seconds: i64) -> Time {
    Time(ADDED.0 + seconds * SECOND)
}

fn millis_after_add(millis: i64) -> Time {
    Time(ADDED.0 + millis * 1_000_000)
}

fn every(text: &str) -> ScheduleText {
    ScheduleText { every: Some(text.to_owned()), ..ScheduleText::default() }
}

fn schedules(texts: Vec<ScheduleText>) -> SpecPatch {
    SpecPatch { schedules: Some(Some(texts)), ..SpecPatch::default() }
}

fn spec(patch: SpecPatch) -> Arc<TaskSpec> {
    Arc::new(TaskSpec::default().patched(patch, &Zone::utc()).expect("a spec"))
}

fn definition(patch: SpecPatch) -> Definition {
    Definition {
        id: 7,
        name: TaskName::new("a").expect("a name"),
        revision: 1,
        spec: spec(patch),
        added_at: ADDED,
        due_at_once: false,
        paused: None,
    }
}

/// A unit with what it has been told to do.
struct Bench {
    unit: Unit,
    /// Of the last step.
    actions: Vec<Action>,
}

impl Bench {
    /// A task that was just added; every second by default.
    fn added(patch: SpecPatch) -> Self {
        Self { unit: Unit::added(&definition(patch)), actions: Vec::new() }
    }

    fn step(&mut self, input: Input, now: Time) -> &[Action] {
        self.actions.clear();
        self.unit.handle(input, now, &mut self.actions);
        &self.actions
    }

    /// Wakes it at a time; answers with what starts.
    fn wake(&mut self, now: Time) -> Vec<Time> {
        self.step(Input::Wake, now);
        self.started()
    }

    /// Wakes it whenever it asks for it until a time; every run that starts succeeds at once. Answers with what started.
    fn pass(&mut self, until: Time) -> Vec<Time> {
        let mut started = Vec::new();
        while let Some(wake) = self.unit.first_wake().filter(|wake| *wake <= until) {
            for due in self.wake(wake) {
                started.push(due);
                self.finish(due, Outcome::Success, wake);
            }
        }
        started
    }

    fn finish(&mut self, due: Time, outcome: Outcome, now: Time) -> &[Action] {
        self.report(due, RunReport::of(outcome), now)
    }

    fn report(&mut self, due: Time, report: RunReport, now: Time) -> &[Action] {
        self.step(Input::Finished { key: RunKey::of(due), began: now, report }, now)
    }

    /// What the last step started.
    fn started(&self) -> Vec<Time> {
        let started = self.actions.iter().filter_map(|action| match action {
            Action::Start { key, .. } => Some(key.due),
            _ => None,
        });
        started.collect()
    }

    /// The outcomes that the last step recorded, with how many due times and the detail.
    fn recorded(&self) -> Vec<(Outcome, u64, &str)> {
        let recorded = self.actions.iter().filter_map(|action| match action {
            Action::Record { record, .. } => {
                Some((record.outcome, record.times(), record.detail().unwrap_or_default()))
            }
            _ => None,
        });
        recorded.collect()
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.unit.history.counts().get(outcome)
    }

    /// Gives room to the backlog until it is empty; every run succeeds. Answers with what ran.
    fn catch_up(&mut self, now: Time) -> Vec<RunKey> {
        let mut ran = Vec::new();
        while self.unit.backlog() > 0 {
            self.step(Input::CatchUp, now);
            let Some(run) = self.unit.running().first().map(|run| run.key) else { break };
            ran.push(run);
            self.step(Input::Finished { key: run, began: now, report: RunReport::of(Outcome::Success) }, now);
        }
        ran
    }
}

#[test]
fn the_first_due_time_is_one_interval_after_adding() {
    assert_eq!(Unit::added(&definition(SpecPatch::default())).next_due(), Some(after_add(1)));
    let at_once = Definition { due_at_once: true, ..definition(SpecPatch::default()) };
    let mut bench = Bench { unit: Unit::added(&at_once), actions: Vec::new() };
    assert_eq!(bench.pass(after_add(2)), [ADDED, after_add(1), after_add(2)]);
}

#[test]
fn due_times_keep_their_phase_however_late_they_run() {
    let mut bench = Bench::added(SpecPatch::default());
    let late = millis_after_add(1_400);
    let key = RunKey::of(after_add(1));
    assert_eq!(
        bench.step(Input::Wake, late),
        [Action::Start { key, attempt: 1, noted: false }, Action::Wake(Some(after_add(2)))]
    );
    bench.finish(after_add(1), Outcome::Success, late);
    assert_eq!(bench.unit.history.last_runs[0].lateness_us, None, "this report did not say when the guest was entered");
    assert_eq!(bench.unit.last_success(), Some(after_add(1)));
}

#[test]
fn an_early_wake_starts_nothing() {
    let mut bench = Bench::added(SpecPatch::default());
    assert_eq!(bench.step(Input::Wake, ADDED), [Action::Wake(Some(after_add(1)))]);
}

#[test]
fn two_schedules_that_are_due_at_once_run_once() {
    let mut bench = Bench::added(schedules(vec![every("2s"), every("3s")]));
    assert_eq!(bench.pass(after_add(7)), [2, 3, 4, 6].map(after_add));
}

#[test]
fn a_delay_counts_from_the_end_of_a_run() {
    let delay = ScheduleText { delay: Some("10s".into()), ..ScheduleText::default() };
    let mut bench = Bench::added(schedules(vec![delay]));
    assert_eq!(bench.wake(after_add(10)), [after_add(10)]);
    assert_eq!(bench.unit.next_due(), None, "nothing comes due while it runs");
    bench.finish(after_add(10), Outcome::Success, after_add(17));
    assert_eq!(bench.unit.next_due(), Some(after_add(27)));
    let noted = |action: &Action| matches!(action, Action::Start { noted: true, .. });
    bench.step(Input::Wake, after_add(27));
    assert!(bench.actions.iter().any(noted), "no stretch of time can be claimed for it");
}

#[test]
fn an_at_runs_once_and_a_manual_one_never_by_itself() {
    let at = ScheduleText { at: Some(after_add(5).to_string()), ..ScheduleText::default() };
    let mut bench = Bench::added(schedules(vec![at]));
    assert_eq!(bench.pass(after_add(1_000_000)), [after_add(5)]);
    assert_eq!(bench.unit.next_due(), None);
    let manual = ScheduleText { manual: true, ..ScheduleText::default() };
    assert_eq!(Bench::added(schedules(vec![manual])).unit.first_wake(), None);
}

#[test]
fn a_task_runs_from_its_start_until_it_expires_and_no_more_often_than_it_may() {
    let patch = SpecPatch {
        starts_at: Some(Some(after_add(3).to_string())),
        expires_at: Some(Some(after_add(6).to_string())),
        ..SpecPatch::default()
    };
    assert_eq!(Bench::added(patch).pass(after_add(100)), [3, 4, 5].map(after_add));
    let mut bench = Bench::added(SpecPatch { max_runs: Some(Some(2)), ..SpecPatch::default() });
    assert_eq!(bench.pass(after_add(100)), [1, 2].map(after_add));
    assert_eq!(bench.unit.next_due(), None);
    let more = Input::Edited { spec: spec(SpecPatch { max_runs: Some(Some(3)), ..SpecPatch::default() }), revision: 2 };
    bench.step(more, after_add(100));
    assert_eq!(bench.pass(after_add(200)), [after_add(101)], "what would have come meanwhile is not made up for");
}

#[test]
fn jitter_puts_a_run_off_and_is_not_called_lateness() {
    let jitter = crate::spec::JitterText { max: "10s".into(), stable: true };
    let patch = SpecPatch { jitter: Some(Some(jitter)), ..schedules(vec![every("1m")]) };
    let mut bench = Bench::added(patch);
    let begins = bench.unit.first_wake().expect("it is due");
    assert!((after_add(60)..after_add(70)).contains(&begins) && begins != after_add(60), "{begins}");
    assert_eq!(bench.wake(begins), [after_add(60)]);
    let report = RunReport { entry_delay: Some(Duration::from_micros(5)), ..RunReport::of(Outcome::Success) };
    bench.report(after_add(60), report, begins);
    let late = bench.actions.iter().find_map(|action| match action {
        Action::Record { late_us, .. } => *late_us,
        _ => None,
    });
    assert_eq!(late, Some(5));
}

#[test]
fn an_edit_keeps_the_phase_and_touches_no_run() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.wake(after_add(1));
    let edited = Input::Edited { spec: spec(schedules(vec![every("10s")])), revision: 2 };
    assert_eq!(bench.step(edited, after_add(1)), [Action::Wake(Some(after_add(10)))]);
    bench.finish(after_add(1), Outcome::Success, after_add(2));
    assert_eq!(bench.unit.history.last_runs[0].revision, 1, "the run was of the old revision");
    bench.pass(after_add(10));
    assert_eq!(bench.unit.history.last_runs[1].revision, 2);
}

#[test]
fn an_edit_of_something_else_moves_no_due_time() {
    let mut bench = Bench::added(SpecPatch::default());
    let other = SpecPatch { timeout: Some(Some("5s".into())), ..SpecPatch::default() };
    assert!(bench.step(Input::Edited { spec: spec(other), revision: 2 }, ADDED).is_empty());
}

#[test]
fn an_edit_does_not_lose_a_due_time_that_waits_for_its_jitter() {
    let jitter = crate::spec::JitterText { max: "1h".into(), stable: false };
    let mut bench = Bench::added(SpecPatch { jitter: Some(Some(jitter)), ..schedules(vec![every("10s")]) });
    let now = after_add(15);
    assert!(bench.unit.is_due(now) && bench.unit.first_wake().is_some_and(|wake| wake > now));
    bench.step(Input::Settle, now);
    assert_eq!(bench.started(), [after_add(10)]);
    assert!(!bench.unit.is_due(now));
    bench.step(Input::Edited { spec: spec(schedules(vec![every("7s")])), revision: 2 }, now);
    bench.finish(after_add(10), Outcome::Success, now);
    assert_eq!(bench.pass(after_add(30)), [21, 28].map(after_add));
}

#[test]
fn a_manual_run_stands_beside_the_schedule_with_an_id_of_its_own() {
    let mut bench = Bench::added(SpecPatch::default());
    let manual = || Input::Run { overlap: None, trigger: None };
    bench.step(manual(), after_add(1));
    let own = Time(after_add(1).0 + 1);
    assert_eq!(bench.started(), [own], "the due time itself is the schedule's");
    bench.finish(own, Outcome::Success, after_add(1));
    assert_eq!(bench.wake(after_add(1)), [after_add(1)]);
    bench.finish(after_add(1), Outcome::Success, after_add(1));
    bench.step(manual(), after_add(1));
    assert_eq!(bench.started(), [Time(own.0 + 1)], "no id is given twice, even within a nanosecond");
}

#[test]
fn nothing_starts_after_a_delete_and_the_last_run_is_waited_for() {
    let mut bench = Bench::added(SpecPatch { overlap: Some(Some("buffer_all".into())), ..SpecPatch::default() });
    bench.wake(after_add(1));
    bench.wake(after_add(2));
    assert_eq!(bench.unit.queue().count(), 1);
    assert_eq!(bench.step(Input::Deleted, after_add(2)), [Action::Wake(None)]);
    assert_eq!(bench.wake(after_add(3)), []);
    bench.step(Input::Run { overlap: None, trigger: None }, after_add(3));
    assert_eq!(bench.started(), []);
    assert_eq!(bench.finish(after_add(1), Outcome::Success, after_add(3)).last(), Some(&Action::Gone));
    assert_eq!(bench.started(), []);
    let mut bench = Bench::added(SpecPatch::default());
    assert_eq!(bench.step(Input::Deleted, ADDED), [Action::Wake(None), Action::Gone]);
}

#[test]
fn failures_are_kept_longer_than_successes() {
    let mut bench = Bench::added(schedules(vec![every("2m")]));
    for n in 1..=100 {
        bench.wake(after_add(120 * n));
        let outcome = if n <= 15 { Outcome::Error } else { Outcome::Success };
        bench.finish(after_add(120 * n), outcome, after_add(120 * n));
    }
    let last_runs = &bench.unit.history.last_runs;
    let failures = last_runs.iter().filter(|run| run.outcome == Outcome::Error).count();
    assert_eq!((last_runs.len(), failures), (LAST_RUNS, LAST_RUNS - history::LAST_SUCCESSES));
    assert_eq!(last_runs.last().map(|run| run.key.due), Some(after_add(120 * 100)));
    assert_eq!(bench.unit.history.take_unwritten().len(), 99, "every closed record is for the store");
}

#[test]
fn successes_of_a_fast_task_share_a_record_until_something_else_happens() {
    let mut bench = Bench::added(SpecPatch::default());
    let report = RunReport { entry_delay: Some(Duration::from_micros(7)), ..RunReport::of(Outcome::Success) };
    for n in 1..=5 {
        bench.wake(after_add(n));
        let key = RunKey::of(after_add(n));
        let ended = Time(after_add(n).0 + 100_000 * n);
        bench.step(Input::Finished { key, began: after_add(n), report: report.clone() }, ended);
    }
    let record = bench.unit.history.last_runs.last().cloned().expect("a record");
    let span = record.span.clone().expect("several");
    assert_eq!((record.key.due, span.first_due, span.times), (after_add(5), after_add(1), 5));
    assert_eq!((span.took_total_us, span.took_max_us, span.lateness_max_us), (100 * 15 - 5 * 7, 493, 7));
    bench.wake(after_add(6));
    bench.finish(after_add(6), Outcome::Error, after_add(6));
    bench.pass(after_add(8));
    let kept: Vec<_> = bench.unit.history.last_runs.iter().map(|run| (run.outcome, run.times())).collect();
    assert_eq!(kept, [(Outcome::Success, 5), (Outcome::Error, 1), (Outcome::Success, 2)]);
    assert_eq!(bench.count(Outcome::Success), 7);
}

#[test]
fn lateness_is_guest_entry_minus_due_time() {
    let mut bench = Bench::added(SpecPatch::default());
    let began = millis_after_add(1_002);
    bench.wake(began);
    let report = RunReport { entry_delay: Some(Duration::from_micros(5)), ..RunReport::of(Outcome::Success) };
    let key = RunKey::of(after_add(1));
    bench.step(Input::Finished { key, began, report }, Time(began.0 + 105_000));
    let record = &bench.unit.history.last_runs[0];
    assert_eq!((record.lateness_us, record.took_us), (Some(2_005), 100));
}

#[test]
fn a_clock_that_is_set_back_runs_no_due_time_twice() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(3_600));
    bench.step(Input::ClockSetBack, after_add(1_800));
    assert_eq!(bench.unit.next_due(), Some(after_add(3_601)));
}

#[test]
fn a_clock_that_was_years_ahead_for_a_moment_does_not_silence_a_task() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.wake(after_add(1_000_000_000));
    bench.step(Input::ClockSetBack, after_add(10));
    assert_eq!(bench.unit.next_due(), Some(after_add(11)));
}

#[test]
fn a_clock_that_was_far_ahead_leaves_no_success_in_the_future() {
    let mut bench = Bench::added(schedules(vec![every("1s")]));
    bench.pass(after_add(10));
    let ahead = after_add(400 * 86_400);
    // What came due since is passed over first.
    for _ in 0..2 {
        for due in bench.wake(ahead) {
            bench.finish(due, Outcome::Success, ahead);
        }
    }
    assert!(bench.unit.last_success().is_some_and(|last| last > after_add(86_400)));
    bench.step(Input::ClockSetBack, after_add(20));
    bench.pass(after_add(30));
    bench.unit.hand_over();
    bench.pass(after_add(40));
    assert_eq!(bench.unit.last_success(), Some(after_add(40)));
    assert!(bench.unit.patch().is_some(), "a tick is a patch again, not a whole state");
}
