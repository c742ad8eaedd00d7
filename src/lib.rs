//! Image inference for the ResNet family, from unmodified checkpoints, on any GPU through wgpu or on CPU threads.
//!
//! A [`Session`] is a network on a device: it reads a checkpoint, removes the residual connections without changing the function, plans
//! every dispatch and all memory, and runs the plan.
//!
//! ```
//! use rmnet::{Device, ImageView, Options, PixelFormat, Session, Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
//! # let (pixels, size) = (vec![0; 480 * 640 * 3], Size::new(480, 640));
//! let options = Options::default(); // a hardware GPU, else the CPU
//! # let options = options.device(Device::Cpu);
//! let session = Session::open(checkpoint, &options)?;
//! let image = ImageView::new(&pixels, size, PixelFormat::Rgb8);
//! let logits = session.run(&session.input_of(&[image])?)?; // [1, classes]
//! for prediction in session.top_k(&logits, 5)? {
//!     println!("{} {:?} {:?}", prediction.class, prediction.label, prediction.probability);
//! }
//! # Ok(()) }
//! ```
//!
//! # The tour
//! * **A checkpoint** is safetensors, a PyTorch pickle, or a folder with one of these and its config files: [`Checkpoint`]. [`Model`] is
//!   the network in it, with its preprocessing and labels; [`Model::load`] accepts another input size, and assumptions about properties
//!   that no tensor shows ([`Assume`]).
//! * **A device** is chosen by [`Options::device`], or is the app's own: [`Gpu::from_device`], [`Session::with_gpu`]. [`Session::encode`]
//!   records a run into the app's command buffer.
//! * **Inspection**: [`Session::blocks`] reports how every residual block was rewritten, [`Session::plan`] prints each dispatch as a
//!   formula over slots, [`Session::memory`] counts bytes.
//! * **Many requests**: [`Session`] is `Send + Sync`, [`Session::run_async`] works with any async runtime, a batch may be partly filled,
//!   sessions on one [`Gpu`] share their weights, and [`Prepared`] opens a planned model any number of times.
//! * **Errors**: every call of a session returns [`Error`], whose variants hold the [error] of each stage. Errors name the tensor, layer,
//!   option or limit, what was expected and what was found. No input causes a panic. [`Device::Auto`] uses the CPU if there is no hardware
//!   GPU ([`Session::is_on_gpu`]). A device or precision that is chosen explicitly is used, or the call fails.
//!
//! # Features
//! | feature | default | what it adds |
//! |---|---|---|
//! | `gpu` | yes | GPUs, through wgpu, which is re-exported: Vulkan, Metal, DX12, WebGPU |
//! | `cpu` | yes | CPU threads |
//! | `pickle` | yes | reading PyTorch's `.pth`, `.pt`, `.bin` |
//! | `images` | no | `images`: PNG and JPEG files to the pixels that Pillow gives |
//! | `onnx` | no | `Model::write_onnx` |
//!
//! `internals` makes further items public, which the program and the tests of this repository use. They are not stable.
#![cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unused_imports, reason = "the program and tests use more than the public face")
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Compiles the examples in the documentation pages.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
mod embedding {}

mod field;
mod luma;
mod order;
mod session;
mod shared;
mod size;

/// The errors of every stage. Sessions return [`Error`](enum@crate::Error), which holds one of them. Loading a model, opening a GPU, and
/// reading a tuning or an image return the stage's own error.
pub mod error {
    pub use crate::checkpoint::CheckpointError;
    #[cfg(feature = "cpu")]
    pub use crate::cpu::CpuError;
    #[cfg(feature = "gpu")]
    pub use crate::gpu::{GpuError, TuningError};
    pub use crate::graph::GraphError;
    #[cfg(feature = "images")]
    pub use crate::images::ImageError;
    pub use crate::kernel::KernelError;
    pub use crate::memory::OutOfMemory;
    pub use crate::models::ModelError;
    pub use crate::models::saved::SavedError;
    #[cfg(feature = "onnx")]
    pub use crate::onnx::OnnxError;
    pub use crate::plan::{CheckError, PlanError};
    pub use crate::preprocess::PreprocessError;
    pub use crate::rewrite::prune::PruneError;
    pub use crate::session::OutputError;
    pub use crate::threads::ThreadsError;
}
#[cfg(feature = "images")]
pub mod images;
pub mod preprocess;

