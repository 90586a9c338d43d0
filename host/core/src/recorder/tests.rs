use super::*;
use crate::events::EventBus;
use crate::log::{LogSink, Stream};
use crate::name::TaskName;
use crate::outcome::{Outcome, Reason};
use crate::patch::{Patch, Rest};
use crate::ports::{OpenRun, Progress, Start};
use crate::testing::{MemoryStore, START, TestClock};

/// A recorder that works beside the test, on tokio's paused clock.
struct Bench {
    store: Arc<MemoryStore>,
    claims: Arc<Claims>,
    sink: Arc<LogSink>,
    units: mpsc::Sender<UnitBatch>,
    /// Dropped, they would end the recorder.
    _senders: (mpsc::Sender<Urgent>, oneshot::Sender<LastWord>),
}

impl Bench {
    async fn start() -> Self {
        let clock = TestClock::start();
        let store = Arc::<MemoryStore>::default();
        let claims = Arc::<Claims>::default();
        let (sink, logs) = LogSink::new(move || clock.now(), EventBus::new());
        let recorder = Recorder::start(Arc::clone(&store) as Arc<dyn Store>, clock, Arc::clone(&claims), None, 0).await;
        let ((units, taken), (urgent, urgents), (last, is_last)) =
            (mpsc::channel(1), mpsc::channel(1), oneshot::channel());
        tokio::spawn(recorder.run(taken, urgents, logs, is_last));
        Self { store, claims, sink, units, _senders: (urgent, last) }
    }

