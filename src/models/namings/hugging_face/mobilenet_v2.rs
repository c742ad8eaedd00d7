//! Hugging Face's names: `mobilenet_v2.conv_stem`, `.layer.{i}`, `.conv_1x1`, `classifier`, and the `config.json`, which states padding,
//! strides, and the factors that the widths are computed from.

use crate::field::Field;
use crate::models::architecture::{self, Architecture, Built};
use crate::models::assume::Rectifier;
use crate::models::build::reader::TensorReader;
use crate::models::build::state_dict::StateDict;
use crate::models::config::{Config, HuggingFaceConfig, wrong};
use crate::models::families::mobilenet_v2::{self, Block, DEPTHS, MobileNetV2Layout, Net, Unit};
use crate::models::{Key, MAX_INPUT_SIDE, ModelError, Naming};
use crate::preprocess::Preprocess;
use serde_json::Value;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::HuggingFace,
    own_prefix: BODY,
    shown_by: "Hugging Face MobileNetV2 names (`mobilenet_v2.conv_stem.first_conv.convolution.weight`)",
    matches: |dict| {
        dict.names().any(|n| n.starts_with(BODY) || n.starts_with("conv_stem.first_conv.convolution."))
    },
    preprocess,
    build,
    model_types: &["mobilenet_v2"],
    timm: architecture::not_in_timm,
};

/// Prefix of the names, which a bare `MobileNetV2Model` does not have.
const BODY: &str = "mobilenet_v2.";

/// The processor's defaults, at the image size of `config.json`.
fn preprocess(dict: &StateDict<'_>) -> Preprocess {
    let side = dict.config().hugging_face.image_size.get().copied().unwrap_or(224);
    Preprocess::mobilenet().with_size([side; 2])
}

/// Builds the network. The first block is part of the stem and never has a shortcut; 16 others follow.
fn build(reader: &mut TensorReader<'_>, config: &Config, size: [usize; 2]) -> Result<Built, ModelError> {
    let config = &config.hugging_face;
    let sides = 1..=MAX_INPUT_SIDE;
    if let Some(found) = config.image_size.found()
        && !config.image_size.get().is_some_and(|side| sides.contains(side))
    {
        return Err(wrong("image_size", &format!("a side from 1 to {MAX_INPUT_SIDE} pixels"), found));
    }
    let body = if reader.names().any(|n| n.starts_with(BODY)) { BODY } else { "" };
    let stem_expands = reader.names().any(|n| n.starts_with(&format!("{body}conv_stem.expand_1x1.")));
    config.first_layer_is_expansion.agrees("first_layer_is_expansion", &!stem_expands)?;
    let layout = layout(reader, config, body, stem_expands)?;
    let net = mobilenet_v2::build(reader, &layout, size)?;
    config.num_channels.agrees("num_channels", &net.in_channels)?;
    if config.model_type.is_given() {
        widths_agree(config, &net)?;
    }
    Ok(net.built(&DEPTHS))
}

fn layout(
    reader: &mut TensorReader<'_>,
    config: &HuggingFaceConfig,
    body: &str,
    stem_expands: bool,
) -> Result<MobileNetV2Layout, ModelError> {
    let unit = |name: String| -> Unit {
        ["convolution", "normalization", "activation"].map(|what| format!("{name}.{what}"))
    };
    let block = |name: String, expands: bool, (stride, dilation): (usize, usize)| {
        let [conv, norm, _] = unit(format!("{name}.reduce_1x1"));
        Block {
            expand: expands.then(|| unit(format!("{name}.expand_1x1"))),
            depthwise: unit(format!("{name}.conv_3x3")),
            project: [conv, norm],
            stride,
            dilation,
            residual: true,
            name,
        }
    };
    let stem = format!("{body}conv_stem");
    let first = Block { residual: false, ..block(stem.clone(), stem_expands, (1, 1)) };
    let strides = mobilenet_v2::strides(reader, &DEPTHS)?;
    let steps = steps(&strides[1..], positive(&config.output_stride, "output_stride", 32)?);
    let others = steps.into_iter().enumerate();
    let others = others.map(|(i, step)| block(format!("{body}layer.{i}"), true, step));
    if let Some(act) = config.activation("MobileNetV2", ["relu6", "relu"])? {
        reader.conventions.known(Key::Activation, act)?;
    }
    match number(&config.layer_norm_eps, "layer_norm_eps", 1e-3)? {
        given if config.layer_norm_eps.found().is_some() => {
            reader.conventions.known(Key::BatchNormEps, given)?
        }
        own => drop(reader.conventions.number(Key::BatchNormEps, own)),
    }
    Ok(MobileNetV2Layout {
        stem: unit(format!("{stem}.first_conv")),
        blocks: std::iter::once(first).chain(others).collect(),
        last: unit(format!("{body}conv_1x1")),
        head: [format!("{body}pooler"), "classifier".into()],
        activation: Rectifier::Relu6,
        same: config.tf_padding.flag("tf_padding")?.unwrap_or(true),
    })
}

