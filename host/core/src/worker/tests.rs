use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Mutex;

use super::*;
use crate::log::{LogChunk, TaskLog};
use crate::outcome::{Outcome, Reason, RunId, RunRecord, Span};
use crate::patch::{Patch, Patches};
use crate::ports::{Attempt, Definition, RunControl, UnitState};
use crate::schedule::{ScheduleText, Zone};
use crate::spec::{SpecPatch, TaskSpec};
use crate::testing::{FakeRunner, HandClock, MemoryStore, START, TestClock};
use crate::unit::{History, Outage, Running, Unit};

mod rests;

/// What workers rest here.
const TIMER_SLACK: Duration = Duration::from_millis(1);

type TestWorker = Worker<FakeRunner, TestClock>;

/// A worker that works beside the test, on tokio's paused clock.
struct Bench {
    commands: mpsc::Sender<Commands<FakeRunner, TestClock>>,
    started: Arc<Mutex<Vec<RunId>>>,
    states: mpsc::Receiver<UnitBatch>,
    store: Arc<MemoryStore>,
    claims: Arc<Claims>,
}

impl Bench {
    fn start() -> Self {
        Self::with_claim(Time(i64::MAX))
    }

    fn with_claim(until: Time) -> Self {
        Self::with(until, TIMER_SLACK)
    }

    fn with_slack(timer_slack: Duration) -> Self {
        Self::with(Time(i64::MAX), timer_slack)
    }

    fn with(until: Time, timer_slack: Duration) -> Self {
        let clock = TestClock::start();
        let (state_sender, states) = mpsc::channel(RECORD_QUEUE);
        let store = Arc::<MemoryStore>::default();
        let shared = Shared { timer_slack, ..shared(state_sender, Arc::clone(&store)) };
        let claims = Arc::clone(&shared.claims);
        claims.extend(until);
        let runner = FakeRunner::default();
        let started = Arc::clone(&runner.started);
        let (commands, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
        tokio::task::spawn_local(Worker::new(runner, clock, shared).work(receiver));
        Self { commands, started, states, store, claims }
    }

    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut TestWorker) -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let command: Command<_, _> = Box::new(move |worker| drop(reply.send(work(worker))));
        assert!(self.commands.send(vec![command]).await.is_ok(), "the worker works");
        answer.await.expect("the worker answers")
    }

    /// Adds a task that runs every `every` and is told `args`.
    async fn add(&self, id: TaskId, name: &str, every: &str, args: &[&str]) {
        let definition = definition(id, name, every, args);
        let job = Ok(Arc::clone(&definition.spec));
        let unit = NewUnit { definition, plugin: Sha256([0; 32]), job, known: None };
        self.ask(move |worker| worker.register(unit, &Outage::after(None, START))).await;
    }

    /// Adds a task by what was sent.
    async fn add_patched(&self, id: TaskId, name: &str, patch: SpecPatch) {
        let spec = TaskSpec::default().patched(patch, &Zone::utc()).expect("a spec");
        let definition = Definition { spec: Arc::new(spec), ..definition(id, name, "1s", &[]) };
        let job = Ok(Arc::clone(&definition.spec));
        let unit = NewUnit { definition, plugin: Sha256([0; 32]), job, known: None };
        self.ask(move |worker| worker.register(unit, &Outage::after(None, START))).await;
    }

    async fn counts(&self, name: &'static str) -> Counts {
        self.ask(move |worker| worker.slot(name).expect("the task is there").unit.history.counts()).await
    }

    fn started_count(&self) -> usize {
        self.started.lock().expect("no panic").len()
    }
}

/// What a worker shares with others, who are not there. Nothing is claimed.
fn shared(states: mpsc::Sender<UnitBatch>, store: Arc<MemoryStore>) -> Shared {
    let bus = EventBus::new();
    Shared {
        logs: LogSink::new(|| START, bus.clone()).0,
        bus,
        states,
        store,
        claims: Arc::default(),
        wishes: mpsc::channel(MAX_WISHES).0,
        cancel_grace: Duration::from_secs(5),
        timer_slack: TIMER_SLACK,
        ceilings: Arc::default(),
        answers: mpsc::unbounded_channel().0,
    }
}

