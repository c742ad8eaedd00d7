//! The one thread that there is in WebAssembly.

#[cfg(feature = "cpu")]
use super::crew::Crew;
use super::error::ThreadsError;

/// The threads that compute, for [`Options::threads`](crate::Options::threads): in WebAssembly only the calling thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads(());

impl Threads {
    /// The calling thread.
    ///
    /// # Errors
    /// [`ThreadsError`] for more than one thread, which WebAssembly does not have.
    pub fn new(count: usize) -> Result<Threads, ThreadsError> {
        match count {
            0 | 1 => Ok(Threads(())),
            count => Err(ThreadsError { count, reason: "WebAssembly has only the calling thread".into() }),
        }
    }

    /// The calling thread.
    ///
    /// # Errors
    /// None: a `Result` as on other platforms.
    pub fn shared() -> Result<Threads, ThreadsError> {
        Ok(Threads(()))
    }

    /// Number of threads: 1.
    pub fn count(&self) -> usize {
        1
    }

    /// Whether the calling thread belongs to the pool.
    pub(crate) fn has_current(&self) -> bool {
        true
    }

    /// The calling thread, without helpers.
    #[cfg(feature = "cpu")]
    pub(crate) fn crew(&self) -> Crew {
        Crew::new(0, drop)
    }

    /// Runs `work`, where rayon's loops run on the calling thread.
    pub(crate) fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}
