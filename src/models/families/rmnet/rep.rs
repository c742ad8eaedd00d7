//! RM-RepVGG: RepVGG blocks (3x3, 1x1 and batch norm in parallel), some of which *reserve*: their first channels are passed on unchanged,
//! and the branches compute only the others. Squeeze-and-excitation is optional.
//!
//! No tensor shows strides directly, but a block has `bn00` exactly if its stride is 1 and its width does not change.

use crate::graph::{Activation, BatchNorm, Block, BlockWeight, Conv2d, Op, ValueId};
use crate::models::architecture::Built;
use crate::models::build::layers::Layers;
use crate::models::build::reader::{Dim, TensorReader};
use crate::models::build::steps;
use crate::models::{Key, ModelError};

pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let number = |name: &str| name.strip_prefix("feature.")?.split('.').next()?.parse::<usize>().ok();
    let blocks = || reader.names().filter_map(number);
    // A number beyond the count of tensors means a gap, which reading reports.
    let depth = blocks().max().map_or(1, |last| last.min(blocks().count()) + 1);
    let squeeze_excite = reader.shape("feature.0.se.down.weight").is_some();
    if squeeze_excite && size[0] != size[1] {
        let why = "its squeezes average a square window, which is the whole map of a square image only";
        return Err(ModelError::FixedSize { size, expected: "a square".into(), why: why.into() });
    }
    steps::not_anti_aliased(reader)?;
    let stated = match reader.conventions.is_stated(Key::BlockStrides) {
        true => Some(reader.conventions.counts(Key::BlockStrides, &vec![1; depth], "blocks")?),
        false => None,
    };
    let mut net = Layers::reading(reader, "feature.0.conv33", size);
    let mut x = ValueId::INPUT;
    let (mut blocks, mut strides) = (vec![], vec![]);
    let mut reserving = 0;
    for index in 0..depth {
        let name = format!("feature.{index}");
        let identity = net.reader.shape(&format!("{name}.bn00.weight")).is_some();
        let stride = match &stated {
            Some(strides) => strides[index],
            None if identity => 1,
            None => stride(&net, index, squeeze_excite, net.channels(x))?,
        };
        if identity && stride != 1 {
            let why = format!("`{name}` has an identity branch, so that its stride is 1");
            return Err(net.reader.conventions.refuse(Key::BlockStrides, why));
        }
        strides.push(stride);
        let y = branches(&mut net, &name, stride, identity, x)?;
        reserving += usize::from(y.reserved > 0);
        x = if squeeze_excite { excitation(&mut net, &name, &y)? } else { y.sum };
        x = net.relu(name.clone(), x)?;
        blocks.push(name);
    }
    if stated.is_none() {
        net.reader.conventions.counts(Key::BlockStrides, &strides, "blocks")?;
    }
    let classes = net.head("gap", "fc", x)?;
    let squeeze_excite = if squeeze_excite { " with squeeze-and-excitation" } else { "" };
    let family = format!("RM-RepVGG{squeeze_excite}, {depth} blocks, {reserving} of them reserving");
    Ok(Built { graph: net.graph, family, blocks, classes })
}

/// The stride of a block without identity branch, if only one is possible among the repository's networks.
fn stride(
    net: &Layers<'_, '_>,
    index: usize,
    squeeze_excite: bool,
    input: usize,
) -> Result<usize, ModelError> {
    let name = format!("feature.{index}");
    let cannot = |why: String| {
        Err(ModelError::Unsupported {
            what: "an RM-RepVGG whose strides its tensors do not show".into(),
            why: format!("{why}; state the assumption `block_strides`, a stride for each block"),
        })
    };
    let first = |tensor: &str| net.reader.shape(tensor).and_then(|s| s.first().copied());
    if index == 0 {
        // ImageNet networks begin with two strided blocks. Networks for small images begin with stride 1, followed by a block with an
        // identity.
        if net.reader.shape("feature.1.conv33.weight").is_none() {
            return cannot("`feature.0` is the only block".into());
        }
        if net.reader.shape("feature.1.bn00.weight").is_none() {
            return Ok(2);
        }
        return match (squeeze_excite, first("fc.weight")) {
            (true, _) => cannot("`feature.1` has an identity branch right after the stem".into()),
            (false, Some(1000)) => cannot(
                "`feature.1` has an identity branch right after the stem, as in networks for small images, but \
                 `fc.weight` has the 1000 classes of ImageNet"
                    .into(),
            ),
            (false, _) => Ok(1),
        };
    }
    match first(&format!("{name}.conv33.weight")) {
        // With stride 1 the block would have an identity.
        Some(out) if out == input => Ok(2),
        Some(out) if out < 2 * input => cannot(format!(
            "`{name}.conv33.weight` goes from {input} to {out} channels; a block of stride 2 at least doubles them"
        )),
        _ => Ok(2),
    }
}

