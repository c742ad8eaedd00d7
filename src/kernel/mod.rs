//! What can run on a GPU, as values: WGSL text, bindings, grid. No GPU API here.
//!
//! [`select`] makes the [`Kernel`] for a [`Spec`] on an adapter, [`Kernel::pack`] the weights in the order it reads them.

mod access;
mod constants;
mod direct;
mod files;
mod gemm;
mod gemm_matrix;
mod key;
mod layout;
mod precision;
mod prelude;
mod probe;
mod rounding;
mod simple;
mod software;
mod source;
mod spec;
mod stem;
mod template;
mod winograd;

use crate::tensor::all_finite;
use access::Access;
use prelude::Source;
use software::{ProjectionThenWinograd, SoftwareAccess, SoftwareLayout, WinogradPasses};
use std::sync::Arc;
use layout::WeightLayout;
use gemm_matrix::MatrixLayout;
use simple::GemvLayout;
use winograd::WinogradLayout;

pub use precision::Precision;
pub use probe::Probe;
pub use rounding::Rounding;
pub use spec::{
    Add, AverageSpec, BufferShape, ConvSpec, Function, KRange, Layout, Operand, Output, PoolSpec, Spec,
};

/// Invocations that keep a large card busy: two workgroups of 256 for each of 64 multiprocessors. wgpu does not tell how many
/// there are; cards of the last years have 28 to 132.
const BUSY: usize = 2 * 256 * 64;

/// What an adapter offers that decides between kernels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The one subgroup size of the adapter, where the feature `SUBGROUP` is on and minimum and maximum agree.
    pub subgroup_size: Option<u32>,
    /// Shaders may use 64-bit integers (feature `SHADER_INT64`); only software adapters gain from it.
    pub int64: bool,
    /// A CPU pretending to be a GPU (llvmpipe, SwiftShader): invocations are SIMD lanes.
    pub software: bool,
    /// Shaders may multiply 16x16 matrices of f16 with sums in f32 (features `EXPERIMENTAL_COOPERATIVE_MATRIX`, `SHADER_F16` and
    /// `SUBGROUP`, and the size among the adapter's).
    pub matrix_units: bool,
    /// A card with memory of its own, and so many multiprocessors that small maps leave most of them idle.
    pub discrete: bool,
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
    /// Packed weights and biases of the dispatch, from this byte on: a multiple of 256.
    Weights(u64),
    /// The one buffer that the dispatch's buffers are ranges of ([`Arena`]).
    Arena,
    /// What the shaders of a kernel hand on to one another.
    Scratch,
}

/// A storage buffer of a shader, in bind group 0 at the position it has in [`Shader::bindings`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the WGSL.
    pub name: String,
    /// What is bound there.
    pub role: Role,
    /// `read_write` rather than `read`.
    pub writable: bool,
}

/// One buffer that holds those of several dispatches, so that a shader need not say which of them it reads. Its first 16 bytes
/// are zero. Where each of a dispatch's buffers starts in it, in quads of f32; `None` for one that is bound on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arena {
    /// Of the buffers read.
    pub reads: Vec<Option<u32>>,
    /// Of those written.
    pub writes: Vec<Option<u32>>,
}

/// A compute shader: everything baked in, nothing but buffers to bind.
#[derive(Clone, Debug)]
pub struct Shader {
    text: Text,
    /// Entry point.
    pub entry: &'static str,
    /// Bind group 0, in order.
    pub bindings: Vec<Binding>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
    /// Whether it needs the feature `SUBGROUP`.
    pub subgroup: bool,
    /// Whether it needs the feature `SHADER_INT64`.
    pub int64: bool,
    /// Whether it needs the features of [`Capabilities::matrix_units`].
    pub matrices: bool,
}

#[derive(Clone, Debug)]
enum Text {
    Written(String),
    Source(Source),
}

impl Shader {
    fn new(source: Source, entry: &'static str, grid: [u32; 3]) -> Shader {
        Shader {
            entry,
            bindings: source.bindings(),
            grid,
            subgroup: source.needs_subgroup(),
            int64: source.needs_int64(),
            matrices: source.needs_matrices(),
            text: Text::Source(source),
        }
    }

    /// A shader of a text that is written already, which needs no more of an adapter than WebGPU has.
    pub fn from_wgsl(wgsl: String, entry: &'static str, bindings: Vec<Binding>, grid: [u32; 3]) -> Shader {
        Shader { text: Text::Written(wgsl), entry, bindings, grid, subgroup: false, int64: false, matrices: false }
    }

