//! The end of a host.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Supervisor;
use crate::events::EventKind;
use crate::ports::{Clock, Engine, StoreError};
use crate::recorder::LastWord;
use crate::worker::Worker;

/// How long runs that were stopped hard may take to end before the host goes without them.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long changes that were begun may take to end before the host goes without them: one may be compiling.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Ends everything, in this order: changes are refused, ticks stop, runs may end until `grace_over` and are stopped hard
    /// then, history and logs are written, the last event is sent, the workers are joined, the store is closed. To be called
    /// once, and driven to its end: what was taken for the last write exists nowhere else.
    ///
    /// # Errors
    /// If the store can't be closed.
    pub async fn shutdown(&self, grace_over: impl Future<Output = ()>) -> Result<(), StoreError> {
        self.inner.closing.store(true, Ordering::Release);
        // Changes that were begun end; those that wait for their turn are refused when it comes.
        let changes = futures_util::future::join_all(self.inner.shards.iter().map(|shard| shard.lock()));
        if tokio::time::timeout(CHANGE_PATIENCE, changes).await.is_err() {
            tracing::error!("changes did not end; going without them");
        }
        let halted = self.inner.clock.now();
        let idle: Vec<_> = (0..self.inner.workers.len()).map(|worker| self.halt(worker)).collect();
        let mut idle = futures_util::future::join_all(idle);
        let in_time = tokio::select! {
            _ = &mut idle => true,
            () = grace_over => false,
        };
        if !in_time {
            tracing::warn!("runs are still going on after the grace; stopping them");
            for worker in 0..self.inner.workers.len() {
                self.ask(worker, Worker::stop_all).await.ok();
            }
            if tokio::time::timeout(STOP_PATIENCE, &mut idle).await.is_err() {
                tracing::error!("runs did not stop; going without them");
            }
        }
        for worker in 0..self.inner.workers.len() {
            self.ask(worker, Worker::record_all).await.ok();
        }
        let last_flush = self.inner.last_flush.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(last_flush) = last_flush {
            let (done, is_done) = oneshot::channel();
            if last_flush.send(LastWord { halted, done }).is_ok() {
                is_done.await.ok();
            }
        }
        self.publish(EventKind::Shutdown);
        for worker in 0..self.inner.workers.len() {
            self.ask(worker, Worker::quit).await.ok();
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let join = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        join.await.ok();
        self.inner.store.close().await
    }

    async fn halt(&self, worker: usize) {
        let (idle, is_idle) = oneshot::channel();
        self.ask(worker, move |worker| worker.halt(idle)).await.ok();
        is_idle.await.ok();
    }
}