/// The sum of a block's branches, and the number of its first channels that are passed on from the input.
struct BranchSum {
    sum: ValueId,
    reserved: usize,
}

/// A block without squeeze-and-excitation: branches, sum, ReLU.
pub(in crate::models) fn block(
    net: &mut Layers<'_, '_>,
    name: &str,
    stride: usize,
    identity: bool,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let y = branches(net, name, stride, identity, x)?;
    net.relu(name, y.sum)
}

/// Branches padded to the block's width with zeros at the reserved channels, so that they can be summed.
fn branches(
    net: &mut Layers<'_, '_>,
    name: &str,
    stride: usize,
    identity: bool,
    x: ValueId,
) -> Result<BranchSum, ModelError> {
    let layer = |what: &str| format!("{name}.{what}");
    let input = net.channels(x);
    let tensor = layer("conv33.weight");
    let own: Dim = net.reader.shape(&tensor).and_then(|s| s.first().copied());
    let reserved = match own {
        Some(own) if identity && own > input => {
            return Err(net.reader.misshapen(&tensor, format!("[at most {input}, {input}, 3, 3]")));
        }
        Some(own) if identity => input - own,
        _ => 0,
    };
    let wide = branch(net, &layer("conv33"), &layer("bn33"), [3, stride], own, reserved, x)?;
    let narrow = branch(net, &layer("conv11"), &layer("bn11"), [1, stride], own, reserved, x)?;
    if !identity {
        return Ok(BranchSum { sum: net.add(layer("add"), wide, narrow)?, reserved });
    }
    let norm = padded(net.reader.norm(&layer("bn00"), input - reserved)?, reserved);
    let own = net.push(layer("bn00"), Op::BatchNorm(norm), &[x])?;
    net.graph.pad(own, reserved);
    let mut sum = net.add(layer(if reserved > 0 { "add2" } else { "add1" }), wide, narrow)?;
    if reserved > 0 {
        sum = net.add(layer("add1"), sum, own)?;
        let mut carried = Conv2d::pointwise_function(input, Activation::Identity);
        carried.blocks = vec![Block { out: 0..reserved, input: 0..reserved, weight: BlockWeight::Dirac }];
        let carried = net.push(layer("reserved"), Op::Conv2d(carried), &[x])?;
        return Ok(BranchSum { sum: net.add(layer("add"), sum, carried)?, reserved });
    }
    Ok(BranchSum { sum: net.add(layer("add"), sum, own)?, reserved })
}

/// A convolution and its batch norm, preceded by `reserved` channels that stay zero.
fn branch(
    net: &mut Layers<'_, '_>,
    conv: &str,
    norm: &str,
    [side, stride]: [usize; 2],
    own: Dim,
    reserved: usize,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let weight = net.reader.conv(conv, own, Some(net.channels(x)), [side; 2])?;
    let own = weight.shape()[0];
    let mut c = Conv2d::dense(weight, 1, [stride; 2], [side / 2; 2]);
    c.out_channels = reserved + own;
    c.blocks[0].out = reserved..reserved + own;
    c.bias = vec![0.0; reserved + own];
    c.activation = vec![(0..reserved + own, Activation::Identity)];
    let y = net.push(conv, Op::Conv2d(c), &[x])?;
    let bn = padded(net.reader.norm(norm, own)?, reserved);
    let y = net.push(norm, Op::BatchNorm(bn), &[y])?;
    net.graph.pad(y, reserved);
    Ok(y)
}

/// A batch norm preceded by `reserved` channels that it sets to zero.
fn padded(norm: BatchNorm, reserved: usize) -> BatchNorm {
    let behind = |value: f64, of: Vec<f64>| std::iter::repeat_n(value, reserved).chain(of).collect();
    BatchNorm {
        weight: behind(0.0, norm.weight),
        bias: behind(0.0, norm.bias),
        mean: behind(0.0, norm.mean),
        variance: behind(1.0, norm.variance),
        epsilon: norm.epsilon,
    }
}

/// Squeeze-and-excitation before the ReLU, computed from all channels and applied to channels that are not reserved.
fn excitation(net: &mut Layers<'_, '_>, name: &str, y: &BranchSum) -> Result<ValueId, ModelError> {
    let layers = ["squeeze", "down", "relu", "up", "sigmoid", "gate"].map(|what| format!("{name}.se.{what}"));
    net.excite(layers, y.reserved, y.sum)
}
