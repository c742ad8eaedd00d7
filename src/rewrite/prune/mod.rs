//! Channel pruning of a residual-free chain: every convolution gets fewer rows and inputs.
//!
//! Once the residual connections are gone ([`for_mode`](super::for_mode)), any output channel of any convolution can be removed:
//! a channel inside a block, a channel of a block's output without the same channel of neighbouring blocks, or the connection
//! that carries it past a block. Only arithmetic dependencies remain: a gate and the channels it multiplies, the inputs and
//! outputs of a group, the operands of a kept Add.
//!
//! The pass consists of these steps, one file each:
//! 1. `channels`: which channels must be removed together, and which may be removed;
//! 2. `constant`: channels that are constant (a batch-norm scale of zero), and whether a reader's bias can absorb them exactly;
//! 3. `score`: the importance of a channel, by a [`Criterion`];
//! 4. `choose`: the channels to remove, given a [`PruneTarget`] and the limits per layer;
//! 5. `order`: the order of the kept channels, so that a carried range stays an alias and an Add stays in place;
//! 6. `rebuild`: the graph with the kept channels.

mod channels;
mod choose;
mod constant;
mod order;
mod rebuild;
mod report;
mod score;
mod weights;

pub use report::{LayerLoss, Left};
pub use score::batch_norm_scales;

use crate::graph::{Graph, GraphError};
use channels::Channels;
use constant::Constants;
use std::collections::HashMap;
use weights::NonZero;

/// The importance criterion of channels. Channels with the lowest scores are removed first.
///
/// A channel of a block's output belongs to a stream: it carries what earlier blocks added, and later blocks add to it. Its score
/// includes all these contributions, so streams tend to be removed last.
#[derive(Clone, Debug)]
pub enum Criterion {
    /// The batch-norm scale, as in network slimming (arXiv 1708.06519). `|gamma|` is the standard deviation of the scaled
    /// channel, so the score of a stream is the root of the sum of the squares. Contains the squared scales per layer of the
    /// chain: [`batch_norm_scales`].
    BatchNorm(HashMap<String, Vec<f64>>),
    /// The L1 norm of the channel's kernels (arXiv 1608.08710), with batch norms folded. The score of a stream sums all kernels
    /// that add to it.
    L1,
    /// The mean magnitude of the activation over calibration images, measured at the channel and where it is carried to. A
    /// removed channel is replaced by its mean.
    Mean(ChannelMeans),
}

/// Means over images and pixels, per layer of the chain and channel.
#[derive(Clone, Debug, Default)]
pub struct ChannelMeans {
    /// Mean of the activation.
    pub mean: HashMap<String, Vec<f64>>,
    /// Mean of its magnitude.
    pub magnitude: HashMap<String, Vec<f64>>,
}

/// How many channels are removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruneTarget {
    /// At most this share of the channels, `0 <= r < 1`, unless more can be removed exactly: exactly removable channels are
    /// always removed. 0 removes only those.
    Ratio(f64),
    /// As few channels as possible, so that at most this share of the multiply-accumulates is left, `0 < r <= 1`.
    Macs(f64),
}

/// The minimum that every layer keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AtLeast {
    /// A number of channels, at least 1.
    Channels(usize),
    /// This share of its channels, `0 < share <= 1`.
    Share(f64),
}

/// Options of pruning.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How many channels are removed.
    pub target: PruneTarget,
    /// The minimum that every layer keeps.
    pub keep_at_least: AtLeast,
    /// The largest share of a layer's channels that may be removed, by the layer's name.
    pub limits: Vec<(String, f64)>,
    /// The number of kept channels is rounded up to a multiple of this, 1 to 64. With a multiple of 4 carried ranges stay
    /// aliases.
    pub multiple: usize,
    /// Ties every channel to the channels it is added to or carried as, as in the residual network: a baseline for comparison.
    pub coupled: bool,
    /// Whether a connection past a block may be removed while both its ends stay. This saves multiplies in the literal form only.
    pub reserved: bool,
}

impl Default for PruneOptions {
    /// Removes only what can be removed exactly, in multiples of 4.
    fn default() -> PruneOptions {
        PruneOptions {
            target: PruneTarget::Ratio(0.0),
            keep_at_least: AtLeast::Channels(1),
            limits: vec![],
            multiple: 4,
            coupled: false,
            reserved: false,
        }
    }
}

/// A pruned graph, with a report.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The pruned graph, with the names of the chain.
    pub graph: Graph,
    /// Every convolution of the chain, in order.
    pub layers: Vec<LayerLoss>,
    /// Layers that could not be pruned or channels that had to stay, with the reason.
    pub left: Vec<Left>,
    /// Number of channels that were removable at first, of which [`PruneTarget::Ratio`] is a share.
    pub channels: usize,
    /// Channels removed.
    pub removed: usize,
}

