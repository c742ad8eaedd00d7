//! RepVGG (arXiv 2101.03697) as a graph: parallel 3x3, 1x1 and batch-norm branches as trained, or one 3x3 as deployed, block
//! by block as the tensors have it. The names are its authors' or timm's.

use super::key::Key;
use super::layers::{self, Layers};
use super::reader::Reader;
use super::scheme::{self, Built, Scheme};
use super::steps;
use super::{ModelError, Naming, timm};
use crate::graph::{Activation, Conv2d, Graph, Op, Shape, ValueId, Weight};
use crate::preprocess::{Interpolation, Preprocess};
use serde_json::Value;

/// The names of the authors' repository: `stage0`, `stage{1-4}.{i}.rbr_dense`, `linear`.
pub(super) const ORIGINAL: Scheme = Scheme {
    naming: Naming::Original,
    own_prefix: "",
    shown_by: "RepVGG's own names (`stage0.rbr_dense.conv.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("stage") && n.contains(".rbr_")),
    preprocess: |_| Preprocess::imagenet(),
    build: |reader, _, size| build(reader, &OWN, size).map(|(built, _)| built),
    model_types: &["repvgg"],
    timm: scheme::not_in_timm,
};

/// timm's names: `stem`, `stages.{s}.{i}.conv_kxk`, `head.fc`.
pub(super) const TIMM: Scheme = Scheme {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm RepVGG names (`stem.conv_kxk.conv.weight`, `stages.0.0.conv_kxk.conv.weight`)",
    matches: |dict| {
        let part = |part: &str| dict.names().any(|n| n.starts_with("stages.") && n.contains(part));
        part(".conv_kxk.") || part(".reparam_conv.")
    },
    preprocess: |_| Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::imagenet() },
    build: |reader, config, size| {
        timm::arguments(config, neutral)?;
        let (built, in_channels) = build(reader, &OF_TIMM, size)?;
        timm::inputs_agree(config, in_channels)?;
        Ok(built)
    },
    model_types: &["repvgg"],
    timm: |name| match name.strip_prefix("repvgg_") {
        Some("a0" | "a1" | "a2" | "b0" | "b1" | "b1g4" | "b2" | "b2g4" | "b3" | "b3g4" | "d2se") => Ok(()),
        _ => Err("not among the RepVGG architectures known here"),
    },
};

/// Stages after the stem. The stem and the first block of each have stride 2, the others 1.
const STAGES: usize = 4;

