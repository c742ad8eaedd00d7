#![doc = include_str!("../README.md")]

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
pub mod checkpoint;
#[cfg(not(target_arch = "wasm32"))]
pub mod cpu;
mod field;
#[doc(hidden)] // The program's own use.
pub mod files;
pub mod gpu;
pub mod graph;
#[cfg(feature = "images")]
pub mod images;
pub mod kernel;
pub mod memory;
pub mod models;
#[cfg(feature = "onnx")]
pub mod onnx;
#[doc(hidden)] // The program's own use.
pub mod output;
pub mod plan;
pub mod preprocess;
pub mod reference;
pub mod rewrite;
mod session;
pub mod tensor;
#[doc(hidden)] // Its types are at the root; its loops are the program's own use.
pub mod threads;
#[cfg(not(target_arch = "wasm32"))]
pub mod tune;
pub mod verify;

pub use kernel::Precision;
pub use rewrite::Mode;
pub use session::{Device, Memory, Options, Prepared, Session, SessionError, prepare};
pub use session::{Judge, PrunedModel, pruned};
#[cfg(not(target_arch = "wasm32"))]
pub use session::{MergeTiming, faster_merged};
pub use session::{OutputChoice, OutputError, preserved_layers};
#[cfg(not(target_arch = "wasm32"))]
pub use threads::{Threads, ThreadsError};
