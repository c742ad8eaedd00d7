//! A memory budget shared by all threads.

use std::sync::{Condvar, Mutex, PoisonError};

/// A limit on the bytes held at a time.
pub struct Budget {
    total: usize,
    left: Mutex<usize>,
    freed: Condvar,
}

/// Bytes of a budget, held until this is dropped.
pub struct Share<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Budget {
    pub const fn new(total: usize) -> Budget {
        Budget { total, left: Mutex::new(total), freed: Condvar::new() }
    }

    /// Waits until `bytes` are free, and holds them; `None` if the budget is smaller than that. A thread that holds a share must
    /// not wait for another share of the same budget, nor for a thread that may.
    pub fn take(&self, bytes: usize) -> Option<Share<'_>> {
        if bytes > self.total {
            return None;
        }
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left =
            self.freed.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Some(Share { budget: self, bytes })
    }

    /// The size of the budget in bytes.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_is_held_than_there_is() {
        let (budget, held, most) = (Budget::new(10), AtomicUsize::new(0), AtomicUsize::new(0));
        assert!(budget.take(11).is_none());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for i in 0..200 {
                        let bytes = (thread * 7 + i) % 11;
                        let share = budget.take(bytes).expect("as many as there are");
                        most.fetch_max(held.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 10);
        assert!(budget.take(10).is_some(), "all was given back");
    }
}
