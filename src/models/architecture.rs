//! Architectures: a family of networks under the tensor names of one library.

use super::build::reader::TensorReader;
use super::build::state_dict::StateDict;
use super::config::Config;
use super::{ModelError, Naming};
use crate::graph::Graph;
use crate::preprocess::Preprocess;

/// A family of networks under one naming: how it is recognised and built.
pub(super) struct Architecture {
    /// The library whose tensor names are used. timm's ResNets use torchvision's.
    pub(super) naming: Naming,
    /// Prefix that tensors have in the whole network but not in its body alone, such as `resnet.` of a `ResNetModel`. Usually empty.
    pub(super) own_prefix: &'static str,
    /// Tensor names that identify it, for the error when no architecture matches.
    pub(super) shown_by: &'static str,
    /// Whether the tensors have these names.
    pub(super) matches: fn(&StateDict<'_>) -> bool,
    /// The preprocessing, if no config file states one.
    pub(super) preprocess: fn(&StateDict<'_>) -> Preprocess,
    /// Builds the network for inputs of `[height, width]`; refuses a config that contradicts the tensors.
    pub(super) build: Build,
    /// The values of `model_type` that `config.json` may have, besides timm's wrappers; empty: any.
    pub(super) model_types: &'static [&'static str],
    /// Whether timm's `config.json` may name this architecture (lower case, without the tag after the dot); if not, why.
    pub(super) timm: fn(&str) -> Result<(), &'static str>,
}

type Build = fn(&mut TensorReader<'_>, &Config, [usize; 2]) -> Result<Built, ModelError>;

/// A built network.
pub(super) struct Built {
    pub(super) graph: Graph,
    /// Description, printed after the naming: `ResNet, BasicBlock [2, 2, 2, 2]`.
    pub(super) family: String,
    /// Names of the residual blocks' outputs.
    pub(super) blocks: Vec<String>,
    /// `None` if the output is the pooled features.
    pub(super) classes: Option<usize>,
}

/// For architectures that timm does not have.
pub(super) fn not_in_timm(_: &str) -> Result<(), &'static str> {
    Err("the tensors have names that timm does not use")
}