pub use checkpoint::Checkpoint;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use gpu::adapters;
#[cfg(feature = "gpu")]
pub use gpu::{
    AdapterChoice, AdapterReport, Backend, Gpu, GpuKind, HardwareGpu, PassedOver, Quarantined, SelfTests,
    Tuned, Tuning, adapters_async,
};
pub use graph::Graph;
pub use kernel::Precision;
pub use models::{Assume, Assumption, Key, LoadOptions, Model, Naming, OutputKind, Scores};
pub use plan::{Memory, Phases, Plan, PlanStep, Values};
pub use preprocess::{ImageView, PixelFormat, Preprocess};
pub use rewrite::{BlockReport, Mode, Outcome, Shortcut};
pub use session::{Device, Error, ErrorKind, Options, OutputChoice, Prediction, Prepared, Session};
#[cfg(not(target_arch = "wasm32"))]
pub use session::{MergeBenchmark, benchmark_merge};
pub use size::Size;
pub use threads::Threads;
/// The version of wgpu that [`Gpu`] uses.
#[cfg(feature = "gpu")]
pub use wgpu;

// Internal modules: private, or public with the feature `internals`.
#[cfg(not(feature = "internals"))]
mod checkpoint;
#[cfg(feature = "cpu")]
#[cfg(not(feature = "internals"))]
mod cpu;
#[cfg(not(feature = "internals"))]
mod files;
#[cfg(feature = "gpu")]
#[cfg(not(feature = "internals"))]
mod gpu;
#[cfg(not(feature = "internals"))]
mod graph;
#[cfg(not(feature = "internals"))]
mod kernel;
#[cfg(not(feature = "internals"))]
mod memory;
#[cfg(not(feature = "internals"))]
mod models;
#[cfg(feature = "onnx")]
#[cfg(not(feature = "internals"))]
mod onnx;
#[cfg(not(feature = "internals"))]
mod output;
#[cfg(not(feature = "internals"))]
mod plan;
#[cfg(not(feature = "internals"))]
mod reference;
#[cfg(not(feature = "internals"))]
mod rewrite;
#[cfg(not(feature = "internals"))]
mod tensor;
#[cfg(not(feature = "internals"))]
mod threads;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
#[cfg(not(feature = "internals"))]
mod trial;
#[cfg(not(feature = "internals"))]
mod verify;

#[cfg(feature = "internals")]
pub mod checkpoint;
#[cfg(feature = "cpu")]
#[cfg(feature = "internals")]
pub mod cpu;
#[cfg(feature = "internals")]
pub mod files;
#[cfg(feature = "gpu")]
#[cfg(feature = "internals")]
pub mod gpu;
#[cfg(feature = "internals")]
pub mod graph;
#[cfg(feature = "internals")]
pub mod kernel;
#[cfg(feature = "internals")]
pub mod memory;
#[cfg(feature = "internals")]
pub mod models;
#[cfg(feature = "onnx")]
#[cfg(feature = "internals")]
pub mod onnx;
#[cfg(feature = "internals")]
pub mod output;
#[cfg(feature = "internals")]
pub mod plan;
#[cfg(feature = "internals")]
pub mod reference;
#[cfg(feature = "internals")]
pub mod rewrite;
#[cfg(feature = "internals")]
pub mod tensor;
#[cfg(feature = "internals")]
pub mod threads;
#[cfg(feature = "internals")]
pub mod trial;
#[cfg(feature = "internals")]
pub mod verify;

#[cfg(all(feature = "internals", feature = "gpu", feature = "cpu", not(target_arch = "wasm32")))]
pub mod bench;
#[cfg(all(feature = "internals", feature = "gpu", not(target_arch = "wasm32")))]
pub mod tune;
#[cfg(feature = "internals")]
pub use session::{Judge, PrunedModel, converted, prepare, preserved_layers, prune_model, top};
