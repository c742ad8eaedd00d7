//! The pre-activation residual network for CIFAR: batch norm and ReLU before each 3x3, and nothing after the sum. Where a stage begins, a
//! projection without batch norm reads the activated input. There is no norm before the classifier.

use super::statistics;
use crate::graph::ValueId;
use crate::models::architecture::Built;
use crate::models::build::layers::{Layers, Window, depths};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps;
use crate::models::{Key, ModelError};

pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let depths = depths(reader.names());
    let strides = steps::strides(reader, &depths, 1)?;
    let stem_stride = reader.conventions.count(Key::StemStride, 1);
    let mut net = Layers::reading(reader, "conv1", size);
    let mut x = net.conv("conv1", Window::new(3, stem_stride), None, ValueId::INPUT)?;
    let mut blocks = vec![];
    for (stage, strides) in strides.iter().enumerate() {
        for (index, &stride) in strides.iter().enumerate() {
            let name = format!("layer{}.{index}", stage + 1);
            x = block(&mut net, &name, stride, stage > 0 && index == 0, x)?;
            blocks.push(name);
        }
    }
    let classes = net.head("gap", "fc", x)?;
    let family = format!("pre-activation CIFAR ResNet, BasicBlock {depths:?}");
    Ok(Built { graph: net.graph, family, blocks, classes })
}

/// Except in the first stage, the first block of a stage strides and changes the width.
fn block(
    net: &mut Layers<'_, '_>,
    name: &str,
    stride: usize,
    first: bool,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let layer = |what: &str| format!("{name}.{what}");
    let input = net.channels(x);
    let mut activated = net.norm(&layer("bn1"), x)?;
    activated = net.relu(layer("relu1"), activated)?;
    let names = ["conv1", "bn2", "relu2"].map(layer);
    let mut y = net.conv_norm_act(names, Window::new(3, stride), None, activated)?;
    y = net.conv(&layer("conv2"), Window::new(3, 1), (!first).then_some(input), y)?;
    let mut shortcut = x;
    if first {
        let out = Some(net.channels(y));
        shortcut = net.conv(&layer("downsample"), Window::new(1, stride), out, activated)?;
        statistics(net, &layer("running"), input)?;
    }
    net.add(name, y, shortcut)
}
