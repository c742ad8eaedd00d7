//! Runs work on another thread while the caller sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Result;

/// The result of the work, once it is done.
struct Given<R> {
    result: Mutex<Option<Result<R>>>,
    done: Condvar,
}

/// Passes `work` to `spawn` as one job and sleeps until it is done. `spawn` must run or drop the job.
///
/// # Panics
/// If `work` panics, with its payload; if `spawn` drops the job.
pub(super) fn hand_over<R: Send>(
    spawn: impl FnOnce(Box<dyn FnOnce() + Send>),
    work: impl FnOnce() -> R + Send,
) -> R {
    let given = Arc::new(Given { result: Mutex::new(None), done: Condvar::new() });
    let job = Job { work, end: End(given.clone()) };
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || job.run());
    // SAFETY: everything that the job borrows outlives this call, and this call neither returns nor unwinds before `End` is dropped or has
    // stored the result. By then `work` is gone: `run` consumes it first, and a dropped job drops its fields in order. Between here and the
    // wait only `spawn` can panic; the panic is caught, and the job is waited for as well. `End` borrows nothing, and when it is dropped
    // without a result it stores no `R` in `Given`.
    let job = unsafe {
        std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Box<dyn FnOnce() + Send + 'static>>(job)
    };
    let spawned = catch_unwind(AssertUnwindSafe(|| spawn(job)));
    let mut result = given.result.lock().unwrap_or_else(PoisonError::into_inner);
    let result = loop {
        match result.take() {
            Some(result) => break result,
            None => result = given.done.wait(result).unwrap_or_else(PoisonError::into_inner),
        }
    };
    match (spawned, result) {
        (_, Ok(value)) => value,
        (Err(panic), Err(_)) | (Ok(()), Err(panic)) => resume_unwind(panic),
    }
}

/// Work, and the notification of its end. The fields are dropped in this order.
struct Job<F, R> {
    work: F,
    end: End<R>,
}

impl<R, F: FnOnce() -> R> Job<F, R> {
    fn run(self) {
        let Job { work, end } = self;
        let result = catch_unwind(AssertUnwindSafe(work));
        end.give(result);
    }
}

/// Reports the end of the job: with its result, or with an error if the job was dropped before it ran.
struct End<R>(Arc<Given<R>>);

impl<R> End<R> {
    fn give(self, result: Result<R>) {
        *self.0.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

impl<R> Drop for End<R> {
    fn drop(&mut self) {
        let mut result = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.get_or_insert_with(|| Err(Box::new("a job was dropped before it ran")));
        self.0.done.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_dropped_is_a_panic_and_no_hang() {
        let caught = catch_unwind(|| hand_over(drop, || 1)).unwrap_err();
        assert_eq!(*caught.downcast_ref::<&str>().unwrap(), "a job was dropped before it ran");
    }

    #[test]
    fn a_spawn_that_panics_after_it_took_the_job_is_waited_out() {
        let work = |job: Box<dyn FnOnce() + Send>| {
            job();
            panic!("after");
        };
        assert_eq!(hand_over(work, || 2), 2);
        let none = |job: Box<dyn FnOnce() + Send>| {
            drop(job);
            panic!("before");
        };
        let caught = catch_unwind(|| hand_over(none, || 2)).unwrap_err();
        assert_eq!(*caught.downcast_ref::<&str>().unwrap(), "before");
    }

    #[test]
    fn borrowed_values_are_given_back_before_it_returns() {
        let mut values = vec![1, 2, 3];
        let spawn = |job: Box<dyn FnOnce() + Send>| drop(std::thread::spawn(job));
        let sum: i32 = hand_over(spawn, || {
            values.push(4);
            values.iter().sum()
        });
        assert_eq!((sum, values.len()), (10, 4));
    }
}
