//! The basic residual networks that the repository converts and prunes. They have torchvision's names and function and additional
//! statistics. Networks that are being pruned also have a factor per channel (`mask*`) after every batch norm.

use super::statistics;
use crate::graph::{Conv2d, Op, ValueId, Weight};
use crate::models::architecture::Built;
use crate::models::build::layers::{Layers, Window, depths};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps;
use crate::models::{Key, ModelError};
use crate::tensor::Tensor;

pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let depths = depths(reader.names());
    let masked = reader.names().any(|n| n.contains("mask"));
    let small = matches!(reader.shape("conv1.weight"), Some([_, _, 3, 3]));
    let strides = steps::strides(reader, &depths, 1)?;
    let stem_stride = reader.conventions.count(Key::StemStride, if small { 1 } else { 2 });
    let pool = reader.conventions.flag(Key::StemPool, !small);
    let mut net = Layers::reading(reader, "conv1", size);
    let window = Window::new(if small { 3 } else { 7 }, stem_stride);
    let mut x = net.conv("conv1", window, None, ValueId::INPUT)?;
    x = masked_norm(&mut net, "bn1", masked.then_some("mask1"), x)?;
    x = net.relu("relu", x)?;
    if pool {
        x = net.max_pool("maxpool", x)?;
    }
    let mut blocks = vec![];
    for (stage, strides) in strides.iter().enumerate() {
        for (index, &stride) in strides.iter().enumerate() {
            let name = format!("layer{}.{index}", stage + 1);
            x = block(&mut net, &name, stride, index == 0, masked, x)?;
            blocks.push(name);
        }
    }
    let classes = net.head("gap", "fc", x)?;
    let kind = if small { "CIFAR ResNet" } else { "ResNet" };
    let masked = if masked { ", masked" } else { "" };
    let family = format!("{kind}, BasicBlock {depths:?}{masked}");
    Ok(Built { graph: net.graph, family, blocks, classes })
}

/// A factor per channel.
fn mask(net: &mut Layers<'_, '_>, name: &str, channels: usize) -> Result<Vec<f64>, ModelError> {
    let shape = [Some(channels), Some(1), Some(1), Some(1)];
    Ok(net.reader.tensor(&format!("{name}.weight"), &shape)?.to_f64())
}

/// A batch norm and the mask that follows it, as one batch norm.
fn masked_norm(
    net: &mut Layers<'_, '_>,
    name: &str,
    mask_name: Option<&str>,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let channels = net.channels(x);
    let mut norm = net.reader.norm(name, channels)?;
    if let Some(mask_name) = mask_name {
        for (c, factor) in mask(net, mask_name, channels)?.into_iter().enumerate() {
            norm.weight[c] *= factor;
            norm.bias[c] *= factor;
        }
    }
    net.push(name, Op::BatchNorm(norm), &[x])
}

/// `relu(mask2 * (bn2(..) + shortcut(relu(mask_res * x))))`. The block's input is never negative, so `relu(m * x) = max(m, 0) * x`. The
/// second mask multiplies both operands of the sum.
fn block(
    net: &mut Layers<'_, '_>,
    name: &str,
    stride: usize,
    first: bool,
    masked: bool,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let layer = |what: &str| format!("{name}.{what}");
    let input = net.channels(x);
    let [mask1, mask2] = ["mask1", "mask2"].map(layer);
    let mut y = net.conv(&layer("conv1"), Window::new(3, stride), None, x)?;
    y = masked_norm(net, &layer("bn1"), masked.then_some(&mask1), y)?;
    y = net.relu(layer("relu1"), y)?;
    y = net.conv(&layer("conv2"), Window::new(3, 1), (!first).then_some(input), y)?;
    y = masked_norm(net, &layer("bn2"), masked.then_some(&mask2), y)?;
    let out = net.channels(y);
    let (mut before, mut after) = (vec![1.0; input], vec![1.0; out]);
    if masked {
        before = mask(net, &layer("mask_res.0"), input)?.iter().map(|m| m.max(0.0)).collect();
        after = mask(net, &mask2, out)?;
    }

    let mut shortcut = x;
    if stride != 1 || out != input {
        let conv = layer("downsample.0");
        let mut weight = net.reader.conv(&conv, Some(out), Some(input), [1, 1])?;
        if masked {
            let values = weight.to_f64().iter().zip(before.iter().cycle()).map(|(w, m)| w * m).collect();
            weight = Weight::new(Tensor::from_f64(vec![out, input, 1, 1], values));
        }
        let projection = Conv2d::dense(weight, 1, [stride; 2], [0, 0]);
        shortcut = net.push(conv, Op::Conv2d(projection), &[x])?;
        shortcut = masked_norm(net, &layer("downsample.1"), masked.then_some(&mask2), shortcut)?;
    } else if masked {
        let factors = before.iter().zip(&after).map(|(a, b)| a * b).collect();
        let scaled = Conv2d::diagonal(factors, vec![0.0; out]);
        shortcut = net.push(layer("mask_res"), Op::Conv2d(scaled), &[x])?;
    }
    statistics(net, &layer("running1"), input)?;
    statistics(net, &layer("running2"), out)?;
    let sum = net.add(layer("add"), y, shortcut)?;
    net.relu(name, sum)
}
