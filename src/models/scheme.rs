//! The table of networks that are known: a family under the names of one library.

use super::reader::Reader;
use super::state_dict::StateDict;
use super::{
    ModelError, Naming, hugging_face, iresnet, mobilenet_v2, repvgg, resnet_v2, rmnet, sequential,
    torchvision,
};
use crate::graph::Graph;
use crate::preprocess::Preprocess;
use serde_json::Value;

/// A family of networks under one naming scheme: how it is known, and how it is built.
pub(super) struct Scheme {
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

type Build = fn(&mut Reader<'_>, Option<&Value>, [usize; 2]) -> Result<Built, ModelError>;

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

/// Every scheme; the first that matches is taken.
pub(super) const SCHEMES: &[Scheme] = &[
    sequential::SCHEME,
    hugging_face::SCHEME,
    resnet_v2::SCHEME,
    iresnet::SCHEME,
    rmnet::rmnext::SCHEME,
    rmnet::rep::SCHEME,
    rmnet::residual::SCHEME,
    rmnet::preact::SCHEME,
    rmnet::converted::SCHEME,
    torchvision::SCHEME,
    mobilenet_v2::TORCHVISION,
    mobilenet_v2::TIMM,
    mobilenet_v2::HUGGING_FACE,
    repvgg::ORIGINAL,
    repvgg::TIMM,
];

/// For schemes that timm has no network of.
pub(super) fn not_in_timm(_: &str) -> Result<(), &'static str> {
    Err("the tensors have names that timm does not use")
}
