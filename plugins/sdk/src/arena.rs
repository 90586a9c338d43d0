//! Memory for a run that is short.
//!
//! Every run has a fresh instance, and the standard library's allocator begins each by growing the memory. To take grown
//! memory back costs the host two changes of page protection, which is more than all the rest of a small run. So the first
//! allocations come from an arena that is part of the initial memory, and costs nothing where it is not touched; the rest come from
//! the standard library's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// How much comes from the arena. Small plugins use a few KiB.
const ARENA_BYTES: usize = 32 * 1024;

#[global_allocator]
static ALLOCATOR: Arena = Arena { words: UnsafeCell::new([0; ARENA_BYTES / 16]), used: Cell::new(0) };

/// Hands out its bytes in order. What is freed is used again only if it was the newest.
struct Arena {
    /// Of 16 bytes, for their alignment.
    words: UnsafeCell<[u128; ARENA_BYTES / 16]>,
    /// How many bytes are handed out.
    used: Cell<usize>,
}

// SAFETY: a plugin's instance has one thread.
unsafe impl Sync for Arena {}

impl Arena {
    /// Where in the arena `pointer` points, if it does.
    fn offset_of(&self, pointer: *mut u8) -> Option<usize> {
        let offset = pointer.addr().checked_sub(self.words.get().addr())?;
        (offset < ARENA_BYTES).then_some(offset)
    }
}

// SAFETY: a block of the arena lies within it, is aligned, and overlaps no other that is not freed: `used` only goes back to
// the beginning of the newest block, when that is freed. Blocks of `System` go back to it, told apart by their address.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.words.get().cast::<u8>();
        let padding = base.wrapping_add(self.used.get()).align_offset(layout.align());
        let begin = self.used.get().saturating_add(padding);
        match begin.checked_add(layout.size()) {
            Some(end) if end <= ARENA_BYTES => {
                self.used.set(end);
                base.wrapping_add(begin)
            }
            // SAFETY: the caller's word for us is ours for it.
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset_of(pointer) {
            Some(begin) if begin + layout.size() == self.used.get() => self.used.set(begin),
            Some(_) => {}
            // SAFETY: what is not of the arena is of `System`.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(begin) = self.offset_of(pointer) else {
            // SAFETY: what is not of the arena is of `System`.
            return unsafe { System.realloc(pointer, layout, new_size) };
        };
        if begin + layout.size() == self.used.get() && new_size <= ARENA_BYTES - begin {
            self.used.set(begin + new_size);
            return pointer;
        }
        if new_size <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller says that the new size is a valid one for this alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have at least the old size, and blocks do not overlap.
            unsafe { new.copy_from_nonoverlapping(pointer, layout.size()) };
        }
        new
    }
}