fn definition(id: TaskId, name: &str, every: &str, args: &[&str]) -> Definition {
    let patch = SpecPatch {
        schedules: Some(Some(vec![ScheduleText { every: Some(every.to_owned()), ..ScheduleText::default() }])),
        args: Some(Some(args.iter().map(ToString::to_string).collect())),
        ..Default::default()
    };
    let spec = TaskSpec::default().patched(patch, &Zone::utc()).expect("a spec");
    Definition {
        id,
        name: TaskName::new(name).expect("a name"),
        revision: 1,
        spec: Arc::new(spec),
        added_at: START,
        due_at_once: false,
        paused: None,
    }
}

/// Runs a test on a paused clock, where local tasks can be spawned.
fn on_paused_clock<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async { test().await });
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[test]
fn a_task_runs_at_each_of_its_due_times() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        pass(Duration::from_millis(10_500)).await;
        assert_eq!(bench.counts("a").await.get(Outcome::Success), 10);
        let dues: Vec<_> = bench.started.lock().expect("no panic").iter().map(|run| run.key.due).collect();
        let expected: Vec<_> = (1..=10).map(|n| START.saturating_add(Duration::from_secs(n))).collect();
        assert_eq!(dues, expected);
    });
}

#[test]
fn a_slow_run_skips_its_own_due_times_and_nobody_elses() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "slow", "1s", &["sleep", "2500ms"]).await;
        bench.add(2, "quick", "1s", &[]).await;
        pass(Duration::from_millis(9_900)).await;
        let slow = bench.counts("slow").await;
        assert_eq!((slow.get(Outcome::Success), slow.get(Outcome::Skipped)), (3, 6 - 1 + 1));
        assert_eq!(bench.counts("quick").await.get(Outcome::Success), 9);
    });
}

#[test]
fn a_run_that_does_not_heed_its_cancelling_is_stopped_after_the_grace() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &["sleep", "1h"]).await;
        pass(Duration::from_millis(1_500)).await;
        assert!(bench.ask(|worker| worker.cancel("a", None)).await.is_some());
        pass(Duration::from_millis(4_900)).await;
        assert_eq!(bench.counts("a").await.get(Outcome::Cancelled), 0, "it has its grace");
        pass(Duration::from_millis(200)).await;
        assert_eq!(bench.counts("a").await.get(Outcome::Cancelled), 1);
        pass(Duration::from_secs(1)).await;
        assert!(bench.ask(|worker| worker.slot("a")?.open_runs().pop()).await.is_some(), "the next run has begun");
    });
}

/// Its first guest never ends, and each of the others takes 400 ms, in which nobody else has his turn.
struct BusyRunner {
    clock: HandClock,
    first: RefCell<Option<Arc<RunControl>>>,
    /// Whether the first was told to stop when one of the others began.
    stopped: Rc<RefCell<Vec<bool>>>,
}

impl Runner for BusyRunner {
    type Job = ();
    type Run = Pin<Box<dyn Future<Output = RunReport>>>;

    fn run(&self, _job: &(), attempt: Attempt) -> Self::Run {
        let mut first = self.first.borrow_mut();
        let Some(control) = &*first else {
            *first = Some(attempt.control);
            return Box::pin(std::future::pending());
        };
        self.stopped.borrow_mut().push(control.is_stopped());
        self.clock.pass(Duration::from_millis(400));
        Box::pin(std::future::ready(RunReport::of(Outcome::Success)))
    }
}

#[test]
fn a_hard_stop_does_not_wait_for_all_ticks_that_are_due_before_it() {
    let clock = HandClock::start();
    let stopped = Rc::<RefCell<Vec<bool>>>::default();
    let runner = BusyRunner { clock: clock.clone(), first: RefCell::default(), stopped: Rc::clone(&stopped) };
    let (states, _received) = mpsc::channel(RECORD_QUEUE);
    let shared = shared(states, Arc::default());
    shared.claims.extend(Time(i64::MAX));
    let mut worker = Worker::new(runner, clock.clone(), shared);
    for (id, name, every) in [(1, "first", "600ms"), (2, "a", "5s"), (3, "b", "5s"), (4, "c", "5s")] {
        let definition = definition(id, name, every, &[]);
        let unit = NewUnit { definition, plugin: Sha256([0; 32]), job: Ok(()), known: None };
        worker.register(unit, &Outage::after(None, START));
    }
    clock.pass(Duration::from_millis(600));
    worker.fire_due();
    assert!(worker.cancel("first", None).is_some(), "it goes on");
    // Its grace ends at 5.6 s, while the others have their turns.
    clock.pass(Duration::from_millis(4_400));
    worker.fire_due();
    assert_eq!(*stopped.borrow(), [false, false, true]);
}

