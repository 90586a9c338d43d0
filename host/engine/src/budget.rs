//! The memory that the guests of a host may have, all together.
//!
//! It is counted in pages, by the size that linear memories and tables have, touched or not. Each worker takes a stock of pages at a
//! time, so that attempts on the tick path count on a cache line of their worker's. When the budget is short, the stocks of all are
//! looked through, then instances that are only kept give way; then a guest that grows is denied, and an attempt that begins waits for its
//! turn. A part is reserved for attempts that begin small, so that they do not wait behind large ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::kept::Kept;

/// What is counted by.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// The most pages that a worker takes in stock: 64 MiB.
const MAX_STOCK_PAGES: usize = 1024;

/// All stocks together are at most this part of the budget.
const STOCKED_PART: usize = 16;

/// A part of the budget, one in so many, is reserved for attempts that begin small.
const RESERVED_PART: usize = 16;

/// Those are small that begin with at most one part in so many of what is reserved.
const SMALL_PART: usize = 4;

/// The budget of a host.
pub(crate) struct Budget {
    bytes: u64,
    /// Without what is reserved.
    pages: usize,
    /// What nobody has. Waiting attempts stand in its queue.
    free: Semaphore,
    reserved_pages: usize,
    /// The same of what is reserved; nobody waits for it.
    reserved: Semaphore,
    /// One for each worker.
    stocks: Box<[Stock]>,
    stock_pages: usize,
    waiting: AtomicU64,
    /// The instances that are kept, by engine.
    kept: Vec<Arc<Kept>>,
}

/// Pages that a worker has taken and no attempt has. The slow lane's attempts are their worker's.
#[repr(align(128))]
#[derive(Default)]
struct Stock(AtomicUsize);

