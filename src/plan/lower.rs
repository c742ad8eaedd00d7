//! From a graph to dispatches on virtual buffers.
//!
//! A value is a list of channel segments, each a range of some buffer viewed with a stride. A Dirac row whose activation
//! cannot change it becomes an alias: `[x ; h]` is two segments and x is not moved. What remains of a convolution is
//! `activation(sum over segments of conv(segment) + bias)`, one dispatch: a Dirac column is added in its epilogue, a
//! pointwise column is a second K range.

use super::emit::{Emitter, Sum, Term};
use super::weights::KWeight;
use super::{Options, PlanError};
use crate::graph::{Activation, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId};
use crate::kernel::{BufferShape, Layout, Operand};
use std::collections::HashMap;
use std::ops::Range;

/// A channel range of a virtual buffer, every `stride`-th row and column of it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) buffer: usize,
    pub(super) shape: BufferShape,
    pub(super) first_channel: usize,
    pub(super) channels: usize,
    pub(super) stride: usize,
    pub(super) non_negative: bool,
}

impl Segment {
    fn sub(&self, range: Range<usize>) -> Segment {
        Segment { first_channel: self.first_channel + range.start, channels: range.len(), ..self.clone() }
    }

    fn strided(&self, stride: usize) -> Segment {
        Segment { stride: self.stride * stride, ..self.clone() }
    }

    /// The operand, under the buffer's virtual number.
    pub(super) fn operand(&self) -> Operand {
        Operand {
            buffer: self.buffer,
            shape: self.shape,
            first_channel: self.first_channel,
            channels: self.channels,
            stride: self.stride,
        }
    }

    /// Whether a pointwise sum may read it quad by quad.
    fn quad_aligned(&self, first_out: usize) -> bool {
        let ends = self.first_channel + self.channels == self.shape.channels;
        self.shape.layout == Layout::Packed
            && self.first_channel.is_multiple_of(4)
            && first_out.is_multiple_of(4)
            && (self.channels.is_multiple_of(4) || ends)
    }
}

/// Which values are written as several buffers, and where they are cut.
pub(super) type Splits = HashMap<ValueId, Vec<usize>>;

/// Lowers a whole graph.
pub(super) fn lower(graph: &Graph, options: &Options, splits: &Splits) -> Result<Emitter, PlanError> {
    if options.batch == 0 {
        return Err(PlanError::EmptyBatch);
    }
    let input = graph.input_shape();
    let input = BufferShape {
        batch: options.batch,
        channels: input.channels,
        height: input.height,
        width: input.width,
        layout: Layout::Planar,
    };
    let mut lowering = Lowering {
        graph,
        options,
        splits,
        consumers: graph.consumers(),
        values: vec![vec![]; graph.nodes().len()],
        emitter: Emitter::new(input, options.limits),
    };
    for v in graph.values() {
        lowering.values[v.index()] = lowering.value(v)?;
    }
    let Lowering { values, mut emitter, .. } = lowering;
    for name in &options.keep {
        let v = graph.find(name).ok_or_else(|| PlanError::Unsupported {
            layer: name.clone(),
            what: "no value of that name can be kept".into(),
        })?;
        emitter.keep(name, &values[v.index()]);
    }
    Ok(emitter)
}

struct Lowering<'a> {
    graph: &'a Graph,
    options: &'a Options,
    splits: &'a Splits,
    consumers: Vec<Vec<ValueId>>,
    values: Vec<Vec<Segment>>,
    emitter: Emitter,
}

