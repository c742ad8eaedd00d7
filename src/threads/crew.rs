//! Threads that stay together for the many short steps of one run.
//!
//! Waking a sleeping thread takes as long as many a step. So helpers are asked for once per run; between steps they wait awake.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Looks at the board before a waiting thread lets others run.
const LOOKS: usize = 2000;

/// The calling thread and its helpers, until it is dropped. Helpers come when a thread is free, perhaps never: no step waits for one that
/// has not begun it.
pub(crate) struct Crew(Arc<Board>);

/// What a step does. The reference is valid while the board is open.
type Step = *const (dyn Fn() + Sync);

struct Board {
    /// Odd while a step may be begun.
    generation: AtomicUsize,
    /// Helpers that look at the step, or have begun it.
    inside: AtomicUsize,
    /// Whether the crew was dropped.
    over: AtomicBool,
    step: UnsafeCell<Option<Step>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `step` is written only by the crew's own thread, while the generation is even and nobody is inside. Helpers read it only while
// they are counted in `inside` and have seen, after that, the odd generation; the crew makes the generation even and then waits until
// nobody is inside. All of these are in one total order (`SeqCst`), so that either the helper is waited for or it sees the even generation.
unsafe impl Sync for Board {}
// SAFETY: as above; the pointer is followed only then.
unsafe impl Send for Board {}

impl Crew {
    /// Asks for `helpers` helpers, each by one call of `spawn`.
    pub(super) fn new(helpers: usize, spawn: impl Fn(Box<dyn FnOnce() + Send>)) -> Crew {
        let board = Arc::new(Board {
            generation: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            step: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        for _ in 0..helpers {
            let board = board.clone();
            spawn(Box::new(move || board.help()));
        }
        Crew(board)
    }

    /// Runs `step` on this thread and, at the same time, on every helper that is there, and returns when all have ended it.
    ///
    /// # Panics
    /// If `step` panics on any of them, with its payload.
    pub(crate) fn together(&mut self, step: &(dyn Fn() + Sync)) {
        let board = &*self.0;
        // SAFETY: the lifetime is forgotten, but the pointer is not followed once the generation is even and nobody is inside; see `Board`.
        let pointer: Step =
            unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(step) };
        // SAFETY: the generation is even and nobody is inside.
        unsafe { *board.step.get() = Some(pointer) };
        board.generation.fetch_add(1, SeqCst);
        let own = catch_unwind(AssertUnwindSafe(step));
        board.generation.fetch_add(1, SeqCst);
        wait_until(|| board.inside.load(SeqCst) == 0);
        let theirs = board.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}

impl Board {
    fn help(&self) {
        let mut done = 0;
        loop {
            let mut generation = 0;
            wait_until(|| {
                generation = self.generation.load(SeqCst);
                (generation % 2 == 1 && generation != done) || self.over.load(SeqCst)
            });
            if self.over.load(SeqCst) {
                return;
            }
            self.inside.fetch_add(1, SeqCst);
            if self.generation.load(SeqCst) == generation {
                // SAFETY: this thread is counted and the generation is odd, so the step is there until it is no longer counted.
                let step = unsafe { (*self.step.get()).map(|step| &*step) };
                if let Some(Err(panic)) = step.map(|step| catch_unwind(AssertUnwindSafe(step))) {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
            done = generation;
        }
    }
}

fn wait_until(mut there: impl FnMut() -> bool) {
    let mut looks = 0;
    while !there() {
        looks += 1;
        match looks < LOOKS {
            true => std::hint::spin_loop(),
            false => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(helpers: usize) -> Crew {
        Crew::new(helpers, |job| drop(std::thread::spawn(job)))
    }

    #[test]
    fn every_part_of_every_step_is_done_once() {
        for helpers in [0, 1, 3, 7] {
            let mut crew = crew(helpers);
            for step in 0..2000 {
                let next = AtomicUsize::new(0);
                let done: Vec<AtomicUsize> = (0..step % 17).map(|_| AtomicUsize::new(0)).collect();
                crew.together(&|| {
                    while let Some(part) = done.get(next.fetch_add(1, SeqCst)) {
                        part.fetch_add(1, SeqCst);
                    }
                });
                assert!(done.iter().all(|d| d.load(SeqCst) == 1), "{helpers} helpers, step {step}");
            }
        }
    }

    #[test]
    fn helpers_that_never_come_are_not_waited_for() {
        let jobs = Mutex::new(vec![]);
        let mut crew = Crew::new(3, |job| jobs.lock().unwrap().push(job));
        let count = AtomicUsize::new(0);
        crew.together(&|| {
            count.fetch_add(1, SeqCst);
        });
        assert_eq!(count.load(SeqCst), 1);
        drop(crew);
        // Those that come late find that it is over.
        jobs.into_inner().unwrap().into_iter().for_each(|job| job());
        assert_eq!(count.load(SeqCst), 1);
    }

    #[test]
    fn a_panic_of_any_of_them_comes_back_and_the_next_step_runs() {
        let mut crew = crew(2);
        let own = std::thread::current().id();
        for on_own in [true, false] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                for _ in 0..10_000 {
                    crew.together(&|| {
                        assert!((std::thread::current().id() == own) != on_own, "as planned");
                        std::thread::yield_now();
                    });
                }
            }));
            let panic = caught.expect_err("a thread of each kind takes part before long");
            assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("as planned")));
        }
        let ran = AtomicBool::new(false);
        crew.together(&|| ran.store(true, SeqCst));
        assert!(ran.load(SeqCst));
    }
}
