//! The interface of kernel families.
//!
//! For a spec a family lists the tiles worth trying, each with a function that builds its kernel. No shader text is generated at this
//! point. `docs/adding-a-kernel.md` adds a family step by step.

use super::access::Access;
use super::choice::{Choice, FamilyId, TileId};
use super::spec::{ConvSpec, Spec};
use super::{Arena, Capabilities, Kernel};
use std::sync::Arc;

/// The adapter a kernel is built for, and how its buffers are accessed there.
pub(super) struct KernelTarget<'a> {
    /// The adapter's properties.
    pub(super) caps: &'a Capabilities,
    /// How shader text accesses buffers.
    pub(super) access: Arc<dyn Access>,
    /// Offsets of the dispatch's buffers in the arena. Used by the families for software Vulkan only.
    pub(super) arena: Option<&'a Arena>,
}

/// Priority of a tile among those of all families, highest first. Within a rank tiles are ordered by cost, then by the list of families,
/// then by the family's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Specialised for such specs on such devices.
    Special,
    /// The usual kernel for most specs on such devices.
    Usual,
    /// The usual kernel on other devices.
    Other,
    /// Selected only by a tuning.
    Last,
}

/// A tile worth trying for a spec.
pub(super) struct Offer<'a> {
    pub(super) rank: Rank,
    /// Estimated cost, in a unit common to the tiles of a rank; 0 where the family's order decides.
    pub(super) cost: f64,
    pub(super) tile: TileId,
    /// Builds its kernel.
    pub(super) kernel: Box<dyn FnOnce(Choice) -> Kernel + 'a>,
}

impl<'a> Offer<'a> {
    /// An offer of cost 0: its position within the rank is that in the lists.
    pub(super) fn new(rank: Rank, tile: TileId, kernel: impl FnOnce(Choice) -> Kernel + 'a) -> Offer<'a> {
        Offer { rank, cost: 0.0, tile, kernel: Box::new(kernel) }
    }
}

/// The convolution of a spec; `None` for other operations and for matrix times vector, which has its own family.
pub(super) fn convolution(spec: &Spec) -> Option<&ConvSpec> {
    match spec {
        Spec::Conv(conv) if !conv.is_matrix_vector() => Some(conv),
        _ => None,
    }
}

/// A kernel family.
pub(super) trait Family: Sync {
    /// Its name.
    fn id(&self) -> FamilyId;

    /// The tiles worth trying for a spec on a target, best guess first; empty where the family does not compute the spec. Convolutions
    /// are passed flattened ([`ConvSpec::flattened`]).
    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>>;

    /// Maximum bytes of packed weights for a flattened convolution over all tiles and adapters; 0 where the family does not compute it.
    /// The planner splits output channels over several dispatches until this fits one binding.
    fn weight_bytes(&self, spec: &ConvSpec) -> u64;

    /// One line on what it computes: its row of the table in `docs/adding-a-kernel.md`.
    fn covers(&self) -> &'static str;
}

/// An offered tile with its name.
pub(super) struct Offered<'a> {
    pub(super) choice: Choice,
    kernel: Box<dyn FnOnce(Choice) -> Kernel + 'a>,
}

impl Offered<'_> {
    pub(super) fn kernel(self) -> Kernel {
        (self.kernel)(self.choice)
    }
}

/// All tiles offered for a spec, best guess first, without duplicates.
pub(super) fn offered<'a>(
    families: &[&dyn Family],
    spec: &'a Spec,
    target: &'a KernelTarget<'a>,
) -> Vec<Offered<'a>> {
    let mut all: Vec<(Rank, f64, Offered<'a>)> = vec![];
    for family in families {
        for Offer { rank, cost, tile, kernel } in family.offers(spec, target) {
            let choice = Choice { family: family.id(), tile };
            // On a narrow map several tiles become the same one.
            if all.iter().all(|(.., known)| known.choice != choice) {
                let before = all.partition_point(|(r, c, _)| r.cmp(&rank).then(c.total_cmp(&cost)).is_le());
                all.insert(before, (rank, cost, Offered { choice, kernel }));
            }
        }
    }
    all.into_iter().map(|(.., offered)| offered).collect()
}

/// Shapes for rows of `width` pixels, `(pixels, quads)` with pixels cut to the width: first those that waste less than a seventh of a
/// row, then by waste.
pub(super) fn best_first(shapes: [(usize, usize); 4], width: usize) -> Vec<(usize, usize)> {
    let covered = |pixels: usize| width.div_ceil(pixels) * pixels;
    let cost = |p: usize| if covered(p) * 7 < width * 8 { 0 } else { covered(p) };
    let mut best: Vec<(usize, usize)> = vec![];
    for (pixels, quads) in shapes {
        let pixels = pixels.min(width);
        let before = best.partition_point(|(p, _)| cost(*p) <= cost(pixels));
        best.insert(before, (pixels, quads));
    }
    best
}

/// Moves the best guess to the front: the first shape that is `worthwhile`, else the one with the largest `size`.
pub(super) fn best_guess_first<T>(
    shapes: &mut [T],
    worthwhile: impl Fn(&T) -> bool,
    size: impl Fn(&T) -> usize,
) {
    let largest = || (0..shapes.len()).max_by_key(|&i| size(&shapes[i]));
    if let Some(best) = shapes.iter().position(worthwhile).or_else(largest) {
        shapes[..=best].rotate_right(1);
    }
}

/// Resident invocations that saturate a discrete card: two workgroups of 256 on each of 64 multiprocessors. wgpu does not report their
/// number; recent cards have 28 to 132.
pub(super) const MIN_RESIDENT_INVOCATIONS: usize = 2 * 256 * 64;
