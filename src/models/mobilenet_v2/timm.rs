//! timm's names: `conv_stem`, `blocks.{s}.{i}.conv_pw/conv_dw/conv_pwl`, `conv_head`, `classifier`. Its EfficientNets have
//! them too, so that `config.json` should say which network it is.

use super::super::assume::Rectifier;
use super::super::key::Key;
use super::super::reader::Reader;
use super::super::scheme::{Built, Scheme};
use super::super::{ModelError, Naming, config, layers, timm};
use super::{Block, Layout, Unit};
use crate::preprocess::{Interpolation, Preprocess};
use serde_json::Value;

pub(in crate::models) const SCHEME: Scheme = Scheme {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm MobileNetV2 names (`conv_stem.weight`, `blocks.0.0.conv_dw.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("blocks.0.0.conv_dw.")),
    preprocess: |_| Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::imagenet() },
    build,
    model_types: &["mobilenet_v2"],
    timm: |name| match name.strip_prefix("mobilenetv2_") {
        Some("035" | "050" | "075" | "100" | "110d" | "120d" | "140") => Ok(()),
        _ => Err("not among the MobileNetV2 architectures known here"),
    },
};

/// The published stages, of any depth: the names say where a stage begins.
fn build(reader: &mut Reader<'_>, config: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    timm::arguments(config, neutral)?;
    let depths = std::array::from_fn(|stage| layers::count(reader, |i| format!("blocks.{stage}.{i}")));
    if config::get(config, "architecture").is_some() {
        reader.conventions.known(Key::Activation, "relu6")?;
    }
    let strides = super::strides(reader, &depths)?;
    let net = super::build(reader, &layout(&depths, &strides), size)?;
    timm::inputs_agree(config, net.in_channels)?;
    Ok(net.built(&depths))
}

fn layout(depths: &[usize; 7], strides: &[usize]) -> Layout {
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
    Layout {
        stem: unit("conv_stem".into(), "bn1".into()),
        blocks: places.zip(strides.iter().copied()).map(block).collect(),
        last: unit("conv_head".into(), "bn2".into()),
        head: ["global_pool", "classifier"].map(String::from),
        activation: Rectifier::Relu6,
        same: false,
    }
}

/// An argument of the family that leaves the function of the network as its tensors and its architecture say.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes or names, or only of use in training.
        "bn_momentum" | "depth_multiplier" | "fix_stem_head" | "stem_size" | "stem_kernel_size"
        | "group_size" => true,
        "pad_type" => value == "",
        "bn_eps" => value == 1e-5,
        "act_layer" => value == "relu6" || value == "ReLU6",
        "norm_layer" => value == "batchnorm2d" || value == "batchnorm" || value == "BatchNorm2d",
        _ => false,
    }
}
