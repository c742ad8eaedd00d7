//! One door for every way to compute a spec.
//!
//! A family says which of its tiles are worth trying for a spec, and what makes the kernel of each. No text of a shader is written for
//! that. `docs/adding-a-kernel.md` walks through one.

use super::access::{Access, Plain};
use super::choice::{Choice, FamilyId, TileId};
use super::gemv::is_gemv;
use super::software::SoftwareAccess;
use super::spec::{ConvSpec, Spec};
use super::{Arena, Capabilities, Class, Kernel, Rounding, Values};
use std::fmt::Debug;
use std::sync::Arc;

/// What a kernel is for: an adapter, and how its buffers are reached there.
pub(super) struct Target<'a> {
    /// What the adapter offers.
    pub(super) caps: &'a Capabilities,
    /// How the text of a shader reaches its buffers.
    pub(super) access: Arc<dyn Access>,
    /// Which buffers of the dispatch are ranges of one. Only families for software Vulkan ask.
    pub(super) arena: Option<&'a Arena>,
}

impl<'a> Target<'a> {
    pub(super) fn new(caps: &'a Capabilities, arena: Option<&'a Arena>) -> Target<'a> {
        let access: Arc<dyn Access> = match caps.class {
            Class::Software => Arc::new(SoftwareAccess::new(caps, arena)),
            Class::Integrated | Class::Discrete => Arc::new(Plain),
        };
        Target { caps, access, arena }
    }
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
        Spec::Conv(conv) if !is_gemv(conv) => Some(conv),
        _ => None,
    }
}

/// A way to compute specs.
pub(super) trait Family: Sync {
    /// What it is called.
    fn id(&self) -> FamilyId;

    /// The tiles worth trying for a spec on a target, best guess first; none where it does not compute it. Convolutions come
    /// flattened ([`ConvSpec::flattened`]).
    fn offers<'a>(&self, spec: &'a Spec, target: &'a Target<'a>) -> Vec<Offer<'a>>;

    /// The most bytes of packed weights of a flattened convolution over all tiles and adapters, 0 where it computes none such: a
    /// planner splits output channels over several dispatches until this fits a binding.
    fn weight_bytes(&self, spec: &ConvSpec) -> u64;

    /// What it computes and what not, in a line: its row of the table in `docs/adding-a-kernel.md`.
    fn covers(&self) -> &'static str;
}

/// The order of a kernel's packed weights.
pub(super) trait Weights: Debug + Send + Sync {
    /// Bytes of the binding.
    fn bytes(&self) -> u64;

    /// The content of the binding, in 32-bit words.
    ///
    /// # Panics
    /// Where the lengths do not match the spec.
    fn pack(&self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32>;

    /// How far results may be from exact ones.
    fn rounding(&self) -> Rounding {
        Rounding::DIRECT
    }
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
    target: &'a Target<'a>,
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
