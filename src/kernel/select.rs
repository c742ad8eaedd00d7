//! Kernel selection: the list of families, the static choice among their tiles, and all candidates worth timing.

use super::access::{Access, Plain};
use super::choice::{Choice, FamilyId};
use super::family::{Family, KernelTarget, Offered, offered};
use super::layout::RangeKind;
use super::software::{self, SoftwareAccess};
use super::spec::{ConvSpec, Spec};
use super::winograd::{self, WinogradTransform};
use super::{Arena, Capabilities, Class, Kernel, direct, gemm, gemm_matrix, gemv, pool, stem};
use std::sync::Arc;

/// The families that a browser has the features for: neither subgroups of a known size, 64-bit integers nor matrix units. A download for
/// browsers holds no others.
pub(super) static FAMILIES_IN_BROWSERS: &[&dyn Family] = &[
    &gemv::Gemv,
    &pool::MaxPool,
    &pool::Average,
    &stem::Stem,
    &winograd::WinogradFused,
    &direct::Direct,
    &gemm::Gemm,
];

/// All kernel families.
static FAMILIES: &[&dyn Family] = &[
    &gemv::Gemv,
    &pool::MaxPool,
    &pool::Average,
    &software::Conv(RangeKind::Dense),
    &software::Conv(RangeKind::Depthwise),
    &software::Projection(WinogradTransform::F4x3),
    &software::Projection(WinogradTransform::F2x3),
    &software::Winograd(WinogradTransform::F4x3),
    &software::Winograd(WinogradTransform::F2x3),
    &stem::Stem,
    &gemm_matrix::GemmMatrix,
    &winograd::WinogradFused,
    &direct::Direct,
    &software::Direct,
    &gemm::Gemm,
];

/// A dispatch for which no kernel fits an adapter's limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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

/// The kernel for a spec, by a static rule over its shape and the adapter's capabilities.
///
/// # Errors
/// [`KernelError`] where a limit is too small: too many buffers, a buffer or its weights over the binding size, a grid too
/// large.
pub fn select(spec: &Spec, caps: &Capabilities) -> Result<Kernel, KernelError> {
    select_in(spec, caps, None)
}

/// [`select`] for buffers of which some are in an arena. Software adapters then get one convolution shader for many shapes.
///
/// # Errors
/// As there.
pub fn select_in(spec: &Spec, caps: &Capabilities, arena: Option<&Arena>) -> Result<Kernel, KernelError> {
    Ok(select_without(spec, caps, arena, &[])?.expect("every spec has a kernel"))
}

/// [`select_in`] among the kernels that are not of the families `without`. Where the adapter's class has no other, kernels of the other
/// classes are taken, which are slower but as right, unless buffers are in an arena. `None` if there is no other at all.
///
/// # Errors
/// As [`select`].
pub fn select_without(
    spec: &Spec,
    caps: &Capabilities,
    arena: Option<&Arena>,
    without: &[FamilyId],
) -> Result<Option<Kernel>, KernelError> {
    let of_class = |class| {
        caps.clone().with(|c| {
            c.class = class;
            c.features.int64 &= c.class == caps.class;
        })
    };
    let others = [Class::Integrated, Class::Discrete, Class::Software].map(of_class);
    let others = others.iter().filter(|c| c.class != caps.class && arena.is_none() && !without.is_empty());
    let classes = std::iter::once(caps).chain(others);
    let mut refused = None;
    for caps in classes {
        match select_of_class(spec, caps, arena, without) {
            Ok(Some(kernel)) => return Ok(Some(kernel)),
            Ok(None) => {}
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn select_of_class(
    spec: &Spec,
    caps: &Capabilities,
    arena: Option<&Arena>,
    without: &[FamilyId],
) -> Result<Option<Kernel>, KernelError> {
    let (flat, target) = (flattened(spec), target(caps, arena));
    let offers = offered(families(), &flat, &target).into_iter();
    let mut kernels =
        offers.filter(|o| !without.contains(&o.choice.family)).map(|offered| made(offered, spec));
    let Some(first) = kernels.next() else { return Ok(None) };
    // Some families bind more buffers than others: take the first kernel that fits the adapter's limits, else report why the best guess
    // does not.
    match check(spec, &first, caps) {
        Ok(()) => Ok(Some(first)),
        Err(e) => kernels.find(|kernel| check(spec, kernel, caps).is_ok()).map(Some).ok_or(e),
    }
}

/// Every kernel worth timing for a spec, [`select`]'s choice first, without duplicates. All take the same buffers; each packs weights in
/// its own order.
///
/// # Errors
/// As [`select`]; alternatives over a limit are left out.
pub fn candidates(spec: &Spec, caps: &Capabilities) -> Result<Vec<Kernel>, KernelError> {
    candidates_in(spec, caps, None)
}

/// [`candidates`] for buffers of which some are in an arena, [`select_in`]'s choice first.
///
/// # Errors
/// As there.
pub fn candidates_in(
    spec: &Spec,
    caps: &Capabilities,
    arena: Option<&Arena>,
) -> Result<Vec<Kernel>, KernelError> {
    let (flat, target) = (flattened(spec), target(caps, arena));
    let mut kernels = vec![];
    let mut refused = None;
    for kernel in offered(families(), &flat, &target).into_iter().map(|offered| made(offered, spec)) {
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

/// Name and coverage of every family, one line each.
pub fn coverage() -> Vec<(FamilyId, &'static str)> {
    FAMILIES.iter().map(|family| (family.id(), family.covers())).collect()
}

/// The families of this target.
fn families() -> &'static [&'static dyn Family] {
    if cfg!(target_arch = "wasm32") { FAMILIES_IN_BROWSERS } else { FAMILIES }
}

/// The kernel of an offered tile, with the spec's key in its shaders' first lines.
fn made(offered: Offered<'_>, spec: &Spec) -> Kernel {
    let mut kernel = offered.kernel();
    kernel.shaders.iter_mut().for_each(|shader| shader.say(|| spec.key()));
    kernel
}

/// The spec in the form families expect: convolutions flattened.
fn flattened(spec: &Spec) -> Spec {
    match spec {
        Spec::Conv(conv) => Spec::Conv(conv.flattened()),
        Spec::MaxPool(_) | Spec::Average(_) => spec.clone(),
    }
}

/// Upper bound of the bytes of a dispatch's packed weights, over all kernels that [`candidates`] may return on any adapter. The planner
/// splits output channels over several dispatches until this fits a binding.
pub fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    let flat = spec.flattened();
    if flat.is_matrix_vector() {
        return gemv::Gemv.weight_bytes(&flat);
    }
    families().iter().map(|family| family.weight_bytes(&flat)).max().unwrap_or(0)
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
    let read = spec.operands().into_iter().map(|o| o.shape);
    for shape in read.chain(spec.outputs()) {
        allow("bytes of a binding", shape.bytes() as u64, limits.max_binding_bytes)?;
        // Shaders use 32-bit indices.
        allow("elements of a binding", shape.elements() as u64, u64::from(u32::MAX))?;
    }
    allow("bytes of packed weights", kernel.weight_bytes(), limits.max_binding_bytes)
}

/// The target of kernels on an adapter.
fn target<'a>(caps: &'a Capabilities, arena: Option<&'a Arena>) -> KernelTarget<'a> {
    let access: Arc<dyn Access> = match caps.class {
        Class::Software if !cfg!(target_arch = "wasm32") => Arc::new(SoftwareAccess::new(caps, arena)),
        _ => Arc::new(Plain),
    };
    KernelTarget { caps, access, arena }
}
