//! Layers that families share, appended to a graph with the weights their names have.

use super::ModelError;
use super::reader::{Dim, Reader};
use crate::graph::{Activation, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use std::collections::BTreeMap;

/// A network under construction. Layers are named as their tensors are.
pub(super) struct Layers<'r, 'c> {
    pub(super) reader: &'r mut Reader<'c>,
    pub(super) graph: Graph,
}

impl<'r, 'c> Layers<'r, 'c> {
    /// A network for inputs of `[height, width]` whose first convolution, `side` wide, shows the input's channels.
    pub(super) fn new(
        reader: &'r mut Reader<'c>,
        first: &str,
        side: usize,
        size: [usize; 2],
    ) -> Result<Self, ModelError> {
        let [_, channels, ..] = reader.conv(first, None, None, [side; 2])?.shape();
        let graph = Graph::new(Shape { channels, height: size[0], width: size[1] });
        Ok(Layers { reader, graph })
    }

    pub(super) fn channels(&self, x: ValueId) -> usize {
        self.graph.shape(x).channels
    }

    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, ModelError> {
        Ok(self.graph.push(name, op, inputs)?)
    }

    /// A square convolution of all channels without bias, padded by half its side.
    pub(super) fn conv(
        &mut self,
        name: &str,
        out: Dim,
        side: usize,
        stride: usize,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let weight = self.reader.conv(name, out, Some(self.channels(x)), [side; 2])?;
        self.grouped(name, weight, 1, stride, x)
    }

    /// A square convolution of `groups` groups, padded by half its side.
    pub(super) fn grouped(
        &mut self,
        name: &str,
        weight: Weight,
        groups: usize,
        stride: usize,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let [.., side] = weight.shape();
        let conv = Conv2d::dense(weight, groups, [stride; 2], [side / 2; 2]);
        self.push(name, Op::Conv2d(conv), &[x])
    }

    pub(super) fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let norm = self.reader.norm(name, self.channels(x))?;
        self.push(name, Op::BatchNorm(norm), &[x])
    }

    pub(super) fn relu(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        self.push(name, Op::Activation(Activation::Relu), &[x])
    }

    /// The pool of a stem: 3x3, stride 2.
    pub(super) fn max_pool(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        self.push(name, Op::MaxPool(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }), &[x])
    }

    /// The stem of three 3x3 convolutions, the first of stride 2: two with a batch norm and a ReLU, given by their names,
    /// and `last` on its own.
    pub(super) fn deep_stem(
        &mut self,
        units: &[[String; 3]; 2],
        last: &str,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        for (i, [conv, norm, relu]) in units.iter().enumerate() {
            x = self.conv(conv, None, 3, if i == 0 { 2 } else { 1 }, x)?;
            x = self.norm(norm, x)?;
            x = self.relu(relu, x)?;
        }
        self.conv(last, None, 3, 1, x)
    }

    /// A 1x1 convolution with bias, its weight stored as `[out, in]` or `[out, in, 1, 1]`.
    fn pointwise(&mut self, name: &str, out: Dim, rank: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let input = self.channels(x);
        let tensor = format!("{name}.weight");
        let weight = self.reader.tensor(&tensor, &[out, Some(input), Some(1), Some(1)][..rank])?;
        let out = weight.shape()[0];
        let bias = self.reader.tensor(&format!("{name}.bias"), &[Some(out)])?.to_f64();
        let weight = Weight::new(weight.reshaped(vec![out, input, 1, 1]));
        let conv = Conv2d { bias, ..Conv2d::dense(weight, 1, [1, 1], [0, 0]) };
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// Squeeze-and-excitation: `x * sigmoid(fc2(relu(fc1(mean(x)))))`.
    pub(super) fn excite(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let part = |what: &str| format!("{name}.{what}");
        let channels = self.channels(x);
        let mut gate = self.push(&part("mean"), Op::GlobalAverage, &[x])?;
        gate = self.pointwise(&part("fc1"), None, 4, gate)?;
        gate = self.relu(&part("act"), gate)?;
        gate = self.pointwise(&part("fc2"), Some(channels), 4, gate)?;
        gate = self.push(&part("gate"), Op::Activation(Activation::Sigmoid), &[gate])?;
        self.push(name, Op::Gate { first: 0 }, &[x, gate])
    }

    /// The global average and the classifier, stored with `rank` dimensions (a linear layer has 2, a convolution 4). Gives
    /// the number of classes.
    pub(super) fn head(
        &mut self,
        [average, classifier]: &[String; 2],
        rank: usize,
        x: ValueId,
    ) -> Result<usize, ModelError> {
        let x = self.push(average, Op::GlobalAverage, &[x])?;
        let x = self.pointwise(classifier, None, rank, x)?;
        Ok(self.channels(x))
    }
}

/// Blocks per stage as the names count them, `block_of` telling the stage and index of a tensor's block: at least one stage,
/// and one block in each. A gap shows when it is read.
pub(super) fn depths(reader: &Reader<'_>, block_of: impl Fn(&str) -> Option<(usize, usize)>) -> Vec<usize> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for (stage, index) in reader.names().filter_map(block_of) {
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
