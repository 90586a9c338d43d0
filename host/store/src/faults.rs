//! What is wrong with the store, for `Host.Info`: one sentence for each thing that something is wrong with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use taskhost_core::outcome::TaskId;
use taskhost_core::plugin::Sha256;

/// How many faults are told in full; further ones are counted.
const MAX_FAULTS: usize = 100;

/// What something is wrong with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A database that can't be written just now.
    Database(PathBuf),
    /// A file that was set aside; stays until the next start.
    SetAside(PathBuf),
    /// The stored definition of a task, by name.
    Definition(String),
    /// The stored state of a task.
    State(TaskId),
    /// The stored records of a task.
    Runs(TaskId),
    /// The runs of a task that were noted to start.
    Starts(TaskId),
    /// A row of the journal.
    Journal,
    /// A plugin's row or file.
    Plugin(Sha256),
}

/// All that is wrong now. The lock is held for a look-up, by whoever finds or mends a fault.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    told: BTreeMap<Subject, String>,
    further: usize,
}

impl Faults {
    /// Something is wrong with `subject`; the newest words win.
    pub(crate) fn set(&self, subject: Subject, words: String) {
        let mut inner = self.lock();
        if inner.told.get(&subject) == Some(&words) {
            return;
        }
        tracing::error!("{words}");
        if inner.told.len() < MAX_FAULTS || inner.told.contains_key(&subject) {
            inner.told.insert(subject, words);
        } else {
            inner.further += 1;
        }
    }

    /// All is well with `subject`, again or still.
    pub(crate) fn clear(&self, subject: &Subject) {
        if let Some(words) = self.lock().told.remove(subject) {
            tracing::info!("no longer: {words}");
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        let inner = self.lock();
        let further =
            (inner.further > 0).then(|| format!("{} further faults, told in the daemon's log", inner.further));
        inner.told.values().cloned().chain(further).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_past_the_bound_are_counted() {
        let faults = Faults::default();
        for id in 0..MAX_FAULTS as TaskId + 2 {
            faults.set(Subject::State(id), format!("state {id}"));
        }
        let list = faults.list();
        assert_eq!(list.len(), MAX_FAULTS + 1);
        assert_eq!(list.last().map(String::as_str), Some("2 further faults, told in the daemon's log"));
    }

    #[test]
    fn a_mended_fault_is_gone() {
        let faults = Faults::default();
        faults.set(Subject::State(1), "old".into());
        faults.set(Subject::State(1), "new".into());
        assert_eq!(faults.list(), ["new"]);
        faults.clear(&Subject::State(1));
        assert!(faults.list().is_empty());
    }
}
