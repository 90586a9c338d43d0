//! What an attempt has of the host's memory budget.

use std::sync::Arc;

use crate::budget::pages;
use crate::setup::Setup;

/// Pages that an attempt has, or an instance that is kept; given back when it is dropped.
pub(crate) struct Held {
    setup: Arc<Setup>,
    pages: usize,
    /// Of what is reserved for attempts that begin small.
    reserved: usize,
}

impl Held {
    pub(crate) fn none(setup: &Arc<Setup>) -> Self {
        Self { setup: Arc::clone(setup), pages: 0, reserved: 0 }
    }

    /// Of the attempt that has them.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// As much as an attempt begins with. Waits until there is room, in order, but for small ones; `None` if there never is.
    pub(crate) async fn admit(setup: &Arc<Setup>, bytes: u64, on_wait: impl FnOnce()) -> Option<Self> {
        let budget = &setup.services.budget;
        let pages = pages(bytes);
        if !budget.has(pages) {
            return None;
        }
        let mut held = Self::none(setup);
        // Nobody overtakes those who wait, but with what is reserved.
        if budget.waiting() > 0 || !budget.take(setup.worker, pages) {
            if budget.take_reserved(pages) {
                held.reserved = pages;
                return Some(held);
            }
            on_wait();
            budget.wait(pages).await;
        }
        held.pages = pages;
        Some(held)
    }

    /// Takes what is missing for so many bytes; `false` if there is not so much left.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let missing = pages(bytes).saturating_sub(self.pages + self.reserved);
        let grown = missing == 0 || self.setup.services.budget.take(self.setup.worker, missing);
        if grown {
            self.pages += missing;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.pages > 0 {
            self.setup.services.budget.give_back(self.setup.worker, self.pages);
        }
        if self.reserved > 0 {
            self.setup.services.budget.give_back_reserved(self.reserved);
        }
    }
}
