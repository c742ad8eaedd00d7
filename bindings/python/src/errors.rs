//! The library's errors as exceptions of `rmnet._errors`, and the way out of the GIL that every call takes.

use pyo3::prelude::*;
use rmnet::Error;
use rmnet::error::{
    CheckpointError, CpuError, GpuError, ImageError, ModelError, OnnxError, PruneError, SavedError,
};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that first called the library; 0 before that.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// An error that becomes an exception once the GIL is held again.
#[derive(Debug)]
pub struct Failure {
    /// Name of the exception in `rmnet._errors`.
    class: &'static str,
    message: String,
    /// The system's number of an error in reading or writing a file.
    errno: Option<i32>,
}

impl Failure {
    pub fn new(class: &'static str, message: impl Into<String>) -> Failure {
        Failure { class, message: message.into(), errno: None }
    }

    /// An option with a value that cannot be used.
    pub fn option(message: impl Into<String>) -> Failure {
        Failure::new("OptionError", message)
    }

    /// A file that cannot be read or written.
    pub fn file(message: impl Into<String>, error: &io::Error) -> Failure {
        let class = match error.kind() {
            io::ErrorKind::NotFound => "NotFoundError",
            _ => "FileError",
        };
        Failure { errno: error.raw_os_error(), ..Failure::new(class, message) }
    }

    /// The same error of a named subject, such as a file.
    pub fn of(self, subject: &str) -> Failure {
        Failure { message: format!("{subject}: {}", self.message), ..self }
    }

    /// The exception, which the package defines in Python: several of its classes have two bases.
    fn raised(self, py: Python<'_>) -> PyErr {
        let make = || -> PyResult<PyErr> {
            let class = py.import("rmnet._errors")?.getattr(self.class)?;
            let exception = class.call1((self.message.as_str(),))?;
            if let Some(errno) = self.errno {
                exception.setattr("errno", errno)?;
            }
            Ok(PyErr::from_value(exception))
        };
        make().unwrap_or_else(|e| e)
    }
}

/// Raises a `ForkError` in a process that was forked after the library was used.
#[pyfunction]
pub fn check_process(py: Python<'_>) -> PyResult<()> {
    raise(py, check())
}

/// Whether this process may use what the library has made: it is no child of the one that made it.
pub fn is_own_process() -> bool {
    check().is_ok()
}

/// Calls `work` without the GIL. A panic in it becomes an `InternalError`.
pub fn outside<T: Send, E: Into<Failure>>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    let result = py.detach(|| {
        check()?;
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(Into::into),
            Err(panic) => Err(Failure::new("InternalError", panic_text(&*panic))),
        }
    });
    result.map_err(|failure| failure.raised(py))
}

/// Raises a failure that was found with the GIL held.
pub fn raise<T>(py: Python<'_>, result: Result<T, Failure>) -> PyResult<T> {
    result.map_err(|failure| failure.raised(py))
}

/// Refuses to work in a process that was forked after the library was used. The library's threads and the driver's are not in the child,
/// so a call would wait for ever.
fn check() -> Result<(), Failure> {
    let this = std::process::id();
    match PROCESS.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
        Err(first) if first != this => Err(Failure::new(
            "ForkError",
            "this process was forked from one that had used rmnet, and has none of its threads and devices: start workers with \
             `multiprocessing.get_context(\"spawn\")`, or open the first session after the fork",
        )),
        _ => Ok(()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a bug in rmnet, please report it: {}", text.unwrap_or_else(|| "panic".into()))
}

/// Prints panics as Rust does, except those of image decoders: they are caught, and are the error of a damaged file.
pub fn report_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rmnet::images::is_decoding() {
            report(panic);
        }
    }));
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Checkpoint(e) => e.into(),
            Error::Model(e) => e.into(),
            Error::Saved(e) => e.into(),
            Error::Onnx(e) => e.into(),
            Error::Prune(e) => e.into(),
            e => Failure::new(class(&e), e.to_string()),
        }
    }
}

