//! Brings what units did and what guests wrote to the store, once a second, batched, and says there that the host is alive.
//!
//! Of many fast tasks it writes more often, in pieces: the store's work then spreads over the second, where in one go it would take
//! the cores from the workers.
//!
//! Each second it claims the next stretch of time for fast schedules: their due times may run without being noted one by one, and
//! after a crash those within the claim count as having run. The claim is durable before any of them runs. Where none has run for
//! a while none is claimed, and where nothing waits either the recorder sleeps until something does.
//!
//! Patches go into the store's journal, after all that they may go on from. Where they stand in it is decided here, so that of a state
//! and a patch of the same task it is known which of them is newer.
//!
//! A store that refuses (a full disk) loses nothing by it at first: states are whole and newer ones replace older ones, records,
//! patches and log lines wait within their bounds, and all are tried again the next second. Nor does it stop any run: then the claim is
//! a promise without proof, which the store's faults tell. One that hangs is waited for, and runs wait with it for a while; then they go
//! on without a claim as well.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::claims::Claims;
use crate::log::{LogChunk, TaskLog, UnwrittenLogs};
use crate::outcome::{RunKey, RunRecord, TaskId};
use crate::ports::{Clock, HistoryBatch, HostRun, JournalEntry, Store, StoreError, UnitState};
use crate::prefetch::prefetch_arc;
use crate::time::Time;
use crate::unit::CLOCK_SET_BACK;
use crate::worker::UnitBatch;

/// How often there is a batch.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How far ahead of now is claimed: the store may be so late with the next claim that runs do not wait for it.
const CLAIM_AHEAD: Duration = Duration::from_secs(2);

/// How long the store may take over a claim, or over what it writes before one, until runs go on without it: a disk that hangs must not
/// stop them. What runs then may run again after a crash.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// How often a host that claims nothing says that it is alive.
const IDLE_BEAT: Duration = Duration::from_secs(60);

/// How long it is claimed on after a claim was last used: a little longer than fast due times lie apart.
const CLAIM_LINGER: Duration = Duration::from_secs(70);

/// How long lines wait for others of their task, unless they are in a hurry; a little less than four batches lie apart. With the time
/// until the next batch, it is what a crash may take of them.
const LINES_WAIT: Duration = Duration::from_millis(3_900);

/// How many logs are fetched into the caches together: their tasks' workers have long had other tasks since.
const FETCHED_LOGS: usize = 64;

/// How many tasks' logs go into one batch: few, since to collect them takes this thread's core from a worker.
const BATCH_LOGS: usize = 2_000;

/// How many tasks go into one batch: starts that are noted meanwhile wait for no more.
const BATCH_TASKS: usize = 1_000;

/// How many records wait for a store that refuses before the oldest are lost.
const MAX_WAITING_RECORDS: usize = 100_000;

/// How many bytes of patches are written without waiting for the second to end.
const EARLY_PATCH_BYTES: usize = 512 << 10;

/// How many bytes of patches wait for it: of more, the oldest are dropped, and the tasks that had nothing since are as far behind.
const MAX_WAITING_PATCH_BYTES: usize = 16 << 20;

/// How many of those wait.
pub(crate) const MAX_URGENT: usize = 64;

/// The end of the host.
#[derive(Debug)]
pub(crate) struct LastWord {
    /// From when on nothing was begun any more: what came due since is missed, though runs that went on were waited for.
    pub halted: Time,
    /// Told when all is written.
    pub done: oneshot::Sender<()>,
}

/// Tasks of which what was handed over is to be written at once.
pub(crate) struct Urgent {
    pub tasks: Vec<TaskId>,
    pub done: oneshot::Sender<()>,
}

/// What a recorder works with.
pub(crate) struct Recorder<C> {
    store: Arc<dyn Store>,
    clock: C,
    claims: Arc<Claims>,
    /// When the host started: the identity of its run.
    started: Time,
    beat: Time,
    /// When a claim was last seen to be used.
    used: Option<tokio::time::Instant>,
    waiting: Waiting,
    /// Where the journal goes on.
    journal: u64,
    /// Told once when the store begins to refuse, and once when it takes again.
    refused: bool,
}

