//! What an attempt has of the host's memory budget.

use std::sync::Arc;

use crate::budget::pages;
use crate::setup::Setup;

/// Pages that an attempt has, or an instance that is kept; given back when it is dropped.
pub(crate) struct Held {
    setup: Arc<Setup>,
    pages: usize,
}

impl Held {
    pub(crate) fn none(setup: &Arc<Setup>) -> Self {
        Self { setup: Arc::clone(setup), pages: 0 }
    }

    /// Of the attempt that has them.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// As much as an attempt begins with. Waits until there is room, in order; `None` if there never is.
    pub(crate) async fn admit(setup: &Arc<Setup>, bytes: u64, on_wait: impl FnOnce()) -> Option<Self> {
        let budget = &setup.services.budget;
        let pages = pages(bytes);
        if !budget.has(pages) {
            return None;
        }
        let mut held = Self::none(setup);
        // Nobody overtakes those who wait.
        if budget.waiting() > 0 || !budget.take(setup.worker, pages) {
            on_wait();
            budget.wait(pages).await;
        }
        held.pages = pages;
        Some(held)
    }

    /// Takes what is missing for so many bytes; `false` if there is not so much left.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let pages = pages(bytes);
        let missing = pages.saturating_sub(self.pages);
        let grown = missing == 0 || self.setup.services.budget.take(self.setup.worker, missing);
        if grown {
            self.pages = self.pages.max(pages);
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.pages > 0 {
            self.setup.services.budget.give_back(self.setup.worker, self.pages);
        }
    }
}
