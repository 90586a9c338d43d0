//! Brings what units did and what guests wrote to the store, once a second, batched.
//!
//! A store that refuses (a full disk) loses nothing by it: states are whole and newer ones replace older ones, log lines
//! go back to wait within their bounds, and both are tried again the next second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::log::TaskLog;
use crate::outcome::TaskId;
use crate::ports::{HistoryBatch, Store, UnitState};
use crate::worker::StateBatch;

/// How often there is a batch.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How many tasks' logs go into one, those that waited longest first: what a burst may cost the store.
const FLUSH_LOGS: usize = 4_000;

/// The end of a recorder's work.
pub(crate) struct LastFlush {
    /// What the workers had left.
    pub states: StateBatch,
    pub done: oneshot::Sender<()>,
}

/// Runs until the last flush is done.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    mut states: mpsc::Receiver<StateBatch>,
    mut logs: mpsc::UnboundedReceiver<Arc<TaskLog>>,
    mut last: oneshot::Receiver<LastFlush>,
) {
    let mut pending: HashMap<TaskId, UnitState> = HashMap::new();
    let mut tick = tokio::time::interval(FLUSH_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Told once when the store begins to refuse, and once when it takes again.
    let mut refused = false;
    loop {
        let last = tokio::select! {
            Some(batch) = states.recv() => {
                pending.extend(batch);
                continue;
            }
            _ = tick.tick() => None,
            last = &mut last => Some(last),
        };
        let limit = if last.is_some() { usize::MAX } else { FLUSH_LOGS };
        if let Some(Ok(last)) = &last {
            while let Ok(batch) = states.try_recv() {
                pending.extend(batch);
            }
            pending.extend(last.states.iter().cloned());
        }
        match flush(&*store, &mut pending, &mut logs, limit).await {
            Ok(()) if refused => {
                refused = false;
                tracing::info!("history and logs are written again");
            }
            Ok(()) => {}
            Err(error) if refused => tracing::debug!(%error, "history and logs still can't be written"),
            Err(error) => {
                refused = true;
                tracing::warn!(%error, "failed to write history and logs; trying again every second");
            }
        }
        match last {
            None => {}
            Some(Ok(last)) => {
                last.done.send(()).ok();
                return;
            }
            // The supervisor is gone without a last word.
            Some(Err(_)) => return,
        }
    }
}

async fn flush(
    store: &dyn Store,
    pending: &mut HashMap<TaskId, UnitState>,
    logs: &mut mpsc::UnboundedReceiver<Arc<TaskLog>>,
    limit: usize,
) -> Result<(), crate::ports::StoreError> {
    let waiting = logs.len().min(limit);
    let taken: Vec<_> = std::iter::from_fn(|| logs.try_recv().ok()).take(waiting).collect();
    let chunks: Vec<_> = taken.iter().flat_map(|log| log.take_unwritten()).collect();
    if chunks.is_empty() && pending.is_empty() {
        return Ok(());
    }
    let states = std::mem::take(pending);
    let batch = HistoryBatch { states: states.iter().map(|(id, state)| (*id, state.clone())).collect(), logs: chunks };
    let result = store.record(batch).await;
    match &result {
        Ok(()) => taken.iter().for_each(|log| log.written()),
        Err(_) => {
            *pending = states;
            taken.iter().for_each(TaskLog::refused);
        }
    }
    result
}
