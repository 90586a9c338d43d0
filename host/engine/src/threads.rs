//! What is asked of threads and of the system that runs them.

use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
use taskhost_core::plugin::PluginError;

/// How much nicer than a worker the slow lane and the compiler are.
const NICENESS: i32 = 10;

/// Runs what takes long off the workers' threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PluginError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::Host(format!("the engine failed: {error}")))
}

/// Makes the current thread give way to the workers.
pub(crate) fn lower_priority() {
    // On Linux the priority is the thread's own, not the process's.
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::debug!("failed to lower the thread's priority: {error}");
    }
}

/// The processor time that this thread has had.
pub(crate) fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
