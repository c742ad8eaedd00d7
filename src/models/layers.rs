//! Layers appended to a graph as their tensors are read.

use super::ModelError;
use super::reader::{Dim, Reader};
use crate::graph::{Activation, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use std::collections::BTreeMap;

/// A network under construction. Nodes carry the names of their tensors.
pub(super) struct Layers<'r, 'c> {
    pub(super) reader: &'r mut Reader<'c>,
    pub(super) graph: Graph,
}

/// A square window, padded so that an odd one at stride 1 keeps the size.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
}

impl Window {
    pub(super) fn new(side: usize, stride: usize) -> Window {
        Window { side, stride, groups: 1 }
    }
}

impl<'r, 'c> Layers<'r, 'c> {
    /// For images of `[height, width]`, with the channels that the convolution `first` reads, its window `side` wide.
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

    /// For images of `[height, width]`, with the channels that the convolution `first` reads.
    pub(super) fn reading(reader: &'r mut Reader<'c>, first: &str, size: [usize; 2]) -> Layers<'r, 'c> {
        let channels = match reader.shape(&format!("{first}.weight")) {
            Some([_, n, _, _]) => *n,
            // Missing or misshapen: reading it says so.
            _ => 3,
        };
        let graph = Graph::new(Shape { channels, height: size[0], width: size[1] });
        Layers { reader, graph }
    }

    pub(super) fn channels(&self, x: ValueId) -> usize {
        self.graph.shape(x).channels
    }

    pub(super) fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, ModelError> {
        Ok(self.graph.push(name, op, inputs)?)
    }

    /// A convolution without bias.
    pub(super) fn conv(
        &mut self,
        name: &str,
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let Window { side, stride, groups } = window;
        let weight = self.reader.conv(name, out, Some(self.channels(x) / groups), [side; 2])?;
        let conv = Conv2d::dense(weight, groups, [stride; 2], [side / 2; 2]);
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// A 1x1 convolution with a bias.
    pub(super) fn biased(&mut self, name: &str, out: Dim, x: ValueId) -> Result<ValueId, ModelError> {
        let weight = self.reader.conv(name, out, Some(self.channels(x)), [1, 1])?;
        let bias = self.reader.tensor(&format!("{name}.bias"), &[Some(weight.shape()[0])])?.to_f64();
        self.push(name, Op::Conv2d(Conv2d { bias, ..Conv2d::dense(weight, 1, [1, 1], [0, 0]) }), &[x])
    }

    pub(super) fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let node = self.graph.node(x);
        // Which of the two is wrong no one knows.
        let norm = self.reader.norm(name, self.channels(x)).map_err(|e| match (e, &node.op) {
            (ModelError::Shape { tensor, expected, found, naming }, Op::Conv2d(_)) => {
                let expected = format!("{expected} as `{}.weight` gives it", node.name);
                ModelError::Shape { tensor, expected, found, naming }
            }
            (e, _) => e,
        })?;
        self.push(name, Op::BatchNorm(norm), &[x])
    }

    pub(super) fn relu(&mut self, name: impl Into<String>, x: ValueId) -> Result<ValueId, ModelError> {
        self.push(name, Op::Activation(Activation::Relu), &[x])
    }

    /// `{name}.weight` as one slope per channel.
    pub(super) fn prelu(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let slopes = self.reader.tensor(&format!("{name}.weight"), &[Some(self.channels(x))])?.to_f64();
        self.push(name, Op::Activation(Activation::PRelu(slopes.into())), &[x])
    }

    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId, ModelError> {
        self.push(name, Op::Add(Activation::Identity), &[a, b])
    }

