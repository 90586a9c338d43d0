//! The threads that write, one for each database, and the ends that others hold of their queues.
//!
//! Writes that come while a commit waits for the disk stand in the queue, and share the next one.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{Change, ChangeKind, HistoryBatch, Start, StoreError};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::blocking;
use crate::definitions::{Definitions, Write};
use crate::history::History;
use crate::key_values::{self, KeyValues};
use crate::lock::DirLock;

/// How many writes of each database wait at most; further callers wait for a place.
const QUEUED_WRITES: usize = 1024;

/// The same of keys and values: few, since each may have megabytes of them.
const QUEUED_KEY_VALUE_CHANGES: usize = 256;

/// How many changes of definitions, or of keys and values, share a commit at most, but that what was asked for at once is never
/// parted.
const MAX_GROUP_CHANGES: usize = 256;

/// How many starts of runs share a commit at most, but that what was asked for at once is never parted.
const MAX_GROUP_STARTS: usize = 4096;

/// How long history that was answered may stay unsynced while the queue never runs dry.
const MAX_UNSYNCED: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// One end of a writer's queue. When all are gone the writer finishes what is queued and stops, as after [`close`](Self::close).
#[derive(Debug)]
pub(crate) struct Writer<J> {
    sender: mpsc::Sender<J>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl<J> Clone for Writer<J> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), thread: Arc::clone(&self.thread) }
    }
}

impl<J: Send + 'static> Writer<J> {
    fn spawn(name: &str, queue: usize, run: impl FnOnce(mpsc::Receiver<J>) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(queue);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(receiver))?;
        Ok(Self { sender, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    async fn call<T, E: From<StoreError>>(self, job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> J) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(job(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    async fn join(&self) -> Result<(), StoreError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        blocking(move || thread.join().map_err(|_| StoreError::Failed("a writer of the store panicked".to_owned())))
            .await
    }
}

/// How much nicer than a worker the writer of history is.
const NICENESS: i32 = 5;

/// Makes the current thread give way to the workers: what they did is written some time within the second, and due times do not wait.
fn give_way() {
    // On Linux the priority is the thread's own, not the process's.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("failed to lower the thread's priority: {error}");
    }
}

/// What the writer of definitions is asked.
#[derive(Debug)]
pub(crate) enum DefinitionsJob {
    /// Several, each of which is answered for itself.
    Writes(Vec<Write>, oneshot::Sender<Result<Vec<Result<(), StoreError>>, StoreError>>),
    Close(Reply),
}

/// The writer of definitions, as those have it who write.
///
/// To hand something to another thread, and to be woken by it, are system calls, and definitions come by the dozen: what is asked for
/// in one turn of the runtime goes to the writer in one piece, and its answers come back in one.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionsWriter {
    writer: Writer<DefinitionsJob>,
    /// What is asked for and not yet on its way. While there is some, there is a task that sends it.
    asked: Arc<Mutex<Vec<(Write, Reply)>>>,
}

impl DefinitionsWriter {
    pub(crate) fn new(writer: Writer<DefinitionsJob>) -> Self {
        Self { writer, asked: Arc::default() }
    }

    /// Answers when the write is durable.
    pub(crate) async fn write(self, write: Write) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let is_first = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push((write, reply));
            asked.len() == 1
        };
        if is_first {
            tokio::spawn(self.send());
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn send(self) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let (writes, replies): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let answers = self.writer.call(|reply| DefinitionsJob::Writes(writes, reply)).await;
        let answers = answers.unwrap_or_else(|error| vec![Err(error); replies.len()]);
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever asked may have gone away; the write stands.
            drop(reply.send(answer));
        }
    }

    /// Writes what is queued and stops.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let closed = self.writer.clone().call(DefinitionsJob::Close).await;
        self.writer.join().await.and(closed)
    }
}

impl Writer<DefinitionsJob> {
    pub(crate) fn definitions(
        mut definitions: Definitions,
        history: Writer<HistoryJob>,
        key_values: Writer<KeyValuesJob>,
        lock: Arc<DirLock>,
    ) -> io::Result<Self> {
        Self::spawn("store-definitions", QUEUED_WRITES, move |mut jobs| {
            definitions.warm_up();
            let closing = write_definitions(&mut definitions, &mut jobs, &history, &key_values);
            let closed = definitions.close();
            drop(lock);
            answer_close(closing, closed);
        })
    }
}

