//! IResNet (ArcFace): a batch norm before each block, PReLU with a slope per channel, no activation after the sum, and a linear layer over
//! the whole last map. Its output is an embedding of a face instead of class scores. The names are insightface's.

use crate::graph::ValueId;
use crate::models::architecture::Built;
use crate::models::build::layers::{Layers, Window, depths};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps;
use crate::models::{Key, ModelError};

/// Side of the square map whose flattened size is `features`; `None` if there is none.
pub(in crate::models) fn map_side(features: usize, channels: usize) -> Option<usize> {
    let side = features.checked_div(channels)?.isqrt();
    (side > 0 && side * side * channels == features).then_some(side)
}

/// Side of the square image whose last map has side `map`, if `shrinks` is the product of all strides.
pub(in crate::models) fn image_side(map: usize, shrinks: usize) -> Option<usize> {
    map.checked_mul(shrinks)
}

pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let depths = depths(reader.names());
    let strides = steps::strides(reader, &depths, 2)?;
    let stem_stride = reader.conventions.count(Key::StemStride, 1);
    let shrinks = strides.iter().flatten().fold(stem_stride, |n, s| n.saturating_mul(*s));
    let mut net = Layers::reading(reader, "conv1", size);
    let mut x = net.conv_norm(["conv1", "bn1"], Window::new(3, stem_stride), None, ValueId::INPUT)?;
    x = net.prelu("prelu", x)?;
    let mut blocks = vec![];
    for (stage, strides) in strides.iter().enumerate() {
        for (index, &stride) in strides.iter().enumerate() {
            let name = format!("layer{}.{index}", stage + 1);
            x = block(&mut net, &name, stride, index == 0, x)?;
            blocks.push(name);
        }
    }
    x = net.norm("bn2", x)?;
    check_size(&net, x, shrinks, size)?;
    x = net.linear("fc", true, x)?;
    x = net.norm("features", x)?;
    let classes = net.channels(x);
    let family = format!("IResNet {depths:?}, an embedding of {classes} values");
    Ok(Built { graph: net.graph, family, blocks, classes: Some(classes) })
}

/// The first block of a stage strides on its second 3x3, and has a projection.
fn block(
    net: &mut Layers<'_, '_>,
    name: &str,
    stride: usize,
    first: bool,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let layer = |what: &str| format!("{name}.{what}");
    let mut y = net.norm(&layer("bn1"), x)?;
    y = net.conv_norm(["conv1", "bn2"].map(layer), Window::new(3, 1), None, y)?;
    y = net.prelu(&layer("prelu"), y)?;
    let out = (!first).then(|| net.channels(x));
    y = net.conv_norm(["conv2", "bn3"].map(layer), Window::new(3, stride), out, y)?;
    let mut shortcut = x;
    if first {
        let out = Some(net.channels(y));
        shortcut =
            net.conv_norm(["downsample.0", "downsample.1"].map(layer), Window::new(1, stride), out, x)?;
    }
    net.add(name, y, shortcut)
}

/// Refuses an image whose last map the linear layer does not fit.
fn check_size(net: &Layers<'_, '_>, x: ValueId, shrinks: usize, size: [usize; 2]) -> Result<(), ModelError> {
    let (channels, map) = (net.channels(x), net.graph.shape(x).size());
    let Some([_, features]) = net.reader.shape("fc.weight") else { return Ok(()) };
    let Some(side) = map_side(*features, channels) else {
        return Err(net.reader.misshapen("fc.weight", format!("[any, {channels} channels of a square map]")));
    };
    if map == [side; 2] {
        return Ok(());
    }
    let expected = image_side(side, shrinks).map_or("another".into(), |s| format!("{s}x{s}"));
    let why = format!("`fc.weight` reads a last map of {side}x{side}, here it is {}x{}", map[0], map[1]);
    Err(ModelError::FixedSize { size, expected, why })
}
