//! Kernels as values: WGSL text, bindings, grid. This module does not use a GPU API.
//!
//! [`select`] builds the [`Kernel`] for a [`Spec`] on an adapter; [`Kernel::pack`] packs weights in the order the kernel reads them.
//! Algorithms are grouped in families, listed in `select.rs`. Their WGSL is in `shaders/` and is processed by `template` and `prelude`.

mod access;
mod bindings;
mod capabilities;
mod choice;
mod constants;
mod direct;
mod family;
mod files;
#[cfg(test)]
mod files_tests;
mod gemm;
mod gemm_matrix;
mod gemv;
mod key;
mod layout;
mod pool;
mod precision;
mod prelude;
mod probe;
mod rounding;
mod select;
mod shader;
mod software;
mod spec;
mod stem;
mod template;
mod weights;
mod winograd;

pub use bindings::{Arena, Binding, Role};
pub use capabilities::{Capabilities, Class, Features, Limits};
pub use choice::{Choice, ChoiceError, FamilyId, TileId};
#[cfg(feature = "gpu")]
pub(crate) use files::FILES_HASH;
pub use precision::Precision;
pub use probe::Probe;
pub use rounding::Rounding;
pub use select::{
    KernelError, candidates, candidates_in, coverage, packed_weight_bytes, select, select_in, select_without,
};
pub use shader::{Kernel, Shader};
pub use spec::{
    Add, AverageSpec, BufferShape, ConvSpec, Function, KRange, Layout, Operand, Output, PoolSpec, Spec,
};
pub use weights::ConvParameters;
pub use winograd::WinogradTransform;
