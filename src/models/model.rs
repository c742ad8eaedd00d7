//! A network as its checkpoint has it, and what goes with it.

use super::{Assumption, Naming, OutputKind, Scores};
use crate::graph::Graph;
use crate::preprocess::Preprocess;
use std::collections::BTreeMap;

/// A network as its checkpoint has it, and what goes with it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Model {
    /// The original network: batch norms and residual connections in place. Nodes carry the names of their tensors;
    /// weights borrow the checkpoint. Input `[channels, height, width]`, output `[classes, 1, 1]`, or the features (see [`OutputKind`]).
    #[doc(hidden)]
    pub graph: Graph,
    /// For people, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    #[doc(hidden)]
    pub family: String,
    /// Whose names the tensors have.
    #[doc(hidden)]
    pub naming: Naming,
    /// Names of the blocks in order, residual or of parallel branches. The node with a block's name is its output, after its last ReLU. The
    /// sum is the node `{block}.add`, or the output node itself if no activation follows (MobileNetV2). Empty for chains, which have no
    /// blocks.
    #[doc(hidden)]
    pub blocks: Vec<String>,
    /// How an image becomes the input.
    #[doc(hidden)]
    pub preprocess: Preprocess,
    /// Class names, if a config file has them.
    #[doc(hidden)]
    pub labels: Option<Vec<String>>,
    /// What the output is.
    #[doc(hidden)]
    pub output: OutputKind,
    /// How logits become scores: [`Scores::Sigmoid`] if `config.json` has the `problem_type` of several labels, or for one class.
    #[doc(hidden)]
    pub scores: Scores,
    /// What the network rests on and no tensor or config file shows, by key.
    #[doc(hidden)]
    pub assumed: Vec<Assumption>,
    /// Names of tensors, and of metadata, that are no part of the network: counters, queues, weights of a loss, other networks
    /// beside the one that was named.
    #[doc(hidden)]
    pub ignored: Vec<String>,
    /// In a converted file, names of the original's blocks and poolings, each with the node of [`Model::graph`] that computes its
    /// value. Empty for other files.
    #[doc(hidden)]
    pub layers: BTreeMap<String, String>,
}

impl Model {
    /// The original network: batch norms and residual connections in place. Nodes carry the names of their tensors.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// For people, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Names of the blocks in order, residual or of parallel branches, such as `layer1.0`; empty for chains, which have none.
    pub fn blocks(&self) -> &[String] {
        &self.blocks
    }

    /// How an image becomes the input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Class names in the order of the logits, if a config file has them.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// What the output is: logits, an embedding, or features.
    pub fn output(&self) -> OutputKind {
        self.output
    }

    /// How logits become scores of classes.
    pub fn scores(&self) -> Scores {
        self.scores
    }

    /// What the network rests on and no tensor or config file shows, by key.
    pub fn assumed(&self) -> &[Assumption] {
        &self.assumed
    }

    /// Names of tensors, and of metadata, that are no part of the network: counters, queues, weights of a loss, other networks beside the
    /// one that was named.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// `[channels, height, width]` of the input.
    pub fn input_shape(&self) -> [usize; 3] {
        let shape = self.graph.input_shape();
        [shape.channels, shape.height, shape.width]
    }
}