#[test]
fn of_a_task_that_is_late_the_newest_due_time_begins_at_once_if_it_is_claimed() {
    let clock = HandClock::start();
    let (states, _received) = mpsc::channel(RECORD_QUEUE);
    let shared = shared(states, Arc::default());
    let claims = Arc::clone(&shared.claims);
    claims.extend(START.saturating_add(Duration::from_millis(2_500)));
    let runner = FakeRunner::default();
    let started = Arc::clone(&runner.started);
    let mut worker = Worker::new(runner, clock.clone(), shared);
    for (id, name) in [(1, "a"), (2, "b")] {
        let definition = definition(id, name, "1s", &[]);
        let job = Ok(Arc::clone(&definition.spec));
        let unit = NewUnit { definition, plugin: Sha256([0; 32]), job, known: None };
        worker.register(unit, &Outage::after(None, START));
    }
    let ran = || {
        let started = started.lock().expect("no panic");
        started.iter().map(|run| (run.task, run.key.due.since(START).as_secs())).collect::<Vec<_>>()
    };
    clock.pass(Duration::from_millis(3_200));
    worker.fire_due();
    assert_eq!(ran(), [], "the third due time is not within the claim");
    claims.extend(Time(i64::MAX));
    worker.fire_due();
    assert_eq!(ran(), [(1, 3), (2, 3)]);
    clock.pass(Duration::from_millis(2_000));
    worker.fire_due();
    assert_eq!(ran(), [(1, 3), (2, 3), (1, 5), (2, 5)], "at once, and not after what came due before");
    for name in ["a", "b"] {
        let counts = worker.slot(name).expect("it is there").unit.history.counts();
        assert_eq!((counts.get(Outcome::Missed), counts.get(Outcome::Success)), (3, 2));
    }
}

#[test]
fn a_run_that_heeds_its_cancelling_ends_as_it_says() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1h", &["sleep-cancellable"]).await;
        let (finished, is_finished) = oneshot::channel();
        bench.ask(|worker| worker.run_now("a", None, Some(finished)).map(|started| started.is_ok())).await;
        bench.ask(|worker| worker.cancel("a", None)).await.expect("a run is going on");
        let run = is_finished.await.expect("it ends");
        assert_eq!((run.record.outcome, run.record.reason), (Outcome::Success, Reason::Manual));
    });
}

#[test]
fn only_the_named_run_is_cancelled() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &["sleep", "1h"]).await;
        pass(Duration::from_millis(1_500)).await;
        let other = RunId { task: 1, key: RunKey::of(START) };
        assert_eq!(bench.ask(move |worker| worker.cancel("a", Some(other.into()))).await, None);
    });
}

#[test]
fn a_deleted_task_is_gone_when_its_run_is_and_starts_nothing_meanwhile() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &["sleep", "3s"]).await;
        pass(Duration::from_millis(1_500)).await;
        let (gone, is_gone) = oneshot::channel();
        bench.ask(|worker| worker.delete(&TaskName::new("a").expect("a name"), false, gone)).await;
        assert!(bench.ask(|worker| worker.slot("a").is_none()).await, "nobody finds it any more");
        let leaving = |worker: &mut TestWorker| worker.is_leaving(&TaskName::new("a").expect("a name"));
        assert!(bench.ask(leaving).await, "its name is taken until the run has ended");
        let began = tokio::time::Instant::now();
        is_gone.await.expect("it goes");
        assert_eq!(began.elapsed().as_millis(), 2_500);
        assert!(!bench.ask(leaving).await);
        pass(Duration::from_secs(10)).await;
        assert_eq!(bench.started_count(), 1);
        assert!(bench.ask(|worker| worker.plugin_uses().is_empty()).await);
    });
}