impl Budget {
    pub(crate) fn new(bytes: u64, workers: usize, kept: Vec<Arc<Kept>>) -> Self {
        let all = usize::try_from(bytes / PAGE_BYTES).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let reserved_pages = all / RESERVED_PART;
        let pages = all - reserved_pages;
        Self {
            bytes,
            pages,
            free: Semaphore::new(pages),
            reserved_pages,
            reserved: Semaphore::new(reserved_pages),
            stocks: (0..workers).map(|_| Stock::default()).collect(),
            stock_pages: (all / STOCKED_PART / workers).min(MAX_STOCK_PAGES),
            waiting: AtomicU64::new(0),
            kept,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What attempts and kept instances have.
    pub(crate) fn used_bytes(&self) -> u64 {
        let stocked: usize = self.stocks.iter().map(|stock| stock.0.load(Ordering::Relaxed)).sum();
        let free = self.free.available_permits() + self.reserved.available_permits() + stocked;
        (self.pages + self.reserved_pages).saturating_sub(free) as u64 * PAGE_BYTES
    }

    /// How many attempts wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// What a run ends with that it is too much for.
    pub(crate) fn used_up(&self) -> String {
        format!("the host's memory budget of {} bytes is used up", self.bytes)
    }

    /// Takes pages for an attempt of this worker; `false` if there are not so many left.
    pub(crate) fn take(&self, worker: usize, pages: usize) -> bool {
        self.stocks[worker].take(pages) || self.restock(worker, pages) || self.take_free(pages) || {
            self.clear_stocks();
            self.take_free(pages) || self.kept.iter().any(|kept| self.take_of_kept(kept, pages))
        }
    }

    /// Takes so many pages, and a stock with them.
    fn restock(&self, worker: usize, pages: usize) -> bool {
        let restocked = self.stock_pages > 0 && self.take_free(self.stock_pages.saturating_add(pages));
        if restocked {
            self.stocks[worker].0.fetch_add(self.stock_pages, Ordering::SeqCst);
        }
        restocked
    }

    fn take_free(&self, pages: usize) -> bool {
        take_of(&self.free, pages)
    }

    /// Takes pages of what is reserved for attempts that begin small; `false` if this is none, or if it is used up.
    pub(crate) fn take_reserved(&self, pages: usize) -> bool {
        pages <= self.reserved_pages / SMALL_PART && take_of(&self.reserved, pages)
    }

    pub(crate) fn give_back_reserved(&self, pages: usize) {
        self.reserved.add_permits(pages);
    }

    /// Drops kept instances until there are so many pages.
    fn take_of_kept(&self, kept: &Kept, pages: usize) -> bool {
        while kept.evict() {
            self.clear_stocks();
            if self.take_free(pages) {
                return true;
            }
        }
        false
    }

    fn clear_stocks(&self) {
        for stock in &self.stocks {
            self.free.add_permits(stock.0.swap(0, Ordering::SeqCst));
        }
    }

    /// Waits for so many pages, in order, and takes them.
    pub(crate) async fn wait(&self, pages: usize) {
        let _waiting = Waiting::new(&self.waiting);
        self.clear_stocks();
        let permit = self.free.acquire_many(u32::try_from(pages).unwrap_or(u32::MAX)).await;
        permit.expect("the semaphore is never closed").forget();
    }

    /// Whether there ever are so many pages.
    pub(crate) fn has(&self, pages: usize) -> bool {
        pages <= self.pages
    }

    pub(crate) fn give_back(&self, worker: usize, pages: usize) {
        let stock = &self.stocks[worker].0;
        let stocked = stock.fetch_add(pages, Ordering::SeqCst) + pages;
        // Who waits counts itself before it clears the stocks, and this looks after it has added to one: one of the two sees the other.
        if stocked > 2 * self.stock_pages || self.waiting() > 0 {
            self.free.add_permits(stock.swap(0, Ordering::SeqCst));
        }
    }
}

impl Stock {
    fn take(&self, pages: usize) -> bool {
        let taken = self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |stocked| stocked.checked_sub(pages));
        taken.is_ok()
    }
}

fn take_of(pages: &Semaphore, wanted: usize) -> bool {
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    pages.try_acquire_many(wanted).map(tokio::sync::SemaphorePermit::forget).is_ok()
}

/// So many bytes in pages.
pub(crate) fn pages(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(usize::MAX)
}

/// Counts an attempt as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 1 << 10;
    const RESERVED: usize = ALL / RESERVED_PART;
    const PAGES: usize = ALL - RESERVED;

    #[test]
    fn what_one_worker_has_in_stock_is_there_for_the_others() {
        let budget = Budget::new(ALL as u64 * PAGE_BYTES, 2, Vec::new());
        assert!(budget.take(0, 1));
        assert_eq!(budget.used_bytes(), PAGE_BYTES, "a stock is not used");
        assert!(budget.free.available_permits() < PAGES - 1, "the first worker has a stock");
        assert!(budget.take(1, PAGES - 1));
        assert!(!budget.take(1, 1) && !budget.take(0, 1));
        budget.give_back(0, 1);
        assert!(budget.take(1, 1));
        assert_eq!(budget.used_bytes(), PAGES as u64 * PAGE_BYTES);
    }

    #[test]
    fn what_is_reserved_is_for_small_ones_and_is_counted_as_used() {
        let budget = Budget::new(ALL as u64 * PAGE_BYTES, 1, Vec::new());
        assert!(budget.take(0, PAGES) && !budget.take(0, 1));
        let small = RESERVED / SMALL_PART;
        assert!(!budget.take_reserved(small + 1), "it is not small");
        assert_eq!((0..10).filter(|_| budget.take_reserved(small)).count(), SMALL_PART);
        assert_eq!(budget.used_bytes(), ALL as u64 * PAGE_BYTES);
        budget.give_back_reserved(small);
        assert!(budget.take_reserved(small));
    }

    #[test]
    fn a_budget_without_bounds_is_one_that_is_never_used_up() {
        let budget = Budget::new(u64::MAX, 1, Vec::new());
        assert!(budget.take(0, 1 << 20));
        budget.give_back(0, 1 << 20);
        assert_eq!(budget.used_bytes(), 0);
    }
}
