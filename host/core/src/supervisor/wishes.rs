//! What tasks ask for that is beyond their workers.

use tokio::sync::mpsc;

use super::Supervisor;
use crate::ports::{Clock, Engine};
use crate::worker::Wish;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Does what tasks ask for beyond their workers, until the workers are gone.
    pub(super) async fn grant(self, mut wished: mpsc::Receiver<Wish>) {
        while let Some(wish) = wished.recv().await {
            match wish {
                // By itself: it may have to wait for a change that goes on, and others need not wait with it.
                Wish::Pause { task, id, pause } => {
                    let this = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = this.pause_itself(&task, id, pause).await {
                            tracing::warn!(%task, %error, "the pause after failures is not durable");
                        }
                    });
                }
                Wish::Trigger { task, trigger } => {
                    let (name, by) = (task.clone(), trigger.task.clone());
                    match self.tell(&task, move |worker| worker.trigger(name.as_str(), trigger)).await {
                        Ok(true) | Err(_) => {}
                        Ok(false) => tracing::warn!(%task, %by, "there is no such task to trigger"),
                    }
                }
            }
        }
    }
}
