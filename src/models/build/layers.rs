//! Layers appended to a graph as their tensors are read.

use crate::graph::{Activation, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use crate::models::ModelError;
use crate::models::assume::Rectifier;
use crate::models::build::reader::{Dim, TensorReader};
use std::collections::BTreeMap;

/// A network under construction. Nodes carry the names of their tensors.
pub(in crate::models) struct Layers<'r, 'c> {
    pub(in crate::models) reader: &'r mut TensorReader<'c>,
    pub(in crate::models) graph: Graph,
}

/// A square window, padded so that odd windows keep the size at stride 1.
#[derive(Clone, Copy)]
pub(in crate::models) struct Window {
    pub(in crate::models) side: usize,
    pub(in crate::models) stride: usize,
    pub(in crate::models) groups: usize,
    pub(in crate::models) dilation: usize,
    /// Whether it is padded as TensorFlow's "SAME" instead.
    pub(in crate::models) same: bool,
}

impl Window {
    pub(in crate::models) fn new(side: usize, stride: usize) -> Window {
        Window { side, stride, groups: 1, dilation: 1, same: false }
    }
}

impl<'r, 'c> Layers<'r, 'c> {
    /// A network for images of `[height, width]`. The number of channels is read from the weight of the convolution `first`, whose window
    /// has the given side.
    pub(in crate::models) fn new(
        reader: &'r mut TensorReader<'c>,
        first: &str,
        side: usize,
        size: [usize; 2],
    ) -> Result<Self, ModelError> {
        let [_, channels, ..] = reader.conv(first, None, None, [side; 2])?.shape();
        let graph = Graph::new(Shape { channels, height: size[0], width: size[1] });
        Ok(Layers { reader, graph })
    }

    /// A network for images of `[height, width]`. The number of channels is read from the weight of the convolution `first`.
    pub(in crate::models) fn reading(
        reader: &'r mut TensorReader<'c>,
        first: &str,
        size: [usize; 2],
    ) -> Layers<'r, 'c> {
        let channels = match reader.shape(&format!("{first}.weight")) {
            Some([_, n, _, _]) => *n,
            // Missing or misshapen: reading it says so.
            _ => 3,
        };
        let graph = Graph::new(Shape { channels, height: size[0], width: size[1] });
        Layers { reader, graph }
    }

    pub(in crate::models) fn channels(&self, x: ValueId) -> usize {
        self.graph.shape(x).channels
    }

    pub(in crate::models) fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, ModelError> {
        Ok(self.graph.push(name, op, inputs)?)
    }

    /// A convolution without bias.
    pub(in crate::models) fn conv(
        &mut self,
        name: &str,
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let Window { side, stride, groups, dilation, same } = window;
        let weight = self.reader.conv(name, out, Some(self.channels(x) / groups), [side; 2])?;
        let conv = Conv2d::dense(weight, groups, [stride; 2], [dilation * (side / 2); 2]);
        let mut conv = Conv2d { dilation: [dilation; 2], ..conv };
        if same && side > 1 {
            conv = conv.padded_same(self.graph.shape(x).size());
        }
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// A convolution without bias, then its batch norm, with the given names.
    pub(in crate::models) fn conv_norm<S: AsRef<str>>(
        &mut self,
        [conv, norm]: [S; 2],
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let y = self.conv(conv.as_ref(), window, out, x)?;
        self.norm(norm.as_ref(), y)
    }

    /// A convolution without bias, then its batch norm and the network's activation, with the given names.
    pub(in crate::models) fn conv_norm_act<S: AsRef<str>>(
        &mut self,
        [conv, norm, act]: [S; 3],
        window: Window,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let y = self.conv_norm([conv, norm], window, out, x)?;
        self.relu(act.as_ref(), y)
    }

    /// A 1x1 convolution with a bias.
    pub(in crate::models) fn biased(
        &mut self,
        name: &str,
        out: Dim,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let weight = self.reader.conv(name, out, Some(self.channels(x)), [1, 1])?;
        let bias = self.reader.tensor(&format!("{name}.bias"), &[Some(weight.shape()[0])])?.to_f64();
        self.push(name, Op::Conv2d(Conv2d::dense(weight, 1, [1, 1], [0, 0]).with_bias(bias)), &[x])
    }

    /// A batch norm. If it does not fit the preceding convolution, the error names both, since either may be wrong.
    pub(in crate::models) fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let alone = self.norm_alone(name, x);
        let node = self.graph.node(x);
        alone.map_err(|e| match (e, &node.op) {
            (ModelError::Shape { tensor, expected, found, naming }, Op::Conv2d(_)) => {
                let expected = format!("{expected} as `{}.weight` gives it", node.name);
                ModelError::Shape { tensor, expected, found, naming }
            }
            (e, _) => e,
        })
    }

    /// A batch norm. If it does not fit, the error names only the norm.
    pub(in crate::models) fn norm_alone(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let norm = self.reader.norm(name, self.channels(x))?;
        self.push(name, Op::BatchNorm(norm), &[x])
    }

    /// The network's activation, by convention ReLU. A PReLU's slopes have the node's name.
    pub(in crate::models) fn relu(
        &mut self,
        name: impl Into<String>,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let name = name.into();
        self.rectified(name.clone(), &[name], Rectifier::Relu, x)
    }

    /// The network's activation. A PReLU's slopes are read from the first of `modules` that has any, since blocks may share a module.
    pub(in crate::models) fn rectified(
        &mut self,
        name: impl Into<String>,
        modules: &[String],
        convention: Rectifier,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut padded = 0;
        let activation = match self.reader.conventions.rectifier(convention) {
            Rectifier::Relu => Activation::Relu,
            Rectifier::Relu6 => Activation::Relu6,
            Rectifier::PRelu => {
                let has = |module: &&String| self.reader.shape(&format!("{module}.weight")).is_some();
                let module = modules.iter().find(has).or(modules.first());
                let (slopes, shared) = self.slopes(module.map_or("activation", String::as_str), x)?;
                padded = shared;
                slopes
            }
        };
        let value = self.push(name, Op::Activation(activation), &[x])?;
        self.graph.pad(value, padded);
        Ok(value)
    }

    /// Reads `{name}.weight`, one slope per channel or one for all. Also returns how many slopes are not separate parameters, since
    /// channels or layers share them.
    fn slopes(&mut self, name: &str, x: ValueId) -> Result<(Activation, usize), ModelError> {
        let (tensor, channels) = (format!("{name}.weight"), self.channels(x));
        let again = self.reader.has_read(&tensor);
        let one = self.reader.shape(&tensor) == Some(&[1]);
        let slopes = self.reader.tensor(&tensor, &[Some(if one { 1 } else { channels })])?.to_f64();
        let slopes = if one { vec![slopes[0]; channels] } else { slopes };
        let own = if again { 0 } else { self.reader.shape(&tensor).map_or(0, |shape| shape[0]) };
        Ok((Activation::PRelu(slopes.into()), channels - own))
    }

    /// A PReLU, independent of the network's activation.
    pub(in crate::models) fn prelu(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let (slopes, shared) = self.slopes(name, x)?;
        let value = self.push(name, Op::Activation(slopes), &[x])?;
        self.graph.pad(value, shared);
        Ok(value)
    }

    pub(in crate::models) fn add(
        &mut self,
        name: impl Into<String>,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId, ModelError> {
        self.push(name, Op::Add(Activation::Identity), &[a, b])
    }

    /// A linear layer over the flattened `[channels, height, width]`, as a convolution with a window of the whole map and no padding.
    pub(in crate::models) fn linear(
        &mut self,
        name: &str,
        biased: bool,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let Shape { channels, height, width } = self.graph.shape(x);
        let weight =
            self.reader.tensor(&format!("{name}.weight"), &[None, Some(channels * height * width)])?;
        let out = weight.shape()[0];
        let weight = Weight::new(weight.reshaped(vec![out, channels, height, width]));
        let mut conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]);
        if biased {
            conv = conv.with_bias(self.reader.tensor(&format!("{name}.bias"), &[Some(out)])?.to_f64());
        }
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// The pool of a stem: 3x3, stride 2.
    pub(in crate::models) fn max_pool(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        self.push(name, Op::MaxPool(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }), &[x])
    }

    /// A stem of three 3x3 convolutions: two with a batch norm and a ReLU, the first of them strided, and `last` without.
    pub(in crate::models) fn deep_stem(
        &mut self,
        units: [[String; 3]; 2],
        last: &str,
        stride: usize,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        for (i, names) in units.into_iter().enumerate() {
            x = self.conv_norm_act(names, Window::new(3, if i == 0 { stride } else { 1 }), None, x)?;
        }
        self.conv(last, Window::new(3, 1), None, x)
    }

    /// Squeeze-and-excitation: the channels of `x` from `first` on are multiplied by `sigmoid(up(relu(down(mean(x)))))`. The names are
    /// given in the order of computation, the product last.
    pub(in crate::models) fn excite(
        &mut self,
        [mean, down, relu, up, sigmoid, gated]: [String; 6],
        first: usize,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let own = self.channels(x) - first;
        let mut gate = self.push(mean, Op::GlobalAverage, &[x])?;
        gate = self.biased(&down, None, gate)?;
        gate = self.push(relu, Op::Activation(Activation::Relu), &[gate])?;
        gate = self.biased(&up, Some(own), gate)?;
        gate = self.push(sigmoid, Op::Activation(Activation::Sigmoid), &[gate])?;
        self.push(gated, Op::Gate { first }, &[x, gate])
    }
}

