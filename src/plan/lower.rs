//! Lowers a graph to dispatches on virtual buffers.
//!
//! A value is a list of [`ChannelView`]s, each a channel range of a buffer seen through a view. A Dirac row whose activation cannot
//! change it becomes an alias: `[x ; h]` is two views, and x is not copied. The rest of a convolution is one dispatch,
//! `activation(sum over views of conv(view) + bias)`: a Dirac column is added in its epilogue, a pointwise column is a second K range.

use super::channel_view::{ChannelView, Gate, pieces, row_ranges};
use super::conv_builder::ConvBuilder;
use super::emit::Emitter;
use super::{Place, PlanError, PlanOptions, limits};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId};
use crate::kernel::{BufferShape, Layout, Precision};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Values stored as several buffers, with the channels where they are split.
pub(super) type Splits = HashMap<ValueId, Vec<usize>>;

/// Lowers a whole graph.
pub(super) fn lower(graph: &Graph, options: &PlanOptions, splits: &Splits) -> Result<Emitter, PlanError> {
    if options.batch == 0 {
        return Err(PlanError::EmptyBatch);
    }
    let most = limits::most_images(graph)?;
    if options.batch > most {
        return Err(PlanError::BatchTooLarge { batch: options.batch, most });
    }
    let input = graph.input_shape();
    let input = BufferShape {
        batch: options.batch,
        channels: input.channels,
        height: input.height,
        width: input.width,
        layout: Layout::Planar,
        precision: Precision::F32,
    };
    let mut lowering = Lowering {
        graph,
        options,
        splits,
        consumers: graph.consumers(),
        without_prologue: vec![None; graph.nodes().len()],
        kept: options.keep.iter().map(String::as_str).collect(),
        values: vec![vec![]; graph.nodes().len()],
        emitter: Emitter::new(input, options),
    };
    let mut views = 0;
    for v in graph.values() {
        let value = lowering.value(v)?;
        views += value.len();
        lowering.values[v.index()] = value;
        if views > limits::MAX_CHANNEL_VIEWS {
            let layer = lowering.name(v).into();
            return Err(limits::too_large(
                layer,
                "channel ranges of all values",
                views,
                limits::MAX_CHANNEL_VIEWS,
            ));
        }
    }
    lowering.output()?;
    let Lowering { values, mut emitter, .. } = lowering;
    for name in &options.keep {
        let v = graph.find(name).ok_or_else(|| PlanError::Unsupported {
            layer: name.clone(),
            what: "no value of that name can be kept".into(),
        })?;
        // A view with average pooling, a prologue or a gate is kept as a copy.
        let mut value = vec![];
        for s in &values[v.index()] {
            value.push(if s.is_strided() && s.gate.is_none() { s.clone() } else { emitter.copy(name, s)? });
        }
        emitter.keep(name, &value);
    }
    Ok(emitter)
}

pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) options: &'a PlanOptions,
    pub(super) splits: &'a Splits,
    pub(super) consumers: Vec<Vec<ValueId>>,
    /// Cache, per value: the channels for which some reader cannot apply a prologue.
    pub(super) without_prologue: Vec<Option<Arc<[Range<usize>]>>>,
    kept: HashSet<&'a str>,
    pub(super) values: Vec<Vec<ChannelView>>,
    pub(super) emitter: Emitter,
}