/// What the store has not taken: of each task all in one, since it is written together; and what goes into the journal after that.
#[derive(Default)]
struct Waiting {
    /// In the order in which the store has their rows: of many, those that a batch writes stand beside each other, and share pages.
    tasks: BTreeMap<TaskId, WaitingTask>,
    /// How many records they have.
    records: usize,
    journal: VecDeque<JournalEntry>,
    patch_bytes: usize,
}

#[derive(Clone, Default)]
struct WaitingTask {
    state: Option<UnitState>,
    records: Vec<RunRecord>,
    ended: Vec<RunKey>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.journal.is_empty()
    }

    fn add(&mut self, batch: UnitBatch) {
        self.records += batch.records.len();
        for (id, state) in batch.states {
            self.tasks.entry(id).or_default().state = Some(state);
        }
        for (id, record) in batch.records {
            self.tasks.entry(id).or_default().records.push(record);
        }
        for (id, key) in batch.ended {
            self.tasks.entry(id).or_default().ended.push(key);
        }
    }

    fn add_to_journal(&mut self, start: u64, patches: Vec<u8>) {
        if !patches.is_empty() {
            self.patch_bytes += patches.len();
            self.journal.push_back(JournalEntry { start, patches: patches.into() });
        }
    }

    /// Puts back what was taken out and refused. Nothing of these tasks has come meanwhile: who writes has all that waits to himself.
    fn put_back(&mut self, refused: HistoryBatch) {
        let HistoryBatch { states, records, ended, journal, .. } = refused;
        for entry in journal.into_iter().rev() {
            self.patch_bytes += entry.patches.len();
            self.journal.push_front(entry);
        }
        self.add(UnitBatch { states, records, ended, patches: Vec::new() });
    }

    /// Takes out some tasks, that follow each other.
    fn take(&mut self, most: usize) -> Vec<(TaskId, WaitingTask)> {
        let ids: Vec<TaskId> = self.tasks.keys().take(most).copied().collect();
        self.take_these(&ids)
    }

    fn take_these(&mut self, ids: &[TaskId]) -> Vec<(TaskId, WaitingTask)> {
        let taken: Vec<_> = ids.iter().filter_map(|id| Some((*id, self.tasks.remove(id)?))).collect();
        self.records -= taken.iter().map(|(_, task)| task.records.len()).sum::<usize>();
        taken
    }

    /// Takes out what goes into the journal. What waits of tasks must have been written: patches go on from it.
    fn take_journal(&mut self) -> Vec<JournalEntry> {
        self.patch_bytes = 0;
        self.journal.drain(..).collect()
    }

    /// Drops what is beyond the bounds; answers with how many due times the records stood for.
    fn shrink(&mut self) -> u64 {
        while self.patch_bytes > MAX_WAITING_PATCH_BYTES
            && self.journal.len() > 1
            && let Some(oldest) = self.journal.pop_front()
        {
            self.patch_bytes -= oldest.patches.len();
        }
        let mut lost = 0;
        // Once through them: a restart may have many more at once than may wait.
        for task in self.tasks.values_mut().filter(|task| !task.records.is_empty()) {
            if self.records <= MAX_WAITING_RECORDS {
                break;
            }
            self.records -= task.records.len();
            lost += task.records.drain(..).map(|record| record.times()).sum::<u64>();
        }
        lost
    }
}

