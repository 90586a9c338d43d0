//! How many instances one engine has at once: what a pool has slots for, and without a pool, what the kernel has mappings for.
//!
//! A run takes its place before it makes a store, so that a full engine is seen before anything of the guest has run.

use std::sync::atomic::{AtomicU32, Ordering};

/// The places that are left on an engine.
pub(crate) struct Room {
    left: AtomicU32,
}

/// One of them; given back when it is dropped.
pub(crate) struct Place<'a>(&'a Room);

impl Room {
    pub(crate) fn new(places: u32) -> Self {
        Self { left: AtomicU32::new(places) }
    }

    /// A place, if one is left.
    pub(crate) fn take(&self) -> Option<Place<'_>> {
        let taken = self.left.fetch_update(Ordering::Acquire, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok().then(|| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_given_back() {
        let room = Room::new(1);
        let place = room.take();
        assert!(place.is_some() && room.take().is_none());
        drop(place);
        assert!(room.take().is_some());
    }
}