fn write_definitions(
    definitions: &mut Definitions,
    jobs: &mut mpsc::Receiver<DefinitionsJob>,
    history: &Writer<HistoryJob>,
    key_values: &Writer<KeyValuesJob>,
) -> Option<Reply> {
    let mut closing = None;
    let mut group = Vec::new();
    while let Some(job) = jobs.blocking_recv() {
        let mut next = Some(job);
        let mut changes = 0;
        while let Some(job) = next {
            match job {
                DefinitionsJob::Writes(writes, reply) => {
                    // One without changes takes its place all the same.
                    changes += writes.iter().map(|write| write.changes().max(1)).sum::<usize>();
                    group.push((writes, reply));
                }
                DefinitionsJob::Close(reply) => {
                    closing = Some(reply);
                    jobs.close();
                }
            }
            next = if changes < MAX_GROUP_CHANGES { jobs.try_recv().ok() } else { None };
        }
        if group.is_empty() {
            continue;
        }
        let writes: Vec<&Write> = group.iter().flat_map(|(writes, _)| writes).collect();
        let answers = definitions.apply(&writes);
        let done = writes.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let deleted: Vec<TaskId> = done.flat_map(|(write, _)| deleted_tasks(write)).collect();
        // Before the answers, so that it stands in the queue before whatever is recorded after them.
        if !deleted.is_empty() {
            key_values.forget(deleted.clone());
            history.forget(deleted);
        }
        let mut answers = answers.into_iter();
        for (writes, reply) in group.drain(..) {
            // Whoever asked may have gone away; the writes stand.
            drop(reply.send(Ok(answers.by_ref().take(writes.len()).collect())));
        }
        definitions.checkpoint();
    }
    closing
}

fn deleted_tasks(write: &Write) -> impl Iterator<Item = TaskId> {
    let changes: &[Change] = match write {
        Write::Changes(changes) => changes,
        Write::PutPlugin { .. } | Write::DeletePlugin(_) => &[],
    };
    changes.iter().filter_map(|change| match change.kind {
        ChangeKind::Delete { id, .. } => Some(id),
        _ => None,
    })
}

/// What the writer of history is asked.
#[derive(Debug)]
pub(crate) enum HistoryJob {
    Record(Arc<HistoryBatch>, Reply),
    Starts(Vec<Start>, Reply),
    Forget(Vec<TaskId>),
    Close(Reply),
}

impl HistoryJob {
    /// Whether it only says how the host is, and nothing of any task.
    fn is_of_the_host_only(&self) -> bool {
        let Self::Record(batch, _) = self else { return false };
        let HistoryBatch { states, records, ended, journal, logs, host } = &**batch;
        let nothing = states.is_empty() && records.is_empty() && ended.is_empty();
        host.is_some() && nothing && logs.is_empty() && journal.is_empty()
    }
}

impl Writer<HistoryJob> {
    /// `tasks` are the ids of all that are stored.
    pub(crate) fn history(mut history: History, tasks: Vec<i64>, lock: Arc<DirLock>) -> io::Result<Self> {
        Self::spawn("store-history", QUEUED_WRITES, move |mut jobs| {
            give_way();
            let closing = write_history(&mut history, tasks, &mut jobs);
            let closed = history.close();
            drop(lock);
            answer_close(closing, closed);
        })
    }

    /// Answers when the batch survives the end of the process; a power cut, soon after, or at once if it says how the host
    /// is.
    pub(crate) async fn record(self, batch: Arc<HistoryBatch>) -> Result<(), StoreError> {
        self.call(|reply| HistoryJob::Record(batch, reply)).await
    }

    /// Answers when the starts are durable.
    pub(crate) async fn record_starts(self, starts: Vec<Start>) -> Result<(), StoreError> {
        self.call(|reply| HistoryJob::Starts(starts, reply)).await
    }

