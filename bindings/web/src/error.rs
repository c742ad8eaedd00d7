//! Errors as JavaScript's `Error`, with a code that programs can tell apart.

use rmnet::Error;
use rmnet::error::{CheckpointError, CpuError, GpuError, ModelError, PlanError};
use wasm_bindgen::JsValue;

/// An error on its way to JavaScript.
#[derive(Debug)]
pub struct WebError {
    code: &'static str,
    message: String,
}

impl WebError {
    pub fn new(code: &'static str, message: impl Into<String>) -> WebError {
        WebError { code, message: message.into() }
    }
}

impl From<WebError> for JsValue {
    fn from(e: WebError) -> JsValue {
        let error = js_sys::Error::new(&e.message);
        // Setting a property fails on no `Error`.
        let _ = js_sys::Reflect::set(&error, &"code".into(), &e.code.into());
        error.into()
    }
}

impl From<Error> for WebError {
    fn from(e: Error) -> WebError {
        let code = match &e {
            Error::Gpu(e) => gpu_code(e),
            Error::Cpu(e) => cpu_code(e),
            Error::Plan(e) => plan_code(e),
            Error::OutOfMemory(_) => "out-of-memory",
            Error::Checkpoint(_) | Error::Model(_) => "checkpoint",
            Error::Output(_) | Error::Keep { .. } | Error::NoSuchDevice { .. } => "option",
            Error::NotFinite { .. } | Error::LogitsNotFinite { .. } => "not-finite",
            Error::NotOnGpu => "no-gpu",
            Error::InputLength { .. }
            | Error::InputNotFinite { .. }
            | Error::Images { .. }
            | Error::Preprocess { .. }
            | Error::NotLogits { .. }
            | Error::LogitsLength { .. } => "input",
            _ => "internal",
        };
        WebError::new(code, e.to_string())
    }
}

fn gpu_code(e: &GpuError) -> &'static str {
    match e {
        GpuError::NoAdapter { .. } | GpuError::Open { .. } => "no-gpu",
        GpuError::DeviceLost { .. } | GpuError::Timeout { .. } => "device-lost",
        GpuError::OutOfMemory { .. } => "out-of-memory",
        GpuError::LimitTooSmall { .. } | GpuError::Kernel { .. } => "too-large",
        GpuError::InputLength { .. } | GpuError::Buffer { .. } => "input",
        GpuError::Overflow { .. } => "checkpoint",
        _ => "gpu",
    }
}

fn cpu_code(e: &CpuError) -> &'static str {
    match e {
        CpuError::OutOfMemory(_) => "out-of-memory",
        CpuError::Overflow { .. } => "not-finite",
        CpuError::Weights { .. } => "checkpoint",
        CpuError::InputLength { .. } => "input",
        _ => "internal",
    }
}

fn plan_code(e: &PlanError) -> &'static str {
    match e {
        PlanError::EmptyBatch => "option",
        PlanError::Unsupported { .. } => "checkpoint",
        PlanError::Weights { .. } => "not-finite",
        _ => "too-large",
    }
}

impl From<GpuError> for WebError {
    fn from(e: GpuError) -> WebError {
        Error::from(e).into()
    }
}

impl From<ModelError> for WebError {
    fn from(e: ModelError) -> WebError {
        let code = match e {
            ModelError::Assumption { .. } | ModelError::Size { .. } | ModelError::FixedSize { .. } => {
                "option"
            }
            _ => "checkpoint",
        };
        WebError::new(code, e.to_string())
    }
}

impl From<CheckpointError> for WebError {
    fn from(e: CheckpointError) -> WebError {
        WebError::new("checkpoint", e.to_string())
    }
}
