//! Builds RepVGG (arXiv 2101.03697). The tensors decide for each block whether it has parallel 3x3, 1x1 and batch-norm branches, as
//! trained, or one 3x3, as deployed.

use crate::graph::{Conv2d, Graph, Op, Shape, ValueId};
use crate::models::architecture::Built;
use crate::models::build::layers::{self, Layers, Window};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps;
use crate::models::{Key, ModelError};

/// Stages after the stem. The stem and the first block of each have stride 2, the others 1.
const STAGES: usize = 4;

/// Names of layers, which are also names of nodes.
pub(in crate::models) struct RepVggNames {
    pub(in crate::models) stem: &'static str,
    /// Name of a stage, without its number.
    pub(in crate::models) stage: &'static str,
    /// Number of the first stage.
    pub(in crate::models) first: usize,
    /// Within a block: 3x3, 1x1, batch norm, and the one convolution of the deployed form.
    pub(in crate::models) dense: &'static str,
    pub(in crate::models) pointwise: &'static str,
    pub(in crate::models) identity: &'static str,
    pub(in crate::models) deployed: &'static str,
    /// The two layers of squeeze-and-excitation.
    pub(in crate::models) squeeze: [&'static str; 2],
    /// Average pool and classifier.
    pub(in crate::models) head: [&'static str; 2],
}

/// Returns the network and its number of input channels. [`TensorReader::finish`] then checks for unread tensors.
pub(in crate::models) fn build(
    reader: &mut TensorReader<'_>,
    names: &RepVggNames,
    size: [usize; 2],
) -> Result<(Built, usize), ModelError> {
    let stage = |s: usize| format!("{}{}", names.stage, names.first + s);
    let depths: [usize; STAGES] =
        std::array::from_fn(|s| layers::count(reader, |i| format!("{}.{i}", stage(s))));
    let deployed = format!("{}.{}.weight", names.stem, names.deployed);
    let dense = format!("{}.{}.conv.weight", names.stem, names.dense);
    let in_channels = match reader.shape(&deployed).or(reader.shape(&dense)) {
        Some([_, channels, ..]) if *channels > 0 => *channels,
        // Missing or misshapen: reading it says so.
        _ => 3,
    };
    let strides = steps::strides(reader, &depths, 2)?;
    let stem_stride = reader.conventions.count(Key::StemStride, 2);
    let graph = Graph::new(Shape { channels: in_channels, height: size[0], width: size[1] });
    let mut b = RepVggBuilder { layers: Layers { reader, graph }, names, blocks: vec![], most_groups: 1 };
    let mut x = b.block(names.stem.into(), stem_stride, ValueId::INPUT)?;
    for (s, strides) in strides.iter().enumerate() {
        for (i, &stride) in strides.iter().enumerate() {
            x = b.block(format!("{}.{i}", stage(s)), stride, x)?;
        }
    }
    let classes = b.layers.head(names.head[0], names.head[1], x)?;
    let groups = if b.most_groups > 1 { format!(", {} groups", b.most_groups) } else { String::new() };
    let deployed = if b.blocks.is_empty() { ", deployed" } else { "" };
    let family = format!("RepVGG, blocks {depths:?}{groups}{deployed}");
    Ok((Built { graph: b.layers.graph, family, blocks: b.blocks, classes }, in_channels))
}

struct RepVggBuilder<'r, 'c> {
    layers: Layers<'r, 'c>,
    names: &'r RepVggNames,
    /// Blocks that have branches.
    blocks: Vec<String>,
    /// Maximum groups of any convolution.
    most_groups: usize,
}

impl RepVggBuilder<'_, '_> {
    /// The branches, their sum and what follows it.
    fn block(&mut self, name: String, stride: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let deployed = format!("{name}.{}", self.names.deployed);
        let part = |what: &str| self.layers.reader.shape(&format!("{deployed}.{what}"));
        let mut y = match part("weight").or(part("bias")) {
            Some(_) => {
                let groups = self.groups(&deployed, 3, x)?;
                let per_group = self.layers.channels(x) / groups;
                let weight = self.layers.reader.conv(&deployed, None, Some(per_group), [3, 3])?;
                let out = weight.shape()[0];
                let bias = self.layers.reader.tensor(&format!("{deployed}.bias"), &[Some(out)])?.to_f64();
                let conv = Conv2d::dense(weight, groups, [stride; 2], [1, 1]).with_bias(bias);
                self.layers.graph.push(deployed, Op::Conv2d(conv), &[x])?
            }
            None => {
                self.blocks.push(name.clone());
                self.branches(&name, stride, x)?
            }
        };
        y = self.gate(&name, y)?;
        self.layers.relu(name, y)
    }

    fn branches(&mut self, name: &str, stride: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let dense = self.branch(&format!("{name}.{}", self.names.dense), None, 3, stride, x)?;
        let out = self.layers.channels(dense);
        let pointwise = self.branch(&format!("{name}.{}", self.names.pointwise), Some(out), 1, stride, x)?;
        if stride != 1 || out != self.layers.channels(x) {
            return self.layers.add(format!("{name}.add"), dense, pointwise);
        }
        let sum = self.layers.add(format!("{name}.add.convolutions"), dense, pointwise)?;
        let identity = self.layers.norm_alone(&format!("{name}.{}", self.names.identity), x)?;
        self.layers.add(format!("{name}.add"), sum, identity)
    }

    /// A convolution and its batch norm.
    fn branch(
        &mut self,
        name: &str,
        out: Option<usize>,
        side: usize,
        stride: usize,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let [conv, norm] = ["conv", "bn"].map(|layer| format!("{name}.{layer}"));
        let groups = self.groups(&conv, side, x)?;
        let y = self.layers.conv(&conv, Window { groups, ..Window::new(side, stride) }, out, x)?;
        self.layers.norm_alone(&norm, y)
    }

    /// The groups of a convolution of `x`, which may differ between branches of one sum.
    fn groups(&mut self, conv: &str, side: usize, x: ValueId) -> Result<usize, ModelError> {
        let channels = self.layers.channels(x);
        let groups = layers::groups(self.layers.reader, conv, channels, &format!("{side}, {side}"), None)?;
        self.most_groups = self.most_groups.max(groups);
        Ok(groups)
    }

    /// Squeeze-and-excitation after the sum, if the block has it.
    fn gate(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let [down, up] = self.names.squeeze.map(|layer| format!("{name}.{layer}"));
        if self.layers.reader.shape(&format!("{down}.weight")).is_none() {
            return Ok(x);
        }
        let [mean, relu, sigmoid, gate] =
            ["mean", "relu", "sigmoid", "gate"].map(|what| format!("{name}.squeeze.{what}"));
        self.layers.excite([mean, down, relu, up, sigmoid, gate], 0, x)
    }
}