impl Lowering<'_> {
    pub(super) fn name(&self, v: ValueId) -> &str {
        &self.graph.node(v).name
    }

    pub(super) fn kept(&self, v: ValueId) -> bool {
        self.kept.contains(self.name(v))
    }

    /// The only reader of a value that is not kept.
    fn only_reader(&self, v: ValueId) -> Option<ValueId> {
        match self.consumers[v.index()].as_slice() {
            [reader] if !self.kept(v) => Some(*reader),
            _ => None,
        }
    }

    /// The convolution into which an Add is fused, if any: its later operand, if that is linear and has no other reader.
    fn fused_conv(&self, add: ValueId) -> Option<ValueId> {
        let last = *self.graph.node(add).inputs.iter().max()?;
        let Op::Conv2d(conv) = &self.graph.node(last).op else { return None };
        let linear = conv.is_linear();
        // With several row ranges, each would have to add its own part of the other operand.
        let whole = row_ranges(conv).len() == 1;
        (linear && whole && self.only_reader(last) == Some(add)).then_some(last)
    }

    /// The max pool fused into the convolution that computes a value, with its node. A convolution that is merely a view of other values
    /// has no fused pool.
    fn fused_pool(&self, v: ValueId, conv: &Conv2d) -> Option<(ValueId, MaxPool)> {
        let reader = self.only_reader(v).filter(|_| self.single_range(conv))?;
        match &self.graph.node(reader).op {
            Op::MaxPool(pool) => Some((reader, *pool)),
            _ => None,
        }
    }

    fn value(&mut self, v: ValueId) -> Result<Vec<ChannelView>, PlanError> {
        let node = self.graph.node(v);
        let first = node.inputs.first().copied();
        match (&node.op, first) {
            (Op::Conv2d(conv), Some(x)) => {
                if let Some(Op::Add(_)) = self.only_reader(v).map(|r| &self.graph.node(r).op)
                    && self.fused_conv(self.consumers[v.index()][0]) == Some(v)
                {
                    return Ok(vec![]); // computed with the Add
                }
                self.conv(v, conv, x, None, self.fused_pool(v, conv))
            }
            (Op::Add(activation), _) => self.add(v, activation),
            (Op::MaxPool(_), _) if !self.values[v.index()].is_empty() => {
                Ok(std::mem::take(&mut self.values[v.index()])) // computed with the convolution
            }
            (Op::MaxPool(pool), Some(x)) if self.is_output_of_parts(v, x) => self.pooled_sum(v, x, *pool),
            (Op::GlobalAverage, Some(x)) if self.is_output_of_parts(v, x) => {
                let parts = self.values[x.index()].clone();
                let whole = self.gathered(x, parts)?;
                let to = self.buffer_shape(v, whole.channels);
                Ok(vec![self.emitter.average((&node.name, whole), to)?])
            }
            (Op::MaxPool(pool), Some(x)) => {
                self.per_view(v, x, |this, s, to| this.emitter.max_pool(s, *pool, to))
            }
            (Op::GlobalAverage, Some(x)) => self.per_view(v, x, |this, s, to| this.emitter.average(s, to)),
            (Op::Input(_), _) => Ok(vec![self.emitter.input_view()]),
            (Op::AvgPool2x2, Some(x)) => {
                let value = self.values[x.index()].clone();
                value.iter().map(|s| self.viewed(x, s, ChannelView::avg_pooled)).collect()
            }
            (Op::Slice(range), Some(x)) => {
                Ok(pieces(&self.values[x.index()], range.clone()).map(|(s, part, _)| s.sub(part)).collect())
            }
            (Op::Gate { first }, Some(x)) => self.gate(x, *first, node.inputs[1]),
            (op @ (Op::BatchNorm(_) | Op::Activation(_)), _) => Err(PlanError::Unsupported {
                layer: node.name.clone(),
                what: format!("{op} that no convolution before it could take in"),
            }),
            (_, None) => unreachable!("push checks the number of operands"),
        }
    }

    /// Copies the output into its buffer if it is a view of another value.
    fn output(&mut self) -> Result<(), PlanError> {
        let v = self.graph.output();
        if self.emitter.buffers.iter().any(|b| b.place == Place::Output) {
            return Ok(());
        }
        let shape = self.graph.shape(v);
        let mut sum = ConvBuilder::new(shape.channels, shape.size());
        match self.values[v.index()].clone().as_slice() {
            // An epilogue cannot add a pooled view; a diagonal K range can read it.
            [means] if means.avg_pool_2x2 => {
                let ones = vec![1.0; shape.channels];
                self.diagonal(v, means.clone(), ones.into(), 0, [1, 1], &mut sum)?;
            }
            _ => self.add_value(v, &mut sum)?,
        }
        let to = self.buffer_shape(v, shape.channels);
        let name = self.name(v).to_string();
        self.emitter.sum(&name, sum, None, to, &[]).map(drop)
    }

    /// Whether all output channels are computed as one range.
    fn single_range(&self, conv: &Conv2d) -> bool {
        let computed = |b: &Block| matches!(b.weight, BlockWeight::Dense { .. } | BlockWeight::Pointwise(_));
        row_ranges(conv).len() == 1 && conv.blocks.iter().any(computed)
    }

    fn layout(&self, v: ValueId) -> Layout {
        if v == self.graph.output() { Layout::Planar } else { Layout::Packed }
    }

    pub(super) fn buffer_shape(&self, v: ValueId, channels: usize) -> BufferShape {
        let Shape { height, width, .. } = self.graph.shape(v);
        let &PlanOptions { batch, precision, .. } = self.options;
        BufferShape { batch, channels, height, width, layout: self.layout(v), precision }
    }

    pub(super) fn unsupported(&self, v: ValueId, what: impl Into<String>) -> PlanError {
        PlanError::Unsupported { layer: self.name(v).into(), what: what.into() }
    }

    /// Whether `v` is the output, which must be one buffer, and its operand has several views.
    fn is_output_of_parts(&self, v: ValueId, x: ValueId) -> bool {
        v == self.graph.output() && self.values[x.index()].len() > 1
    }

    /// The max pool of a value of several views, as one dispatch into one buffer.
    fn pooled_sum(&mut self, v: ValueId, x: ValueId, pool: MaxPool) -> Result<Vec<ChannelView>, PlanError> {
        let shape = self.graph.shape(x);
        let mut sum = ConvBuilder::new(shape.channels, shape.size());
        self.add_value(x, &mut sum)?;
        let to = self.buffer_shape(v, shape.channels);
        let name = self.name(v).to_string();
        self.emitter.sum(&name, sum, Some(pool), to, &[])
    }

    /// An operation on independent channels: one dispatch per view.
    fn per_view(
        &mut self,
        v: ValueId,
        x: ValueId,
        mut emit: impl FnMut(&mut Self, (&str, ChannelView), BufferShape) -> Result<ChannelView, PlanError>,
    ) -> Result<Vec<ChannelView>, PlanError> {
        let views = self.values[x.index()].clone();
        let mut result = vec![];
        for s in views {
            let plain = s.is_plain() && s.first_channel.is_multiple_of(4);
            let s = if plain { s } else { self.emitter.copy(self.graph.node(x).name.as_str(), &s)? };
            let to = self.buffer_shape(v, s.channels);
            let name = self.graph.node(v).name.as_str();
            result.push(emit(self, (name, s), to)?);
        }
        Ok(result)
    }

    /// Applies a view transformation, to a copy of the view if it cannot be applied directly.
    pub(super) fn viewed(
        &mut self,
        x: ValueId,
        view: &ChannelView,
        apply: impl Fn(&ChannelView) -> Option<ChannelView>,
    ) -> Result<ChannelView, PlanError> {
        match apply(view) {
            Some(viewed) => Ok(viewed),
            None => {
                let copy = self.emitter.copy(&self.graph.node(x).name, view)?;
                apply(&copy).ok_or_else(|| self.unsupported(x, "a value that cannot be read so"))
            }
        }
    }

    /// Gates the channels of a value from `first` on.
    fn gate(&mut self, x: ValueId, first: usize, gate: ValueId) -> Result<Vec<ChannelView>, PlanError> {
        let value = self.values[x.index()].clone();
        let gates = self.values[gate.index()].clone();
        let [factors] = gates.as_slice() else {
            return Err(self.unsupported(gate, "a gate of several buffers"));
        };
        let factors = match factors.is_plain() && factors.first_channel == 0 {
            true => factors.clone(),
            false => self.emitter.copy(&self.graph.node(gate).name, factors)?,
        };
        let end = first + factors.channels;
        let mut result = vec![];
        let untouched =
            |r: Range<usize>| pieces(&value, r).map(|(s, part, _)| s.sub(part)).collect::<Vec<_>>();
        result.extend(untouched(0..first));
        let mut gated: Vec<(ChannelView, usize)> =
            pieces(&value, first..end).map(|(s, part, at)| (s.sub(part), at)).collect();
        // Factors are read in quads.
        if gated.iter().any(|(_, at)| !at.is_multiple_of(4)) {
            let parts = gated.into_iter().map(|(s, _)| s).collect();
            gated = vec![(self.gathered(x, parts)?, 0)];
        }
        for (s, first_channel) in gated {
            let s = match s.is_plain() && s.quad_aligned(0) {
                true => s,
                false => self.emitter.copy(&self.graph.node(x).name, &s)?,
            };
            let gate = Gate { buffer: factors.buffer, shape: factors.shape, first_channel };
            result.push(ChannelView {
                gate: Some(gate),
                non_negative: s.non_negative && factors.non_negative,
                ..s
            });
        }
        result.extend(untouched(end..self.graph.shape(x).channels));
        Ok(result)
    }

    fn add(&mut self, v: ValueId, activation: &Activation) -> Result<Vec<ChannelView>, PlanError> {
        let inputs = self.graph.node(v).inputs.clone();
        if let Some(fused) = self.fused_conv(v) {
            let other = if inputs[0] == fused { inputs[1] } else { inputs[0] };
            let node = self.graph.node(fused);
            let Op::Conv2d(conv) = &node.op else { unreachable!("fused_conv gives convolutions") };
            return self.conv(fused, conv, node.inputs[0], Some((v, other, activation)), None);
        }
        let channels = self.graph.shape(v).channels;
        let mut sum = ConvBuilder::new(channels, self.graph.shape(v).size());
        sum.activation = vec![(0..channels, activation.clone())];
        for operand in inputs {
            self.add_value(operand, &mut sum)?;
        }
        let to = self.buffer_shape(v, channels);
        let name = self.name(v).to_string();
        self.emitter.sum(&name, sum, None, to, &self.cuts(v))
    }

    /// Adds a whole value to a sum.
    pub(super) fn add_value(&mut self, operand: ValueId, sum: &mut ConvBuilder) -> Result<(), PlanError> {
        let mut first_out = 0;
        for s in self.values[operand.index()].clone() {
            let channels = s.channels;
            self.add_view(operand, s, first_out, [1, 1], sum)?;
            first_out += channels;
        }
        Ok(())
    }

    pub(super) fn cuts(&self, v: ValueId) -> Vec<usize> {
        self.splits.get(&v).cloned().unwrap_or_default()
    }
}
