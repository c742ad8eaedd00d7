//! Pools of threads.

#[cfg(feature = "cpu")]
use super::crew::Crew;
use super::error::ThreadsError;
use super::handover::hand_over;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Memory that a thread needs to start: its stack and its allocator's reserve.
const THREAD_BYTES: usize = 3 << 20;

/// A pool of computing threads, for [`Options::threads`](crate::Options::threads). Clones share the pool.
///
/// ```
/// use rmnet::{Device, Options, Session, Threads};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
/// let options = Options::default().device(Device::Cpu).threads(Threads::new(2)?);
/// let session = Session::open(folder, &options)?;
/// assert_eq!(session.device_name(), "cpu, 2 threads");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Threads(Arc<rayon::ThreadPool>);

impl Threads {
    /// Creates a pool of `count` threads, which end with the last clone.
    ///
    /// # Errors
    /// [`ThreadsError`] if the system cannot start them.
    pub fn new(count: usize) -> Result<Threads, ThreadsError> {
        Threads::made(count.max(1))
    }

    /// The default pool, shared by all sessions without a pool of their own. It is created on first use with one thread per core, or
    /// `RAYON_NUM_THREADS` threads.
    ///
    /// # Errors
    /// [`ThreadsError`] if the system cannot start them; the next call tries again.
    pub fn shared() -> Result<Threads, ThreadsError> {
        // Held while the threads start. Neither they nor other work wait for this lock.
        static SHARED: Mutex<Option<Threads>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = &*shared {
            return Ok(threads.clone());
        }
        Ok(shared.insert(Threads::made(0)?).clone())
    }

    /// Wraps the app's own pool. A run waits until one of its threads is free, so the app must not keep all of them busy; a run started on a
    /// thread of the pool uses that thread. Other threads join while they are free and then stay with the run until it ends, awake
    /// between its steps, so that other work of the app waits on them for the milliseconds of a run.
    pub fn of_pool(pool: Arc<rayon::ThreadPool>) -> Threads {
        Threads(pool)
    }

    fn made(count: usize) -> Result<Threads, ThreadsError> {
        let failed = |reason: String| ThreadsError { count, reason };
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let needed = (if count == 0 { cores } else { count }).saturating_mul(THREAD_BYTES);
        let mut probe: Vec<u8> = vec![];
        let asked = probe.try_reserve_exact(needed);
        std::hint::black_box(probe);
        asked.map_err(|_| failed(format!("there is no memory for them, {needed} bytes")))?;
        // Allocators may reserve much memory at a thread's first allocation (glibc: 64 MiB of addresses). Each thread allocates when it
        // starts, so that later checks of available memory include this. A channel is used because in rayon's broadcast a waiting thread of
        // another pool would run other work, which may call this function again.
        let (started, all) = mpsc::channel();
        let start = move |_| {
            drop(std::hint::black_box(vec![0u8; 1024]));
            // Fails if other threads could not be started, since nobody receives then.
            let _ = started.send(());
        };
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count).start_handler(start);
        let pool =
            builder.thread_name(|i| format!("rmnet {i}")).build().map_err(|e| failed(e.to_string()))?;
        (0..pool.current_num_threads()).try_for_each(|_| all.recv()).map_err(|e| failed(e.to_string()))?;
        Ok(Threads(Arc::new(pool)))
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Whether the calling thread belongs to the pool.
    pub(crate) fn has_current(&self) -> bool {
        self.0.current_thread_index().is_some()
    }

    /// The calling thread, which is one of the pool, with the others as helpers.
    #[cfg(feature = "cpu")]
    pub(crate) fn crew(&self) -> Crew {
        Crew::new(self.count() - 1, |job| self.0.spawn(job))
    }

    /// Runs `work` on a thread of the pool, where rayon's loops use the whole pool, and sleeps until it is done. If the caller is a
    /// thread of the pool, it runs `work` directly.
    ///
    /// # Panics
    /// If `work` panics, with its payload.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self.has_current() {
            true => work(),
            false => hand_over(|job| self.0.spawn(job), work),
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.count())
    }
}

impl PartialEq for Threads {
    /// Whether both are the same pool.
    fn eq(&self, other: &Threads) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Threads {}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn work_runs_on_the_pool_and_gives_its_value() {
        for count in [1, 2, 4, 8] {
            let threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), count);
            assert!(!threads.has_current());
            let inside = threads.clone();
            let values: Vec<usize> = (0..1000).collect();
            let sum = threads.run(|| {
                assert!(inside.has_current());
                assert_eq!(rayon::current_num_threads(), count);
                // A call for the current pool runs directly.
                inside.run(|| values.par_iter().sum::<usize>())
            });
            assert_eq!(sum, 499_500);
        }
    }

    #[test]
    fn a_panic_comes_back() {
        let threads = Threads::new(2).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| threads.run(|| panic!("{}", 7))));
        assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), "7");
        assert_eq!(threads.run(|| 3), 3);
    }

    /// A thread of another pool that waits here does not run other work of its pool: that could start our work recursively.
    #[test]
    fn who_waits_takes_up_nothing_else() {
        let ours = Threads::new(2).unwrap();
        let theirs = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let inside = AtomicUsize::new(0);
        theirs.install(|| {
            (0..64).into_par_iter().for_each(|_| {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "a job began inside another one");
                ours.run(|| (0..100).into_par_iter().sum::<usize>());
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        });
    }

    #[test]
    fn shared_threads_serve_while_every_thread_of_the_global_pool_is_busy() {
        let (busy, is_busy) = mpsc::channel();
        let (free, until) = mpsc::channel::<()>();
        let until = Arc::new(Mutex::new(until));
        for _ in 0..rayon::current_num_threads() {
            let (busy, until) = (busy.clone(), until.clone());
            rayon::spawn(move || {
                // A panic here would end the process: nobody may be waiting any more.
                let _ = busy.send(());
                let _ = until.lock().map(|until| until.recv());
            });
        }
        (0..rayon::current_num_threads()).for_each(|_| is_busy.recv().unwrap());
        assert_eq!(super::super::map(100, |i| i * i).iter().sum::<usize>(), 328_350);
        let mut values = [1u8; 1000];
        super::super::each_part(&mut values, 7, |i, part| part.fill(i as u8));
        assert_eq!([values[6], values[7], values[993], values[994]], [0, 1, 141, 1]);
        drop(free);
    }

    #[test]
    fn a_pool_given_is_the_one_that_computes() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let threads = Threads::of_pool(pool.clone());
        assert!(threads.run(|| pool.current_thread_index().is_some()));
        assert_eq!(threads, Threads::of_pool(pool));
        assert_ne!(threads, Threads::new(3).unwrap());
    }
}