    /// All of its text.
    pub fn wgsl(&self) -> String {
        match &self.text {
            Text::Written(text) => text.clone(),
            Text::Source(source) => source.wgsl(),
        }
    }

    /// All of its text, which it has no more: what is bound, and how, stays.
    pub(crate) fn take_wgsl(&mut self) -> String {
        let text = self.wgsl();
        self.text = Text::Written(String::new());
        text
    }
}

/// What computes one [`Spec`]: a shader, or several one after the other that hand on what they make in a buffer of their own.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Short name of the kernel family and tile, for people.
    pub name: String,
    /// In the order they run.
    pub shaders: Vec<Shader>,
    /// Bytes of the buffer for [`Role::Scratch`], 0 where no shader binds one. What it holds before does not matter.
    pub scratch: u64,
    packing: Packing,
}

/// What a convolution dispatch is parametrised with, besides its operands.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Per K range, dense `[out_channels, channels / groups, kernel_h, kernel_w]`.
    pub k_ranges: &'a [&'a [f32]],
    /// One per output channel.
    pub bias: &'a [f32],
    /// One per output channel where some range of the activation is [`Function::PRelu`]; else empty.
    pub slopes: &'a [f32],
    /// Per K range, scale and shift of each channel where it maps its operand. May be empty where none does.
    pub maps: &'a [Option<(Vec<f32>, Vec<f32>)>],
}

impl Values<'_> {
    /// Whether every weight and bias is finite: folding may have taken one beyond f32.
    pub(crate) fn are_finite(&self) -> bool {
        self.k_ranges.iter().all(|k| all_finite(k)) && all_finite(self.bias)
    }
}

/// How weights are laid out for a kernel.
#[derive(Clone, Debug)]
enum Packing {
    None,
    Gemv(GemvLayout),
    Conv(WeightLayout),
    Matrix(MatrixLayout),
    Software(SoftwareLayout),
    Winograd(WinogradLayout),
    WinogradPasses(WinogradPasses),
    ProjectionThenWinograd(Box<ProjectionThenWinograd>),
}

impl Capabilities {
    /// The default limits of WebGPU: what every kernel fits but those for matrix units.
    pub const WEBGPU: Capabilities = Capabilities {
        subgroup_size: None,
        int64: false,
        software: false,
        matrix_units: false,
        discrete: false,
        max_workgroup_invocations: 256,
        max_workgroup_memory: 16 << 10,
        max_workgroups: 65535,
        max_binding_bytes: 128 << 20,
        max_storage_buffers: 8,
    };

    /// Whether quads are read as 64-bit integers.
    fn wide_loads(&self) -> bool {
        self.software && self.int64
    }

    /// Whether an adapter gains from buffers that are ranges of one ([`Arena`]): software that compiles slowly, reads 64-bit integers
    /// and has the subgroups that kernels for it shuffle over.
    pub fn shares_buffers(&self) -> bool {
        self.wide_loads() && matches!(self.subgroup_size, Some(4 | 8))
    }
}

/// A dispatch that no kernel can do within an adapter's limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kernel}: {limit} may be {allowed} at most, needed are {needed}")]
pub struct KernelError {
    /// Name of the kernel that was chosen.
    pub kernel: String,
    /// What is limited.
    pub limit: &'static str,
    /// What the kernel needs.
    pub needed: u64,
    /// What the adapter allows.
    pub allowed: u64,
}

/// The kernel for a spec: a static choice by shape and capabilities.
///
/// # Errors
/// [`KernelError`] where a limit is too small: too many buffers, a buffer or its weights over the binding size, a grid too
/// large.
pub fn select(spec: &Spec, caps: &Capabilities) -> Result<Kernel, KernelError> {
    select_in(spec, caps, None)
}

/// [`select`] for buffers of which some are ranges of one: there a software adapter gets the convolution that is one shader for
/// many shapes.
///
/// # Errors
/// As there.
pub fn select_in(spec: &Spec, caps: &Capabilities, arena: Option<&Arena>) -> Result<Kernel, KernelError> {
    let kernel = match spec {
        Spec::MaxPool(pool) => simple::max_pool(pool, caps, &access(caps, arena)),
        Spec::Average(average) => simple::average(average, caps, &access(caps, arena)),
        Spec::Conv(conv) if simple::is_gemv(conv) => simple::gemv(conv, caps, &access(caps, arena)),
        Spec::Conv(conv) => {
            let flat = conv.flattened();
            let software = arena.map_or(vec![], |arena| software::kernels(&flat, caps, arena));
            let others = convolutions(&flat, caps).into_iter().map(|how| how.kernel(&flat, caps, arena));
            let mut kernels = software.into_iter().chain(others);
            let first = kernels.next().expect("a convolution has a kernel");
            // Some families bind more buffers than others: the first that the adapter takes, or else why it does not take the first.
            return match check(spec, &first, caps) {
                Ok(()) => Ok(first),
                Err(e) => kernels.find(|k| check(spec, k, caps).is_ok()).ok_or(e),
            };
        }
    };
    check(spec, &kernel, caps)?;
    Ok(kernel)
}

