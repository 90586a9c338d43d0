//! How many instances one engine has at once: what a pool has slots for, and without a pool, what the kernel has mappings for.
//!
//! A run takes its place before it makes a store, so that a full engine is seen before anything of the guest has run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kept::Kept;

/// The places that are left on an engine.
pub(crate) struct Room {
    left: AtomicU32,
    /// Instances that have a place and do not run.
    pub(crate) kept: Arc<Kept>,
}

/// One of them; given back when it is dropped.
pub(crate) struct Place(Arc<Room>);

impl Room {
    pub(crate) fn new(places: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(places), kept: Kept::new(places) })
    }

    /// A place, if one is left or a kept instance has one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        loop {
            let taken = self.left.fetch_update(Ordering::Acquire, Ordering::Relaxed, |left| left.checked_sub(1));
            if taken.is_ok() {
                return Some(Place(Arc::clone(self)));
            }
            if !self.kept.evict() {
                return None;
            }
        }
    }
}

impl Place {
    pub(crate) fn room(&self) -> &Room {
        &self.0
    }
}

impl Drop for Place {
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
