//! Builds the ResNet family, independent of tensor names.
//!
//! A naming scheme implements [`ResNetNames`]. A [`ResNetLayout`] describes how networks differ except in widths, depths and groups, which
//! follow from the tensors.

use crate::graph::{Graph, Op, ValueId};
use crate::models::architecture::Built;
use crate::models::assume::Rectifier;
use crate::models::build::layers::{self, Layers, Window};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps::{self, Step};
use crate::models::{Key, ModelError};
use std::fmt;

/// The kind of a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 (grouped in ResNeXt), 1x1.
    Bottleneck,
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockKind::Basic => "BasicBlock",
            BlockKind::Bottleneck => "Bottleneck",
        })
    }
}

/// How the network begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Stem {
    /// One convolution, its window as wide as its weight.
    Plain,
    /// Three 3x3 convolutions: ResNet-C, -D, -S, -T.
    Deep,
    /// A 3x3 convolution, by convention of stride 1 and without a pool after it: CIFAR networks.
    Cifar,
}

/// The properties that a naming scheme determines, from names or from a config file, before the network is built.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct ResNetLayout {
    pub(in crate::models) stem: Stem,
    /// Whether a strided 3x3 convolution replaces the max-pool.
    pub(in crate::models) conv_pool: bool,
    /// Stride of the first stage by convention; later stages have 2.
    pub(in crate::models) first_stage_stride: usize,
    /// Whether the 3x3 of a bottleneck may be grouped.
    pub(in crate::models) grouped: bool,
    /// Whether a shortcut of stride 2 is an average pool and a convolution of stride 1.
    pub(in crate::models) avg_down: bool,
    /// Whether each block ends with squeeze-and-excitation.
    pub(in crate::models) squeeze_excite: bool,
}

/// The properties that no tensor shows.
struct Steps {
    stem_stride: usize,
    stem_pool: bool,
    /// By stage.
    blocks: Vec<Vec<Step>>,
    /// Whether a bottleneck strides on its first 1x1 instead of its 3x3.
    stride_in_first: bool,
    /// Whether strides are stated, in which case any block may have a projection.
    stated: bool,
}

/// Names of layers, which are also names of nodes.
pub(in crate::models) trait ResNetNames {
    /// Convolution, batch norm, ReLU and max-pool.
    fn stem(&self) -> [String; 4];
    /// The block at a position, both counted from 0.
    fn block(&self, stage: usize, index: usize) -> String;
    /// The block that a tensor belongs to.
    fn block_of(&self, tensor: &str) -> Option<(usize, usize)>;
    /// Convolution, batch norm and ReLU number `i`, from 0.
    fn unit(&self, block: &str, i: usize) -> [String; 3];
    /// Modules that may hold the slopes of a PReLU after unit `i` of a block.
    fn activations(&self, block: &str, i: usize) -> Vec<String>;
    /// Average pool (if there is one), convolution and batch norm.
    fn shortcut(&self, block: &str) -> [String; 3];
    /// Average pool and classifier.
    fn head(&self) -> [String; 2];
}

/// The built network, with the properties that config files may state.
pub(in crate::models) struct ResNet {
    pub(in crate::models) graph: Graph,
    pub(in crate::models) layout: ResNetLayout,
    /// Names of the residual blocks' outputs.
    pub(in crate::models) blocks: Vec<String>,
    pub(in crate::models) in_channels: usize,
    pub(in crate::models) stem_channels: usize,
    pub(in crate::models) depths: Vec<usize>,
    /// Output channels of each stage.
    pub(in crate::models) widths: Vec<usize>,
    pub(in crate::models) groups: usize,
    /// `None` where the output is the pooled features.
    pub(in crate::models) classes: Option<usize>,
    /// The kind of all blocks, or `None` if they differ.
    pub(in crate::models) kind: Option<BlockKind>,
    kinds: Vec<BlockKind>,
    stem_pool: bool,
}

