//! A family of networks under the names of one library: what a naming states, and what a family builds.

use super::build::reader::TensorReader;
use super::build::state_dict::StateDict;
use super::config::Config;
use super::{ModelError, Naming};
use crate::graph::Graph;
use crate::preprocess::Preprocess;

/// A family of networks under one naming scheme: how it is known, and how it is built.
pub(super) struct Architecture {
    /// Whose names they are. timm's ResNets have torchvision's.
    pub(super) naming: Naming,
    /// What names of the whole network begin with, and those of its body alone do not: `resnet.` of a `ResNetModel`. Mostly empty.
    pub(super) own_prefix: &'static str,
    /// The names that show it, for the error that found none.
    pub(super) shown_by: &'static str,
    /// Whether the tensors have these names.
    pub(super) matches: fn(&StateDict<'_>) -> bool,
    /// How an image becomes the input where no config file says so.
    pub(super) preprocess: fn(&StateDict<'_>) -> Preprocess,
    /// Builds the network for inputs of `[height, width]`; refuses a config that contradicts the tensors.
    pub(super) build: Build,
    /// What `config.json` may call the network under `model_type`, besides timm's wrappers; none where it may say anything.
    pub(super) model_types: &'static [&'static str],
    /// Whether `config.json` of timm may name such an architecture (lower case, without the tag after the dot); if not, why.
    pub(super) timm: fn(&str) -> Result<(), &'static str>,
}

type Build = fn(&mut TensorReader<'_>, &Config, [usize; 2]) -> Result<Built, ModelError>;

/// A network built.
pub(super) struct Built {
    pub(super) graph: Graph,
    /// For people, after the naming: `ResNet, BasicBlock [2, 2, 2, 2]`.
    pub(super) family: String,
    /// Names of the residual blocks' outputs.
    pub(super) blocks: Vec<String>,
    /// `None` where the output is the pooled features.
    pub(super) classes: Option<usize>,
}

/// For schemes that timm has no network of.
pub(super) fn not_in_timm(_: &str) -> Result<(), &'static str> {
    Err("the tensors have names that timm does not use")
}