/// A way to compute a convolution.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Every invocation on its own.
    Direct(direct::Tile),
    /// Workgroups that share a rectangle of the network's input.
    Stem(stem::Shape),
    /// Workgroups that share what they load.
    Gemm(gemm::Shape),
    /// The same on matrix units.
    Matrix(gemm_matrix::Shape),
    /// Fewer products, more rounding.
    Winograd(winograd::Shape),
}

impl How {
    fn kernel(&self, flat: &ConvSpec, caps: &Capabilities, arena: Option<&Arena>) -> Kernel {
        match self {
            How::Direct(tile) => direct::kernel(flat, tile, caps, &access(caps, arena)),
            How::Stem(shape) => stem::kernel(flat, shape, caps, &access(caps, arena)),
            How::Gemm(shape) => gemm::kernel(flat, shape, caps, &access(caps, arena)),
            How::Matrix(shape) => gemm_matrix::kernel(flat, shape, caps, &access(caps, arena)),
            How::Winograd(shape) => winograd::kernel(flat, shape, caps, &access(caps, arena)),
        }
    }
}

/// How a kernel on an adapter reaches its buffers.
fn access(caps: &Capabilities, arena: Option<&Arena>) -> Arc<dyn Access> {
    match caps.software {
        true => Arc::new(SoftwareAccess::new(caps, arena)),
        false => Arc::new(access::Plain),
    }
}

/// Every way to compute a flattened spec, best guess first; never none. The first convolution is staged in workgroup memory on every
/// GPU. Others are on discrete cards: on integrated GPUs that is no faster than the caches, on software adapters slower. Winograd's
/// way comes first where a large card has enough to do; elsewhere it is for those who time it.
fn convolutions(flat: &ConvSpec, caps: &Capabilities) -> Vec<How> {
    let register = direct::tiles(flat, caps).into_iter().map(How::Direct);
    let tiled = gemm::shapes(flat, caps).into_iter().map(How::Gemm);
    let winograd = winograd::shapes(flat, caps).into_iter().map(How::Winograd);
    let stem = stem::shapes(flat, caps).into_iter().map(How::Stem);
    let first = stem.chain(gemm_matrix::shapes(flat, caps).into_iter().map(How::Matrix));
    if winograd::is_first(flat, caps) {
        first.chain(winograd).chain(tiled).chain(register).collect()
    } else if caps.discrete {
        first.chain(tiled).chain(register).chain(winograd).collect()
    } else {
        first.chain(register).chain(tiled).chain(winograd).collect()
    }
}

/// The shapes whose pixels fit rows of that width, those that waste less than a seventh first, else by waste.
pub(super) fn best_first(shapes: [(usize, usize); 4], width: usize) -> Vec<(usize, usize)> {
    let covered = |pixels: usize| width.div_ceil(pixels) * pixels;
    let mut shapes: Vec<_> = shapes.into_iter().map(|(p, q)| (p.min(width), q)).collect();
    shapes.sort_by_key(|&(p, _)| if covered(p) * 7 < width * 8 { 0 } else { covered(p) });
    shapes
}

/// Brings the best guess of a family's shapes to the front: the first that `pays`, else the one that comes to most by `size`.
fn best_guess_first<T>(shapes: &mut [T], pays: impl Fn(&T) -> bool, size: impl Fn(&T) -> usize) {
    let busiest = || (0..shapes.len()).max_by_key(|&i| size(&shapes[i]));
    if let Some(best) = shapes.iter().position(pays).or_else(busiest) {
        shapes[..=best].rotate_right(1);
    }
}

/// Every kernel worth timing for a spec, [`select`]'s choice first, each of another name. All take the same buffers; each packs
/// its own weights.
///
/// # Errors
/// As [`select`]; alternatives over a limit are left out.
pub fn candidates(spec: &Spec, caps: &Capabilities) -> Result<Vec<Kernel>, KernelError> {
    candidates_in(spec, caps, None)
}

