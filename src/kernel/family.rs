//! One door for every way to compute a spec.
//!
//! A family says which of its tiles are worth trying for a spec, and what makes the kernel of each. No text of a shader is written for
//! that. `docs/adding-a-kernel.md` walks through one.

use super::access::Access;
use super::choice::{Choice, FamilyId, TileId};
use super::spec::{ConvSpec, Spec};
use super::{Arena, Capabilities, Kernel};
use std::sync::Arc;

/// What a kernel is for: an adapter, and how its buffers are reached there.
pub(super) struct KernelTarget<'a> {
    /// What the adapter offers.
    pub(super) caps: &'a Capabilities,
    /// How the text of a shader reaches its buffers.
    pub(super) access: Arc<dyn Access>,
    /// Which buffers of the dispatch are ranges of one. Only families for software Vulkan ask.
    pub(super) arena: Option<&'a Arena>,
}

/// How tiles stand among those of other families, from what is tried first. Within a rank the cost decides, then the order of the
/// list of families and that in which a family names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Made for such specs on such devices.
    Special,
    /// What computes most specs on such devices.
    Usual,
    /// What computes them on other devices.
    Other,
    /// For those who time it.
    Last,
}

/// A tile that is worth trying for a spec.
pub(super) struct Offer<'a> {
    pub(super) rank: Rank,
    /// What it takes, in a unit that the tiles of a rank share; 0 where a family names its tiles in their order.
    pub(super) cost: f64,
    pub(super) tile: TileId,
    /// Makes its kernel.
    pub(super) kernel: Box<dyn FnOnce(Choice) -> Kernel + 'a>,
}

impl<'a> Offer<'a> {
    /// One whose place in its rank is that in the lists.
    pub(super) fn new(rank: Rank, tile: TileId, kernel: impl FnOnce(Choice) -> Kernel + 'a) -> Offer<'a> {
        Offer { rank, cost: 0.0, tile, kernel: Box::new(kernel) }
    }
}

/// The convolution of a spec, but for one that is a matrix times a few vectors: that has a family of its own.
pub(super) fn convolution(spec: &Spec) -> Option<&ConvSpec> {
    match spec {
        Spec::Conv(conv) if !conv.is_matrix_vector() => Some(conv),
        _ => None,
    }
}

/// A way to compute specs.
pub(super) trait Family: Sync {
    /// What it is called.
    fn id(&self) -> FamilyId;

    /// The tiles worth trying for a spec on a target, best guess first; none where it does not compute it. Convolutions come
    /// flattened ([`ConvSpec::flattened`]).
    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>>;

    /// The most bytes of packed weights of a flattened convolution over all tiles and adapters, 0 where it computes none such: a
    /// planner splits output channels over several dispatches until this fits a binding.
    fn weight_bytes(&self, spec: &ConvSpec) -> u64;

    /// What it computes and what not, in a line: its row of the table in `docs/adding-a-kernel.md`.
    fn covers(&self) -> &'static str;
}

/// A tile that a family offers, by name.
pub(super) struct Offered<'a> {
    pub(super) choice: Choice,
    kernel: Box<dyn FnOnce(Choice) -> Kernel + 'a>,
}

impl Offered<'_> {
    pub(super) fn kernel(self) -> Kernel {
        (self.kernel)(self.choice)
    }
}

/// Every tile that families offer for a spec, best guess first, each once.
pub(super) fn offered<'a>(
    families: &[&dyn Family],
    spec: &'a Spec,
    target: &'a KernelTarget<'a>,
) -> Vec<Offered<'a>> {
    let mut all: Vec<(Rank, f64, Offered<'a>)> = vec![];
    for family in families {
        for Offer { rank, cost, tile, kernel } in family.offers(spec, target) {
            let choice = Choice { family: family.id(), tile };
            // On a narrow map several tiles are cut down to one.
            if all.iter().all(|(.., known)| known.choice != choice) {
                all.push((rank, cost, Offered { choice, kernel }));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    all.into_iter().map(|(.., offered)| offered).collect()
}

/// The shapes whose pixels fit rows of that width, those that waste less than a seventh first, else by waste.
pub(super) fn best_first(shapes: [(usize, usize); 4], width: usize) -> Vec<(usize, usize)> {
    let covered = |pixels: usize| width.div_ceil(pixels) * pixels;
    let mut shapes: Vec<_> = shapes.into_iter().map(|(p, q)| (p.min(width), q)).collect();
    shapes.sort_by_key(|&(p, _)| if covered(p) * 7 < width * 8 { 0 } else { covered(p) });
    shapes
}

/// Brings the best guess of a family's shapes to the front: the first that `worthwhile`, else the one that comes to most by `size`.
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

/// Invocations that keep a large card busy: two workgroups of 256 for each of 64 multiprocessors. wgpu does not tell how many
/// there are; cards of the last years have 28 to 132.
pub(super) const MIN_RESIDENT_INVOCATIONS: usize = 2 * 256 * 64;