#[test]
fn a_task_added_in_a_deleted_ones_place_keeps_its_own_time() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        let (gone, is_gone) = oneshot::channel();
        bench.ask(|worker| worker.delete(&TaskName::new("a").expect("a name"), true, gone)).await;
        is_gone.await.expect("it goes");
        bench.add(2, "b", "10s", &[]).await;
        pass(Duration::from_millis(10_500)).await;
        assert_eq!(bench.started_count(), 1);
    });
}

#[test]
fn timers_of_tasks_that_are_gone_do_not_pile_up() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        for id in 0..3_000 {
            bench.add(id, "a", "10y", &[]).await;
            let (gone, is_gone) = oneshot::channel();
            bench.ask(|worker| worker.delete(&TaskName::new("a").expect("a name"), true, gone)).await;
            is_gone.await.expect("it goes");
        }
        assert!(bench.ask(|worker| worker.timers.len()).await <= super::timers::STALE_TIMERS + 3);
    });
}

#[test]
fn an_edit_changes_the_next_run_and_keeps_the_phase() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &["fail"]).await;
        pass(Duration::from_millis(1_500)).await;
        let edited = Definition { revision: 2, ..definition(1, "a", "2s", &[]) };
        bench.ask(move |worker| worker.apply_edit(edited.clone(), Sha256([1; 32]), Arc::clone(&edited.spec))).await;
        pass(Duration::from_millis(5_000)).await;
        let counts = bench.counts("a").await;
        assert_eq!((counts.get(Outcome::Error), counts.get(Outcome::Success)), (1, 3));
        let plugins = bench.ask(|worker| {
            let slot = worker.slot("a").expect("the task is there");
            slot.unit.history.last_runs.iter().filter_map(|run| slot.run_of(run).plugin).collect::<Vec<_>>()
        });
        let (old, new) = (Sha256([0; 32]), Sha256([1; 32]));
        assert_eq!(plugins.await, [old, new], "each record names the plugin that ran");
    });
}

#[test]
fn a_task_that_cannot_run_accounts_for_its_due_times() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        let definition = definition(1, "a", "1s", &[]);
        let unit = NewUnit { definition, plugin: Sha256([0; 32]), job: Err("damaged".into()), known: None };
        bench.ask(move |worker| worker.register(unit, &Outage::after(None, START))).await;
        pass(Duration::from_millis(2_500)).await;
        let run = bench.ask(|worker| worker.slot("a")?.last_run()).await.expect("a run");
        assert_eq!(run.record.outcome, Outcome::HostError);
        assert_eq!(run.record.more.expect("a detail").detail.as_deref(), Some("damaged"));
        assert_eq!(bench.counts("a").await.get(Outcome::HostError), 2);
    });
}

#[test]
fn what_units_did_goes_to_the_recorder_and_is_kept_while_it_is_behind() {
    on_paused_clock(|| async {
        let mut bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        // The recorder takes nothing: batches are kept back. It ends between two due times, so that no run begins meanwhile.
        pass(Duration::from_millis(30_500)).await;
        let mut state = None;
        take_in(&mut bench.states, &mut state);
        assert!(state.clone().expect("a state").counts.get(Outcome::Success) < 10);
        let all = |worker: &mut TestWorker| {
            worker.record_all();
            worker.slot("a").expect("the task is there").unit.state()
        };
        let unit = bench.ask(all).await;
        take_in(&mut bench.states, &mut state);
        let state = state.expect("a state");
        assert!(state.counts.get(Outcome::Success) > 20, "what was kept back comes with the next one");
        assert_eq!(UnitState { journal: 0, ..state }, unit);
    });
}

#[test]
fn a_batch_that_is_full_leaves_before_the_second_is_over() {
    on_paused_clock(|| async {
        let mut bench = Bench::start();
        for id in 0..1_000 {
            bench.add(id, &format!("t{id}"), "100ms", &[]).await;
        }
        let mut batches = Vec::new();
        for _ in 0..5 {
            pass(Duration::from_secs(1)).await;
            batches.extend(std::iter::from_fn(|| bench.states.try_recv().ok()));
        }
        let patches: Vec<usize> = batches.iter().map(|batch| batch.patches.len()).collect();
        let full = super::record::FULL_BATCH_PATCH_BYTES;
        assert!(patches.iter().sum::<usize>() > 3 * full, "{patches:?}");
        assert!(patches.iter().all(|bytes| *bytes < full + 1000), "{patches:?}");
    });
}

