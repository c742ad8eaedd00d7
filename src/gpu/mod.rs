//! Runs a [`Plan`](crate::plan::Plan) on a GPU through wgpu. Only this module uses wgpu, apart from the signatures of
//! [`Session`](crate::Session) that take an app's device and buffers.
//!
//! [`Gpu`] is a device with its capabilities. [`GpuExecutor`] is a plan on a device: one buffer per slot, one pipeline per distinct
//! shader, bind groups created once. A run is one compute pass in one submission and allocates nothing on the device.

mod adapter;
#[cfg(target_arch = "wasm32")]
mod browser;
mod cache;
pub(crate) mod clock;
mod device;
#[cfg(not(target_arch = "wasm32"))]
mod dispatch_bench;
mod error;
mod executor;
mod hardware;
mod mapped;
mod pipeline;
#[cfg(not(target_arch = "wasm32"))]
mod probe;
mod program;
mod quarantine;
mod run;
#[cfg(not(target_arch = "wasm32"))]
mod self_test;
mod self_tests;
mod slots;
mod software;
mod staging;
#[cfg(not(target_arch = "wasm32"))]
mod timing;
mod tuning;
mod upload;
mod wait;

#[cfg(not(target_arch = "wasm32"))]
pub use adapter::adapters;
pub use adapter::{AdapterChoice, AdapterReport, Backend, adapters_async, remedy};
pub use device::{Gpu, GpuKind};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use dispatch_bench::{CompiledCandidate, DispatchBench};
pub use error::GpuError;
pub use executor::{ExecOptions, GpuExecutor};
pub use hardware::{HardwareGpu, PassedOver};
pub use self_tests::{Quarantined, SelfTests};
pub use tuning::{Tuned, TunedKernel, Tuning, TuningError};