    /// When the host last said that it was alive, after its start.
    fn beat(&self) -> Duration {
        let runs = self.store.host_runs.lock().expect("no panic");
        runs.last().expect("the host is up").seen.since(START)
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_claimed_each_second_until_no_claim_was_used_for_a_while() {
    let bench = Bench::start().await;
    assert_eq!(bench.beat(), Duration::ZERO);
    bench.claims.want();
    pass(Duration::from_millis(30_500)).await;
    bench.claims.note_use();
    pass(Duration::from_secs(60)).await;
    assert_eq!(bench.beat().as_secs(), 90, "each second");
    assert!(bench.claims.until() >= START.saturating_add(Duration::from_secs(91)));
    pass(Duration::from_secs(30)).await;
    let last = bench.beat();
    assert!(last.as_secs() < 105, "nobody used a claim any more, and yet it was claimed after {last:?}");
    bench.claims.want();
    pass(Duration::from_millis(1)).await;
    assert!(bench.beat().as_millis() >= 120_500, "at once when somebody waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_still_good_is_not_made_again_for_who_comes_new() {
    let bench = Bench::start().await;
    bench.claims.want();
    pass(Duration::from_millis(10_500)).await;
    let last = bench.beat();
    bench.claims.want();
    pass(Duration::from_millis(1)).await;
    assert_eq!(bench.beat(), last);
}

#[tokio::test(start_paused = true)]
async fn claims_do_not_run_out_while_more_is_written_than_a_second_has_room_for() {
    let bench = Bench::start().await;
    let clock = TestClock::start();
    bench.claims.want();
    pass(Duration::from_millis(100)).await;
    bench.store.batch_ms.store(400, Ordering::Relaxed);
    let states = (0..20 * BATCH_TASKS as u64).map(|task| (task, UnitState::default())).collect();
    bench.units.send(UnitBatch { states, ..UnitBatch::default() }).await.expect("the recorder works");
    for _ in 0..50 {
        pass(Duration::from_millis(100)).await;
        assert!(
            bench.claims.until() > clock.now(),
            "{} of them are written",
            bench.store.states.lock().expect("no panic").len()
        );
    }
    let written = bench.store.states.lock().expect("no panic").len();
    assert!((1..20 * BATCH_TASKS).contains(&written), "it goes on: {written}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_claims_nothing_however_long_it_writes() {
    let Bench { store, claims, units, _senders: (_urgent, last), .. } = Bench::start().await;
    claims.want();
    pass(Duration::from_millis(100)).await;
    store.batch_ms.store(400, Ordering::Relaxed);
    let states = (0..20 * BATCH_TASKS as u64).map(|task| (task, UnitState::default())).collect();
    units.send(UnitBatch { states, ..UnitBatch::default() }).await.expect("the recorder works");
    let (claimed, (done, is_done)) = (claims.until(), oneshot::channel());
    last.send(LastWord { halted: START, done }).expect("the recorder works");
    is_done.await.expect("it is written");
    assert_eq!(store.states.lock().expect("no panic").len(), 20 * BATCH_TASKS);
    assert_eq!(claims.until(), claimed);
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_is_durable_when_it_is_answered() {
    let bench = Bench::start().await;
    pass(Duration::from_secs(30)).await;
    assert!(bench.beat() < Duration::from_secs(1), "nothing happened since the start");
    let states = vec![(7, UnitState::default())];
    bench.units.send(UnitBatch { states, ..UnitBatch::default() }).await.expect("the recorder works");
    let (done, is_done) = oneshot::channel();
    bench._senders.0.send(Urgent { tasks: vec![7], done }).await.expect("the recorder works");
    is_done.await.expect("it is written");
    assert!(bench.store.states.lock().expect("no panic").contains_key(&7));
    assert_eq!(bench.beat(), Duration::from_secs(30), "the host's word makes it durable");
}

#[tokio::test(start_paused = true)]
async fn claims_go_on_while_very_much_is_urgent() {
    let began = tokio::time::Instant::now();
    let bench = Bench::start().await;
    bench.claims.want();
    pass(Duration::from_millis(100)).await;
    bench.store.batch_ms.store(400, Ordering::Relaxed);
    let tasks: Vec<TaskId> = (0..20 * BATCH_TASKS as u64).collect();
    let states = tasks.iter().map(|task| (*task, UnitState::default())).collect();
    bench.units.send(UnitBatch { states, ..UnitBatch::default() }).await.expect("the recorder works");
    let (done, mut is_done) = oneshot::channel();
    bench._senders.0.send(Urgent { tasks, done }).await.expect("the recorder works");
    let mut looks = 0;
    while is_done.try_recv().is_err() {
        looks += 1;
        assert!(bench.claims.until() > START.saturating_add(began.elapsed()), "at look {looks}");
        bench.claims.note_use();
        pass(Duration::from_millis(50)).await;
    }
    assert!(looks > 100, "it took {looks} looks");
    assert_eq!(bench.store.states.lock().expect("no panic").len(), 20 * BATCH_TASKS);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_claims_nothing_says_each_minute_that_it_is_alive() {
    let bench = Bench::start().await;
    pass(Duration::from_secs(600)).await;
    assert!(bench.beat() > Duration::from_secs(530), "{:?}", bench.beat());
}

#[tokio::test(start_paused = true)]
async fn a_line_wakes_a_recorder_that_sleeps() {
    let bench = Bench::start().await;
    pass(Duration::from_millis(100_500)).await;
    let log = TaskLog::new(1, TaskName::new("a").expect("a name"), 0, 0, Arc::clone(&bench.sink));
    log.push(Stream::Stdout, b"hello", false);
    // For others of its task, as long as it would wait for them.
    pass(LINES_WAIT + 2 * FLUSH_INTERVAL).await;
    assert_eq!(bench.store.read_logs(1, 0, 10).await.expect("it is read").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_patches_of_many_tasks_are_written_before_the_second_is_over_and_those_of_few_are_not() {
    let bench = Bench::start().await;
    bench.claims.want();
    pass(Duration::from_millis(10_500)).await;
    for (task, bytes, written) in [(1, EARLY_PATCH_BYTES / 2, false), (2, EARLY_PATCH_BYTES / 2, true)] {
        let mut patches = Vec::new();
        while patches.len() < bytes {
            patch(1).encode(99, &mut patches);
        }
        let states = vec![(task, UnitState::default())];
        bench.units.send(UnitBatch { states, patches, ..UnitBatch::default() }).await.expect("the recorder works");
        pass(Duration::from_millis(1)).await;
        assert_eq!(bench.store.states.lock().expect("no panic").contains_key(&task), written);
    }
    assert_eq!(bench.store.states.lock().expect("no panic").len(), 2, "all goes that the patches may go on from");
}

fn patch(successes: u64) -> Patch {
    Patch {
        due: START,
        lateness_us: None,
        took_us: 0,
        times: successes,
        took_total_us: 0,
        took_max_us: 0,
        lateness_max_us: 0,
        successes,
        accounted: START,
        rest: Rest::Since(START),
        scheduled_runs: successes,
        log_seq: 0,
        log_lost: 0,
    }
}

#[test]
fn logs_that_are_due_go_with_patches_only_if_they_are_worth_a_batch() {
    let due = |waiting| DueNow { hurried: 3, waiting }.if_many();
    assert_eq!(due(BATCH_LOGS as u64 - 1), DueNow { hurried: 3, waiting: 0 });
    assert_eq!(due(BATCH_LOGS as u64), DueNow { hurried: 3, waiting: BATCH_LOGS as u64 });
}

/// A batch in which a task fails at a second, with all that it did until then.
fn failed(task: TaskId, second: u32) -> UnitBatch {
    let key = RunKey::of(START.saturating_add(second * Duration::from_secs(1)));
    let record = RunRecord {
        key,
        reason: Reason::Schedule,
        outcome: Outcome::Error,
        attempts: 1,
        revision: 1,
        lateness_us: None,
        took_us: 0,
        span: None,
        more: None,
    };
    let state = UnitState { failures: second, ..UnitState::default() };
    UnitBatch {
        states: vec![(task, state)],
        records: vec![(task, record)],
        ended: vec![(task, key)],
        ..UnitBatch::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_full_store_refuses_is_written_when_it_takes_again_unless_something_newer_came() {
    let bench = Bench::start().await;
    let start = |batch: &UnitBatch| {
        let (task, key) = batch.ended[0];
        let progress = Progress::Started { attempt: 1 };
        Start { task, run: OpenRun { key, reason: Reason::Schedule, trigger: None, revision: 1, progress } }
    };
    let starts = [failed(1, 1), failed(2, 1), failed(1, 5)].iter().map(start).collect();
    bench.store.record_starts(starts).await.expect("noted");
    bench.store.full.store(true, Ordering::Relaxed);
    for batch in [failed(1, 1), failed(2, 1)] {
        bench.units.send(batch).await.expect("the recorder works");
    }
    pass(Duration::from_secs(4)).await;
    bench.units.send(failed(1, 5)).await.expect("the recorder works");
    pass(Duration::from_secs(4)).await;
    assert!(bench.store.states.lock().expect("no panic").is_empty(), "it was full");

    bench.store.full.store(false, Ordering::Relaxed);
    pass(Duration::from_secs(2)).await;
    let failures = |task| bench.store.states.lock().expect("no panic").get(&task).map(|state| state.failures);
    assert_eq!((failures(1), failures(2)), (Some(5), Some(1)), "the newer state of the two");
    assert_eq!(bench.store.records.lock().expect("no panic").len(), 3);
    assert!(bench.store.starts.lock().expect("no panic").is_empty(), "all are known to have ended");
}

#[test]
fn of_many_tasks_those_go_into_a_batch_together_that_the_store_has_side_by_side() {
    let mut waiting = Waiting::default();
    let states = [5, 1, 4, 2, 3].map(|task| (task, UnitState::default())).to_vec();
    waiting.add(UnitBatch { states, ..UnitBatch::default() });
    let mut taken = || waiting.take(2).into_iter().map(|(task, _)| task).collect::<Vec<_>>();
    assert_eq!([taken(), taken(), taken()], [vec![1, 2], vec![3, 4], vec![5]]);
}

/// How many of so many looks, a tenth of a second apart, found the time claimed.
async fn claimed(bench: &Bench, looks: usize) -> usize {
    let clock = TestClock::start();
    let mut claimed = 0;
    for _ in 0..looks {
        pass(Duration::from_millis(100)).await;
        bench.claims.want();
        claimed += usize::from(bench.claims.until() > clock.now());
    }
    claimed
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_over_a_claim_or_over_a_batch_holds_up_runs_no_longer_than_the_patience() {
    let unclaimed = (CLAIM_PATIENCE.as_millis() / 100) as usize;
    for states in [Vec::new(), vec![(1, UnitState::default())]] {
        let bench = Bench::start().await;
        assert!(claimed(&bench, 20).await >= 18, "it is claimed while all is well");
        bench.store.batch_ms.store(60_000, Ordering::Relaxed);
        bench.units.send(UnitBatch { states, ..UnitBatch::default() }).await.expect("the recorder works");
        let claimed = claimed(&bench, 500).await;
        assert!(claimed >= 500 - unclaimed, "{claimed} of 500");
    }
}
