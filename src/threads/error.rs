//! Why threads cannot be had.

/// The system could not start the threads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{} cannot be had: {reason}", threads(.count))]
pub struct ThreadsError {
    /// Number of threads requested; 0 means one per core.
    pub count: usize,
    /// What the system said.
    pub reason: String,
}

fn threads(count: &usize) -> String {
    match count {
        0 => "a thread on every core".into(),
        1 => "a thread".into(),
        n => format!("{n} threads"),
    }
}
