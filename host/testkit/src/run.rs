//! A trial from its begin to its end, for who does nothing between two ticks.

use crate::record::Record;
use crate::session::Session;
use crate::trial::{Trial, TrialError};

impl Trial {
    /// Hands it so many ticks, or as many as are due, and waits for them, on a thread of its own. How they ended stands in the record.
    ///
    /// # Errors
    /// If it can't be tried so.
    pub fn run(&self, ticks: u32) -> Result<Record, TrialError> {
        let run = || {
            // As a worker's: a guest that never waits must not keep its deadline from being seen.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build();
            runtime.map_err(TrialError::Runtime)?.block_on(self.run_here(ticks))
        };
        // The caller may have a runtime, in which there is no place for another.
        let done = std::thread::scope(|scope| scope.spawn(run).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    async fn run_here(&self, ticks: u32) -> Result<Record, TrialError> {
        let mut session = Session::begin(self).await?;
        for at in 0..ticks {
            match session.next_due() {
                Some(due) => {
                    session.reach(due).await;
                    session.tick(due, std::future::pending::<()>()).await;
                }
                None if at == 0 => return Err(TrialError::NeverDue),
                None => break,
            }
            if session.is_over() {
                break;
            }
        }
        session.record().await
    }
}