impl<C: Clock> Recorder<C> {
    /// Says that the host is up, and claims the first stretch of time. What a host that died had claimed stays claimed, even if the
    /// clock was set back since.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        clock: C,
        claims: Arc<Claims>,
        previous: Option<HostRun>,
        journal: u64,
    ) -> Self {
        let started = clock.now();
        claims.extend(previous.filter(|run| run.stopped.is_none()).map_or(started, |run| run.claimed));
        let (beat, used, waiting) = (started, None, Waiting::default());
        let mut recorder = Self { store, clock, claims, started, beat, used, waiting, journal, refused: false };
        // Before there are any tasks: whoever asks when the host was up gets an answer from the first moment on.
        recorder.claim_from(started).await;
        recorder
    }

    /// When the host started.
    pub(crate) fn started(&self) -> Time {
        self.started
    }

    /// Works until the last flush is done.
    pub(crate) async fn run(
        mut self,
        mut units: mpsc::Receiver<UnitBatch>,
        mut urgents: mpsc::Receiver<Urgent>,
        logs: UnwrittenLogs,
        mut last: oneshot::Receiver<LastWord>,
    ) {
        let claims = Arc::clone(&self.claims);
        let mut logs = DueLogs { logs, queued: VecDeque::new(), due: 0, taken: 0 };
        let mut tick = tokio::time::interval(FLUSH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let idle = self.waiting.is_empty() && logs.logs.waiting.is_empty() && !self.claims_are_used();
            let last = tokio::select! {
                Some(batch) = units.recv() => {
                    self.take(batch);
                    if self.waiting.patch_bytes >= EARLY_PATCH_BYTES && !self.refused {
                        let due = logs.due(false).if_many();
                        self.flush(&mut logs, due, None).await;
                    }
                    continue;
                }
                // Whatever else waits is seen above.
                Some(log) = logs.logs.waiting.recv(), if idle => {
                    log.queue_again();
                    continue;
                }
                () = tokio::time::sleep(IDLE_BEAT), if idle => None,
                Some(Urgent { tasks, done }) = urgents.recv() => {
                    // What the workers handed over before is older.
                    while let Ok(batch) = units.try_recv() {
                        self.take(batch);
                    }
                    let written = self.write_urgent(&tasks).await;
                    self.tell(written);
                    done.send(()).ok();
                    continue;
                }
                () = claims.wanted() => {
                    // Who asks ahead of time is content with what there is.
                    self.claim_if_short().await;
                    continue;
                }
                _ = tick.tick(), if !idle => None,
                last = &mut last => Some(last),
            };
            match last {
                None => {
                    self.claim().await;
                    let due = logs.due(false);
                    self.flush(&mut logs, due, None).await;
                }
                Some(Ok(LastWord { halted, done })) => {
                    while let Ok(batch) = units.try_recv() {
                        self.take(batch);
                    }
                    let now = self.clock.now();
                    let stopped = HostRun { started: self.started, seen: now, stopped: Some(halted), claimed: now };
                    let due = logs.due(true);
                    self.flush(&mut logs, due, Some(stopped)).await;
                    done.send(()).ok();
                    return;
                }
                // The supervisor is gone without a last word.
                Some(Err(_)) => return,
            }
        }
    }

    /// Claims the next stretch of time if what is claimed ends soon.
    async fn claim_if_short(&mut self) {
        if self.claims.until() < self.clock.now().saturating_add(FLUSH_INTERVAL) {
            self.claim().await;
        }
    }

    /// Claims the next stretch of time, durably, if anybody uses it.
    async fn claim(&mut self) {
        let now = self.clock.now();
        if self.claims_are_used() || now < self.beat || now.since(self.beat) >= IDLE_BEAT {
            self.claim_from(now).await;
        }
    }

    /// Whether due times ran on claims of late.
    fn claims_are_used(&mut self) -> bool {
        if self.claims.take_use() {
            self.used = Some(tokio::time::Instant::now());
        }
        self.used.is_some_and(|used| used.elapsed() < CLAIM_LINGER)
    }

    /// Says that the host is alive at a time, and claims the stretch after it.
    async fn claim_from(&mut self, now: Time) {
        self.beat = now;
        let ahead = now.saturating_add(CLAIM_AHEAD);
        let claimed = self.claimed(now).map_or(ahead, |until| until.max(ahead));
        let host = Some(self.alive(now, claimed));
        if let Err(error) = self.record(HistoryBatch { host, ..HistoryBatch::default() }.into()).await {
            tracing::debug!(%error, "runs go on without a claim");
        }
        self.claims.extend(claimed);
    }

    /// What is claimed already. It stays so when the clock is set back, unless that was wrong before.
    fn claimed(&self, now: Time) -> Option<Time> {
        Some(self.claims.until()).filter(|until| *until <= now.saturating_add(CLOCK_SET_BACK))
    }

    /// The host's word that it is alive, and how far due times may have run.
    fn alive(&self, now: Time, claimed: Time) -> HostRun {
        HostRun { started: self.started, seen: now, stopped: None, claimed }
    }

    /// Has the store write something. While it takes too long, runs go on without a claim.
    async fn record(&self, batch: Arc<HistoryBatch>) -> Result<(), StoreError> {
        let mut written = self.store.record(batch);
        if let Ok(written) = tokio::time::timeout(CLAIM_PATIENCE, &mut written).await {
            return written;
        }
        tracing::warn!("the store hangs; runs go on without a claim");
        loop {
            self.claims.extend(self.clock.now().saturating_add(CLAIM_AHEAD));
            if let Ok(written) = tokio::time::timeout(FLUSH_INTERVAL, &mut written).await {
                tracing::info!("the store goes on");
                return written;
            }
        }
    }

    fn take(&mut self, mut batch: UnitBatch) {
        let start = self.journal;
        let patches = std::mem::take(&mut batch.patches);
        self.journal += patches.len() as u64;
        batch.states.iter_mut().for_each(|(_, state)| state.journal += start);
        self.waiting.add(batch);
        self.waiting.add_to_journal(start, patches);
        let lost = self.waiting.shrink();
        self.claims.lost_records.fetch_add(lost, Ordering::Relaxed);
    }

    /// Writes what waits, and the logs that are due; `host` with the last of it.
    async fn flush(&mut self, logs: &mut DueLogs, due: DueNow, host: Option<HostRun>) {
        let written = self.try_flush(logs, due, host).await;
        self.tell(written);
    }

    /// Tells once that the store refuses, and once that it takes again.
    fn tell(&mut self, written: Result<(), StoreError>) {
        match written {
            Ok(()) if self.refused => {
                self.refused = false;
                tracing::info!("history and logs are written again");
            }
            Ok(()) => {}
            Err(error) if self.refused => tracing::debug!(%error, "history and logs still can't be written"),
            Err(error) => {
                self.refused = true;
                tracing::warn!(%error, "failed to write history and logs; trying again every second");
            }
        }
    }

    async fn try_flush(
        &mut self,
        logs: &mut DueLogs,
        mut due: DueNow,
        host: Option<HostRun>,
    ) -> Result<(), StoreError> {
        loop {
            let mut chunks = LogChunks::default();
            let mut taken = Vec::new();
            while taken.len() < BATCH_LOGS && due.hurried > 0 {
                due.hurried -= 1;
                taken.extend(logs.logs.hurried.try_recv().ok().map(|log| (log, true)));
            }
            while taken.len() < BATCH_LOGS && due.waiting > 0 {
                due.waiting -= 1;
                logs.taken += 1;
                taken.extend(logs.logs.waiting.try_recv().ok().map(|log| (log, false)));
            }
            chunks.take(taken);
            let tasks = self.waiting.take(BATCH_TASKS);
            let last = due.hurried == 0 && due.waiting == 0 && self.waiting.tasks.is_empty();
            let journal = if last { self.waiting.take_journal() } else { Vec::new() };
            let last_word = host.filter(|_| last);
            if !chunks.logs.is_empty() || !tasks.is_empty() || !journal.is_empty() || last_word.is_some() {
                self.write(tasks, journal, chunks, last_word).await?;
            }
            if last {
                return Ok(());
            }
            // Of a host with too much to do there are many batches, and runs wait for no more than one of them. One that stops runs
            // nothing.
            if host.is_none() {
                self.claim_if_short().await;
            }
        }
    }

    /// Writes what waits of these tasks.
    async fn write_urgent(&mut self, tasks: &[TaskId]) -> Result<(), StoreError> {
        for some in tasks.chunks(BATCH_TASKS) {
            // With the host's word, which makes it durable: what was answered then holds over a power cut.
            let now = self.clock.now();
            let host = self.alive(now, self.claimed(now).unwrap_or(now));
            let some = self.waiting.take_these(some);
            self.write(some, Vec::new(), LogChunks::default(), Some(host)).await?;
            self.claim_if_short().await;
        }
        Ok(())
    }

    /// Writes one batch. What is refused waits again.
    async fn write(
        &mut self,
        tasks: Vec<(TaskId, WaitingTask)>,
        journal: Vec<JournalEntry>,
        LogChunks { logs, chunks }: LogChunks,
        host: Option<HostRun>,
    ) -> Result<(), StoreError> {
        let mut batch = HistoryBatch { journal, logs: chunks, host, ..HistoryBatch::default() };
        for (id, WaitingTask { state, records, ended }) in tasks {
            batch.states.extend(state.map(|state| (id, state)));
            batch.records.extend(records.into_iter().map(|record| (id, record)));
            batch.ended.extend(ended.into_iter().map(|key| (id, key)));
        }
        // Shared with the store, since what that refuses is wanted back.
        let batch = Arc::new(batch);
        let written = self.record(Arc::clone(&batch)).await;
        self.claims.begin_anew(self.store.histories());
        match &written {
            Ok(()) => written_all(&logs),
            Err(_) => {
                self.waiting.put_back(Arc::unwrap_or_clone(batch));
                logs.iter().for_each(TaskLog::refused);
            }
        }
        written
    }
}

