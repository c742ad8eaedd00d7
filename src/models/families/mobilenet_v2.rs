//! Builds MobileNetV2 (arXiv 1801.04381), independent of tensor names.
//!
//! A naming scheme provides a [`MobileNetV2Layout`]: names, and properties that no tensor shows (strides, padding). Widths follow from the
//! shapes. Strides do not: if a width multiplier makes two stages equally wide, a block of stride 2 looks like one of stride 1.

use crate::graph::{Graph, ValueId};
use crate::models::architecture::Built;
use crate::models::assume::Rectifier;
use crate::models::build::layers::{Layers, Window};
use crate::models::build::reader::{Dim, TensorReader};
use crate::models::build::steps;
use crate::models::{Key, ModelError};

/// Blocks per stage, as published.
pub(in crate::models) const DEPTHS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// Stride of the first block of each stage; the others have 1.
pub(in crate::models) const STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];

/// Names of a convolution, its batch norm and the activation after it.
pub(in crate::models) type Unit = [String; 3];

/// The network's names, and its properties from the config.
pub(in crate::models) struct MobileNetV2Layout {
    pub(in crate::models) stem: Unit,
    pub(in crate::models) blocks: Vec<Block>,
    /// The last 1x1 convolution.
    pub(in crate::models) last: Unit,
    /// Average pool and classifier.
    pub(in crate::models) head: [String; 2],
    pub(in crate::models) activation: Rectifier,
    /// Whether padding is TensorFlow's "SAME".
    pub(in crate::models) same: bool,
}

/// An inverted residual: 1x1 expansion, depthwise 3x3, linear 1x1 projection.
pub(in crate::models) struct Block {
    /// Also the name of its sum, if it has one.
    pub(in crate::models) name: String,
    pub(in crate::models) expand: Option<Unit>,
    pub(in crate::models) depthwise: Unit,
    /// Convolution and batch norm.
    pub(in crate::models) project: [String; 2],
    pub(in crate::models) stride: usize,
    pub(in crate::models) dilation: usize,
    /// Whether its input is added, if stride and widths allow it.
    pub(in crate::models) residual: bool,
}

/// The built network, with the widths that config files may state.
pub(in crate::models) struct Net {
    pub(in crate::models) graph: Graph,
    pub(in crate::models) in_channels: usize,
    pub(in crate::models) stem: usize,
    /// Per block: channels of its depthwise convolution, and of its output.
    pub(in crate::models) widths: Vec<[usize; 2]>,
    pub(in crate::models) last: usize,
    /// Names of the blocks that have a residual connection.
    pub(in crate::models) residual: Vec<String>,
    pub(in crate::models) classes: Option<usize>,
}

impl Net {
    pub(in crate::models) fn built(self, depths: &[usize]) -> Built {
        let family = format!("MobileNetV2, blocks {depths:?}");
        Built { graph: self.graph, family, blocks: self.residual, classes: self.classes }
    }
}

/// Stride of every block, for stages of the given depths, as stated or as published.
pub(in crate::models) fn strides(
    reader: &mut TensorReader<'_>,
    depths: &[usize; 7],
) -> Result<Vec<usize>, ModelError> {
    steps::not_anti_aliased(reader)?;
    let c = &mut reader.conventions;
    let by_block = c.is_stated(Key::BlockStrides);
    let of_stages =
        if by_block { STRIDES.to_vec() } else { c.counts(Key::StageStrides, &STRIDES, "stages")? };
    let strides = spread(depths, &of_stages);
    if by_block { c.counts(Key::BlockStrides, &strides, "blocks") } else { Ok(strides) }
}

/// Stride of every block from the strides of stages: the first block of a stage has the stage's stride, the others 1.
pub(in crate::models) fn spread(depths: &[usize; 7], of_stages: &[usize]) -> Vec<usize> {
    let stage = |(depth, first): (&usize, &usize)| {
        let first = *first;
        (0..*depth).map(move |i| if i == 0 { first } else { 1 })
    };
    depths.iter().zip(of_stages).flat_map(stage).collect()
}

/// Builds the network. [`TensorReader::finish`] then checks for unread tensors.
pub(in crate::models) fn build(
    reader: &mut TensorReader<'_>,
    layout: &MobileNetV2Layout,
    size: [usize; 2],
) -> Result<Net, ModelError> {
    let layers = Layers::new(reader, &layout.stem[0], 3, size)?;
    let mut b = MobileNetV2Builder { layers, layout };
    let in_channels = b.layers.channels(ValueId::INPUT);
    let stride = b.layers.reader.conventions.count(Key::StemStride, 2);
    let mut x = b.unit(&layout.stem, Window::new(3, stride), None, ValueId::INPUT)?;
    let stem = b.layers.channels(x);

    let (mut widths, mut residual) = (vec![], vec![]);
    for block in &layout.blocks {
        let (expanded, y, added) = b.block(block, x)?;
        widths.push([expanded, b.layers.channels(y)]);
        residual.extend(added.then(|| block.name.clone()));
        x = y;
    }
    x = b.unit(&layout.last, Window::new(1, 1), None, x)?;
    let last = b.layers.channels(x);
    let classes = b.layers.head(&layout.head[0], &layout.head[1], x)?;
    Ok(Net { graph: b.layers.graph, in_channels, stem, widths, last, residual, classes })
}

struct MobileNetV2Builder<'r, 'c> {
    layers: Layers<'r, 'c>,
    layout: &'r MobileNetV2Layout,
}

impl MobileNetV2Builder<'_, '_> {
    /// A convolution and its batch norm, with the given names.
    fn conv(
        &mut self,
        [conv, norm]: [&String; 2],
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let window = Window { same: self.layout.same, ..window };
        let y = self.layers.conv(conv, window, out, x)?;
        self.layers.norm_alone(norm, y)
    }

    fn unit(
        &mut self,
        [conv, norm, activation]: &Unit,
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let y = self.conv([conv, norm], window, out, x)?;
        self.layers.rectified(activation, std::slice::from_ref(activation), self.layout.activation, y)
    }

    /// Returns the channels of the depthwise convolution, the block's value, and whether it is a sum.
    fn block(&mut self, block: &Block, x: ValueId) -> Result<(usize, ValueId, bool), ModelError> {
        let mut y = x;
        if let Some(expand) = &block.expand {
            y = self.unit(expand, Window::new(1, 1), None, y)?;
        }
        let channels = self.layers.channels(y);
        let depthwise = Window { groups: channels, dilation: block.dilation, ..Window::new(3, block.stride) };
        y = self.unit(&block.depthwise, depthwise, Some(channels), y)?;
        let [conv, norm] = &block.project;
        y = self.conv([conv, norm], Window::new(1, 1), None, y)?;
        let added = block.residual && block.stride == 1 && self.layers.channels(y) == self.layers.channels(x);
        if added {
            y = self.layers.add(block.name.clone(), x, y)?;
        }
        Ok((channels, y, added))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_those_of_the_paper() {
        assert_eq!(spread(&DEPTHS, &STRIDES), [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]);
    }
}
