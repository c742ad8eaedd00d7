//! rmnet

pub mod checkpoint;
#[cfg(not(target_arch = "wasm32"))]
pub mod cpu;
pub mod graph;
pub mod kernel;
pub mod models;
pub mod plan;
pub mod preprocess;
pub mod reference;
pub mod rewrite;
pub mod tensor;
pub mod verify;

pub use rewrite::Mode;
