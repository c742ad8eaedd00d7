//! What can run on a GPU, as values: WGSL text, bindings, grid. No GPU API here.

mod spec;

pub use spec::{Add, AverageSpec, BufferShape, ConvSpec, KRange, Layout, Operand, Output, PoolSpec, Spec};

/// What an adapter offers that decides between kernels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The one subgroup size of the adapter, where the feature `SUBGROUP` is on and minimum and maximum agree.
    pub subgroup_size: Option<u32>,
    /// A CPU pretending to be a GPU (llvmpipe, SwiftShader): invocations are SIMD lanes.
    pub software: bool,
    /// Invocations a workgroup may have.
    pub max_workgroup_invocations: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_memory: u32,
    /// Workgroups per grid dimension.
    pub max_workgroups: u32,
    /// Bytes of one storage binding.
    pub max_binding_bytes: u64,
    /// Storage buffers in one bind group.
    pub max_storage_buffers: u32,
}

/// What a binding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The dispatch's n-th read buffer.
    Read(usize),
    /// The dispatch's n-th written buffer.
    Write(usize),
    /// Packed weights and biases of the dispatch.
    Weights,
}

/// A storage buffer of a kernel, in bind group 0 at the position it has in [`Kernel::bindings`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the WGSL.
    pub name: String,
    /// What is bound there.
    pub role: Role,
    /// `read_write` rather than `read`.
    pub writable: bool,
}

/// A compute shader for one [`Spec`]: everything baked in, nothing but buffers to bind.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Short name of the kernel family and tile, for people.
    pub name: String,
    /// The whole shader.
    pub wgsl: String,
    /// Entry point.
    pub entry: &'static str,
    /// Bind group 0, in order.
    pub bindings: Vec<Binding>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
    /// Whether the shader needs the feature `SUBGROUP`.
    pub subgroup: bool,
}
