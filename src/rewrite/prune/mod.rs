//! Channel pruning of a residual-free chain: every convolution gets fewer rows and inputs.
//!
//! With the residual connections gone ([`for_mode`](super::for_mode)) any output channel of any convolution can be removed: one inside a
//! block, one of a block's output without the same channel of neighbouring blocks, or the connection that carries it past a block. Only
//! arithmetic dependencies remain: a gate and the channels it multiplies, the inputs and outputs of a group, the operands of a kept Add.
//!
//! The pass consists of steps, one file each:
//! 1. `channels`: which channels can only go together, and which of them may go;
//! 2. `constant`: channels that are constant (a batch-norm scale of zero), and where a reader's bias can take them in exactly;
//! 3. `score`: what a channel is worth, by a [`Criterion`];
//! 4. `choose`: which go, under a [`PruneTarget`] and the limits per layer;
//! 5. `order`: where the others lie, so that a carried range stays an alias and an add stays in place;
//! 6. `rebuild`: the graph of them.

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

/// The importance criterion of channels. Those with the lowest scores are removed first.
///
/// A channel of a block's output belongs to a stream: it carries what earlier blocks added, and later blocks add to it. Its score
/// includes all connected contributions, so that streams are cut last.
#[derive(Clone, Debug)]
pub enum Criterion {
    /// The batch-norm scale, as network slimming does it (arXiv 1708.06519): `|gamma|` is the standard deviation of what it
    /// scales, so the score of a stream is the root of the sum of the squares.
    /// Squared scales per layer of the chain: [`batch_norm_scales`].
    BatchNorm(HashMap<String, Vec<f64>>),
    /// The L1 norm of the channel's kernels (arXiv 1608.08710), batch norm folded; of a stream, of all kernels that add to it.
    L1,
    /// The mean magnitude of the activation over calibration images, where it is measured and where it is carried to; the mean
    /// takes the place of what goes.
    Mean(ChannelMeans),
}

/// Per layer of the chain and channel, over images and pixels.
#[derive(Clone, Debug, Default)]
pub struct ChannelMeans {
    /// Mean of the activation.
    pub mean: HashMap<String, Vec<f64>>,
    /// Mean of its magnitude.
    pub magnitude: HashMap<String, Vec<f64>>,
}

/// How much goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruneTarget {
    /// This share of the channels, `0 <= r < 1`, and never more unless more can be removed exactly: that goes always. 0 removes
    /// this and nothing else.
    Ratio(f64),
    /// As few channels as leave at most this share of the multiply-accumulates, `0 < r <= 1`.
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
    /// How much goes.
    pub target: PruneTarget,
    /// What every layer keeps.
    pub keep_at_least: AtLeast,
    /// Layers by name, and the largest share of their channels that may go.
    pub limits: Vec<(String, f64)>,
    /// Channels are kept in multiples of this, by keeping more. In multiples of 4 carried ranges stay aliases.
    pub multiple: usize,
    /// Ties every channel to what it is added to and carried as, as in the residual network: the baseline to compare with.
    pub coupled: bool,
    /// Whether a connection past a block may go though both its ends stay. That saves multiplies in the literal form only.
    pub reserved: bool,
}

impl Default for PruneOptions {
    /// Nothing but what can be removed exactly, in multiples of 4.
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
    /// Layers that could not be pruned, or channels that had to stay, and why.
    pub left: Vec<Left>,
    /// Channels that may go, before: what [`PruneTarget::Ratio`] is a share of.
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
    /// A limit for a layer that is none, or none that is pruned.
    #[error("limit: no layer `{layer}` is pruned; layers are {layers}")]
    UnknownLayer {
        /// The name given.
        layer: String,
        /// Some that could have been.
        layers: String,
    },
    /// More was asked for than the limits let go.
    #[error(
        "{option}: {asked} cannot be reached, the nearest is {reached:.4}: keep-at-least, multiple and the limits of layers \
         (limit) let no more channels go"
    )]
    Unreachable {
        /// The target.
        option: &'static str,
        /// Its value.
        asked: f64,
        /// The nearest there is.
        reached: f64,
    },
    /// A criterion with nothing to judge by.
    #[error("criterion {criterion}: {why}")]
    Criterion {
        /// Its name.
        criterion: &'static str,
        /// What it needs.
        why: String,
    },
    /// Channels that could not be brought into an order that an operation needs.
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

/// Removes channels of a graph without batch norms, as [`for_mode`](super::for_mode) gives it.
///
/// Channels that can be removed exactly always go first, up to [`PruneOptions::multiple`]. A channel that is a known constant is
/// added to the biases of the layers that read it, where that is exact; with [`Criterion::Mean`] every channel that goes is
/// taken for its mean `m`, and bias `o` of a reader gets `m * sum of its kernel's taps`: exact in the mean for a reader
/// without padding, off at the border of a padded one. The target is reached within one step of `multiple` channels of one
/// layer, and what goes with them.
///
/// Every layer loses the same share, as far as its limits and the multiple allow: scores are compared within a layer only,
/// so that no layer is emptied because its scale is smaller than another's.
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
