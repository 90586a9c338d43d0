//! Has the processor fetch memory that is soon to be read.
//!
//! A tick of one of a hundred thousand tasks finds nothing of its task in the caches, and what it reads leads it from one place to the
//! next: it would wait a dozen times for a hundred nanoseconds. Of several tasks that are due, what is to be read can be fetched at
//! once, place by place, while nobody waits.

use std::sync::Arc;

/// How much of memory comes at once, in bytes.
const LINE_BYTES: usize = 64;

/// What stands before the value of an [`Arc`], or before the items of a `ThinVec`, in bytes: two counts.
const COUNTS_BYTES: usize = 16;

/// Fetches a value.
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_lines(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// Fetches the value of an [`Arc`], with its counts.
pub fn prefetch_arc<T: ?Sized>(value: &Arc<T>) {
    prefetch_behind_counts(Arc::as_ptr(value).cast(), size_of_val(&**value));
}

/// Fetches so many bytes from `start` on, and the two counts before them.
pub(crate) fn prefetch_behind_counts(start: *const u8, bytes: usize) {
    prefetch_lines(start.wrapping_sub(COUNTS_BYTES), bytes + COUNTS_BYTES);
}

fn prefetch_lines(start: *const u8, bytes: usize) {
    let before = start.addr() % LINE_BYTES;
    for line in (0..before + bytes).step_by(LINE_BYTES) {
        prefetch_line(start.wrapping_sub(before).wrapping_add(line));
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    #[expect(unsafe_code, reason = "an instruction of the processor's, which changes no value and never faults")]
    // SAFETY: every x86-64 has it, and it may be given any address.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
}

#[cfg(target_arch = "aarch64")]
fn prefetch_line(line: *const u8) {
    #[expect(unsafe_code, reason = "an instruction of the processor's, which changes no value and never faults")]
    // SAFETY: it may be given any address, and touches nothing else.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn prefetch_line(_line: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nowhere_may_be_fetched() {
        prefetch::<[u64]>(&[]);
        prefetch_arc(&Arc::<str>::from(""));
        prefetch_behind_counts(std::ptr::null(), 4 * LINE_BYTES);
        prefetch_behind_counts(std::ptr::without_provenance(usize::MAX), 1);
    }
}
