//! A memory that all threads share.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that may be held at a time.
pub struct Budget {
    total: usize,
    left: Mutex<usize>,
    freed: Condvar,
}

/// Bytes that are held for as long as this lives.
pub struct Share<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Budget {
    pub const fn new(total: usize) -> Budget {
        Budget { total, left: Mutex::new(total), freed: Condvar::new() }
    }

    /// Waits until so many bytes are free, and holds them; `None` where there never are so many. Who holds a share of a budget may not
    /// wait for another share of it, nor for a thread that may.
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

    /// The most that can be held.
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