/// The error of a run of a batch whose first image is the `first` of the call: images are counted from the call's first one.
pub fn counted(first: usize) -> impl Fn(Error) -> Failure {
    move |mut e| {
        if let Error::InputNotFinite { at, .. } | Error::NotFinite { at, .. } = &mut e {
            at[0] += first;
        }
        e.into()
    }
}

/// The exception of an error that holds no file.
fn class(e: &Error) -> &'static str {
    match e {
        Error::Graph(_) | Error::Check(_) | Error::Disagree { .. } | Error::Unsteady => "InternalError",
        Error::Plan(_) => "PlanError",
        Error::Gpu(GpuError::OutOfMemory { .. })
        | Error::Cpu(CpuError::OutOfMemory(_))
        | Error::OutOfMemory(_) => "OutOfMemoryError",
        Error::Gpu(GpuError::Timeout { .. }) => "DeviceTimeoutError",
        Error::Gpu(GpuError::Overflow { .. })
        | Error::Cpu(CpuError::Overflow { .. } | CpuError::Weights { .. }) => "NotFiniteError",
        Error::NotFinite { .. } | Error::LogitsNotFinite { .. } => "NotFiniteError",
        Error::Gpu(GpuError::InputLength { .. }) | Error::Cpu(CpuError::InputLength { .. }) => "InputError",
        Error::InputLength { .. }
        | Error::InputSlice { .. }
        | Error::InputNotFinite { .. }
        | Error::Images { .. }
        | Error::Preprocess { .. }
        | Error::LogitsLength { .. }
        | Error::Calibration { .. } => "InputError",
        Error::Output(_) | Error::Keep { .. } | Error::NotLogits { .. } => "OptionError",
        Error::Gpu(_)
        | Error::Cpu(_)
        | Error::Threads(_)
        | Error::NoExecutor
        | Error::NoSuchDevice { .. }
        | Error::NotOnGpu
        | Error::NoTimestamps => "DeviceError",
        _ => "Error",
    }
}

impl From<CheckpointError> for Failure {
    fn from(e: CheckpointError) -> Failure {
        match &e {
            CheckpointError::Io { source, .. } => Failure::file(e.to_string(), source),
            CheckpointError::NoFile { .. } => Failure::new("NotFoundError", e.to_string()),
            _ => Failure::new("CheckpointError", e.to_string()),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(e: ModelError) -> Failure {
        match e {
            ModelError::Checkpoint(e) => e.into(),
            ModelError::Assumption { .. } | ModelError::Size { .. } | ModelError::FixedSize { .. } => {
                Failure::option(e.to_string())
            }
            ModelError::Graph(_) => Failure::new("InternalError", e.to_string()),
            e => Failure::new("ModelError", e.to_string()),
        }
    }
}

impl From<SavedError> for Failure {
    fn from(e: SavedError) -> Failure {
        let class = if matches!(e, SavedError::Write { .. }) { "FileError" } else { "ModelError" };
        Failure::new(class, e.to_string())
    }
}

impl From<OnnxError> for Failure {
    fn from(e: OnnxError) -> Failure {
        let class = if matches!(e, OnnxError::Write { .. }) { "FileError" } else { "ModelError" };
        Failure::new(class, e.to_string())
    }
}

impl From<PruneError> for Failure {
    fn from(e: PruneError) -> Failure {
        let class = if matches!(e, PruneError::Graph(_)) { "InternalError" } else { "OptionError" };
        Failure::new(class, e.to_string())
    }
}

impl From<ImageError> for Failure {
    fn from(e: ImageError) -> Failure {
        Failure::new("ImageError", e.to_string())
    }
}

impl From<rmnet::graph::GraphError> for Failure {
    fn from(e: rmnet::graph::GraphError) -> Failure {
        Failure::new("InternalError", e.to_string())
    }
}
