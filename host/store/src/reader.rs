//! The reading side of the history, beside its writer.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::ports::StoreError;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::blocking;
use crate::database::connect_to_read;
use crate::error::from_sqlite;

/// One connection for all readers, one after the other: it is made when somebody first reads. The lock is held across an
/// await, by the reader whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    file: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(crate) enum State {
    Disconnected,
    Connected(Connection),
    Closed,
}

impl Reader {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, state: Arc::new(Mutex::new(State::Disconnected)) }
    }

    /// Reads, off the asynchronous threads, when it is this reader's turn.
    pub(crate) async fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut state = self.state.lock_owned().await;
        let file = self.file;
        blocking(move || {
            let read = match &*state {
                State::Closed => return Err(StoreError::Closed),
                State::Connected(conn) => read(conn),
                State::Disconnected => connect_to_read(&file).and_then(|conn| {
                    let read = read(&conn);
                    *state = State::Connected(conn);
                    read
                }),
            };
            read.map_err(|error| {
                *state = State::Disconnected;
                from_sqlite(&error, &file)
            })
        })
        .await
    }

    /// Lets go of the file, and keeps readers waiting while the guard lives. Not for asynchronous code.
    pub(crate) fn disconnect(&self) -> OwnedMutexGuard<State> {
        let mut state = Arc::clone(&self.state).blocking_lock_owned();
        if !matches!(*state, State::Closed) {
            *state = State::Disconnected;
        }
        state
    }

    /// Lets go of the file for good. Not for asynchronous code.
    pub(crate) fn close(&self) {
        *self.state.blocking_lock() = State::Closed;
    }
}