impl Lowering<'_> {
    fn name(&self, v: ValueId) -> &str {
        &self.graph.node(v).name
    }

    fn kept(&self, v: ValueId) -> bool {
        self.options.keep.iter().any(|k| k == self.name(v))
    }

    /// The only node that reads a value that nobody else needs to see.
    fn only_reader(&self, v: ValueId) -> Option<ValueId> {
        match self.consumers[v.index()].as_slice() {
            [reader] if !self.kept(v) => Some(*reader),
            _ => None,
        }
    }

    /// The convolution that an Add is computed in, if any: the later operand, linear, read by nobody else.
    fn fused_conv(&self, add: ValueId) -> Option<ValueId> {
        let last = *self.graph.node(add).inputs.iter().max()?;
        let Op::Conv2d(conv) = &self.graph.node(last).op else { return None };
        let linear = conv.uniform_activation() == Some(Activation::Identity);
        // Rows that go to several buffers would each have to take their own share of the other operand.
        let whole = row_ranges(conv).len() == 1;
        (linear && whole && self.only_reader(last) == Some(add)).then_some(last)
    }

    /// The pooling that is computed with a convolution.
    fn fused_pool(&self, conv: ValueId) -> Option<(ValueId, MaxPool)> {
        let reader = self.only_reader(conv)?;
        match &self.graph.node(reader).op {
            Op::MaxPool(pool) => Some((reader, *pool)),
            _ => None,
        }
    }

    fn value(&mut self, v: ValueId) -> Result<Vec<Segment>, PlanError> {
        let node = self.graph.node(v);
        let first = node.inputs.first().copied();
        match (&node.op, first) {
            (Op::Conv2d(conv), Some(x)) => {
                if let Some(Op::Add(_)) = self.only_reader(v).map(|r| &self.graph.node(r).op)
                    && self.fused_conv(self.consumers[v.index()][0]) == Some(v)
                {
                    return Ok(vec![]); // computed with the Add
                }
                match self.fused_pool(v) {
                    Some((pool_node, pool)) if self.single_range(conv) => {
                        let out = self.graph.shape(pool_node);
                        let segments = self.conv(v, conv, x, None, Some((pool_node, pool, out)))?;
                        self.values[pool_node.index()] = segments;
                        Ok(vec![])
                    }
                    _ => self.conv(v, conv, x, None, None),
                }
            }
            (Op::Add(activation), _) => self.add(v, *activation),
            (Op::MaxPool(pool), Some(x)) => match self.values[v.index()].is_empty() {
                false => Ok(std::mem::take(&mut self.values[v.index()])),
                true => self.per_segment(v, x, |this, s, to| this.emitter.max_pool(s, *pool, to)),
            },
            (Op::GlobalAverage, Some(x)) => self.per_segment(v, x, |this, s, to| this.emitter.average(s, to)),
            (Op::Input(_), _) => Ok(vec![self.emitter.input_segment()]),
            (op @ (Op::BatchNorm(_) | Op::Activation(_)), _) => Err(PlanError::Unsupported {
                layer: node.name.clone(),
                what: format!("{op} that no convolution before it could take in"),
            }),
            (_, None) => unreachable!("push checks the number of operands"),
        }
    }

    /// Whether all output channels are computed, as one range.
    fn single_range(&self, conv: &Conv2d) -> bool {
        row_ranges(conv).len() == 1 && !conv.blocks.iter().any(|b| matches!(b.weight, BlockWeight::Dirac))
    }

    fn layout(&self, v: ValueId) -> Layout {
        if v == self.graph.output() { Layout::Planar } else { Layout::Packed }
    }

    fn buffer_shape(&self, v: ValueId, channels: usize) -> BufferShape {
        let Shape { height, width, .. } = self.graph.shape(v);
        BufferShape { batch: self.options.batch, channels, height, width, layout: self.layout(v) }
    }

    fn unsupported(&self, v: ValueId, what: impl Into<String>) -> PlanError {
        PlanError::Unsupported { layer: self.name(v).into(), what: what.into() }
    }

    /// An operation that treats channels apart: one dispatch per segment.
    fn per_segment(
        &mut self,
        v: ValueId,
        x: ValueId,
        mut emit: impl FnMut(&mut Self, (&str, Segment), BufferShape) -> Result<Segment, PlanError>,
    ) -> Result<Vec<Segment>, PlanError> {
        let segments = self.values[x.index()].clone();
        if segments.len() > 1 && v == self.graph.output() {
            return Err(self.unsupported(v, "an output of several channel ranges"));
        }
        let mut result = vec![];
        for s in segments {
            if !s.first_channel.is_multiple_of(4) || (s.stride > 1 && s.shape.layout == Layout::Planar) {
                return Err(self.unsupported(v, "a channel range that does not begin at a multiple of 4"));
            }
            let s = if s.stride > 1 { self.emitter.copy(self.graph.node(x).name.as_str(), &s)? } else { s };
            let to = self.buffer_shape(v, s.channels);
            let name = self.graph.node(v).name.as_str();
            result.push(emit(self, (name, s), to)?);
        }
        Ok(result)
    }

    fn add(&mut self, v: ValueId, activation: Activation) -> Result<Vec<Segment>, PlanError> {
        let inputs = self.graph.node(v).inputs.clone();
        if let Some(fused) = self.fused_conv(v) {
            let other = if inputs[0] == fused { inputs[1] } else { inputs[0] };
            let node = self.graph.node(fused);
            let Op::Conv2d(conv) = &node.op else { unreachable!("fused_conv gives convolutions") };
            return self.conv(fused, conv, node.inputs[0], Some((v, other, activation)), None);
        }
        let channels = self.graph.shape(v).channels;
        let mut sum = Sum::new(channels, self.graph.shape(v).size());
        sum.activation = vec![(0..channels, activation)];
        for operand in inputs {
            self.add_value(operand, &mut sum);
        }
        let to = self.buffer_shape(v, channels);
        let name = self.name(v).to_string();
        self.emitter.sum(&name, sum, None, to, &self.cuts(v))
    }

    /// Adds a whole value to a sum.
    fn add_value(&self, operand: ValueId, sum: &mut Sum) {
        let mut first_out = 0;
        for s in self.values[operand.index()].clone() {
            let channels = s.channels;
            add_segment(s, first_out, [1, 1], sum);
            first_out += channels;
        }
    }

    fn cuts(&self, v: ValueId) -> Vec<usize> {
        self.splits.get(&v).cloned().unwrap_or_default()
    }

    /// Lowers a convolution, with the Add that is computed in it and the pooling after it.
    fn conv(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        x: ValueId,
        add: Option<(ValueId, ValueId, Activation)>,
        pool: Option<(ValueId, MaxPool, Shape)>,
    ) -> Result<Vec<Segment>, PlanError> {
        let input = self.values[x.index()].clone();
        let result_value = add.map(|a| a.0).or(pool.map(|p| p.0)).unwrap_or(v);
        let ranges = row_ranges(conv);
        if result_value == self.graph.output() && ranges.len() > 1 {
            return Err(self.unsupported(v, "an output of several channel ranges"));
        }
        let mut result = vec![];
        for rows in ranges {
            if add.is_none()
                && pool.is_none()
                && let Some(alias) = self.alias(conv, &input, &rows)
            {
                result.extend(alias);
                continue;
            }
            let mut sum = Sum::new(rows.len(), self.graph.shape(v).size());
            sum.bias = conv.bias[rows.clone()].to_vec();
            sum.activation = clip(&conv.activation, &rows);
            for block in &conv.blocks {
                if block.out.start < rows.end && rows.start < block.out.end {
                    self.block(v, conv, &block.weight, (&block.out, &block.input), &input, &rows, &mut sum)?;
                }
            }
            if let Some((_, other, activation)) = add {
                sum.activation = vec![(0..rows.len(), activation)];
                self.add_value(other, &mut sum);
            }
            let to = self.buffer_shape(result_value, rows.len());
            let name = self.name(v).to_string();
            let cuts = if rows.len() == conv.out_channels {
                self.cuts(result_value)
            } else {
                self.row_cuts(result_value, &rows)
            };
            result.extend(self.emitter.sum(&name, sum, pool.map(|p| p.1), to, &cuts)?);
        }
        Ok(result)
    }

    /// Cuts of a value that fall inside a row range, counted from its start.
    fn row_cuts(&self, v: ValueId, rows: &Range<usize>) -> Vec<usize> {
        let inside = |c: &usize| rows.start < *c && *c < rows.end && (c - rows.start).is_multiple_of(4);
        self.cuts(v).into_iter().filter(inside).map(|c| c - rows.start).collect()
    }

    /// The segments that rows are, where they need no computing: one Dirac block, bias 0, an activation that leaves them.
    fn alias(&self, conv: &Conv2d, input: &[Segment], rows: &Range<usize>) -> Option<Vec<Segment>> {
        let mut over = conv.blocks.iter().filter(|b| b.out.start < rows.end && rows.start < b.out.end);
        let (block, None) = (over.next()?, over.next()) else { return None };
        if !matches!(block.weight, BlockWeight::Dirac)
            || conv.stride[0] != conv.stride[1]
            || conv.bias[rows.clone()].iter().any(|b| *b != 0.0)
        {
            return None;
        }
        let first = block.input.start + rows.start - block.out.start;
        let segments: Vec<Segment> = pieces(input, first..first + rows.len())
            .map(|(s, range, _)| s.sub(range).strided(conv.stride[0]))
            .collect();
        let activations = clip(&conv.activation, rows);
        let unchanged = |s: &Segment| activations.iter().all(|(_, a)| a.preserves(s.non_negative));
        segments.iter().all(unchanged).then_some(segments)
    }

    /// Adds one block's share of `rows` to a sum.
    #[allow(clippy::too_many_arguments)] // one call site; a struct would only rename the arguments
    fn block(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        weight: &BlockWeight,
        (out, from): (&Range<usize>, &Range<usize>),
        input: &[Segment],
        rows: &Range<usize>,
        sum: &mut Sum,
    ) -> Result<(), PlanError> {
        let shared = out.start.max(rows.start)..out.end.min(rows.end);
        let to_row = shared.start - rows.start;
        let source_rows = shared.start - out.start..shared.end - out.start;
        match weight {
            BlockWeight::Dirac => {
                let first = from.start + source_rows.start;
                for (s, range, at) in pieces(input, first..first + shared.len()) {
                    add_segment(s.sub(range), to_row + at, conv.stride, sum);
                }
            }
            BlockWeight::Dense { weight, groups } if *groups > 1 => {
                let mut whole = pieces(input, from.clone());
                let (Some((s, range, _)), None) = (whole.next(), whole.next()) else {
                    return Err(self.unsupported(v, "a grouped convolution over several buffers"));
                };
                if shared != *out || *rows != *out || (range.start + s.first_channel) % 4 != 0 {
                    return Err(self.unsupported(v, "a grouped convolution over part of a range"));
                }
                let [_, per_group, kh, kw] = weight.shape();
                let mut k = KWeight::zero([rows.len(), per_group, kh, kw]);
                k.add_tensor(weight, 0..out.len(), 0..per_group, 0, 0, None);
                let segment = s.sub(range);
                sum.terms.push(Term::window(conv, segment, *groups, k));
            }
            BlockWeight::Dense { weight, .. } => {
                for (s, range, at) in pieces(input, from.clone()) {
                    let (segment, lead) = quad_start(s.sub(range.clone()));
                    let mut k = KWeight::zero([rows.len(), segment.channels, conv.kernel[0], conv.kernel[1]]);
                    k.add_tensor(weight, source_rows.clone(), at..at + range.len(), to_row, lead, None);
                    sum.terms.push(Term::window(conv, segment, 1, k));
                }
            }
            BlockWeight::Pointwise(weight) => {
                for (s, range, at) in pieces(input, from.clone()) {
                    let (segment, lead) = quad_start(s.sub(range.clone()));
                    let mut k = KWeight::zero([rows.len(), segment.channels, 1, 1]);
                    k.add_tensor(weight, source_rows.clone(), at..at + range.len(), to_row, lead, None);
                    let (stride, one) = (conv.stride, [1, 1]);
                    sum.terms.push(Term {
                        from: segment,
                        kernel: one,
                        stride,
                        padding: [0, 0],
                        dilation: one,
                        groups: 1,
                        weight: k,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Adds a segment to output channels from `first_out` on: in the epilogue where quads match, else as an identity K range.
fn add_segment(segment: Segment, first_out: usize, stride: [usize; 2], sum: &mut Sum) {
    if stride[0] == stride[1] && segment.quad_aligned(first_out) {
        sum.adds.push((segment.strided(stride[0]), first_out));
        return;
    }
    let channels = segment.channels;
    let (from, lead) = quad_start(segment);
    let mut weight = KWeight::zero([sum.channels, from.channels, 1, 1]);
    weight.add_identity(channels, first_out, lead, [0, 0]);
    let one = [1, 1];
    sum.terms.push(Term { from, kernel: one, stride, padding: [0, 0], dilation: one, groups: 1, weight });
}

/// Output channels cut where blocks begin and end.
fn row_ranges(conv: &Conv2d) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = conv.blocks.iter().flat_map(|b| [b.out.start, b.out.end]).collect();
    cuts.extend([0, conv.out_channels]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// The activations of a channel range, counted from its start.
fn clip(activation: &[(Range<usize>, Activation)], rows: &Range<usize>) -> Vec<(Range<usize>, Activation)> {
    activation
        .iter()
        .map(|(r, a)| (r.start.max(rows.start)..r.end.min(rows.end), *a))
        .filter(|(r, _)| r.start < r.end)
        .map(|(r, a)| (r.start - rows.start..r.end - rows.start, a))
        .collect()
}

/// The segments that make up a channel range of a value: each with the part of it, and where that begins in the range.
fn pieces(value: &[Segment], range: Range<usize>) -> impl Iterator<Item = (&Segment, Range<usize>, usize)> {
    let mut start = 0;
    value.iter().filter_map(move |s| {
        let (first, end) = (start, start + s.channels);
        start = end;
        let (lo, hi) = (range.start.max(first), range.end.min(end));
        (lo < hi).then(|| (s, lo - first..hi - first, lo - range.start))
    })
}

/// The segment from the start of its first quad on, and how many channels that added in front (to be met with zeros).
fn quad_start(segment: Segment) -> (Segment, usize) {
    if segment.shape.layout == Layout::Planar {
        return (segment, 0);
    }
    let lead = segment.first_channel % 4;
    let first_channel = segment.first_channel - lead;
    (Segment { first_channel, channels: segment.channels + lead, ..segment }, lead)
}
