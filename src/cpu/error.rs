//! What can go wrong on the CPU.

use crate::memory::OutOfMemory;
use crate::threads::ThreadsError;

/// An error of a run on the CPU.
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
    /// A value beyond the range of the plan's precision.
    #[error("{layer}: a value is beyond the range of f16, which ends at 65504, or is no number")]
    Overflow {
        /// Name of the dispatch that gave it.
        layer: String,
    },
    /// A weight or bias that batch norm took beyond what f32 holds.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Weights {
        /// The layer.
        layer: String,
    },
    /// A batch, or a network, beyond the machine.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Threads that the system does not give.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
}
