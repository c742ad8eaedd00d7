//! Several runs at a time, as a server has them.

use super::{Repeat, Stats};
use crate::session::{Error, Session};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs of one session from several threads, each of which begins its next run when its last one is done.
#[derive(Clone, Debug, Serialize)]
pub struct InFlight {
    /// Runs at a time.
    pub requests: usize,
    /// Images per second of all of them together.
    pub images_per_second: f64,
    /// Time of a run, from host tensor to host logits.
    pub end_to_end: Stats,
}

/// Times `requests` runs of `input` at a time, at least `measured.runs` of each thread.
///
/// # Errors
/// [`Error::Unsteady`] when two runs on one input give different logits; else as [`Session::run`].
pub fn in_flight(
    session: &Session,
    input: &[f32],
    requests: usize,
    measured: Repeat,
) -> Result<InFlight, Error> {
    let expected = session.run(input)?;
    let ready = AtomicUsize::new(0);
    let worker = || {
        // All of them begin together, after a run each: the memory of runs at a time is there then.
        session.run(input)?;
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < requests {
            std::thread::yield_now();
        }
        let start = Instant::now();
        let mut times = vec![];
        measured.each(|| {
            let begin = Instant::now();
            let logits = session.run(input)?;
            times.push(begin.elapsed());
            if logits == expected { Ok(()) } else { Err(Error::Unsteady) }
        })?;
        Ok((start.elapsed(), times))
    };
    let found: Result<Vec<(Duration, Vec<Duration>)>, Error> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..requests)
            .map(|_| {
                scope.spawn(|| {
                    let found = worker();
                    // Nobody waits for a thread that has failed.
                    if found.is_err() {
                        ready.fetch_add(requests, Ordering::SeqCst);
                    }
                    found
                })
            })
            .collect();
        let joined = |w: std::thread::ScopedJoinHandle<'_, _>| match w.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(joined).collect()
    });
    let found = found?;
    // Each thread's own rate, so that those that end later do not count as waiting.
    let rate = |(time, times): &(Duration, Vec<Duration>)| times.len() as f64 / time.as_secs_f64();
    let images = session.plan().batch as f64;
    let times: Vec<Duration> = found.iter().flat_map(|(_, times)| times).copied().collect();
    Ok(InFlight {
        requests,
        images_per_second: images * found.iter().map(rate).sum::<f64>(),
        end_to_end: Stats::of(&times).expect("at least one run"),
    })
}
