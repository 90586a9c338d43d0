//! The door to the tasks for everybody outside the core.
//!
//! Every change goes the same way: under the lock of the name's shard it is checked against the task as its worker has it,
//! the plugin is made ready, the store makes the change durable, and only then the worker acts on it and the caller is
//! answered. So a change that was answered is never lost, and one that was refused never happened. A change is a task of its own:
//! a caller that goes away in the middle leaves no store and worker that disagree.

mod bulk;
mod change;
mod history;
mod manifest;
mod outbox;
mod plugin_use;
mod plugins;
mod prepare;
mod read;
mod run;
mod shutdown;
mod start;
mod view;
mod why;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::bulk::{Applied, AppliedKind, BulkAction};
pub use self::history::{NextQuery, NextView, RunsFilter, RunsPage};
use self::outbox::Outbox;
use self::plugin_use::PluginUses;
pub use self::view::{
    DeleteMode, HostStats, KeyValuesView, ListQuery, LogPage, PluginView, TaskError, TaskState, TaskView,
};
pub use self::why::WhyView;
use crate::claims::Claims;
use crate::events::{Event, EventBus, EventKind, EventStream};
use crate::log::LogSink;
use crate::name::TaskName;
use crate::plugin::Sha256;
use crate::ports::{Clock, Definition, Engine, GrantGate, Runner, Store, StoredPlugin};
use crate::recorder::{LastWord, Urgent};
use crate::schedule::Zone;
use crate::shard::{shard_of, worker_of};
use crate::spec::{Ceilings, SharedSpecs};
pub use crate::worker::Unchanged;
use crate::worker::{Command, Slot, Worker};

/// How a supervisor is set up.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// How many worker threads run tasks; at least 1.
    pub workers: usize,
    /// How long a cancelled run has before it is stopped hard.
    pub cancel_grace: Duration,
    /// How long a worker rests at least between what came due and what comes due next. Where many tasks are due, they come together
    /// instead of each waking the thread: that makes them late by half of it in the mean, and saves most of what a core spends on falling
    /// asleep and waking up. What comes due after a longer rest does not wait, nor does a hard stop.
    pub timer_slack: Duration,
    /// The time zone of cron expressions that name none.
    pub zone: Zone,
    /// The most that definitions may ask for.
    pub ceilings: Ceilings,
    /// Who may grant what.
    pub gate: Arc<dyn GrantGate>,
}

/// Runs tasks. Cheap to clone; all clones are the same supervisor.
pub struct Supervisor<E: Engine, C: Clock> {
    inner: Arc<Inner<E, C>>,
}

struct Inner<E: Engine, C: Clock> {
    engine: Arc<E>,
    store: Arc<dyn Store>,
    clock: C,
    zone: Zone,
    ceilings: Ceilings,
    specs: SharedSpecs,
    gate: Arc<dyn GrantGate>,
    claims: Arc<Claims>,
    /// What is to be written at once.
    urgent: mpsc::Sender<Urgent>,
    bus: EventBus,
    logs: Arc<LogSink>,
    workers: Vec<Arc<WorkerOutbox<E, C>>>,
    /// One change at a time for the names of a shard; held over the commit.
    shards: Vec<Arc<tokio::sync::Mutex<()>>>,
    plugin_uses: Arc<PluginUses>,
    /// Held while a plugin is stored, deleted, or found to be of no use: one after the other.
    plugin_changes: tokio::sync::Mutex<()>,
    /// What the store has, in step with it.
    plugins: Mutex<BTreeMap<Sha256, StoredPlugin>>,
    /// Those of tasks that could not be made ready when the host started, for whatever reason.
    unready: Mutex<BTreeSet<Sha256>>,
    closing: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    last_flush: Mutex<Option<oneshot::Sender<LastWord>>>,
}

type WorkerOutbox<E, C> = Outbox<Command<<E as Engine>::Runner, C>>;

type Job<E> = <<E as Engine>::Runner as Runner>::Job;

impl<E: Engine, C: Clock> Clone for Supervisor<E, C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// The time zone of cron expressions that name none.
    pub fn zone(&self) -> &Zone {
        &self.inner.zone
    }

    /// The most that definitions may ask for.
    pub fn ceilings(&self) -> &Ceilings {
        &self.inner.ceilings
    }

    /// Events from now on. `logs` says whether log lines are wanted: they are published only while somebody does.
    pub fn subscribe(&self, logs: bool) -> EventStream {
        self.inner.bus.subscribe(logs)
    }

    /// Waits for the shard's turn.
    async fn begin_change(&self, name: &TaskName) -> Result<tokio::sync::OwnedMutexGuard<()>, TaskError> {
        self.refuse_if_closing()?;
        let guard = Arc::clone(&self.inner.shards[shard_of(name.as_str())]).lock_owned().await;
        self.refuse_if_closing()?;
        Ok(guard)
    }

    fn refuse_if_closing(&self) -> Result<(), TaskError> {
        if self.inner.closing.load(Ordering::Acquire) { Err(TaskError::ShuttingDown) } else { Ok(()) }
    }

    fn worker_of(&self, name: &TaskName) -> usize {
        worker_of(shard_of(name.as_str()), self.inner.workers.len())
    }

    async fn definition(&self, name: &TaskName) -> Result<Definition, TaskError> {
        self.read(name.as_str(), |slot| slot.definition.clone()).await
    }

    /// Reads something of a task.
    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(&Slot<Job<E>>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let name = task_name(name)?;
        let task = name.clone();
        let answer = self.tell(&name, move |worker| worker.slot(task.as_str()).map(read)).await?;
        answer.ok_or(TaskError::NotFound(name))
    }

    /// Has something done by the worker of a name.
    async fn tell<T: Send + 'static>(
        &self,
        name: &TaskName,
        work: impl FnOnce(&mut Worker<E::Runner, C>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        self.ask(self.worker_of(name), work).await
    }

    /// Has something done by a worker.
    async fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        work: impl FnOnce(&mut Worker<E::Runner, C>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let (reply, answer) = oneshot::channel();
        let command: Command<E::Runner, C> = Box::new(move |worker| {
            let answer = work(worker);
            // Nobody waits any more if the caller went away.
            worker.answer_soon(move || drop(reply.send(answer)));
        });
        self.inner.workers[worker].send(command);
        // Dropped unanswered if the worker is gone.
        answer.await.map_err(|_| TaskError::ShuttingDown)
    }

    fn publish(&self, kind: EventKind) {
        self.inner.bus.publish(|| Event { time: self.inner.clock.now(), kind });
    }
}

/// Does a change to its end, even if the caller goes away meanwhile.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> Result<T, TaskError> {
    // In a box: what is spawned is aligned to cache lines, which the allocator finds room for slowly where it is large.
    match tokio::spawn(Box::pin(change)).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nothing aborts it but the runtime's own end.
        Err(_) => Err(TaskError::ShuttingDown),
    }
}

/// A name that somebody asks for. One that can't be a task's is not a task's: the error says what is wrong with it.
fn task_name(name: &str) -> Result<TaskName, TaskError> {
    TaskName::new(name).map_err(|error| TaskError::Spec(error.into()))
}

#[cfg(test)]
mod tests;
