//! timm's pre-activation ResNetV2, `stages.{s}.blocks.{i}.norm{n}/conv{n}`. The family has no other names.

use super::arguments::{Allowed, Arguments, check_arguments, depths_agree, part_agrees};
use super::names::{self, plain, resnet_v2_is_deep};
use crate::models::architecture::{Architecture, Built};
use crate::models::build::reader::TensorReader;
use crate::models::config::{Config, TimmConfig};
use crate::models::families::resnet::BlockKind;
use crate::models::families::resnet_v2::{self, block_norm};
use crate::models::{Key, ModelError, Naming};
use crate::preprocess::Preprocess;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm ResNetV2 names (`stages.0.blocks.0.norm1.weight`)",
    matches: |dict| dict.names().any(block_norm),
    preprocess: |_| Preprocess { mean: vec![0.5; 3], std: vec![0.5; 3], ..Preprocess::imagenet() },
    build,
    model_types: &["resnetv2"],
    timm: names::resnet_v2,
};

/// Arguments that do not change the function beyond what the tensors and the architecture show.
const ARGUMENTS: Arguments = &[
    ("act_layer", Allowed::Words(&["relu"])),
    ("avg_down", Allowed::Flag),
    ("basic", Allowed::Any),
    ("bottle_ratio", Allowed::Any),
    ("channels", Allowed::Any),
    ("exportable", Allowed::Any),
    ("layers", Allowed::Any),
    ("preact", Allowed::Values(&["true"])),
    ("scriptable", Allowed::Any),
    ("stem_chs", Allowed::Any),
    ("stem_type", Allowed::Words(&["", "deep", "tiered"])),
    ("width_factor", Allowed::Any),
    ("zero_init_last", Allowed::Any),
];

fn build(reader: &mut TensorReader<'_>, config: &Config, size: [usize; 2]) -> Result<Built, ModelError> {
    let config = &config.timm;
    check_arguments(config, ARGUMENTS)?;
    let deep = reader.shape("stem.conv1.weight").is_some();
    let avg_down = avg_down(reader, config, deep)?;
    let net = resnet_v2::build(reader, deep, avg_down, size)?;
    let args = config.args();
    args.layers.agrees("layers", &net.depths)?;
    config.inputs_agree(net.in_channels)?;
    args.basic.agrees("basic", &(net.kind == BlockKind::Basic))?;
    depths_agree(config, Some(net.kind), &net.depths)?;
    Ok(net.into())
}

/// Whether the strided shortcuts average, which no tensor shows. `config.json` states it; by default they do if the stem is deep, as in
/// timm's own networks. Refuses a config whose stem differs from the tensors'.
fn avg_down(reader: &mut TensorReader<'_>, config: &TimmConfig, deep: bool) -> Result<bool, ModelError> {
    let architecture = config.architecture.get();
    let named = match architecture {
        Some(name) => {
            let named = resnet_v2_is_deep(&plain(name)).unwrap_or_default();
            part_agrees(config, "stem_type", named, deep, "a deep stem")?;
            named
        }
        None => deep,
    };
    match config.args().avg_down.flag("avg_down")? {
        Some(said) => reader.conventions.known(Key::ShortcutPool, said)?,
        None if architecture.is_some() => reader.conventions.known(Key::ShortcutPool, named)?,
        None => {}
    }
    Ok(reader.conventions.flag(Key::ShortcutPool, named))
}