impl From<ResNet> for Built {
    fn from(net: ResNet) -> Built {
        // `SE-ResNeXt, Bottleneck [3, 4, 6, 3], 32 groups, deep stem, average-pool shortcuts`
        let ResNetLayout { stem, conv_pool, avg_down, squeeze_excite, .. } = net.layout;
        let small = stem == Stem::Cifar && !net.stem_pool;
        let kind = match net.kind {
            Some(kind) => kind.to_string(),
            // `BasicBlock or Bottleneck`, in the order of the network.
            None => {
                let mut kinds: Vec<String> = net.kinds.iter().map(BlockKind::to_string).collect();
                kinds.dedup();
                kinds.truncate(2);
                kinds.join(" or ")
            }
        };
        let name = match (small, net.groups) {
            (true, _) => "CIFAR ResNet",
            (false, 1) => "ResNet",
            (false, _) => "ResNeXt",
        };
        let mut family =
            format!("{}{name}, {kind} {:?}", if squeeze_excite { "SE-" } else { "" }, net.depths);
        if net.groups > 1 {
            family += &format!(", {} groups", net.groups);
        }
        let parts = [
            (stem == Stem::Deep, ", deep stem"),
            (conv_pool, ", strided convolution for a max-pool"),
            (avg_down, ", average-pool shortcuts"),
        ];
        family.extend(parts.iter().filter(|(has, _)| *has).map(|(_, what)| *what));
        Built { graph: net.graph, family, blocks: net.blocks, classes: net.classes }
    }
}

/// Builds the network. [`TensorReader::finish`] then checks for unread tensors.
pub(in crate::models) fn build(
    reader: &mut TensorReader<'_>,
    names: &impl ResNetNames,
    layout: ResNetLayout,
    size: [usize; 2],
) -> Result<ResNet, ModelError> {
    let depths = layers::stage_depths(reader.names(), |tensor| names.block_of(tensor));
    let places: Vec<(usize, usize)> =
        depths.iter().enumerate().flat_map(|(stage, &depth)| (0..depth).map(move |i| (stage, i))).collect();
    let kinds: Vec<BlockKind> =
        places.iter().map(|&(stage, index)| kind(reader, names, &names.block(stage, index))).collect();
    let [conv, ..] = names.stem();
    let (first, side) = match layout.stem {
        Stem::Plain => {
            // A stem with one tap or an even window belongs to another family.
            let side = match reader.shape(&format!("{conv}.weight")) {
                Some([_, _, h, w]) if h == w && h % 2 == 1 && *h > 3 => *h,
                _ => 7,
            };
            (conv, side)
        }
        Stem::Deep => (format!("{conv}.0"), 3),
        Stem::Cifar => (conv, 3),
    };
    let steps = steps(reader, &layout, &depths, &kinds)?;
    let layers = Layers::new(reader, &first, side, size)?;
    let mut b = ResNetBuilder { layers, names, layout, steps, groups: None };
    let in_channels = b.layers.channels(ValueId::INPUT);
    let mut x = b.stem(side)?;
    let stem_channels = b.layers.channels(x);

    let (mut blocks, mut widths) = (vec![], vec![]);
    for (number, &(stage, index)) in places.iter().enumerate() {
        let name = names.block(stage, index);
        x = b.block(&name, kinds[number], b.steps.blocks[stage][index], index == 0, x)?;
        blocks.push(name);
        if index + 1 == depths[stage] {
            widths.push(b.layers.channels(x));
        }
    }
    let [average, classifier] = names.head();
    let classes = b.layers.head(&average, &classifier, x)?;
    let groups = b.groups.unwrap_or(1);
    let (stem_pool, graph) = (b.steps.stem_pool, b.layers.graph);
    let kind = kinds.first().copied().filter(|first| kinds.iter().all(|k| k == first));
    Ok(ResNet {
        graph,
        layout,
        blocks,
        in_channels,
        stem_channels,
        depths,
        widths,
        groups,
        classes,
        kind,
        kinds,
        stem_pool,
    })
}