    /// A linear layer over the flattened `[channels, height, width]`: a window of the whole map without padding.
    pub(super) fn linear(&mut self, name: &str, biased: bool, x: ValueId) -> Result<ValueId, ModelError> {
        let Shape { channels, height, width } = self.graph.shape(x);
        let weight =
            self.reader.tensor(&format!("{name}.weight"), &[None, Some(channels * height * width)])?;
        let out = weight.shape()[0];
        let weight = Weight::new(weight.reshaped(vec![out, channels, height, width]));
        let mut conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]);
        if biased {
            conv.bias = self.reader.tensor(&format!("{name}.bias"), &[Some(out)])?.to_f64();
        }
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// Average over the map, then the classifier `fc`; the number of classes.
    pub(super) fn classifier(&mut self, average: &str, x: ValueId) -> Result<usize, ModelError> {
        let x = self.push(average, Op::GlobalAverage, &[x])?;
        let x = self.linear("fc", true, x)?;
        Ok(self.channels(x))
    }

    /// The pool of a stem: 3x3, stride 2.
    pub(super) fn max_pool(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        self.push(name, Op::MaxPool(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }), &[x])
    }

    /// A stem of three 3x3 convolutions, the first of stride 2: two with a batch norm and a ReLU, by their names, and `last`
    /// on its own.
    pub(super) fn deep_stem(
        &mut self,
        units: [[String; 3]; 2],
        last: &str,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        for (i, [conv, norm, relu]) in units.into_iter().enumerate() {
            x = self.conv(&conv, Window::new(3, if i == 0 { 2 } else { 1 }), None, x)?;
            x = self.norm(&norm, x)?;
            x = self.relu(relu, x)?;
        }
        self.conv(last, Window::new(3, 1), None, x)
    }

    /// Squeeze-and-excitation: `x * sigmoid(fc2(relu(fc1(mean(x)))))`.
    pub(super) fn excite(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let channels = self.channels(x);
        let mut gate = self.push(format!("{name}.mean"), Op::GlobalAverage, &[x])?;
        gate = self.biased(&format!("{name}.fc1"), None, gate)?;
        gate = self.relu(format!("{name}.act"), gate)?;
        gate = self.biased(&format!("{name}.fc2"), Some(channels), gate)?;
        gate = self.push(format!("{name}.gate"), Op::Activation(Activation::Sigmoid), &[gate])?;
        self.push(name, Op::Gate { first: 0 }, &[x, gate])
    }
}

/// Blocks per stage as the names count them, `block_of` telling the stage and index of a tensor's block: at least one stage,
/// and one block in each. A gap shows when it is read.
pub(super) fn stage_depths(
    reader: &Reader<'_>,
    block_of: impl Fn(&str) -> Option<(usize, usize)>,
) -> Vec<usize> {
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

/// Blocks in each stage, by the names `layer{stage}.{block}.` from stage 1 on. A gap shows when it is read.
pub(super) fn depths<'n>(names: impl Iterator<Item = &'n str>) -> Vec<usize> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for name in names {
        let mut parts = name.strip_prefix("layer").unwrap_or_default().split('.');
        let mut number = || parts.next()?.parse::<usize>().ok();
        if let (Some(stage), Some(block)) = (number(), number()) {
            let end = last.entry(stage).or_default();
            *end = (*end).max(block);
        }
    }
    let depths: Vec<usize> =
        (1..).map_while(|stage| last.get(&stage)).map(|block| block.saturating_add(1)).collect();
    if depths.is_empty() { vec![1] } else { depths }
}

/// How many layers have names, counted from 0 without a gap. At least one: that it is not there shows when it is read.
pub(super) fn count(reader: &Reader<'_>, name: impl Fn(usize) -> String) -> usize {
    let named = |i: &usize| {
        let layer = name(*i) + ".";
        reader.names().any(|tensor| tensor.starts_with(&layer))
    };
    (0..).take_while(named).count().max(1)
}

/// Groups of a convolution over `channels` inputs, from the shape of its weight `[out, channels / groups, side, side]`.
pub(super) fn groups(
    reader: &Reader<'_>,
    conv: &str,
    channels: usize,
    side: usize,
) -> Result<usize, ModelError> {
    let tensor = format!("{conv}.weight");
    match reader.shape(&tensor) {
        Some([out, per_group, ..]) if *per_group > 0 && channels.is_multiple_of(*per_group) => {
            let groups = channels / per_group;
            match out.is_multiple_of(groups) {
                true => Ok(groups),
                false => {
                    let expected = format!("[a multiple of {groups} groups, {per_group}, {side}, {side}]");
                    Err(reader.misshapen(&tensor, expected))
                }
            }
        }
        Some([_, per_group, ..]) if *per_group > 0 => {
            Err(reader.misshapen(&tensor, format!("[any, a divisor of {channels}, {side}, {side}]")))
        }
        // Missing or misshapen: reading it says so.
        _ => Ok(1),
    }
}

/// Average pool and linear classifier; returns the number of classes.
pub(super) fn classifier(
    reader: &mut Reader<'_>,
    graph: &mut Graph,
    [average, classifier]: [&str; 2],
    x: ValueId,
) -> Result<usize, ModelError> {
    let channels = graph.shape(x).channels;
    let mean = graph.push(average, Op::GlobalAverage, &[x])?;
    let weight = reader.tensor(&format!("{classifier}.weight"), &[None, Some(channels)])?;
    let classes = weight.shape()[0];
    let bias = reader.tensor(&format!("{classifier}.bias"), &[Some(classes)])?.to_f64();
    let weight = Weight::new(weight.reshaped(vec![classes, channels, 1, 1]));
    let conv = Conv2d { bias, ..Conv2d::dense(weight, 1, [1, 1], [0, 0]) };
    graph.push(classifier, Op::Conv2d(conv), &[mean])?;
    Ok(classes)
}
