//! What keeps a plugin from being deleted before its first task is registered, and a task from being added whose plugin is being deleted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::name::TaskName;
use crate::plugin::Sha256;

/// The stored plugins that changes which go on are about to use, and those that are being deleted: never both.
#[derive(Default)]
pub(super) struct PluginUses {
    /// Locked for moments.
    by_plugin: Mutex<HashMap<Sha256, Use>>,
}

enum Use {
    /// By so many changes, one of this task.
    Begun {
        changes: usize,
        example: TaskName,
    },
    Deleting,
}

/// A change is about to use a plugin, until this is dropped.
pub(super) struct BegunUse {
    uses: Arc<PluginUses>,
    plugin: Sha256,
}

/// A plugin is being deleted, until this is dropped.
pub(super) struct Deletion {
    uses: Arc<PluginUses>,
    plugin: Sha256,
}

impl PluginUses {
    /// Has a change of a task begin to use a plugin; `None` if the plugin is being deleted.
    pub(super) fn begin(self: &Arc<Self>, plugin: Sha256, task: &TaskName) -> Option<BegunUse> {
        match self.lock().entry(plugin).or_insert_with(|| Use::Begun { changes: 0, example: task.clone() }) {
            Use::Begun { changes, .. } => *changes += 1,
            Use::Deleting => return None,
        }
        Some(BegunUse { uses: Arc::clone(self), plugin })
    }

    /// Keeps changes from using a plugin that is about to be deleted.
    ///
    /// # Errors
    /// The name of a task one of whose changes uses it, or `None` if somebody else deletes it.
    pub(super) fn delete(self: &Arc<Self>, plugin: Sha256) -> Result<Deletion, Option<TaskName>> {
        match self.lock().entry(plugin) {
            Entry::Vacant(free) => free.insert(Use::Deleting),
            Entry::Occupied(used) => match used.get() {
                Use::Begun { example, .. } => return Err(Some(example.clone())),
                Use::Deleting => return Err(None),
            },
        };
        Ok(Deletion { uses: Arc::clone(self), plugin })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, Use>> {
        self.by_plugin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BegunUse {
    fn drop(&mut self) {
        let mut uses = self.uses.lock();
        if let Some(Use::Begun { changes, .. }) = uses.get_mut(&self.plugin) {
            *changes -= 1;
            if *changes == 0 {
                uses.remove(&self.plugin);
            }
        }
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        self.uses.lock().remove(&self.plugin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: Sha256 = Sha256([1; 32]);

    fn name(name: &str) -> TaskName {
        TaskName::new(name).expect("it is a name")
    }

    #[test]
    fn a_plugin_is_not_deleted_while_a_change_is_about_to_use_it() {
        let uses = Arc::<PluginUses>::default();
        let first = uses.begin(PLUGIN, &name("a")).expect("nobody deletes it");
        let second = uses.begin(PLUGIN, &name("b")).expect("nobody deletes it");
        drop(first);
        assert_eq!(uses.delete(PLUGIN).err(), Some(Some(name("a"))));
        assert!(uses.delete(Sha256([2; 32])).is_ok(), "another one is");
        drop(second);
        assert!(uses.delete(PLUGIN).is_ok());
    }

    #[test]
    fn no_change_begins_to_use_a_plugin_that_is_being_deleted() {
        let uses = Arc::<PluginUses>::default();
        let deletion = uses.delete(PLUGIN).expect("nobody uses it");
        assert!(uses.begin(PLUGIN, &name("a")).is_none());
        assert_eq!(uses.delete(PLUGIN).err(), Some(None));
        drop(deletion);
        assert!(uses.begin(PLUGIN, &name("a")).is_some());
        assert!(uses.lock().is_empty());
    }
}