/// Names of layers, which are also names of nodes.
struct Names {
    stem: &'static str,
    /// Name of a stage, but for its number.
    stage: &'static str,
    /// Number of the first.
    first: usize,
    /// Within a block: 3x3, 1x1, batch norm, and the one convolution of the deployed form.
    dense: &'static str,
    pointwise: &'static str,
    identity: &'static str,
    deployed: &'static str,
    /// The two layers of squeeze-and-excitation.
    squeeze: [&'static str; 2],
    /// Average pool and classifier.
    head: [&'static str; 2],
}

const OWN: Names = Names {
    stem: "stage0",
    stage: "stage",
    first: 1,
    dense: "rbr_dense",
    pointwise: "rbr_1x1",
    identity: "rbr_identity",
    deployed: "rbr_reparam",
    squeeze: ["se.down", "se.up"],
    head: ["gap", "linear"],
};

const OF_TIMM: Names = Names {
    stem: "stem",
    stage: "stages.",
    first: 0,
    dense: "conv_kxk",
    pointwise: "conv_1x1",
    identity: "identity",
    deployed: "reparam_conv",
    squeeze: ["attn.fc1", "attn.fc2"],
    head: ["head.global_pool", "head.fc"],
};

/// Returns the network and its number of input channels; [`Reader::finish`] then tells whether a tensor is left over.
fn build(reader: &mut Reader<'_>, names: &Names, size: [usize; 2]) -> Result<(Built, usize), ModelError> {
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
    let mut b = Builder { layers: Layers { reader, graph }, names, blocks: vec![], groups: 1 };
    let mut x = b.block(names.stem.into(), stem_stride, ValueId::INPUT)?;
    for (s, strides) in strides.iter().enumerate() {
        for (i, &stride) in strides.iter().enumerate() {
            x = b.block(format!("{}.{i}", stage(s)), stride, x)?;
        }
    }
    let classes = b.layers.head(names.head[0], names.head[1], x)?;
    let groups = if b.groups > 1 { format!(", {} groups", b.groups) } else { String::new() };
    let deployed = if b.blocks.is_empty() { ", deployed" } else { "" };
    let family = format!("RepVGG, blocks {depths:?}{groups}{deployed}");
    Ok((Built { graph: b.layers.graph, family, blocks: b.blocks, classes }, in_channels))
}

struct Builder<'r, 'c> {
    layers: Layers<'r, 'c>,
    names: &'r Names,
    /// Blocks that have branches.
    blocks: Vec<String>,
    /// The most of any block.
    groups: usize,
}

impl Builder<'_, '_> {
    /// The branches, their sum and what follows it.
    fn block(&mut self, name: String, stride: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let deployed = format!("{name}.{}", self.names.deployed);
        let part = |what: &str| self.layers.reader.shape(&format!("{deployed}.{what}"));
        let mut y = match part("weight").or(part("bias")) {
            Some(_) => {
                let (weight, groups) = self.weight(&deployed, None, 3, x)?;
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
        let out = self.layers.graph.shape(dense).channels;
        let pointwise = self.branch(&format!("{name}.{}", self.names.pointwise), Some(out), 1, stride, x)?;
        let add = Op::Add(Activation::Identity);
        if stride != 1 || out != self.layers.graph.shape(x).channels {
            return Ok(self.layers.graph.push(format!("{name}.add"), add, &[dense, pointwise])?);
        }
        let sum =
            self.layers.graph.push(format!("{name}.add.convolutions"), add.clone(), &[dense, pointwise])?;
        let identity = format!("{name}.{}", self.names.identity);
        let norm = self.layers.reader.norm(&identity, out)?;
        let norm = self.layers.graph.push(identity, Op::BatchNorm(norm), &[x])?;
        Ok(self.layers.graph.push(format!("{name}.add"), add, &[sum, norm])?)
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
        let (weight, groups) = self.weight(&conv, out, side, x)?;
        let op = Conv2d::dense(weight, groups, [stride; 2], [side / 2; 2]);
        let y = self.layers.graph.push(conv, Op::Conv2d(op), &[x])?;
        let op = Op::BatchNorm(self.layers.reader.norm(&norm, self.layers.graph.shape(y).channels)?);
        Ok(self.layers.graph.push(norm, op, &[y])?)
    }

    /// The weight of a convolution of `x`, and its groups: branches of one sum may have their own.
    fn weight(
        &mut self,
        conv: &str,
        out: Option<usize>,
        side: usize,
        x: ValueId,
    ) -> Result<(Weight, usize), ModelError> {
        let channels = self.layers.graph.shape(x).channels;
        let groups = layers::groups(self.layers.reader, conv, channels, &format!("{side}, {side}"), None)?;
        self.groups = self.groups.max(groups);
        Ok((self.layers.reader.conv(conv, out, Some(channels / groups), [side; 2])?, groups))
    }

    /// Squeeze-and-excitation after the sum, where the block has it.
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

/// An argument of the family that leaves the function of the network as its tensors and its architecture say.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes or names, or only of use in training.
        "drop_block_rate" | "drop_block_size" | "zero_init_last" | "stem_chs" | "width_factor" => true,
        "act_layer" => value == "relu" || value == "ReLU",
        "norm_layer" => value == "batchnorm2d" || value == "batchnorm" || value == "BatchNorm2d",
        _ => false,
    }
}