/// Brings the state of the only task up to date, as the store does.
fn take_in(batches: &mut mpsc::Receiver<UnitBatch>, state: &mut Option<UnitState>) {
    while let Ok(batch) = batches.try_recv() {
        *state = batch.states.into_iter().last().map(|(_, state)| state).or(state.take());
        let state = state.as_mut().expect("a whole state comes first");
        for (_, at, patch) in Patches::of(&batch.patches).map(|patch| patch.expect("whole")) {
            assert!((at as u64) < state.journal || Patch::decode(patch).expect("a patch").apply(state));
        }
        state.journal = 0;
    }
}

#[test]
fn a_success_that_goes_on_from_others_is_handed_over_as_a_patch_and_all_else_whole() {
    on_paused_clock(|| async {
        let mut bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        bench.add(2, "b", "1s", &["fail"]).await;
        // Between two due times.
        pass(Duration::from_millis(3_500)).await;
        while bench.states.try_recv().is_ok() {}
        let (mut patched, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            pass(Duration::from_secs(1)).await;
            while let Ok(batch) = bench.states.try_recv() {
                patched.extend(Patches::of(&batch.patches).map(|patch| patch.expect("whole").0));
                whole.extend(batch.states.into_iter().map(|(task, _)| task));
            }
        }
        // The last of them may be on its way still.
        assert!(patched.len() >= 9 && patched.iter().all(|task| *task == 1), "{patched:?}");
        assert!(whole.len() >= 9 && whole.iter().all(|task| *task == 2), "{whole:?}");
    });
}

#[test]
fn units_are_handed_over_whole_again_when_the_history_was_begun_anew() {
    on_paused_clock(|| async {
        let mut bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        // Between two due times.
        pass(Duration::from_millis(3_500)).await;
        while bench.states.try_recv().is_ok() {}
        bench.claims.begin_anew(1);
        pass(Duration::from_secs(3)).await;
        let mut whole = Vec::new();
        while let Ok(batch) = bench.states.try_recv() {
            whole.extend(batch.states.into_iter().map(|(task, _)| task));
        }
        assert!(whole.contains(&1), "{whole:?}");
    });
}

#[test]
fn a_halted_worker_starts_nothing_and_says_when_it_is_idle() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &["sleep", "3s"]).await;
        pass(Duration::from_millis(1_500)).await;
        let (idle, is_idle) = oneshot::channel();
        bench.ask(|worker| worker.halt(idle)).await;
        let began = tokio::time::Instant::now();
        is_idle.await.expect("it becomes idle");
        assert_eq!(began.elapsed().as_millis(), 2_500);
        bench.add(2, "late", "1s", &[]).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(bench.started_count(), 1);
    });
}

#[test]
fn a_slow_start_is_noted_before_it_happens_and_taken_back_when_it_has_ended() {
    on_paused_clock(|| async {
        let mut bench = Bench::start();
        bench.add(1, "slow", "2m", &["sleep", "10s"]).await;
        bench.add(2, "fast", "1s", &["sleep", "10ms"]).await;
        pass(Duration::from_millis(120_500)).await;
        let noted: Vec<_> = bench.store.starts.lock().expect("no panic").keys().map(|(task, _)| *task).collect();
        assert_eq!(noted, [1], "only the slow one");
        let mut ended = Vec::new();
        for _ in 0..20 {
            while let Ok(batch) = bench.states.try_recv() {
                ended.extend(batch.ended);
            }
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(ended, [(1, RunKey::of(START.saturating_add(Duration::from_secs(120))))]);
    });
}

#[test]
fn a_store_that_refuses_notes_stops_no_run() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.store.full.store(true, std::sync::atomic::Ordering::Relaxed);
        bench.add(1, "slow", "2m", &[]).await;
        pass(Duration::from_secs(121)).await;
        assert_eq!(bench.counts("slow").await.get(Outcome::Success), 1);
    });
}