/// The kind of a block, from the window of its first convolution and the presence of a third one.
fn kind(reader: &TensorReader<'_>, names: &impl ResNetNames, block: &str) -> BlockKind {
    let shape = |i: usize| reader.shape(&format!("{}.weight", names.unit(block, i)[0]));
    // If a weight is missing or has a wrong shape, reading it reports the error.
    match (shape(0), shape(2)) {
        (Some([_, _, 1, 1]), _) | (_, Some(_)) => BlockKind::Bottleneck,
        (_, None) => BlockKind::Basic,
    }
}

/// Determines the properties that no tensor shows.
fn steps(
    reader: &mut TensorReader<'_>,
    layout: &ResNetLayout,
    depths: &[usize],
    kinds: &[BlockKind],
) -> Result<Steps, ModelError> {
    let c = &mut reader.conventions;
    let cifar = layout.stem == Stem::Cifar;
    let stem_stride = c.count(Key::StemStride, if cifar { 1 } else { 2 });
    if layout.conv_pool {
        c.known(Key::StemPool, false)?;
    }
    let stem_pool = c.flag(Key::StemPool, !cifar);
    let stated = [Key::BlockStrides, Key::StageStrides, Key::Dilation].iter().any(|key| c.is_stated(*key));
    let blocks = steps::steps(reader, depths, layout.first_stage_stride)?;
    let c = &mut reader.conventions;
    let bottleneck = kinds.contains(&BlockKind::Bottleneck);
    let stride_in_first = bottleneck && c.word(Key::StrideIn, "3x3") == "1x1";
    if layout.avg_down && blocks.iter().flatten().any(|step| step.dilation > 1) {
        return Err(ModelError::Unsupported {
            what: "a dilated ResNet with average-pool shortcuts".into(),
            why: "its shortcuts average at stride 1".into(),
        });
    }
    Ok(Steps { stem_stride, stem_pool, blocks, stride_in_first, stated })
}

/// Sides of the windows of a block's convolutions.
fn units(kind: BlockKind) -> &'static [usize] {
    match kind {
        BlockKind::Basic => &[3, 3],
        BlockKind::Bottleneck => &[1, 3, 1],
    }
}

struct ResNetBuilder<'r, 'c, N> {
    layers: Layers<'r, 'c>,
    names: &'r N,
    layout: ResNetLayout,
    steps: Steps,
    /// Groups of the first bottleneck's 3x3; all bottlenecks have the same.
    groups: Option<usize>,
}

impl<N: ResNetNames> ResNetBuilder<'_, '_, N> {
    /// Appends the stem; `side` is the side of its first window.
    fn stem(&mut self, side: usize) -> Result<ValueId, ModelError> {
        let [conv, norm, relu, pool] = self.names.stem();
        let l = &mut self.layers;
        let x = ValueId::INPUT;
        let stride = self.steps.stem_stride;
        let mut x = match self.layout.stem {
            Stem::Plain | Stem::Cifar => l.conv(&conv, Window::new(side, stride), None, x)?,
            Stem::Deep => {
                let unit = |from: usize| [0, 1, 2].map(|i| format!("{conv}.{}", from + i));
                l.deep_stem([unit(0), unit(3)], &format!("{conv}.6"), stride, x)?
            }
        };
        x = l.norm(&norm, x)?;
        let modules = [relu.clone(), "act1".into(), "prelu".into()];
        x = l.rectified(relu, &modules, Rectifier::Relu, x)?;
        if self.layout.conv_pool {
            let names = [0, 1, 2].map(|i| format!("{pool}.{i}"));
            l.conv_norm_act(names, Window::new(3, 2), Some(l.channels(x)), x)
        } else if self.steps.stem_pool {
            l.max_pool(&pool, x)
        } else {
            Ok(x)
        }
    }

