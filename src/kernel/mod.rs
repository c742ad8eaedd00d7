//! What can run on a GPU, as values: WGSL text, bindings, grid. No GPU API here.
//!
//! [`select`] makes the [`Kernel`] for a [`Spec`] on an adapter, [`Kernel::pack`] the weights in the order it reads them. The ways to
//! compute a spec are families, listed in one place ([`FAMILIES`]); their WGSL is in `shaders/`, and what reads it is [`template`]
//! and [`prelude`].

mod access;
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
mod shader;
mod software;
mod spec;
mod stem;
mod template;
mod winograd;

use crate::tensor::all_finite;
use family::{Family, Offered, Target, Weights, offered};
use layout::Kind;
use std::sync::Arc;
use winograd::Minimal;

pub use capabilities::{Capabilities, Class, Features, Limits};
pub use choice::{Choice, ChoiceError, FamilyId, TileId};
pub use precision::Precision;
pub use probe::Probe;
pub use rounding::Rounding;
pub use shader::{Arena, Binding, Role, Shader};
pub use spec::{
    Add, AverageSpec, BufferShape, ConvSpec, Function, KRange, Layout, Operand, Output, PoolSpec, Spec,
};

/// Every way to compute a spec.
static FAMILIES: [&dyn Family; 15] = [
    &gemv::Gemv,
    &pool::MaxPool,
    &pool::Average,
    &software::Conv(Kind::Dense),
    &software::Conv(Kind::Depthwise),
    &software::Projection(Minimal::Four),
    &software::Projection(Minimal::Two),
    &software::Winograd(Minimal::Four),
    &software::Winograd(Minimal::Two),
    &stem::Stem,
    &gemm_matrix::GemmMatrix,
    &winograd::WinogradFused,
    &direct::Direct,
    &software::Direct,
    &gemm::Gemm,
];

/// Invocations that keep a large card busy: two workgroups of 256 for each of 64 multiprocessors. wgpu does not tell how many
/// there are; cards of the last years have 28 to 132.
const BUSY: usize = 2 * 256 * 64;

/// What computes one [`Spec`]: a shader, or several one after the other that hand on what they make in a buffer of their own.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its family and tile.
    pub choice: Choice,
    /// In the order they run.
    pub shaders: Vec<Shader>,
    /// Bytes of the buffer for [`Role::Scratch`], 0 where no shader binds one. What it holds before does not matter.
    pub scratch: u64,
    weights: Option<Arc<dyn Weights>>,
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

/// A dispatch that no kernel can do within an adapter's limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kernel}: {limit} may be {allowed} at most, needed are {needed}")]
pub struct KernelError {
    /// The kernel that was chosen.
    pub kernel: Choice,
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
    let (flat, target) = (flattened(spec), Target::new(caps, arena));
    let mut kernels = offered(&FAMILIES, &flat, &target).into_iter().map(Offered::kernel);
    let first = kernels.next().expect("every spec has a kernel");
    // Some families bind more buffers than others: the first that the adapter takes, or else why it does not take the first.
    match check(spec, &first, caps) {
        Ok(()) => Ok(first),
        Err(e) => kernels.find(|kernel| check(spec, kernel, caps).is_ok()).ok_or(e),
    }
}

/// Every kernel worth timing for a spec, [`select`]'s choice first, each of another choice. All take the same buffers; each packs
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
    let (flat, target) = (flattened(spec), Target::new(caps, arena));
    let mut kernels = vec![];
    let mut refused = None;
    for kernel in offered(&FAMILIES, &flat, &target).into_iter().map(Offered::kernel) {
        match check(spec, &kernel, caps) {
            Ok(()) => kernels.push(kernel),
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    match refused {
        Some(e) if kernels.is_empty() => Err(e),
        _ => Ok(kernels),
    }
}

/// What every family computes and what not, a line each: name, and what it covers.
pub fn coverage() -> Vec<(FamilyId, &'static str)> {
    FAMILIES.iter().map(|family| (family.id(), family.covers())).collect()
}

/// The spec as families see it.
fn flattened(spec: &Spec) -> Spec {
    match spec {
        Spec::Conv(conv) => Spec::Conv(conv.flattened()),
        Spec::MaxPool(_) | Spec::Average(_) => spec.clone(),
    }
}

/// The shapes whose pixels fit rows of that width, those that waste less than a seventh first, else by waste.
fn best_first(shapes: [(usize, usize); 4], width: usize) -> Vec<(usize, usize)> {
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

/// An upper bound, over every kernel that [`candidates`] may give on any adapter, of the bytes of a dispatch's packed weights:
/// a planner splits output channels over several dispatches until this fits a binding.
pub fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    let flat = spec.flattened();
    FAMILIES.iter().map(|family| family.weight_bytes(&flat)).max().unwrap_or(0)
}

fn check(spec: &Spec, kernel: &Kernel, caps: &Capabilities) -> Result<(), KernelError> {
    let allow = |limit, needed: u64, allowed: u64| {
        if needed <= allowed {
            return Ok(());
        }
        Err(KernelError { kernel: kernel.choice, limit, needed, allowed })
    };
    let limits = &caps.limits;
    for shader in &kernel.shaders {
        allow("storage buffers", shader.bindings.len() as u64, u64::from(limits.max_storage_buffers))?;
        for workgroups in shader.grid {
            allow("workgroups of a dimension", u64::from(workgroups), u64::from(limits.max_workgroups))?;
        }
    }
    allow("bytes of a binding", kernel.scratch, limits.max_binding_bytes)?;
    let buffers = spec
        .operands()
        .into_iter()
        .map(|o| o.shape.bytes())
        .chain(spec.outputs().into_iter().map(|s| s.bytes()));
    for bytes in buffers {
        allow("bytes of a binding", bytes as u64, limits.max_binding_bytes)?;
    }
    allow("bytes of packed weights", kernel.weight_bytes(), limits.max_binding_bytes)
}

impl Kernel {
    /// One shader, whose weights are laid out so.
    fn one(choice: Choice, shader: Shader, weights: impl Weights + 'static) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: Some(Arc::new(weights)) }
    }

    /// One shader that has no weights.
    fn unweighted(choice: Choice, shader: Shader) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: None }
    }

    fn weight_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |weights| weights.bytes())
    }

    /// The content of the weight binding in 32-bit words; [`ConvSpec::precision`] says of what type weights are. Empty for
    /// kernels without weights.
    ///
    /// # Panics
    /// Where the lengths do not match `spec`, which must be the one the kernel was made for.
    pub fn pack(&self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32> {
        self.weights.as_ref().map_or_else(Vec::new, |weights| weights.pack(spec, values))
    }

    /// How far its results may be from exact ones.
    pub fn rounding(&self) -> Rounding {
        self.weights.as_ref().map_or(Rounding::DIRECT, |weights| weights.rounding())
    }
}
