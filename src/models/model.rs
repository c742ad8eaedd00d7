//! A network as its checkpoint has it, and what goes with it.

use super::{Assumption, Naming, Output, Scores};
use crate::graph::Graph;
use crate::preprocess::Preprocess;
use std::collections::BTreeMap;

/// A network as its checkpoint has it, and what goes with it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The original network: batch norms and residual connections in place. Nodes carry the names of their tensors;
    /// weights borrow the checkpoint. Input `[channels, height, width]`, output `[classes, 1, 1]`, or the features (see [`Output`]).
    pub graph: Graph,
    /// For people, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    pub family: String,
    /// Whose names the tensors have.
    pub naming: Naming,
    /// Names of the blocks in order, residual or of parallel branches; the node of that name is the block's output, after its
    /// last ReLU. The sum is the node `{block}.add`, or that very node where no activation follows it (MobileNetV2). Empty for
    /// chains, which have none.
    pub blocks: Vec<String>,
    /// How an image becomes the input.
    pub preprocess: Preprocess,
    /// Class names, where a config file has them.
    pub labels: Option<Vec<String>>,
    /// What the output is.
    pub output: Output,
    /// How logits become scores: [`Scores::Sigmoid`] where `config.json` has the `problem_type` of several labels, and for one class.
    pub scores: Scores,
    /// What the network rests on and no tensor or config file shows, by key.
    pub assumed: Vec<Assumption>,
    /// Names of tensors, and of metadata, that are no part of the network: counters, queues, weights of a loss, other networks
    /// beside the one that was named.
    pub ignored: Vec<String>,
    /// In a converted file, names of the original's blocks and poolings, each with the node of [`Model::graph`] that computes its
    /// value. Empty for other files.
    pub layers: BTreeMap<String, String>,
}
