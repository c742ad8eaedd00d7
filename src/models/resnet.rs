//! The ResNet family as a graph, whatever its tensors are called.
//!
//! A naming scheme is an implementation of [`Names`]; what no tensor shows (where a bottleneck strides, whether the first
//! stage does) is a [`Layout`]. Everything else, widths and depths and groups, is read off the shapes.

use super::ModelError;
use super::reader::Reader;
use super::scheme::Built;
use crate::graph::{Activation, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use std::collections::BTreeMap;

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 (grouped in ResNeXt), 1x1.
    Bottleneck,
}

/// What the tensors do not show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    /// A bottleneck strides on its first 1x1, not on its 3x3.
    pub(super) stride_in_first: bool,
    /// Stride of the first stage; later stages have 2.
    pub(super) first_stage_stride: usize,
    /// The 3x3 of a bottleneck may be grouped.
    pub(super) grouped: bool,
    /// A 3x3 stem is that of a CIFAR network: stride 1, no pooling.
    pub(super) cifar_stem: bool,
}

/// Names of layers, which are also names of nodes.
pub(super) trait Names {
    /// Convolution, batch norm, ReLU and max-pool.
    fn stem(&self) -> [String; 4];
    /// The block at a position, both counted from 0.
    fn block(&self, stage: usize, index: usize) -> String;
    /// The block that a tensor belongs to.
    fn block_of(&self, tensor: &str) -> Option<(usize, usize)>;
    /// Convolution, batch norm and ReLU number `i`, from 0.
    fn unit(&self, block: &str, i: usize) -> [String; 3];
    /// Convolution and batch norm.
    fn shortcut(&self, block: &str) -> [String; 2];
    /// Average pool and classifier.
    fn head(&self) -> [String; 2];
}

/// A network built, with what config files may speak about.
pub(super) struct ResNet {
    pub(super) graph: Graph,
    pub(super) kind: Kind,
    /// Names of the residual blocks' outputs.
    pub(super) blocks: Vec<String>,
    pub(super) in_channels: usize,
    pub(super) stem_channels: usize,
    pub(super) depths: Vec<usize>,
    /// Output channels of each stage.
    pub(super) widths: Vec<usize>,
    pub(super) groups: usize,
    pub(super) classes: usize,
    pub(super) cifar: bool,
}

impl From<ResNet> for Built {
    fn from(net: ResNet) -> Built {
        // `ResNeXt, Bottleneck [3, 4, 6, 3], 32 groups`
        let kind = match net.kind {
            Kind::Basic => "BasicBlock",
            Kind::Bottleneck => "Bottleneck",
        };
        let name = match (net.cifar, net.groups) {
            (true, _) => "CIFAR ResNet",
            (false, 1) => "ResNet",
            (false, _) => "ResNeXt",
        };
        let groups = if net.groups > 1 { format!(", {} groups", net.groups) } else { String::new() };
        let family = format!("{name}, {kind} {:?}{groups}", net.depths);
        Built { graph: net.graph, family, blocks: net.blocks, classes: net.classes }
    }
}

/// Builds the network; [`Reader::finish`] then tells whether a tensor is left over.
pub(super) fn build(
    reader: &mut Reader<'_>,
    names: &impl Names,
    layout: Layout,
    size: [usize; 2],
) -> Result<ResNet, ModelError> {
    let [conv, norm, relu, pool] = names.stem();
    let cifar = layout.cifar_stem && matches!(reader.shape(&format!("{conv}.weight")), Some([_, _, 3, 3]));
    let depths = depths(reader, names);

    let side = if cifar { 3 } else { 7 };
    let weight = reader.conv(&conv, None, None, [side, side])?;
    let [stem_channels, in_channels, ..] = weight.shape();
    let graph = Graph::new(Shape { channels: in_channels, height: size[0], width: size[1] });
    let input = graph.output();
    let mut b = Builder { reader, names, layout, graph, groups: None };
    let stride = if cifar { 1 } else { 2 };
    let mut x = b.conv(&conv, weight, 1, stride, side / 2, input)?;
    x = b.norm(&norm, x)?;
    x = b.graph.push(relu, Op::Activation(Activation::Relu), &[x])?;
    if !cifar {
        let op = MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        x = b.graph.push(pool, Op::MaxPool(op), &[x])?;
    }

    let (mut blocks, mut widths) = (vec![], vec![]);
    for (stage, &depth) in depths.iter().enumerate() {
        for index in 0..depth {
            let stride = match (stage, index) {
                (0, 0) => layout.first_stage_stride,
                (_, 0) => 2,
                _ => 1,
            };
            let name = names.block(stage, index);
            x = b.block(&name, stride, index == 0, x)?;
            blocks.push(name);
        }
        widths.push(b.graph.shape(x).channels);
    }

    let [average, classifier] = names.head();
    let channels = b.graph.shape(x).channels;
    x = b.graph.push(average, Op::GlobalAverage, &[x])?;
    let weight = b.reader.tensor(&format!("{classifier}.weight"), &[None, Some(channels)])?;
    let classes = weight.shape()[0];
    let bias = b.reader.tensor(&format!("{classifier}.bias"), &[Some(classes)])?.to_f64();
    let weight = Weight::new(weight.reshaped(vec![classes, channels, 1, 1]));
    let conv = Conv2d { bias, ..Conv2d::dense(weight, 1, [1, 1], [0, 0]) };
    b.graph.push(classifier, Op::Conv2d(conv), &[x])?;

    let groups = b.groups.unwrap_or(1);
    Ok(ResNet {
        graph: b.graph,
        kind: layout.kind,
        blocks,
        in_channels,
        stem_channels,
        depths,
        widths,
        groups,
        classes,
        cifar,
    })
}