/// Number of blocks per stage, from tensor names: `block_of` returns the stage and index of a tensor's block. At least one stage, and one
/// block in each. Reading a missing block reports the gap.
pub(in crate::models) fn stage_depths<'n>(
    names: impl Iterator<Item = &'n str>,
    block_of: impl Fn(&str) -> Option<(usize, usize)>,
) -> Vec<usize> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut found = 0;
    for (stage, index) in names.filter_map(block_of) {
        let end = last.entry(stage).or_default();
        *end = (*end).max(index);
        found += 1;
    }
    let mut depths = vec![];
    for (stage, index) in last {
        if stage > depths.len() {
            depths.push(1);
            break;
        }
        // More blocks than tensors: the gap is reported anyway.
        depths.push(index.min(found) + 1);
    }
    if depths.is_empty() { vec![1] } else { depths }
}

/// [`stage_depths`] for names `layer{stage}.{block}.`, with stages from 1.
pub(in crate::models) fn depths<'n>(names: impl Iterator<Item = &'n str>) -> Vec<usize> {
    stage_depths(names, |name| {
        let mut parts = name.strip_prefix("layer")?.split('.');
        let mut number = || parts.next()?.parse::<usize>().ok();
        Some((number()?.checked_sub(1)?, number()?))
    })
}