    /// Writes what is queued and stops.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let closed = self.clone().call(HistoryJob::Close).await;
        self.join().await.and(closed)
    }

    /// Removes what deleted tasks left, some time. Does not wait for a place in the queue: what finds none is removed at
    /// the next start.
    fn forget(&self, tasks: Vec<TaskId>) {
        if self.sender.try_send(HistoryJob::Forget(tasks)).is_err() {
            tracing::debug!("the history of deleted tasks is left to the next start");
        }
    }
}

fn write_history(history: &mut History, tasks: Vec<i64>, jobs: &mut mpsc::Receiver<HistoryJob>) -> Option<Reply> {
    // Until it is warmed up.
    let mut cold = Some(tasks);
    let mut closing = None;
    let mut unsynced: Option<Instant> = None;
    let mut next = None;
    loop {
        let job = match next.take().map_or_else(|| jobs.try_recv(), Ok) {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) if history.tidy_some() => {
                history.checkpoint();
                continue;
            }
            Err(_) => {
                if unsynced.take().is_some() {
                    history.sync();
                }
                jobs.blocking_recv()
            }
        };
        // The host's word that it is up goes before, since its tasks wait for it; anything else may be of tasks that are not in the list.
        if !job.as_ref().is_some_and(HistoryJob::is_of_the_host_only)
            && let Some(tasks) = cold.take()
        {
            history.warm_up(&tasks);
        }
        match job {
            None => return closing,
            Some(HistoryJob::Record(batch, reply)) => {
                drop(reply.send(history.record(&batch)));
                unsynced.get_or_insert_with(Instant::now);
            }
            Some(HistoryJob::Starts(starts, reply)) => {
                let group;
                (group, next) = gather_starts(starts, reply, jobs);
                let answer = history.record_starts(group.iter().flat_map(|(starts, _)| starts));
                for (_, reply) in group {
                    // Whoever asked may have gone away; the start stands.
                    drop(reply.send(answer.clone()));
                }
            }
            Some(HistoryJob::Forget(tasks)) => history.forget(&tasks),
            Some(HistoryJob::Close(reply)) => {
                closing = Some(reply);
                jobs.close();
            }
        }
        if let Some(tasks) = cold.take() {
            history.warm_up(&tasks);
        }
        if unsynced.is_some_and(|since| since.elapsed() > MAX_UNSYNCED) {
            history.sync();
            unsynced = None;
        }
        history.tidy_some();
        history.checkpoint();
    }
}

/// The starts that wait one after the other, and the job that came after them. Further ones are not looked for behind it:
/// it may say that one of these has ended.
fn gather_starts(
    starts: Vec<Start>,
    reply: Reply,
    jobs: &mut mpsc::Receiver<HistoryJob>,
) -> (Vec<(Vec<Start>, Reply)>, Option<HistoryJob>) {
    let mut count = starts.len();
    let mut group = vec![(starts, reply)];
    while count < MAX_GROUP_STARTS && group.len() < MAX_GROUP_STARTS {
        match jobs.try_recv() {
            Ok(HistoryJob::Starts(starts, reply)) => {
                count += starts.len();
                group.push((starts, reply));
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// What the writer of keys and values is asked.
#[derive(Debug)]
pub(crate) enum KeyValuesJob {
    Change(key_values::Write, oneshot::Sender<key_values::Answer>),
    Forget(Vec<TaskId>),
    Close(Reply),
}

impl Writer<KeyValuesJob> {
    /// `tasks` are the ids of all that are stored.
    pub(crate) fn key_values(mut key_values: KeyValues, tasks: Vec<i64>, lock: Arc<DirLock>) -> io::Result<Self> {
        Self::spawn("store-key-values", QUEUED_KEY_VALUE_CHANGES, move |mut jobs| {
            key_values.warm_up(&tasks);
            drop(tasks);
            let closing = write_key_values(&mut key_values, &mut jobs);
            let closed = key_values.close();
            drop(lock);
            answer_close(closing, closed);
        })
    }

    /// Answers when the change is durable.
    pub(crate) async fn change(self, write: key_values::Write) -> key_values::Answer {
        self.call(|reply| KeyValuesJob::Change(write, reply)).await
    }

    /// Writes what is queued and stops.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let closed = self.clone().call(KeyValuesJob::Close).await;
        self.join().await.and(closed)
    }

    /// Removes what deleted tasks left, some time. Does not wait for a place in the queue: what finds none is removed at the next
    /// start.
    fn forget(&self, tasks: Vec<TaskId>) {
        if self.sender.try_send(KeyValuesJob::Forget(tasks)).is_err() {
            tracing::debug!("the keys and values of deleted tasks are left to the next start");
        }
    }
}

fn write_key_values(key_values: &mut KeyValues, jobs: &mut mpsc::Receiver<KeyValuesJob>) -> Option<Reply> {
    let mut closing = None;
    let mut group = Vec::new();
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) if key_values.remove_some() => {
                key_values.checkpoint();
                continue;
            }
            Err(_) => jobs.blocking_recv(),
        };
        let Some(job) = job else { return closing };
        let mut next = Some(job);
        while let Some(job) = next.take() {
            match job {
                KeyValuesJob::Change(write, reply) => {
                    group.push((write, reply));
                    if group.len() < MAX_GROUP_CHANGES {
                        next = jobs.try_recv().ok();
                    }
                }
                // What was asked for before it is written first: else a change of a task that was there would be refused.
                KeyValuesJob::Forget(tasks) => {
                    apply_group(key_values, &mut group);
                    key_values.forget(&tasks);
                }
                KeyValuesJob::Close(reply) => {
                    closing = Some(reply);
                    jobs.close();
                }
            }
        }
        apply_group(key_values, &mut group);
        key_values.checkpoint();
    }
}

