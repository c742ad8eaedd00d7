//! The ResNet family as a graph, whatever its tensors are called.
//!
//! A naming scheme is an implementation of [`Names`]; what differs between networks in more than widths is a [`Layout`].
//! Widths, depths and groups are read off the shapes.

use super::ModelError;
use super::layers::{self, Layers, Window};
use super::reader::Reader;
use super::scheme::Built;
use crate::graph::{Graph, Op, ValueId};
use std::fmt;

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 (grouped in ResNeXt), 1x1.
    Bottleneck,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Basic => "BasicBlock",
            Kind::Bottleneck => "Bottleneck",
        })
    }
}

/// How the network begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stem {
    /// A 7x7 convolution of stride 2 and a max-pool.
    Plain,
    /// Three 3x3 convolutions, the first of stride 2, and a max-pool: ResNet-C, -D, -S, -T.
    Deep,
    /// A 3x3 convolution of stride 1 and no pool: CIFAR networks.
    Cifar,
}

/// What a naming scheme finds out, from names or from a config file, before the network is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) stem: Stem,
    /// A strided 3x3 convolution in place of the max-pool.
    pub(super) conv_pool: bool,
    /// A bottleneck strides on its first 1x1, not on its 3x3.
    pub(super) stride_in_first: bool,
    /// Stride of the first stage; later stages have 2.
    pub(super) first_stage_stride: usize,
    /// The 3x3 of a bottleneck may be grouped.
    pub(super) grouped: bool,
    /// A shortcut of stride 2 is an average pool and a convolution of stride 1.
    pub(super) pooled: bool,
    /// Squeeze-and-excitation ends each block.
    pub(super) excited: bool,
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
    /// Average pool (where there is one), convolution and batch norm.
    fn shortcut(&self, block: &str) -> [String; 3];
    /// Average pool and classifier.
    fn head(&self) -> [String; 2];
}

/// A network built, with what config files may speak about.
pub(super) struct ResNet {
    pub(super) graph: Graph,
    pub(super) layout: Layout,
    /// Names of the residual blocks' outputs.
    pub(super) blocks: Vec<String>,
    pub(super) in_channels: usize,
    pub(super) stem_channels: usize,
    pub(super) depths: Vec<usize>,
    /// Output channels of each stage.
    pub(super) widths: Vec<usize>,
    pub(super) groups: usize,
    pub(super) classes: usize,
}

impl From<ResNet> for Built {
    fn from(net: ResNet) -> Built {
        // `SE-ResNeXt, Bottleneck [3, 4, 6, 3], 32 groups, deep stem, average-pool shortcuts`
        let Layout { kind, stem, conv_pool, pooled, excited, .. } = net.layout;
        let name = match (stem, net.groups) {
            (Stem::Cifar, _) => "CIFAR ResNet",
            (_, 1) => "ResNet",
            (_, _) => "ResNeXt",
        };
        let mut family = format!("{}{name}, {kind} {:?}", if excited { "SE-" } else { "" }, net.depths);
        if net.groups > 1 {
            family += &format!(", {} groups", net.groups);
        }
        let parts = [
            (stem == Stem::Deep, ", deep stem"),
            (conv_pool, ", strided convolution for a max-pool"),
            (pooled, ", average-pool shortcuts"),
        ];
        family.extend(parts.iter().filter(|(has, _)| *has).map(|(_, what)| *what));
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
    let depths = layers::stage_depths(reader.names(), |tensor| names.block_of(tensor));
    let [conv, ..] = names.stem();
    let (first, side) = match layout.stem {
        Stem::Plain => (conv, 7),
        Stem::Deep => (format!("{conv}.0"), 3),
        Stem::Cifar => (conv, 3),
    };
    let layers = Layers::new(reader, &first, side, size)?;
    let mut b = Builder { layers, names, layout, groups: None };
    let in_channels = b.layers.channels(ValueId::INPUT);
    let mut x = b.stem()?;
    let stem_channels = b.layers.channels(x);

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
        widths.push(b.layers.channels(x));
    }
    let [average, classifier] = names.head();
    x = b.layers.push(average, Op::GlobalAverage, &[x])?;
    x = b.layers.linear(&classifier, true, x)?;
    let classes = b.layers.channels(x);
    let groups = b.groups.unwrap_or(1);
    let graph = b.layers.graph;
    Ok(ResNet { graph, layout, blocks, in_channels, stem_channels, depths, widths, groups, classes })
}