/// Blocks per stage as the names count them: at least one stage, and one block in each. A gap shows when it is read.
fn depths(reader: &Reader<'_>, names: &impl Names) -> Vec<usize> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for (stage, index) in reader.names().filter_map(|name| names.block_of(name)) {
        let end = last.entry(stage).or_default();
        *end = (*end).max(index);
    }
    let mut depths = vec![];
    for (stage, index) in last {
        if stage > depths.len() {
            depths.push(1);
            break;
        }
        depths.push(index.saturating_add(1));
    }
    if depths.is_empty() { vec![1] } else { depths }
}

struct Builder<'r, 'c, N> {
    reader: &'r mut Reader<'c>,
    names: &'r N,
    layout: Layout,
    graph: Graph,
    /// Groups of the first bottleneck's 3x3: all have the same.
    groups: Option<usize>,
}

impl<N: Names> Builder<'_, '_, N> {
    fn conv(
        &mut self,
        name: &str,
        weight: Weight,
        groups: usize,
        stride: usize,
        padding: usize,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let conv = Conv2d::dense(weight, groups, [stride; 2], [padding; 2]);
        Ok(self.graph.push(name, Op::Conv2d(conv), &[x])?)
    }

    fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let norm = self.reader.norm(name, self.graph.shape(x).channels)?;
        Ok(self.graph.push(name, Op::BatchNorm(norm), &[x])?)
    }

    /// One residual block; only the `first` of a stage may have a projection.
    fn block(&mut self, name: &str, stride: usize, first: bool, x: ValueId) -> Result<ValueId, ModelError> {
        let input = self.graph.shape(x).channels;
        let [shortcut_conv, shortcut_norm] = self.names.shortcut(name);
        let projection = format!("{shortcut_conv}.weight");
        let projected = first && (stride != 1 || self.reader.shape(&projection).is_some());

        let (sides, strided): (&[usize], usize) = match self.layout.kind {
            Kind::Basic => (&[3, 3], 0),
            Kind::Bottleneck => (&[1, 3, 1], if self.layout.stride_in_first { 0 } else { 1 }),
        };
        let mut y = x;
        for (i, &side) in sides.iter().enumerate() {
            let [conv, norm, relu] = self.names.unit(name, i);
            let last = i + 1 == sides.len();
            let channels = self.graph.shape(y).channels;
            let out = (last && !projected).then_some(input);
            let grouped = self.layout.grouped && self.layout.kind == Kind::Bottleneck && i == 1;
            let groups = if grouped { self.groups(&conv, channels)? } else { 1 };
            let weight = self.reader.conv(&conv, out, Some(channels / groups), [side; 2])?;
            if !weight.shape()[0].is_multiple_of(groups) {
                let expected = format!("[a multiple of {groups} groups, {}, 3, 3]", channels / groups);
                return Err(self.reader.misshapen(&format!("{conv}.weight"), expected));
            }
            y = self.conv(&conv, weight, groups, if i == strided { stride } else { 1 }, side / 2, y)?;
            y = self.norm(&norm, y)?;
            if !last {
                y = self.graph.push(relu, Op::Activation(Activation::Relu), &[y])?;
            }
        }

        let mut shortcut = x;
        if projected {
            let out = self.graph.shape(y).channels;
            let weight = self.reader.conv(&shortcut_conv, Some(out), Some(input), [1, 1])?;
            if stride == 1 && out == input {
                let why = "a block of stride 1 that keeps its channels has no projection";
                return Err(self.reader.unexpected(&projection, why));
            }
            shortcut = self.conv(&shortcut_conv, weight, 1, stride, 0, x)?;
            shortcut = self.norm(&shortcut_norm, shortcut)?;
        }
        let sum = self.graph.push(format!("{name}.add"), Op::Add(Activation::Identity), &[y, shortcut])?;
        Ok(self.graph.push(name, Op::Activation(Activation::Relu), &[sum])?)
    }

    /// Groups of a bottleneck's 3x3 over `channels` inputs, from its weight `[out, channels / groups, 3, 3]`.
    fn groups(&mut self, conv: &str, channels: usize) -> Result<usize, ModelError> {
        let tensor = format!("{conv}.weight");
        let per_group = match self.reader.shape(&tensor) {
            Some([_, n, _, _]) if *n > 0 => *n,
            // Missing or misshapen: reading it says so.
            _ => return Ok(1),
        };
        let groups = self.groups.unwrap_or(channels / per_group);
        if groups.checked_mul(per_group) != Some(channels) {
            let expected = match self.groups {
                None => format!("[any, a divisor of {channels}, 3, 3]"),
                Some(1) => format!("[any, {channels}, 3, 3]"),
                Some(n) => format!("[any, {channels} inputs / {n} groups, 3, 3]"),
            };
            return Err(self.reader.misshapen(&tensor, expected));
        }
        self.groups = Some(groups);
        Ok(groups)
    }
}