/// Logs whose lines are to be written, those that waited longest first.
struct DueLogs {
    logs: UnwrittenLogs,
    /// How many there were, all in all, at each of the last batches, and when that was.
    queued: VecDeque<(tokio::time::Instant, u64)>,
    /// How many of them are to be written, and how many were taken out.
    due: u64,
    taken: u64,
}

/// How many logs are to be written now, out of each queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DueNow {
    hurried: usize,
    waiting: u64,
}

impl DueNow {
    /// Those that have waited go only if they are worth a batch of their own.
    fn if_many(self) -> Self {
        Self { waiting: if self.waiting < BATCH_LOGS as u64 { 0 } else { self.waiting }, ..self }
    }
}

impl DueLogs {
    /// How many are in a hurry, and how many have waited long enough.
    fn due(&mut self, all: bool) -> DueNow {
        let (now, queued) = (tokio::time::Instant::now(), self.taken + self.logs.waiting.len() as u64);
        self.queued.push_back((now, queued));
        while let Some((_, old)) = self.queued.pop_front_if(|(then, _)| now - *then >= LINES_WAIT) {
            self.due = old;
        }
        if all || self.logs.is_pressed() {
            self.due = queued;
        }
        DueNow { hurried: self.logs.hurried.len(), waiting: self.due.saturating_sub(self.taken) }
    }
}

/// What logs have to be written.
#[derive(Default)]
struct LogChunks {
    logs: Vec<Arc<TaskLog>>,
    chunks: Vec<LogChunk>,
}

impl LogChunks {
    /// Takes what is to be written of logs, each with whether it was in a hurry.
    fn take(&mut self, logs: Vec<(Arc<TaskLog>, bool)>) {
        let mut taken = logs.into_iter();
        while !taken.as_slice().is_empty() {
            let together = taken.len().min(FETCHED_LOGS);
            taken.as_slice()[..together].iter().for_each(|(log, _)| prefetch_arc(log));
            taken.as_slice()[..together].iter().for_each(|(log, _)| log.prefetch(0));
            for (log, hurried) in taken.by_ref().take(together) {
                let before = self.chunks.len();
                log.take_unwritten(hurried, &mut self.chunks);
                if self.chunks.len() > before {
                    self.logs.push(log);
                }
            }
        }
    }
}

/// The store has what was taken of these logs.
fn written_all(logs: &[Arc<TaskLog>]) {
    for together in logs.chunks(FETCHED_LOGS) {
        together.iter().for_each(prefetch_arc);
        together.iter().for_each(|log| log.written());
    }
}

#[cfg(test)]
mod tests;
