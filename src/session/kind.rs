//! The kinds of errors: what the program's exit codes and the status codes of the bindings are made of.

use super::Error;
#[cfg(feature = "cpu")]
use crate::cpu::CpuError;
#[cfg(feature = "gpu")]
use crate::gpu::GpuError;
use crate::plan::PlanError;
use crate::rewrite::prune::PruneError;

/// What an [`Error`](enum@Error) calls for. The program's exit codes and the status codes of the bindings are these numbers.
///
/// ```
/// use rmnet::{Device, ErrorKind, Options, Session};
///
/// let options = Options::default().device(Device::Cpu);
/// let error = Session::open("no such file", &options).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Input);
/// assert_eq!(error.kind() as u8, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// The call is wrong: an option, a name, the length of a slice, or classes of an output that is no logits.
    Usage = 2,
    /// The checkpoint, image or input cannot be used, or the network's values are not finite.
    Input = 3,
    /// There is no such adapter or executor, its limits are too small for the network, or its driver computes wrong.
    Adapter = 4,
    /// The device was lost or did not respond, or there is too little memory or no thread.
    Resources = 6,
}

impl Error {
    /// What the error calls for.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::InputLength { .. }
            | Error::InputSlice { .. }
            | Error::OutputLength { .. }
            | Error::Images { .. }
            | Error::LogitsLength { .. }
            | Error::Keep { .. }
            | Error::NotLogits { .. }
            | Error::NotOnGpu
            | Error::Output(_) => ErrorKind::Usage,
            Error::NoExecutor | Error::NoSuchDevice { .. } => ErrorKind::Adapter,
            #[cfg(feature = "gpu")]
            Error::Gpu(e) => gpu_kind(e),
            #[cfg(feature = "cpu")]
            Error::Cpu(CpuError::OutOfMemory(_) | CpuError::Threads(_)) => ErrorKind::Resources,
            Error::OutOfMemory(_) => ErrorKind::Resources,
            Error::Threads(_) => ErrorKind::Resources,
            Error::Plan(e) => ErrorKind::from(e),
            Error::Prune(e) => match e {
                PruneError::Graph(_) | PruneError::Order { .. } | PruneError::Empty { .. } => {
                    ErrorKind::Input
                }
                _ => ErrorKind::Usage,
            },
            _ => ErrorKind::Input,
        }
    }
}

#[cfg(feature = "gpu")]
fn gpu_kind(e: &GpuError) -> ErrorKind {
    match e {
        GpuError::DeviceLost { .. }
        | GpuError::OutOfMemory { .. }
        | GpuError::Refused { .. }
        | GpuError::Timeout { .. } => ErrorKind::Resources,
        GpuError::InputLength { .. } | GpuError::Buffer { .. } | GpuError::Overflow { .. } => {
            ErrorKind::Input
        }
        _ => ErrorKind::Adapter,
    }
}

impl From<&PlanError> for ErrorKind {
    fn from(e: &PlanError) -> ErrorKind {
        match e {
            PlanError::BindingTooLarge { .. } | PlanError::TooManyBuffers { .. } => ErrorKind::Adapter,
            PlanError::EmptyBatch | PlanError::BatchTooLarge { .. } => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }
}
