//! Graph passes. Each builds a new graph, and reports what it changed and what it left unchanged, with the reason.

mod chain;
mod fold_batch_norm;
mod fuse_activation;
mod fuse_linear;
mod literal;
pub mod prune;
mod recognise;
mod remove_residual;
mod reparameterize;

pub use fold_batch_norm::fold_batch_norm;
pub use fuse_activation::fuse_activation;
pub use fuse_linear::fuse_linear;
#[cfg(feature = "onnx")]
pub(crate) use literal::flatten;
pub use literal::literal;
pub use recognise::{Recognition, recognise};
pub use remove_residual::remove_residual;
pub use reparameterize::reparameterize;

use crate::graph::{Graph, GraphError, NEAR_DIRAC, Op};
use serde::{Serialize, Serializer};
use std::fmt;

/// Which form of the network is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Residual connections removed, block weights kept as blocks. The recommended form.
    #[default]
    Structured,
    /// Residual connections removed and the Dirac blocks multiplied out, as the paper's scripts do.
    Literal,
    /// The original graph with batch norms folded and Adds fused as usual.
    Residual,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Structured => "structured",
            Mode::Literal => "literal",
            Mode::Residual => "residual",
        })
    }
}

/// A mode with its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Form {
    /// Which form of the network runs.
    pub mode: Mode,
    /// Whether neighbouring linear 1x1 convolutions are multiplied into one ([`fuse_linear`]): fewer dispatches, more multiplies.
    /// Not available in [`Mode::Residual`].
    pub merge: bool,
}

impl From<Mode> for Form {
    fn from(mode: Mode) -> Form {
        Form { mode, merge: false }
    }
}

/// The kind of a shortcut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shortcut {
    /// The input itself.
    Identity,
    /// A 1x1 convolution of the input, with its stride.
    Projection {
        /// `[vertical, horizontal]`.
        stride: [usize; 2],
    },
    /// A 1x1 convolution of the input's 2x2 means (the average-pool shortcut of ResNet-D).
    PooledProjection,
}

impl Shortcut {
    fn name(self) -> &'static str {
        match self {
            Shortcut::Identity => "identity",
            Shortcut::Projection { .. } => "projection",
            Shortcut::PooledProjection => "pooled projection",
        }
    }
}

impl fmt::Display for Shortcut {
    /// Its kind, and its stride where it may have one: `projection /2`, `projection /2x1` where rows and columns differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortcut::Identity => f.write_str(self.name()),
            Shortcut::Projection { stride: [v, h] } if v == h => write!(f, "{} /{v}", self.name()),
            Shortcut::Projection { stride: [v, h] } => write!(f, "{} /{v}x{h}", self.name()),
            Shortcut::PooledProjection => write!(f, "{} /2", self.name()),
        }
    }
}

impl Serialize for Shortcut {
    /// Its kind: `"identity"`, `"projection"` or `"pooled projection"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The outcome of a residual block. `Display` writes a sentence, `Serialize` the object printed by `rmnet inspect --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The Add is gone: the block is a chain.
    Removed {
        /// What the shortcut was.
        shortcut: Shortcut,
        /// Channels carried beside the main path.
        #[serde(rename = "reserved_channels")]
        reserved: usize,
        /// Convolutions of the main path.
        #[serde(rename = "convolutions")]
        convs: usize,
    },
    /// Parallel linear branches over one input, summed into one convolution (RepVGG).
    Summed {
        /// Number of branches.
        branches: usize,
    },
    /// The block is unchanged.
    Kept {
        /// Why it could not be converted exactly.
        reason: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Removed { shortcut, reserved, convs } => write!(
                f,
                "removed: {shortcut} shortcut, {reserved} channels carried through {convs} convolutions"
            ),
            Outcome::Summed { branches } => {
                write!(f, "summed: {branches} parallel branches in one convolution")
            }
            Outcome::Kept { reason } => write!(f, "kept: {reason}"),
        }
    }
}

/// The report of one residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockReport {
    /// Node of the folded graph where the block ended (its Add). Branches summed inside a block whose residual connection was
    /// removed end where that block ends.
    pub block: String,
    /// Node of the new graph that computes the same value.
    pub output: String,
    /// What was done.
    pub outcome: Outcome,
}

/// A rewritten graph with a report per residual block.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The new graph.
    pub graph: Graph,
    /// One entry per Add of the original, in order: first the sums of parallel branches, then the residual connections.
    pub blocks: Vec<BlockReport>,
    /// Names of the layers of a plain chain whose block structure was recovered ([`recognise()`]).
    pub recognised: Vec<String>,
    /// Largest difference between a weight or bias of the chain and the Dirac that replaced it: at most [`NEAR_DIRAC`]. 0 if the
    /// function is exactly the original's.
    pub deviation: f64,
}

/// Rewrites a checkpoint's graph to the given form. If 1x1 convolutions are merged, a block's output may no longer be a node of
/// the graph.
///
/// # Errors
/// [`GraphError`] when a pass would build a node that does not fit: a broken invariant of the input graph.
pub fn for_mode(original: &Graph, form: impl Into<Form>) -> Result<Rewritten, GraphError> {
    let Form { mode, merge } = form.into();
    let mut folded = fold_batch_norm(original)?;
    let chain = !folded.nodes().iter().any(|n| matches!(n.op, Op::Add(_)));
    let (mut recognised, mut deviation) = (vec![], 0.0);
    if chain && mode == Mode::Structured {
        // No residual connection was removed: perhaps the file is a chain that was written as plain weights.
        let found = recognise(&folded, NEAR_DIRAC)?;
        (folded, recognised, deviation) = (found.graph, found.layers, found.deviation);
    }
    let summed = reparameterize(&folded)?;
    let folded = fuse_activation(&summed.graph)?;
    let mut removed = remove_residual::remove_after(&folded, summed.blocks)?;
    (removed.recognised, removed.deviation) = (recognised, deviation);
    if merge && mode != Mode::Residual {
        removed.graph = fuse_linear(&removed.graph)?;
    }
    Ok(match mode {
        Mode::Structured => removed,
        Mode::Literal => Rewritten { graph: literal(&removed.graph)?, ..removed },
        Mode::Residual => Rewritten { graph: folded, blocks: vec![], recognised: vec![], deviation: 0.0 },
    })
}