fn apply_group(key_values: &mut KeyValues, group: &mut Vec<(key_values::Write, oneshot::Sender<key_values::Answer>)>) {
    if group.is_empty() {
        return;
    }
    let answers = key_values.apply(group.iter().map(|(write, _)| write));
    for ((_, reply), answer) in group.drain(..).zip(answers) {
        // Whoever asked may have gone away; the change stands.
        drop(reply.send(answer));
    }
}

fn answer_close(closing: Option<Reply>, closed: Result<(), StoreError>) {
    match closing {
        // Whoever asked may have gone away.
        Some(reply) => drop(reply.send(closed)),
        None => {
            if let Err(error) = closed {
                tracing::error!("failed to close the store: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::outcome::{Reason, RunKey};
    use taskhost_core::ports::{OpenRun, Progress};
    use taskhost_core::time::Time;

    use super::*;

    fn starts(count: usize) -> Vec<Start> {
        let progress = Progress::Started { attempt: 1 };
        let run = OpenRun { key: RunKey::of(Time(1)), reason: Reason::Schedule, trigger: None, revision: 1, progress };
        vec![Start { task: 1, run }; count]
    }

    /// The sizes of the calls that share a commit, and whether another job was taken from the queue.
    fn gathered(jobs: Vec<HistoryJob>) -> (Vec<usize>, bool, usize) {
        let (sender, mut receiver) = mpsc::channel(jobs.len().max(1));
        jobs.into_iter().for_each(|job| sender.try_send(job).expect("has room"));
        let (group, next) = gather_starts(starts(1), oneshot::channel().0, &mut receiver);
        (group.iter().map(|(starts, _)| starts.len()).collect(), next.is_some(), receiver.len())
    }

    fn job(count: usize) -> HistoryJob {
        HistoryJob::Starts(starts(count), oneshot::channel().0)
    }

    #[test]
    fn starts_that_wait_share_a_commit_up_to_its_bound() {
        assert_eq!(gathered(vec![]), (vec![1], false, 0));
        assert_eq!(gathered(vec![job(2), job(0), job(3)]), (vec![1, 2, 0, 3], false, 0));
        assert_eq!(gathered(vec![job(MAX_GROUP_STARTS), job(1)]), (vec![1, MAX_GROUP_STARTS], false, 1));
    }

    #[test]
    fn starts_do_not_overtake_what_came_before_them() {
        let record = || HistoryJob::Record(Arc::default(), oneshot::channel().0);
        assert_eq!(gathered(vec![job(2), record(), job(3)]), (vec![1, 2], true, 1));
    }
}
