//! How the host ends: SIGTERM, Ctrl-C or a closed terminal, and what is done then, in which order.
//!
//! 1. Changes are refused (`shutting_down`), and no due time starts a run any more.
//! 2. Runs go on for up to the grace, then are stopped hard. A second signal skips the waiting.
//! 3. History and logs are flushed, the last event is sent, the workers are joined, the store is closed.
//! 4. RPC stops: answers that are owed are sent, connections closed, the socket's file removed.
//! 5. The last lines of guests reach stdout.
//!
//! The supervisor does 1 to 3, [`crate::serve`] the rest.

use std::fs;
use std::future::pending;
use std::io;
use std::time::Duration;

use taskhost_core::ports::StoreError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::Host;

/// The signals that end the host.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where it is ignored, as `nohup` has it: what was started so outlives its terminal. And once it has come: of a terminal that
    /// closes, both the shell and the kernel tell, and nobody has asked twice.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes them over from the system, which would kill the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// Does something to its end, unless one comes meanwhile: then its name is told.
    pub(crate) async fn during(&mut self, work: impl Future<Output = ()>) -> Option<&'static str> {
        tokio::select! {
            biased;
            signal = self.next() => Some(signal),
            () = work => None,
        }
    }

    /// Waits for the next one; its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hung_up => {
                self.hangup = None;
                "SIGHUP"
            }
        }
    }
}

/// Whether whoever started the process had it ignore that its terminal closes.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

/// Steps 1 to 3. They are gone through once and to their end, whatever signals come.
pub(crate) async fn stop_tasks(host: &Host, grace: Duration, signals: &mut Signals) -> Result<(), StoreError> {
    let grace_over = async {
        tokio::select! {
            () = sleep(grace) => {}
            signal = signals.next() => tracing::warn!(signal, "stopping runs at once"),
        }
    };
    host.shutdown(grace_over).await
}
