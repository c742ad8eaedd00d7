//! Errors of the GPU executor.

use crate::kernel::KernelError;

/// An error of the GPU executor, from finding an adapter to reading a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter matches the choice.
    #[error("no adapter for `{asked}`; found: {}{}", if .found.is_empty() { "none".into() } else { .found.join(", ") }, if .remedy.is_empty() { String::new() } else { format!("; {}", .remedy) })]
    NoAdapter {
        /// The choice, as text.
        asked: String,
        /// Names of the available adapters.
        found: Vec<String>,
        /// What to do about it.
        remedy: String,
    },
    /// The adapter exists but cannot be opened.
    #[error("{adapter} cannot be opened: {reason}")]
    Open {
        /// Name of the adapter.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
    /// A limit of the adapter is too small for the plan.
    #[error("{adapter}: {what} takes {needed} bytes, the adapter allows {allowed}")]
    LimitTooSmall {
        /// Name of the adapter.
        adapter: String,
        /// What is too large.
        what: String,
        /// Its size.
        needed: u64,
        /// The limit.
        allowed: u64,
    },
    /// A weight or bias that overflows f32 when folded with its batch norm.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Overflow {
        /// The layer.
        layer: String,
    },
    /// A dispatch for which no kernel fits this adapter.
    #[error("{dispatch}: {source}")]
    Kernel {
        /// Name of the dispatch.
        dispatch: String,
        /// The exceeded limit, with figures.
        source: KernelError,
    },
    /// A dispatch whose kernels all failed the self-test on this driver.
    #[error("{adapter}: no kernel computes {dispatch} right on this driver: {problems}")]
    WrongResults {
        /// Name of the adapter.
        adapter: String,
        /// Name of the dispatch.
        dispatch: String,
        /// The quarantined kernel families, each with its first wrong value.
        problems: String,
    },
    /// The device went away (driver reset, unplugged, destroyed). Make a new one, and new executors on it.
    #[error("the GPU device was lost: {reason}")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// The driver did not respond within the timeout ([`Gpu::with_timeout`](super::Gpu::with_timeout)).
    #[error("{doing}: the GPU driver gave no answer within {after:?}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// The timeout.
        after: std::time::Duration,
    },
    /// The device has no memory left.
    #[error("out of GPU memory for {doing}")]
    OutOfMemory {
        /// What was being done.
        doing: String,
    },
    /// wgpu or the driver refused a call: a bug in this crate or in the driver.
    #[error("the GPU refused {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// wgpu's words.
        message: String,
    },
    /// Invalid timestamps: zero, or decreasing.
    #[error("{adapter}: the driver's timestamps are no times (zero, or going backwards)")]
    Timestamps {
        /// Name of the adapter.
        adapter: String,
    },
    /// An input of the wrong length.
    #[error("the input holds {expected} values, found {found}")]
    InputLength {
        /// Values of the plan's input: batch, channels, height and width multiplied.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A buffer of the app that cannot be used as input or output.
    #[error("the {which} buffer {problem}")]
    Buffer {
        /// `input` or `output`.
        which: &'static str,
        /// Expected and found.
        problem: String,
    },
}

impl GpuError {
    /// Converts wgpu's error, with a description of the failed operation.
    pub(super) fn from_wgpu(error: wgpu::Error, doing: &str) -> GpuError {
        match error {
            wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { doing: doing.into() },
            e => GpuError::Refused { doing: doing.into(), message: e.to_string() },
        }
    }
}