#[test]
fn due_times_past_the_claim_wait_for_it() {
    on_paused_clock(|| async {
        let bench = Bench::with_claim(START.saturating_add(Duration::from_millis(2_500)));
        bench.add(1, "a", "1s", &[]).await;
        pass(Duration::from_millis(3_500)).await;
        assert_eq!(bench.started_count(), 2, "the third is not within the claim");
        bench.claims.extend(Time(i64::MAX));
        pass(Duration::from_millis(10)).await;
        assert_eq!(bench.started_count(), 3);
    });
}

#[test]
fn a_due_time_whose_start_is_noted_waits_for_no_claim() {
    on_paused_clock(|| async {
        let bench = Bench::with_claim(START);
        bench.add(1, "fast", "60s", &[]).await;
        bench.add(2, "slow", "61s", &[]).await;
        pass(Duration::from_secs(62)).await;
        assert_eq!(bench.started_count(), 0, "the fast one came first, and waits");
        bench.claims.extend(START.saturating_add(Duration::from_secs(60)));
        pass(Duration::from_millis(10)).await;
        assert_eq!(bench.counts("slow").await.get(Outcome::Success), 1);
    });
}

#[test]
fn what_is_made_up_for_comes_one_by_one_and_leaves_nine_tenths_of_the_time() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        let patch = SpecPatch {
            schedules: Some(Some(vec![ScheduleText { manual: true, ..ScheduleText::default() }])),
            ..SpecPatch::default()
        };
        bench.add_patched(1, "a", patch).await;
        let due: VecDeque<Time> = (1..=1_000).map(|n| Time(START.0 - n)).rev().collect();
        let number = bench.ask(move |worker| worker.backfill("a", due)).await;
        assert_eq!(number, Some(Some(1)));
        pass(Duration::from_millis(100)).await;
        let ran = bench.started_count();
        assert!((50..=200).contains(&ran), "{ran} runs in 100 ms: 500 µs apart, and the timer has milliseconds");
        pass(Duration::from_secs(2)).await;
        assert_eq!(bench.started_count(), 1_000);
    });
}

#[test]
fn a_clock_that_is_set_back_is_told_to_the_units() {
    on_paused_clock(|| async {
        let bench = Bench::start();
        bench.add(1, "a", "1s", &[]).await;
        pass(Duration::from_millis(1_500)).await;
        bench.ask(|worker| worker.last_now = worker.last_now.saturating_add(Duration::from_secs(3_600))).await;
        pass(Duration::from_millis(1_000)).await;
        let last = bench.ask(|worker| worker.last_now).await;
        assert!(last < START.saturating_add(Duration::from_secs(10)), "it was looked at");
        assert_eq!(bench.counts("a").await.get(Outcome::Success), 2, "and the task goes on");
    });
}

/// What a worker keeps of a task that ticks, in bytes: not the job, which is the engine's, nor its name, definition and plugin, which
/// it shares with others.
#[test]
#[expect(clippy::print_stdout, reason = "`--nocapture` shows the table")]
fn the_memory_of_a_task_is_known_struct_by_struct() {
    /// Beside the value of an `Arc`: its two counts; and of a `ThinVec`: its length and capacity.
    const COUNTS: usize = 16;
    let of = |what: &'static str, bytes: usize| {
        println!("{what:<40} {bytes:>4}");
        (what, bytes)
    };
    let sizes = [
        of("its place among the others", size_of::<Option<Slot<Arc<()>>>>()),
        of("  of that, its state machine", size_of::<Unit>()),
        of("  of that, its counts and records", size_of::<History>()),
        of("  of that, its definition", size_of::<Definition>()),
        of("its newest record", size_of::<RunRecord>() + COUNTS),
        of("what that says of many runs", size_of::<Span>()),
        of("its log", size_of::<TaskLog>() + COUNTS),
        of("  while lines wait, their chunk", size_of::<LogChunk>()),
        of("its timer", size_of::<timers::Wake>()),
        of("its entry by name", size_of::<(TaskName, u32)>()),
        of("while it runs, that run", size_of::<Running>() + COUNTS),
        of("while it runs, how it is told to stop", size_of::<(RunKey, Arc<RunControl>)>() + COUNTS),
    ];
    assert_eq!(
        sizes.map(|(_, bytes)| bytes),
        [360, 224, 40, 56, 72, 32, 128, 64, 16, 24, 96, 40],
        "if that is meant, say so here"
    );
}
