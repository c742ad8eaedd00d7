//! What an adapter offers that decides between kernels: its class, its features, its limits.

/// What an adapter offers that decides between kernels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// What kind of device it is.
    pub class: Class,
    /// What its shaders may do.
    pub features: Features,
    /// How much they may have.
    pub limits: Limits,
}

/// Kinds of devices that differ in which kernels suit them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An integrated or mobile GPU: few multiprocessors, and a memory that it shares.
    Integrated,
    /// A card with memory of its own, and so many multiprocessors that small maps leave most of them idle.
    Discrete,
    /// A CPU that pretends to be a GPU (llvmpipe, SwiftShader): invocations are SIMD lanes.
    Software,
}

/// What shaders may do on an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features {
    /// The one subgroup size of the adapter, where the feature `SUBGROUP` is on and minimum and maximum agree.
    pub subgroup_size: Option<u32>,
    /// Shaders may use 64-bit integers (feature `SHADER_INT64`); only software adapters gain from it.
    pub int64: bool,
    /// Shaders may multiply 16x16 matrices of f16 with sums in f32 (features `EXPERIMENTAL_COOPERATIVE_MATRIX`, `SHADER_F16` and
    /// `SUBGROUP`, and the size among the adapter's).
    pub matrix_units: bool,
}

/// How much shaders may have on an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
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

impl Features {
    /// None of them.
    pub const NONE: Features = Features { subgroup_size: None, int64: false, matrix_units: false };
}

impl Limits {
    /// The default limits of WebGPU.
    pub const WEBGPU: Limits = Limits {
        max_workgroup_invocations: 256,
        max_workgroup_memory: 16 << 10,
        max_workgroups: 65535,
        max_binding_bytes: 128 << 20,
        max_storage_buffers: 8,
    };
}

impl Capabilities {
    /// What every adapter of WebGPU offers: every kernel fits it but those for matrix units.
    pub const WEBGPU: Capabilities =
        Capabilities { class: Class::Integrated, features: Features::NONE, limits: Limits::WEBGPU };

    /// The same with some of it changed.
    ///
    /// ```
    /// use rmnet::kernel::{Capabilities, Class};
    ///
    /// let card = Capabilities::WEBGPU.with(|c| c.class = Class::Discrete);
    /// assert_eq!(card.limits, Capabilities::WEBGPU.limits);
    /// ```
    pub fn with(mut self, change: impl FnOnce(&mut Capabilities)) -> Capabilities {
        change(&mut self);
        self
    }

    /// Whether quads are read as 64-bit integers.
    pub(super) fn wide_loads(&self) -> bool {
        self.class == Class::Software && self.features.int64
    }

    /// Whether an adapter gains from buffers that are ranges of one ([`Arena`](super::Arena)): software that compiles slowly, reads
    /// 64-bit integers and has the subgroups that kernels for it shuffle over.
    pub fn shares_buffers(&self) -> bool {
        self.wide_loads() && self.lanes().is_some()
    }

    /// Invocations of a subgroup that load weights for one another on software.
    pub(super) fn lanes(&self) -> Option<u32> {
        self.features.subgroup_size.filter(|n| self.class == Class::Software && matches!(n, 4 | 8))
    }
}