/// Number of layers, with names counted from 0 without a gap. At least one: reading a missing layer reports it.
pub(in crate::models) fn count(reader: &TensorReader<'_>, name: impl Fn(usize) -> String) -> usize {
    let named = |i: &usize| reader.dict().has_under(&name(*i));
    (0..).take_while(named).count().max(1)
}

/// Groups of a convolution over `channels` inputs, from the shape of its weight `[out, channels / groups, ..window]`: must be the `known`
/// groups of another layer, if there are any.
pub(in crate::models) fn groups(
    reader: &TensorReader<'_>,
    conv: &str,
    channels: usize,
    window: &str,
    known: Option<usize>,
) -> Result<usize, ModelError> {
    let tensor = format!("{conv}.weight");
    let (out, per_group) = match reader.shape(&tensor) {
        Some([out, n, _, _]) if *n > 0 => (*out, *n),
        // Missing or misshapen: reading it says so.
        _ => return Ok(1),
    };
    let groups = known.unwrap_or(channels / per_group);
    if groups.checked_mul(per_group) != Some(channels) {
        let inputs = match known {
            None => format!("a divisor of {channels}"),
            Some(1) => format!("{channels}"),
            Some(n) => format!("{channels} inputs / {n} groups"),
        };
        return Err(reader.misshapen(&tensor, format!("[any, {inputs}, {window}]")));
    }
    if !out.is_multiple_of(groups) {
        let expected = format!("[a multiple of {groups} groups, {per_group}, {window}]");
        return Err(reader.misshapen(&tensor, expected));
    }
    Ok(groups)
}
