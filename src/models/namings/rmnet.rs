//! The names of the RMNet paper's own repository, for the networks as it trains them and as its scripts convert them in place.

use crate::models::Naming;
use crate::models::architecture::{self, Architecture};
use crate::models::families::rmnet::{converted, preact, rep, residual, rmnext};
use crate::preprocess::Preprocess;
use crate::tensor::Tensor;

/// RMNeXt.
pub(in crate::models) const NEXT: Architecture = Architecture {
    naming: Naming::RmNet,
    own_prefix: "",
    shown_by: "RMNeXt names (`layer0.0.conv33.weight`, `layer1.0.conv1.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("layer0.")),
    preprocess: |dict| match dict.names().any(|n| n.starts_with("layer0.conv33.")) {
        true => Preprocess::cifar(),
        false => Preprocess::imagenet(),
    },
    build: |reader, _, size| rmnext::build(reader, size),
    model_types: &["rmnet"],
    timm: architecture::not_in_timm,
};

/// RM-RepVGG.
pub(in crate::models) const REP: Architecture = Architecture {
    naming: Naming::RmNet,
    own_prefix: "",
    shown_by: "RM-RepVGG names (`feature.0.conv33.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("feature.") && n.ends_with(".conv33.weight")),
    preprocess: |dict| match dict.tensor("feature.1.bn00.weight") {
        Some(_) => Preprocess::cifar(),
        None => Preprocess::imagenet(),
    },
    build: |reader, _, size| rep::build(reader, size),
    model_types: &["rmnet"],
    timm: architecture::not_in_timm,
};

/// Residual networks with statistics beside them, or masks.
pub(in crate::models) const RESIDUAL: Architecture = Architecture {
    naming: Naming::RmNet,
    own_prefix: "",
    shown_by: "RMNet's residual networks (`layer1.0.running1.running_mean`)",
    matches: |dict| {
        let of_block = |n: &str| n.contains(".running1.") || n.contains(".mask");
        dict.names().any(|n| n.starts_with("layer") && of_block(n))
    },
    preprocess: |dict| match dict.tensor("conv1.weight").map(Tensor::shape) {
        Some([_, _, 3, 3]) => Preprocess::cifar(),
        _ => Preprocess::imagenet(),
    },
    build: |reader, _, size| residual::build(reader, size),
    model_types: &["rmnet", "resnet"],
    timm: architecture::not_in_timm,
};

/// Pre-activation networks for CIFAR.
pub(in crate::models) const PREACT: Architecture = Architecture {
    naming: Naming::RmNet,
    own_prefix: "",
    shown_by: "RMNet's pre-activation networks (`layer2.0.running.running_mean`)",
    matches: |dict| dict.names().any(|n| n.starts_with("layer") && n.contains(".0.running.running_")),
    preprocess: |_| Preprocess::cifar(),
    build: |reader, _, size| preact::build(reader, size),
    model_types: &["rmnet", "resnet"],
    timm: architecture::not_in_timm,
};

/// torchvision ResNets that were converted block by block.
pub(in crate::models) const CONVERTED: Architecture = Architecture {
    naming: Naming::RmNet,
    own_prefix: "",
    shown_by: "a ResNet converted in place (`layer1.0.0.weight`)",
    matches: |dict| dict.tensor("layer1.0.0.weight").is_some(),
    preprocess: |_| Preprocess::imagenet(),
    build: |reader, _, size| converted::build(reader, size),
    model_types: &["rmnet", "resnet"],
    timm: architecture::not_in_timm,
};
