//! Checks timm's `config.json` for a ResNet, whose tensors have torchvision's names.

use super::arguments::{Allowed, Arguments, check_arguments, depths_agree, part_agrees};
use super::names::{plain, resnet_variant};
use crate::models::assume::Conventions;
use crate::models::config::TimmConfig;
use crate::models::families::resnet::{ResNet, Stem};
use crate::models::{Key, ModelError};

pub(in crate::models) use super::names::resnet as named;

/// Arguments that do not change the function beyond what the tensors and the architecture show.
const ARGUMENTS: Arguments = &[
    ("aa_layer", Allowed::Words(&[""])),
    ("act_layer", Allowed::Words(&["relu", "ReLU"])),
    ("avg_down", Allowed::Flag),
    ("base_width", Allowed::Any),
    ("block_args", Allowed::Values(&["{}", r#"{"attn_layer": "se"}"#])),
    ("block_reduce_first", Allowed::Any),
    ("cardinality", Allowed::Any),
    ("channels", Allowed::Any),
    ("down_kernel_size", Allowed::Values(&["1"])),
    ("drop_block_rate", Allowed::Any),
    ("exportable", Allowed::Any),
    ("layers", Allowed::Any),
    ("norm_layer", Allowed::Words(&["batchnorm2d", "batchnorm", "BatchNorm2d"])),
    // The resulting dilation is determined before the network is built.
    ("output_stride", Allowed::Values(&["8", "16"])),
    ("replace_stem_pool", Allowed::Flag),
    ("scriptable", Allowed::Any),
    ("stem_type", Allowed::Words(&["", "deep", "deep_tiered"])),
    ("stem_width", Allowed::Any),
    ("zero_init_last", Allowed::Any),
];

/// Adopts the properties that the config states and the tensors do not show.
pub(in crate::models) fn known(
    conventions: &mut Conventions,
    config: &TimmConfig,
    stages: usize,
) -> Result<(), ModelError> {
    if config.architecture.found().is_none() {
        return Ok(());
    }
    conventions.known(Key::AntiAlias, 0)?;
    let args = config.args();
    if args.act_layer.found().is_some() {
        conventions.known(Key::Activation, "relu")?;
    }
    let Some(&reached) = args.output_stride.get() else { return Ok(()) };
    // A stage that would stride further dilates the stages after it.
    let (mut stride, mut dilation) = (4, 1);
    let mut steps = vec![];
    for stage in 0..stages {
        let own = if stage == 0 { 1 } else { 2 };
        if stride >= reached {
            dilation *= own;
            steps.push((1, dilation));
        } else {
            stride *= own;
            steps.push((own, dilation));
        }
    }
    let list =
        |of: fn(&(u64, u64)) -> u64| steps.iter().map(|s| of(s).to_string()).collect::<Vec<_>>().join(",");
    conventions.known(Key::Dilation, list(|s| s.1))?;
    conventions.known(Key::StageStrides, list(|s| s.0))
}

/// Refuses arguments of a ResNet that change it.
pub(in crate::models) fn arguments(config: &TimmConfig) -> Result<(), ModelError> {
    check_arguments(config, ARGUMENTS)
}

/// Refuses a config that contradicts the tensors of a ResNet.
pub(in crate::models) fn agrees(config: &TimmConfig, net: &ResNet) -> Result<(), ModelError> {
    let args = config.args();
    args.layers.agrees("layers", &net.depths)?;
    args.cardinality.agrees("cardinality", &net.groups)?;
    config.inputs_agree(net.in_channels)?;
    let Some(name) = config.architecture.get() else { return Ok(()) };
    let Some(named) = resnet_variant(&plain(name)) else { return Ok(()) };
    let shown = net.layout;
    let parts = [
        ("stem_type", named.deep_stem, shown.stem == Stem::Deep, "a deep stem"),
        ("avg_down", named.avg_down, shown.avg_down, "average-pool shortcuts"),
        ("block_args", named.squeeze_excite, shown.squeeze_excite, "squeeze-and-excitation"),
        ("replace_stem_pool", named.conv_pool, shown.conv_pool, "a convolution in place of the max-pool"),
    ];
    parts.iter().try_for_each(|(key, named, shown, what)| part_agrees(config, key, *named, *shown, what))?;
    depths_agree(config, net.kind, &net.depths)
}
