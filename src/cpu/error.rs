//! Errors of the CPU executor.

use crate::memory::OutOfMemory;
use crate::threads::ThreadsError;

/// An error of the CPU executor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// An input of the wrong length.
    #[error("the input holds {expected} values, found {found}")]
    InputLength {
        /// Values of the plan's input: batch, channels, height and width multiplied.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A value that overflows the plan's precision.
    #[error("{layer}: a value is beyond the range of f16, which ends at 65504, or is no number")]
    Overflow {
        /// Name of the dispatch that computed it.
        layer: String,
    },
    /// A weight or bias that overflows f32 when folded with its batch norm.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Weights {
        /// The layer.
        layer: String,
    },
    /// The machine has too little memory for the batch or the network.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The system could not start the threads.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
}