struct Builder<'r, 'c, N> {
    layers: Layers<'r, 'c>,
    names: &'r N,
    layout: Layout,
    /// Groups of the first bottleneck's 3x3: all have the same.
    groups: Option<usize>,
}

impl<N: Names> Builder<'_, '_, N> {
    fn stem(&mut self) -> Result<ValueId, ModelError> {
        let [conv, norm, relu, pool] = self.names.stem();
        let l = &mut self.layers;
        let x = ValueId::INPUT;
        let mut x = match self.layout.stem {
            Stem::Plain => l.conv(&conv, Window::new(7, 2), None, x)?,
            Stem::Cifar => l.conv(&conv, Window::new(3, 1), None, x)?,
            Stem::Deep => {
                let unit = |from: usize| [0, 1, 2].map(|i| format!("{conv}.{}", from + i));
                l.deep_stem([unit(0), unit(3)], &format!("{conv}.6"), x)?
            }
        };
        x = l.norm(&norm, x)?;
        x = l.relu(relu, x)?;
        if self.layout.conv_pool {
            let [conv, norm, relu] = [0, 1, 2].map(|i| format!("{pool}.{i}"));
            x = l.conv(&conv, Window::new(3, 2), Some(l.channels(x)), x)?;
            x = l.norm(&norm, x)?;
            l.relu(relu, x)
        } else if self.layout.stem == Stem::Cifar {
            Ok(x)
        } else {
            l.max_pool(&pool, x)
        }
    }

    /// One residual block; only the `first` of a stage may have a projection.
    fn block(&mut self, name: &str, stride: usize, first: bool, x: ValueId) -> Result<ValueId, ModelError> {
        let input = self.layers.channels(x);
        let [_, projection, _] = self.names.shortcut(name);
        let projection = format!("{projection}.weight");
        let projected = first && (stride != 1 || self.layers.reader.shape(&projection).is_some());

        let (sides, strided): (&[usize], usize) = match self.layout.kind {
            Kind::Basic => (&[3, 3], 0),
            Kind::Bottleneck => (&[1, 3, 1], if self.layout.stride_in_first { 0 } else { 1 }),
        };
        let mut y = x;
        for (i, &side) in sides.iter().enumerate() {
            let [conv, norm, relu] = self.names.unit(name, i);
            let last = i + 1 == sides.len();
            let out = (last && !projected).then_some(input);
            let grouped = self.layout.grouped && self.layout.kind == Kind::Bottleneck && i == 1;
            let groups = match grouped {
                false => 1,
                true => {
                    let inner = self.layers.channels(y);
                    let groups = layers::groups(self.layers.reader, &conv, inner, "3, 3", self.groups)?;
                    *self.groups.insert(groups)
                }
            };
            let stride = if i == strided { stride } else { 1 };
            y = self.layers.conv(&conv, Window { side, stride, groups }, out, y)?;
            y = self.layers.norm(&norm, y)?;
            if !last {
                y = self.layers.relu(relu, y)?;
            }
        }
        if self.layout.excited {
            let [mean, down, relu, up, sigmoid] =
                ["mean", "fc1", "act", "fc2", "gate"].map(|layer| format!("{name}.se.{layer}"));
            y = self.layers.excite([mean, down, relu, up, sigmoid, format!("{name}.se")], 0, y)?;
        }

        let out = self.layers.channels(y);
        if projected && stride == 1 && out == input {
            let why = "a block of stride 1 that keeps its channels has no projection";
            return Err(self.layers.reader.unexpected(&projection, why));
        }
        let shortcut = if projected { self.projection(name, out, stride, x)? } else { x };
        let sum = self.layers.add(format!("{name}.add"), y, shortcut)?;
        self.layers.relu(name, sum)
    }

    /// The 1x1 convolution of a shortcut, behind a 2x2 average pool where the network has one and the block strides.
    fn projection(
        &mut self,
        block: &str,
        out: usize,
        stride: usize,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let [pool, conv, norm] = self.names.shortcut(block);
        let pooled = self.layout.pooled && stride == 2;
        if pooled {
            x = self.layers.push(pool, Op::MeanPool2, &[x])?;
        }
        x = self.layers.conv(&conv, Window::new(1, if pooled { 1 } else { stride }), Some(out), x)?;
        self.layers.norm(&norm, x)
    }
}