/// Stride and dilation of every block after the first: once the network's total stride is `output_stride`, a further stride becomes a
/// dilation of the blocks after it.
fn steps(strides: &[usize], output_stride: usize) -> Vec<(usize, usize)> {
    let (mut reached, mut dilation) = (2, 1);
    let step = |&stride: &usize| {
        if reached == output_stride {
            let step = (1, dilation);
            dilation *= stride;
            return step;
        }
        reached *= stride;
        (stride, 1)
    };
    strides.iter().map(step).collect()
}

/// Refuses a config whose computed widths differ from the tensors'.
fn widths_agree(config: &HuggingFaceConfig, net: &Net) -> Result<(), ModelError> {
    let multiplier = number(&config.depth_multiplier, "depth_multiplier", 1.0)?;
    let expansion = number(&config.expand_ratio, "expand_ratio", 6.0)?;
    let divisor = positive(&config.depth_divisible_by, "depth_divisible_by", 8)?;
    let least = positive(&config.min_depth, "min_depth", 8)?;
    let width = |channels: usize, factor: f64| divisible(channels, factor, divisor, least);
    let by_multiplier = ("depth_multiplier", config.depth_multiplier.found());
    let by_ratio = ("expand_ratio", config.expand_ratio.found());
    same(by_multiplier, "conv_stem.first_conv", net.stem, width(32, multiplier))?;
    let published = [16, 24, 32, 64, 96, 160, 320];
    let stages = DEPTHS.iter().zip(published).flat_map(|(depth, width)| std::iter::repeat_n(width, *depth));
    let mut input = 0;
    for (i, (published, [expanded, out])) in stages.zip(&net.widths).enumerate() {
        let layer = if i == 0 { "conv_stem".into() } else { format!("layer.{}", i - 1) };
        if i > 0 {
            same(by_ratio, &format!("{layer}.expand_1x1"), *expanded, width(input, expansion))?;
        }
        same(by_multiplier, &format!("{layer}.reduce_1x1"), *out, width(published, multiplier))?;
        input = *out;
    }
    // In narrow networks the last convolution keeps its width, unless the config states otherwise.
    let fine = config.finegrained_output.flag("finegrained_output")?.unwrap_or(true) && multiplier < 1.0;
    let last = if fine { 1280 } else { width(1280, multiplier) };
    same(("finegrained_output", config.finegrained_output.found()), "conv_1x1", net.last, last)
}

/// Refuses a width of `layer` that, computed from the config's `key`, differs from the width in the `tensors`.
fn same(
    (key, value): (&str, Option<&Value>),
    layer: &str,
    tensors: usize,
    found: usize,
) -> Result<(), ModelError> {
    if tensors == found {
        return Ok(());
    }
    let value = value.map_or("left to its default".into(), Value::to_string);
    Err(ModelError::Config {
        key: key.into(),
        expected: format!("what gives the {tensors} channels of {layer}"),
        found: format!("{value}, which gives {found}"),
    })
}

/// `factor * channels` rounded to a multiple of `divisor`, as in the library: at least `least`, and at least nine tenths of the exact
/// value.
fn divisible(channels: usize, factor: f64, divisor: usize, least: usize) -> usize {
    let wanted = (channels as f64 * factor).round_ties_even();
    let near = (wanted + divisor as f64 / 2.0) as usize / divisor * divisor;
    let near = near.max(least);
    if (near as f64) < 0.9 * wanted { near + divisor } else { near }
}

fn number(field: &Field<f64>, key: &str, default: f64) -> Result<f64, ModelError> {
    let Some(found) = field.found() else { return Ok(default) };
    let number = field.get().copied().filter(|v| (0.0..=1e6).contains(v));
    number.ok_or_else(|| wrong(key, "a number from 0 to a million", found))
}

fn positive(field: &Field<usize>, key: &str, default: usize) -> Result<usize, ModelError> {
    let Some(found) = field.found() else { return Ok(default) };
    let number = field.get().copied().filter(|v| (1..=1_000_000).contains(v));
    number.ok_or_else(|| wrong(key, "a whole number from 1 to a million", found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_output_stride_dilates() {
        let published = mobilenet_v2::spread(&DEPTHS, &mobilenet_v2::STRIDES);
        let steps = |output_stride| steps(&published[1..], output_stride);
        assert!(steps(32).iter().all(|(_, dilation)| *dilation == 1));
        // A block whose stride becomes a dilation is itself dilated as the blocks before it.
        assert_eq!(steps(16)[10..], [(1, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 2)]);
        assert_eq!(steps(8)[4..8], [(1, 1), (1, 1), (1, 2), (1, 2)]);
        assert_eq!(steps(8)[12..], [(1, 2), (1, 4), (1, 4), (1, 4)]);
    }

    #[test]
    fn widths_round_as_in_python() {
        // make_divisible(int(round(channels * multiplier)), 8, 8) of transformers.
        let widths = [16, 24, 32, 64, 96, 160, 320].map(|c| divisible(c, 0.35, 8, 8));
        assert_eq!(widths, [8, 8, 16, 24, 32, 56, 112]);
        assert_eq!(divisible(24, 0.0625, 1, 1), 2);
    }
}
