//! Pre-activation ResNetV2 with batch norm, in timm's names: `stem.conv`, `stages.{s}.blocks.{i}.norm{n}/conv{n}`, `downsample.conv`,
//! `norm`, `head.fc`. A batch norm and a ReLU precede each convolution, and nothing follows a block's sum.

use super::resnet::BlockKind;
use crate::graph::{Graph, Op, ValueId};
use crate::models::architecture::Built;
use crate::models::build::layers::{self, Layers, Window};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps::{self, Step};
use crate::models::{Key, ModelError};

/// Whether a tensor belongs to a block's first norm.
pub(in crate::models) fn block_norm(tensor: &str) -> bool {
    block_of(tensor).is_some() && tensor.contains(".norm1.")
}

fn block_of(tensor: &str) -> Option<(usize, usize)> {
    let (stage, rest) = tensor.strip_prefix("stages.")?.split_once(".blocks.")?;
    let (index, _) = rest.split_once('.')?;
    Some((stage.parse().ok()?, index.parse().ok()?))
}

/// The built network, with the properties that config files may state.
pub(in crate::models) struct ResNetV2 {
    graph: Graph,
    pub(in crate::models) in_channels: usize,
    pub(in crate::models) depths: Vec<usize>,
    pub(in crate::models) kind: BlockKind,
    deep: bool,
    avg_down: bool,
    blocks: Vec<String>,
    classes: Option<usize>,
}

impl From<ResNetV2> for Built {
    fn from(net: ResNetV2) -> Built {
        let mut family = format!("ResNetV2, {} {:?}", net.kind, net.depths);
        family.extend(net.deep.then_some(", deep stem"));
        family.extend(net.avg_down.then_some(", average-pool shortcuts"));
        Built { graph: net.graph, family, blocks: net.blocks, classes: net.classes }
    }
}

/// Builds basic blocks or bottlenecks, with a plain or a `deep` stem. With `avg_down`, strided shortcuts average.
pub(in crate::models) fn build(
    reader: &mut TensorReader<'_>,
    deep: bool,
    avg_down: bool,
    size: [usize; 2],
) -> Result<ResNetV2, ModelError> {
    let basic = !reader.names().any(|n| block_of(n).is_some() && n.ends_with(".conv3.weight"));
    let depths = layers::stage_depths(reader.names(), block_of);
    let (first, side) = if deep { ("stem.conv1", 3) } else { ("stem.conv", 7) };
    let steps = steps::steps(reader, &depths, 1)?;
    if avg_down && steps.iter().flatten().any(|step| step.dilation > 1 || step.stride > 2) {
        return Err(ModelError::Unsupported {
            what: "a ResNetV2 with average-pool shortcuts of other strides than 1 and 2, or dilated".into(),
            why: "its shortcuts would average otherwise".into(),
        });
    }
    let in_first = !basic && reader.conventions.word(Key::StrideIn, "3x3") == "1x1";
    let stem_stride = reader.conventions.count(Key::StemStride, 2);
    let stem_pool = reader.conventions.flag(Key::StemPool, true);
    let layers = Layers::new(reader, first, side, size)?;
    let mut b = ResNetV2Builder { layers, basic, avg_down, in_first };
    let in_channels = b.layers.channels(ValueId::INPUT);
    let mut x = b.stem(deep, stem_stride, stem_pool)?;
    let mut blocks = vec![];
    for (stage, steps) in steps.iter().enumerate() {
        for (index, &step) in steps.iter().enumerate() {
            let name = format!("stages.{stage}.blocks.{index}");
            x = b.block(&name, step, index == 0, x)?;
            blocks.push(name);
        }
    }
    x = b.activated("norm", x)?;
    let classes = b.layers.head("head.global_pool", "head.fc", x)?;
    let kind = if basic { BlockKind::Basic } else { BlockKind::Bottleneck };
    Ok(ResNetV2 { graph: b.layers.graph, in_channels, depths, kind, deep, avg_down, blocks, classes })
}

struct ResNetV2Builder<'r, 'c> {
    layers: Layers<'r, 'c>,
    /// Whether a block has two 3x3 convolutions instead of 1x1, 3x3, 1x1.
    basic: bool,
    /// Whether a shortcut of stride 2 is an average pool and a convolution of stride 1.
    avg_down: bool,
    /// Whether a bottleneck strides on its first 1x1.
    in_first: bool,
}

impl ResNetV2Builder<'_, '_> {
    fn stem(&mut self, deep: bool, stride: usize, pool: bool) -> Result<ValueId, ModelError> {
        let l = &mut self.layers;
        let x = match deep {
            true => {
                let unit = |i: usize| {
                    [format!("stem.conv{i}"), format!("stem.norm{i}"), format!("stem.norm{i}.act")]
                };
                l.deep_stem([unit(1), unit(2)], "stem.conv3", stride, ValueId::INPUT)?
            }
            false => l.conv("stem.conv", Window::new(7, stride), None, ValueId::INPUT)?,
        };
        if pool { l.max_pool("stem.pool", x) } else { Ok(x) }
    }

    /// Batch norm and ReLU.
    fn activated(&mut self, norm: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let x = self.layers.norm(norm, x)?;
        self.layers.relu(format!("{norm}.act"), x)
    }

    /// One residual block; only the `first` of a stage may have a projection, which reads the activated output of the first norm.
    fn block(&mut self, name: &str, step: Step, first: bool, x: ValueId) -> Result<ValueId, ModelError> {
        let part = |what: &str| format!("{name}.{what}");
        let stride = step.stride;
        let projection = part("downsample.conv");
        let shown = self.layers.reader.shape(&format!("{projection}.weight")).is_some();
        let projected = stride != 1 || first && shown;
        let input = self.layers.channels(x);

        let (sides, strided): (&[usize], usize) = match (self.basic, self.in_first) {
            (true, _) => (&[3, 3], 0),
            (false, first) => (&[1, 3, 1], if first { 0 } else { 1 }),
        };
        let activated = self.activated(&part("norm1"), x)?;
        let mut y = activated;
        for (i, &side) in sides.iter().enumerate() {
            if i > 0 {
                y = self.activated(&part(&format!("norm{}", i + 1)), y)?;
            }
            let out = (i + 1 == sides.len() && !projected).then_some(input);
            let stride = if i == strided { stride } else { 1 };
            let dilation = match (side, i == 0 || !self.basic) {
                (1, _) => 1,
                (_, true) => step.first_dilation,
                (_, false) => step.dilation,
            };
            let window = Window { dilation, ..Window::new(side, stride) };
            y = self.layers.conv(&part(&format!("conv{}", i + 1)), window, out, y)?;
        }

        let mut shortcut = x;
        if projected {
            let out = self.layers.channels(y);
            let avg_down = self.avg_down && stride == 2;
            shortcut = activated;
            if avg_down {
                shortcut = self.layers.push(part("downsample.pool"), Op::AvgPool2x2, &[shortcut])?;
            }
            let window = Window::new(1, if avg_down { 1 } else { stride });
            shortcut = self.layers.conv(&projection, window, Some(out), shortcut)?;
        }
        self.layers.add(name, y, shortcut)
    }
}
