//! What tasks are, as their workers have them, and how the host does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{HostStats, KeyValuesView, ListQuery, LogPage, Supervisor, TaskError, TaskView, task_name};
use crate::lateness::LatenessStats;
use crate::log::Level;
use crate::name::TaskName;
use crate::outcome::Counts;
use crate::ports::{Clock, Definition, Engine};
use crate::spec::Limit;
use crate::worker::{Unchanged, Worker};

/// What became of asking for a task: it, and whether it is still like that.
pub(super) type Gotten = Result<(TaskView, Unchanged), TaskError>;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// One task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], and others of [`TaskError`].
    pub async fn get(&self, name: &str) -> Result<TaskView, TaskError> {
        self.read(name, TaskView::of).await
    }

    /// Several tasks, with each worker that has some of them asked once; each with whether it is still like that later. A part is
    /// ready when its worker has answered, and says where in `names` its tasks stand; what is no name makes a part of its own.
    pub fn get_together(&self, names: &[&str]) -> Vec<impl Future<Output = Vec<(usize, Gotten)>> + Send + use<E, C>> {
        let mut refused = Vec::new();
        let mut wanted: Vec<Vec<(usize, TaskName)>> = vec![Vec::new(); self.inner.workers.len()];
        for (at, name) in names.iter().enumerate() {
            match task_name(name) {
                Ok(name) => wanted[self.worker_of(&name)].push((at, name)),
                Err(error) => refused.push((at, Err(error))),
            }
        }
        let parts = wanted.into_iter().enumerate().map(|(worker, names)| (worker, names, Vec::new()));
        let parts =
            parts.chain([(0, Vec::new(), refused)]).filter(|(_, names, refused)| names.len() + refused.len() > 0);
        parts.map(|(worker, names, refused)| self.clone().get_of_one(worker, names, refused)).collect()
    }

    /// The tasks of these names, all of one worker, after what is known without it.
    async fn get_of_one(
        self,
        worker: usize,
        names: Vec<(usize, TaskName)>,
        mut gotten: Vec<(usize, Gotten)>,
    ) -> Vec<(usize, Gotten)> {
        if names.is_empty() {
            return gotten;
        }
        let places: Vec<usize> = names.iter().map(|(at, _)| *at).collect();
        let read = move |worker: &mut Worker<E::Runner, C>| {
            let mut got = |name: TaskName| match worker.slot_mut(name.as_str()) {
                Some(slot) => Ok((TaskView::of(slot), slot.unchanged())),
                None => Err(TaskError::NotFound(name)),
            };
            names.into_iter().map(|(at, name)| (at, got(name))).collect::<Vec<_>>()
        };
        match self.ask(worker, read).await {
            Ok(read) => gotten.extend(read),
            Err(error) => gotten.extend(places.into_iter().map(|at| (at, Err(error.clone())))),
        }
        gotten
    }

    /// Tasks in order of name, at most `limit`. The second part says whether more follow.
    ///
    /// # Errors
    /// [`TaskError::ShuttingDown`].
    pub async fn list(&self, query: ListQuery) -> Result<(Vec<TaskView>, bool), TaskError> {
        let query = Arc::new(query);
        let mut tasks = Vec::new();
        for worker in 0..self.inner.workers.len() {
            let query = Arc::clone(&query);
            let page = self.ask(worker, move |worker| {
                let slots = worker.slots_after(query.after.as_deref());
                // One more than asked for, to know whether there are more.
                slots.filter(|slot| query.matches(slot)).take(query.limit + 1).map(TaskView::of).collect::<Vec<_>>()
            });
            tasks.extend(page.await?);
        }
        tasks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let more = tasks.len() > query.limit;
        tasks.truncate(query.limit);
        Ok((tasks, more))
    }

    /// The newest `limit` log lines of this level and above with `seq > after_seq`, oldest first.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], [`TaskError::Store`] if older lines can't be read, and others of [`TaskError`].
    pub async fn logs(&self, name: &str, level: Level, after_seq: u64, limit: usize) -> Result<LogPage, TaskError> {
        let (id, log) = self.read(name, |slot| (slot.definition.id, Arc::clone(slot.log()))).await?;
        // Memory before the store: a line that moves in between is seen twice, and not lost.
        let tail = log.tail_from(level, after_seq, limit);
        // How many stored lines it takes to find so many of a level only reading them tells; a task's log is bounded.
        let wanted = if level == Level::Trace { limit } else { usize::MAX };
        let stored = self.inner.store.read_logs(id, after_seq, wanted).await?;
        let first_in_memory = tail.first().map_or(u64::MAX, |line| line.seq);
        let mut lines = crate::log::newest_lines(&stored, level, after_seq, limit);
        lines.retain(|line| line.seq < first_in_memory);
        let (_, dropped) = log.position();
        let excess = (lines.len() + tail.len()).saturating_sub(limit).min(lines.len());
        lines.drain(..excess);
        lines.extend(tail);
        Ok(LogPage { lines, dropped })
    }

    /// Where a task's keys and values are, and how much of them it may have.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], and others of [`TaskError`].
    pub async fn key_values(&self, name: &str) -> Result<KeyValuesView, TaskError> {
        let Definition { id, name, spec, .. } = self.read(name, |slot| slot.definition.clone()).await?;
        Ok(KeyValuesView {
            task: id,
            name,
            quota_bytes: self.inner.ceilings.limit(&spec, Limit::KvBytes).unwrap_or(u64::MAX),
            granted: spec.grants().kv,
        })
    }

    /// How the host does.
    ///
    /// # Errors
    /// [`TaskError::ShuttingDown`].
    pub async fn stats(&self) -> Result<HostStats, TaskError> {
        let mut stats = Vec::new();
        for worker in 0..self.inner.workers.len() {
            stats.push(self.ask(worker, Worker::stats).await?);
        }
        let mut runs = Counts::default();
        stats.iter().for_each(|worker| runs.merge(&worker.counts));
        Ok(HostStats {
            workers: stats.len(),
            tasks: stats.iter().map(|worker| worker.tasks).sum(),
            runs,
            queue_depth: stats.iter().map(|worker| worker.queue_depth).sum(),
            running: stats.iter().map(|worker| worker.running).sum(),
            lateness: LatenessStats::of(stats.into_iter().map(|worker| worker.lateness)),
            lost_log_lines: self.inner.logs.lost_lines(),
            lost_records: self.inner.claims.lost_records.load(Ordering::Relaxed),
            engine: self.inner.engine.stats(),
            faults: self.inner.store.faults(),
        })
    }
}
