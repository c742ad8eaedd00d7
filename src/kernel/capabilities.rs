//! The properties of an adapter by which kernels are selected: class, features, limits.

/// The properties of an adapter by which kernels are selected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Kind of device.
    pub class: Class,
    /// Optional shader features.
    pub features: Features,
    /// Resource limits of shaders.
    pub limits: Limits,
}

/// Kinds of devices, each with its own preferred kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An integrated or mobile GPU: few multiprocessors, memory shared with the CPU.
    Integrated,
    /// A discrete card: its own memory, and enough multiprocessors that small feature maps leave most of them idle.
    Discrete,
    /// A Vulkan driver that runs on the CPU (llvmpipe, SwiftShader): invocations are SIMD lanes.
    Software,
}

/// Optional shader features of an adapter.
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

/// Resource limits of shaders on an adapter.
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
    /// No optional feature.
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
    /// The guaranteed minimum of WebGPU. Every kernel fits it except those for matrix units.
    pub const WEBGPU: Capabilities =
        Capabilities { class: Class::Integrated, features: Features::NONE, limits: Limits::WEBGPU };

    /// A copy with some properties changed.
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

    /// Whether kernels load quads as 64-bit integers. Browsers have none.
    pub(super) fn wide_loads(&self) -> bool {
        !cfg!(target_arch = "wasm32") && self.class == Class::Software && self.features.int64
    }

    /// Whether buffers are placed in one arena ([`Arena`](super::Arena)): on software drivers, which compile slowly, if they have 64-bit
    /// integers and a subgroup size that the software kernels shuffle over.
    pub fn shares_buffers(&self) -> bool {
        self.wide_loads() && self.lanes().is_some()
    }

    /// Subgroup size of the kernels for software drivers, whose invocations share the weights they load; `None` on GPUs and for other
    /// sizes than 4 and 8.
    pub(super) fn lanes(&self) -> Option<u32> {
        self.features.subgroup_size.filter(|n| self.class == Class::Software && matches!(n, 4 | 8))
    }
}
