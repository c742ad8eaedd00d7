//! timm's names of RepVGG: `stem`, `stages.{s}.{i}.conv_kxk`, `head.fc`.

use super::arguments::{Allowed, Arguments, check_arguments};
use super::names;
use crate::models::Naming;
use crate::models::architecture::Architecture;
use crate::models::families::repvgg::{self, RepVggNames};
use crate::preprocess::{Interpolation, Preprocess};

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm RepVGG names (`stem.conv_kxk.conv.weight`, `stages.0.0.conv_kxk.conv.weight`)",
    matches: |dict| {
        let part = |part: &str| dict.names().any(|n| n.starts_with("stages.") && n.contains(part));
        part(".conv_kxk.") || part(".reparam_conv.")
    },
    preprocess: |_| Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::imagenet() },
    build: |reader, config, size| {
        check_arguments(&config.timm, ARGUMENTS)?;
        let (built, in_channels) = repvgg::build(reader, &NAMES, size)?;
        config.timm.inputs_agree(in_channels)?;
        Ok(built)
    },
    model_types: &["repvgg"],
    timm: names::repvgg,
};

const NAMES: RepVggNames = RepVggNames {
    stem: "stem",
    stage: "stages.",
    first: 0,
    dense: "conv_kxk",
    pointwise: "conv_1x1",
    identity: "identity",
    deployed: "reparam_conv",
    squeeze: ["attn.fc1", "attn.fc2"],
    head: ["head.global_pool", "head.fc"],
};

/// Arguments that do not change the function beyond what the tensors and the architecture show.
const ARGUMENTS: Arguments = &[
    ("act_layer", Allowed::Words(&["relu", "ReLU"])),
    ("drop_block_rate", Allowed::Any),
    ("drop_block_size", Allowed::Any),
    ("norm_layer", Allowed::Words(&["batchnorm2d", "batchnorm", "BatchNorm2d"])),
    ("stem_chs", Allowed::Any),
    ("width_factor", Allowed::Any),
    ("zero_init_last", Allowed::Any),
];
