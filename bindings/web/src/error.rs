//! Errors as JavaScript's `Error`, with a code that programs can tell apart.

use rmnet::Error;
use rmnet::error::{CheckpointError, CpuError, GpuError, ModelError};
use wasm_bindgen::JsValue;

/// An error on its way to JavaScript.
#[derive(Debug)]
pub struct Thrown {
    code: &'static str,
    message: String,
}

impl Thrown {
    pub fn new(code: &'static str, message: impl Into<String>) -> Thrown {
        Thrown { code, message: message.into() }
    }
}

impl From<Thrown> for JsValue {
    fn from(thrown: Thrown) -> JsValue {
        let error = js_sys::Error::new(&thrown.message);
        // Fails on no object.
        let _ = js_sys::Reflect::set(&error, &"code".into(), &thrown.code.into());
        error.into()
    }
}

impl From<Error> for Thrown {
    fn from(e: Error) -> Thrown {
        let code = match &e {
            Error::Gpu(e) => gpu_code(e),
            Error::Cpu(CpuError::OutOfMemory(_)) | Error::OutOfMemory(_) => "out-of-memory",
            Error::Checkpoint(_) | Error::Model(_) => "checkpoint",
            Error::Output(_) | Error::Keep { .. } | Error::NoSuchDevice { .. } => "option",
            Error::Plan(_) => "too-large",
            Error::NotFinite { .. } | Error::Cpu(CpuError::Overflow { .. }) => "not-finite",
            Error::NotOnGpu => "no-gpu",
            Error::InputLength { .. }
            | Error::InputNotFinite { .. }
            | Error::Images { .. }
            | Error::Preprocess { .. }
            | Error::NotLogits { .. }
            | Error::LogitsLength { .. } => "input",
            _ => "internal",
        };
        Thrown::new(code, e.to_string())
    }
}

fn gpu_code(e: &GpuError) -> &'static str {
    match e {
        GpuError::NoAdapter { .. } | GpuError::Open { .. } => "no-gpu",
        GpuError::DeviceLost { .. } | GpuError::Timeout { .. } => "device-lost",
        GpuError::OutOfMemory { .. } => "out-of-memory",
        GpuError::LimitTooSmall { .. } => "too-large",
        GpuError::InputLength { .. } | GpuError::Buffer { .. } => "input",
        GpuError::Overflow { .. } => "checkpoint",
        _ => "gpu",
    }
}

impl From<GpuError> for Thrown {
    fn from(e: GpuError) -> Thrown {
        Error::from(e).into()
    }
}

impl From<ModelError> for Thrown {
    fn from(e: ModelError) -> Thrown {
        let code = match e {
            ModelError::Assumption { .. } | ModelError::Size { .. } | ModelError::FixedSize { .. } => {
                "option"
            }
            _ => "checkpoint",
        };
        Thrown::new(code, e.to_string())
    }
}

impl From<CheckpointError> for Thrown {
    fn from(e: CheckpointError) -> Thrown {
        Thrown::new("checkpoint", e.to_string())
    }
}