/// Why a graph was not pruned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// An option outside its range.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its range.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A limit for a layer that does not exist or is not pruned.
    #[error("limit: no layer `{layer}` is pruned; layers are {layers}")]
    UnknownLayer {
        /// The name given.
        layer: String,
        /// Some valid names.
        layers: String,
    },
    /// The limits do not permit enough removals to reach the target.
    #[error(
        "{option}: {asked} cannot be reached, the nearest is {reached:.4}: keep-at-least, multiple and the limits of layers \
         (limit) let no more channels go"
    )]
    Unreachable {
        /// The target.
        option: &'static str,
        /// Its value.
        asked: f64,
        /// The nearest value that can be reached.
        reached: f64,
    },
    /// The criterion has no values to score by.
    #[error("criterion {criterion}: {why}")]
    Criterion {
        /// Its name.
        criterion: &'static str,
        /// What it needs.
        why: String,
    },
    /// Channels that could not be ordered as an operation requires.
    #[error("{layer}: its channels cannot be cut out as one range")]
    Order {
        /// The operation.
        layer: String,
    },
    /// A layer that would be left without channels.
    #[error("{layer}: no channel would be left")]
    Empty {
        /// The layer.
        layer: String,
    },
    /// A rebuilt node that does not fit: a broken invariant of the input graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Removes channels of a graph without batch norms, as built by [`for_mode`](super::for_mode).
///
/// Channels that can be removed exactly are always removed first, as far as [`PruneOptions::multiple`] permits. A removed channel
/// with a known constant is added to the biases of the layers that read it, where that is exact. With [`Criterion::Mean`] every
/// removed channel is replaced by its mean `m`, unless the target is `Ratio(0.0)`: bias `o` of a reader increases by
/// `m * (sum of the kernel's taps)`. That is exact in the mean for a reader without padding, and approximate at the border for a
/// padded one. The target is met within one step of `multiple` channels of one layer and the channels removed with them.
///
/// Every layer loses the same share, as far as its limits and the multiple permit: scores are compared within a layer only, so
/// that no layer is emptied because its scores are smaller than another's.
///
/// # Errors
/// [`PruneError`] names the option, the layer or the criterion.
pub fn prune(graph: &Graph, criterion: &Criterion, options: &PruneOptions) -> Result<Pruned, PruneError> {
    options.check()?;
    let channels = Channels::new(graph, options);
    let nonzero = NonZero::of(graph);
    let constants = Constants::of(graph, &channels, &nonzero);
    let scores = score::ChannelScores::new(graph, &channels, criterion)?;
    let sets = choose::Sets::new(graph, &channels, &constants, &scores, options)?;
    let alive = sets.choose(options)?;
    let order = order::Order::new(graph, &channels, &alive);
    let fill = match criterion {
        Criterion::Mean(means) if options.target != PruneTarget::Ratio(0.0) => {
            rebuild::Fill::Means(&means.mean)
        }
        _ => rebuild::Fill::Constants(constants.where_gone(graph, &channels, &nonzero, &alive)),
    };
    let pruned = rebuild::rebuild(graph, &channels, &order, Some(&fill))?;
    let layers = report::layers(graph, &order, &pruned);
    let removed = sets.removed(&alive);
    Ok(Pruned { graph: pruned, layers, left: sets.left(&alive), channels: sets.total(), removed })
}

impl PruneOptions {
    fn check(&self) -> Result<(), PruneError> {
        let refuse = |option, expected, found: String| Err(PruneError::Option { option, expected, found });
        match self.target {
            PruneTarget::Ratio(r) if !(0.0..1.0).contains(&r) => {
                return refuse("ratio", "a share of the channels, 0 <= R < 1", r.to_string());
            }
            PruneTarget::Macs(r) if !(r > 0.0 && r <= 1.0) => {
                return refuse("macs", "a share of the multiplies, 0 < R <= 1", r.to_string());
            }
            _ => {}
        }
        match self.keep_at_least {
            AtLeast::Channels(0) => return refuse("keep-at-least", "at least 1 channel", "0".into()),
            AtLeast::Share(s) if !(s > 0.0 && s <= 1.0) => {
                return refuse("keep-at-least", "a share of the channels, 0 < share <= 1", s.to_string());
            }
            _ => {}
        }
        if !(1..=64).contains(&self.multiple) {
            return refuse("multiple", "1 to 64", self.multiple.to_string());
        }
        for (layer, share) in &self.limits {
            if !(0.0..=1.0).contains(share) {
                return refuse(
                    "limit",
                    "LAYER=R, a share of the channels, 0 <= R <= 1",
                    format!("{layer}={share}"),
                );
            }
        }
        Ok(())
    }
}