    /// One residual block; only the `first` of a stage may have a projection, unless strides are stated.
    fn block(
        &mut self,
        name: &str,
        kind: BlockKind,
        step: Step,
        first: bool,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let (input, stride) = (self.layers.channels(x), step.stride);
        let [_, projection, _] = self.names.shortcut(name);
        let projection = format!("{projection}.weight");
        let shown = self.layers.reader.shape(&projection).is_some();
        let projected = stride != 1 || shown && (first || self.steps.stated);

        let mut y = self.main_path(name, kind, step, (!projected).then_some(input), x)?;
        if self.layout.squeeze_excite {
            let [mean, down, relu, up, sigmoid] =
                ["mean", "fc1", "act", "fc2", "gate"].map(|layer| format!("{name}.se.{layer}"));
            y = self.layers.excite([mean, down, relu, up, sigmoid, format!("{name}.se")], 0, y)?;
        }

        let out = self.layers.channels(y);
        if projected && stride == 1 && out == input && !self.steps.stated {
            let why = "a block of stride 1 that keeps its channels has no projection; where it strides, state the assumption `stage_strides`";
            return Err(self.layers.reader.unexpected(&projection, why));
        }
        let shortcut = if projected { self.projection(name, out, stride, x)? } else { x };
        let sum = self.layers.add(format!("{name}.add"), y, shortcut)?;
        let modules = self.names.activations(name, units(kind).len() - 1);
        self.layers.rectified(name, &modules, Rectifier::Relu, sum)
    }

    /// The convolutions of a block with their batch norms, ReLUs between them; `out` is the width the last must have.
    fn main_path(
        &mut self,
        name: &str,
        kind: BlockKind,
        step: Step,
        out: Option<usize>,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let sides = units(kind);
        let strided = match kind {
            BlockKind::Bottleneck if !self.steps.stride_in_first => 1,
            _ => 0,
        };
        let mut y = x;
        for (i, &side) in sides.iter().enumerate() {
            let [conv, norm, relu] = self.names.unit(name, i);
            let last = i + 1 == sides.len();
            let wide = kind == BlockKind::Bottleneck && i == 1;
            let groups = if wide { self.inner_groups(&conv, y)? } else { 1 };
            let stride = if i == strided { step.stride } else { 1 };
            let dilation = match (side, wide || i == 0) {
                (1, _) => 1,
                (_, true) => step.first_dilation,
                (_, false) => step.dilation,
            };
            let window = Window { groups, dilation, ..Window::new(side, stride) };
            y = self.layers.conv_norm([conv, norm], window, out.filter(|_| last), y)?;
            if !last {
                let modules = self.names.activations(name, i);
                y = self.layers.rectified(relu, &modules, Rectifier::Relu, y)?;
            }
        }
        Ok(y)
    }

    /// Groups of a bottleneck's 3x3 over `x`, which must be equal in all bottlenecks.
    fn inner_groups(&mut self, conv: &str, x: ValueId) -> Result<usize, ModelError> {
        if !self.layout.grouped {
            return Ok(1);
        }
        let inner = self.layers.channels(x);
        let groups = layers::groups(self.layers.reader, conv, inner, "3, 3", self.groups)?;
        Ok(*self.groups.insert(groups))
    }

    /// The 1x1 convolution of a shortcut, after a 2x2 average pool if the network has these and the block strides.
    fn projection(
        &mut self,
        block: &str,
        out: usize,
        stride: usize,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let [pool, conv, norm] = self.names.shortcut(block);
        if self.layout.avg_down && stride > 2 {
            let c = &self.layers.reader.conventions;
            let key = if c.is_stated(Key::BlockStrides) { Key::BlockStrides } else { Key::StageStrides };
            return Err(
                c.refuse(key, format!("the average-pool shortcut of `{block}` takes strides 1 and 2"))
            );
        }
        let avg_down = self.layout.avg_down && stride == 2;
        if avg_down {
            x = self.layers.push(pool, Op::AvgPool2x2, &[x])?;
        }
        let window = Window::new(1, if avg_down { 1 } else { stride });
        self.layers.conv_norm([conv, norm], window, Some(out), x)
    }
}