/// [`candidates`] for buffers of which some are ranges of one, [`select_in`]'s choice first.
///
/// # Errors
/// As there.
pub fn candidates_in(
    spec: &Spec,
    caps: &Capabilities,
    arena: Option<&Arena>,
) -> Result<Vec<Kernel>, KernelError> {
    let mut kernels = vec![select_in(spec, caps, arena)?];
    if let Spec::Conv(conv) = spec
        && !simple::is_gemv(conv)
    {
        let flat = conv.flattened();
        let software = arena.map_or(vec![], |arena| software::kernels(&flat, caps, arena));
        let others = convolutions(&flat, caps).into_iter().map(|how| how.kernel(&flat, caps, arena));
        for kernel in software.into_iter().chain(others) {
            // On a narrow map several tiles are cut down to one.
            if check(spec, &kernel, caps).is_ok() && kernels.iter().all(|k| k.name != kernel.name) {
                kernels.push(kernel);
            }
        }
    }
    Ok(kernels)
}

/// An upper bound, over every kernel that [`candidates`] may give on any adapter, of the bytes of a dispatch's packed weights:
/// a planner splits output channels over several dispatches until this fits a binding.
pub fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    if simple::is_gemv(spec) {
        return simple::gemv_bytes(spec);
    }
    let flat = spec.flattened();
    [
        direct::packed_weight_bytes(&flat),
        stem::packed_weight_bytes(&flat),
        gemm::packed_weight_bytes(&flat),
        gemm_matrix::packed_weight_bytes(&flat),
        winograd::packed_weight_bytes(&flat),
        software::packed_weight_bytes(&flat),
    ]
    .into_iter()
    .max()
    .unwrap_or(0)
}

fn check(spec: &Spec, kernel: &Kernel, caps: &Capabilities) -> Result<(), KernelError> {
    let allow = |limit, needed: u64, allowed: u64| {
        if needed <= allowed {
            return Ok(());
        }
        Err(KernelError { kernel: kernel.name.clone(), limit, needed, allowed })
    };
    for shader in &kernel.shaders {
        allow("storage buffers", shader.bindings.len() as u64, u64::from(caps.max_storage_buffers))?;
        for workgroups in shader.grid {
            allow("workgroups of a dimension", u64::from(workgroups), u64::from(caps.max_workgroups))?;
        }
    }
    allow("bytes of a binding", kernel.scratch, caps.max_binding_bytes)?;
    let buffers = spec
        .operands()
        .into_iter()
        .map(|o| o.shape.bytes())
        .chain(spec.outputs().into_iter().map(|s| s.bytes()));
    for bytes in buffers {
        allow("bytes of a binding", bytes as u64, caps.max_binding_bytes)?;
    }
    allow("bytes of packed weights", kernel.weight_bytes(spec), caps.max_binding_bytes)
}

impl Kernel {
    fn one(name: String, shader: Shader, packing: Packing) -> Kernel {
        Kernel { name, shaders: vec![shader], scratch: 0, packing }
    }

    fn weight_bytes(&self, spec: &Spec) -> u64 {
        match (&self.packing, spec) {
            (Packing::Conv(layout), _) => layout.bytes(),
            (Packing::Matrix(layout), _) => layout.bytes(),
            (Packing::Software(layout), _) => layout.bytes(),
            (Packing::Winograd(layout), _) => layout.bytes(),
            (Packing::WinogradPasses(layout), _) => layout.bytes(),
            (Packing::ProjectionThenWinograd(layout), _) => layout.bytes(),
            (Packing::Gemv(layout), Spec::Conv(spec)) => layout.bytes(spec),
            _ => 0,
        }
    }

    /// The content of the weight binding in 32-bit words; [`ConvSpec::precision`] says of what type weights are. Empty for
    /// kernels without weights.
    ///
    /// # Panics
    /// Where the lengths do not match `spec`, which must be the one the kernel was made for.
    pub fn pack(&self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32> {
        match &self.packing {
            Packing::None => vec![],
            Packing::Gemv(layout) => layout.pack(spec, values),
            Packing::Conv(layout) => layout.pack(spec, values),
            Packing::Matrix(layout) => layout.pack(spec, values),
            Packing::Software(layout) => layout.pack(spec, values),
            Packing::Winograd(layout) => layout.pack(spec, values),
            Packing::WinogradPasses(layout) => layout.pack(spec, values),
            Packing::ProjectionThenWinograd(layout) => layout.pack(values),
        }
    }

    /// How far its results may be from exact ones.
    pub fn rounding(&self) -> Rounding {
        match &self.packing {
            Packing::Matrix(layout) => layout.rounding(),
            Packing::Winograd(layout) => layout.rounding(),
            Packing::WinogradPasses(layout) => layout.rounding(),
            Packing::ProjectionThenWinograd(layout) => layout.rounding(),
            _ => Rounding::DIRECT,
        }
    }
}
