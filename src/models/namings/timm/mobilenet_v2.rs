//! timm's names: `conv_stem`, `blocks.{s}.{i}.conv_pw/conv_dw/conv_pwl`, `conv_head`, `classifier`. timm's EfficientNets use the same
//! names, so `config.json` should state the architecture.

use super::arguments::{Allowed, Arguments, check_arguments};
use super::names;
use crate::models::architecture::{Architecture, Built};
use crate::models::assume::Rectifier;
use crate::models::build::layers;
use crate::models::build::reader::TensorReader;
use crate::models::config::Config;
use crate::models::families::mobilenet_v2::{self, Block, MobileNetV2Layout, Unit};
use crate::models::{Key, ModelError, Naming};
use crate::preprocess::{Interpolation, Preprocess};

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm MobileNetV2 names (`conv_stem.weight`, `blocks.0.0.conv_dw.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("blocks.0.0.conv_dw.")),
    preprocess: |_| Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::imagenet() },
    build,
    model_types: &["mobilenet_v2"],
    timm: names::mobilenet_v2,
};

/// Builds the published stages with any depths; the names show where a stage begins.
fn build(reader: &mut TensorReader<'_>, config: &Config, size: [usize; 2]) -> Result<Built, ModelError> {
    check_arguments(&config.timm, ARGUMENTS)?;
    let depths = std::array::from_fn(|stage| layers::count(reader, |i| format!("blocks.{stage}.{i}")));
    if config.timm.architecture.found().is_some() {
        reader.conventions.known(Key::Activation, "relu6")?;
    }
    let strides = mobilenet_v2::strides(reader, &depths)?;
    let net = mobilenet_v2::build(reader, &layout(&depths, &strides), size)?;
    config.timm.inputs_agree(net.in_channels)?;
    Ok(net.built(&depths))
}

fn layout(depths: &[usize; 7], strides: &[usize]) -> MobileNetV2Layout {
    let unit = |conv: String, norm: String| -> Unit {
        let activation = format!("{norm}.act");
        [conv, norm, activation]
    };
    let places = depths.iter().enumerate().flat_map(|(stage, depth)| (0..*depth).map(move |i| (stage, i)));
    let block = |((stage, index), stride)| {
        let name = format!("blocks.{stage}.{index}");
        let layer = |what: &str| format!("{name}.{what}");
        // The blocks of the first stage have no expansion.
        let expand = (stage > 0).then(|| unit(layer("conv_pw"), layer("bn1")));
        let (depthwise, project) = match expand {
            Some(_) => (unit(layer("conv_dw"), layer("bn2")), ["conv_pwl", "bn3"]),
            None => (unit(layer("conv_dw"), layer("bn1")), ["conv_pw", "bn2"]),
        };
        let project = project.map(layer);
        Block { expand, depthwise, project, stride, dilation: 1, residual: true, name }
    };
    MobileNetV2Layout {
        stem: unit("conv_stem".into(), "bn1".into()),
        blocks: places.zip(strides.iter().copied()).map(block).collect(),
        last: unit("conv_head".into(), "bn2".into()),
        head: ["global_pool", "classifier"].map(String::from),
        activation: Rectifier::Relu6,
        same: false,
    }
}

/// Arguments that do not change the function beyond what the tensors and the architecture show.
const ARGUMENTS: Arguments = &[
    ("act_layer", Allowed::Words(&["relu6", "ReLU6"])),
    ("bn_eps", Allowed::Values(&["1e-5"])),
    ("bn_momentum", Allowed::Any),
    ("depth_multiplier", Allowed::Any),
    ("fix_stem_head", Allowed::Any),
    ("group_size", Allowed::Any),
    ("norm_layer", Allowed::Words(&["batchnorm2d", "batchnorm", "BatchNorm2d"])),
    ("pad_type", Allowed::Words(&[""])),
    ("stem_kernel_size", Allowed::Any),
    ("stem_size", Allowed::Any),
];
