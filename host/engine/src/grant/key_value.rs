//! What one attempt knows of its task's store of keys and values.

use std::collections::VecDeque;

/// The most bytes that all handles of compare-and-swap of an attempt hold.
pub(crate) const MAX_CAS_BYTES: usize = 8 << 20;

/// How many places in lists of keys an attempt may go on from by number.
const MAX_CURSORS: usize = 64;

/// What an attempt knows of its store. Empty, and without cost, for those that do not use it.
#[derive(Default)]
pub(crate) struct KeyValues {
    /// Where lists may go on, by their numbers, newest last.
    cursors: VecDeque<(u64, String)>,
    last_cursor: u64,
    cas_bytes: usize,
}

impl KeyValues {
    /// A number for a place in a list of keys.
    pub(crate) fn cursor(&mut self, after: String) -> u64 {
        if self.cursors.len() == MAX_CURSORS {
            self.cursors.pop_front();
        }
        self.last_cursor += 1;
        self.cursors.push_back((self.last_cursor, after));
        self.last_cursor
    }

    /// The key that a list goes on after, of one of the last numbers that were given.
    pub(crate) fn place(&self, cursor: u64) -> Option<String> {
        self.cursors.iter().find(|(number, _)| *number == cursor).map(|(_, after)| after.clone())
    }

    /// Whether so much more may be held for compare-and-swap.
    pub(crate) fn has_room_for(&self, cas_bytes: usize) -> bool {
        self.cas_bytes + cas_bytes <= MAX_CAS_BYTES
    }

    pub(crate) fn hold(&mut self, cas_bytes: usize) {
        self.cas_bytes += cas_bytes;
    }

    pub(crate) fn let_go(&mut self, cas_bytes: usize) {
        self.cas_bytes -= cas_bytes;
    }
}
