//! Lowers one convolution: its blocks become aliases (views that need no computation), K ranges and added values.

use super::PlanError;
use super::channel_view::{ChannelView, Prologue, channels_without_prologue, clip, pieces, row_ranges};
use super::conv_builder::{ConvBuilder, KRangeBuilder, fits_dense_diagonal};
use super::lower::Lowering;
use super::weights::KWeight;
use crate::graph::{Activation, Block, BlockWeight, Conv2d, MaxPool, Op, ValueId, Weight};
use crate::kernel::{BufferShape, Function, Layout};
use crate::order::sort_by_key;
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// The rows that a block and a sum share: their range in the block, and the first of them in the sum.
struct SharedRows {
    in_block: Range<usize>,
    in_sum: usize,
}

impl Lowering<'_> {
    /// Lowers a convolution, with the Add or the max pool fused into it. A fused pool stores its result under the pool's node; the
    /// convolution's own entry stays empty.
    pub(super) fn conv(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        x: ValueId,
        add: Option<(ValueId, ValueId, &Activation)>,
        pool: Option<(ValueId, MaxPool)>,
    ) -> Result<Vec<ChannelView>, PlanError> {
        let input = self.values[x.index()].clone();
        let result_value = pool.map(|p| p.0).or(add.map(|a| a.0)).unwrap_or(v);
        let ranges = row_ranges(conv);
        let name = self.name(v).to_string();
        // The output must be one buffer: each row range is written into it by one dispatch.
        let output = match result_value == self.graph.output() && ranges.len() > 1 {
            true => Some(self.emitter.buffer(&name, self.buffer_shape(result_value, conv.out_channels))?),
            false => None,
        };
        let mut result = vec![];
        for rows in ranges {
            let aliases = match add.is_none() && pool.is_none() {
                true => self.view(v, conv, (x, &input), &rows)?,
                false => None,
            };
            let sum = match aliases {
                Some(aliases) if output.is_none() => {
                    result.extend(aliases);
                    continue;
                }
                Some(aliases) => {
                    let mut sum = ConvBuilder::new(rows.len(), self.graph.shape(v).size());
                    self.add_views(x, aliases, &mut sum)?;
                    sum
                }
                None => self.row_sum(v, conv, (x, &input), &rows, add)?,
            };
            if let Some(output) = output {
                self.emitter.sum_into(&name, sum, output, rows.start)?;
                continue;
            }
            let to = self.buffer_shape(result_value, rows.len());
            let cuts = self.output_cuts(result_value, conv, &rows);
            result.extend(self.emitter.sum(&name, sum, pool.map(|p| p.1), to, &cuts)?);
        }
        if let Some(output) = output {
            result = vec![self.emitter.whole(output, false)];
        }
        if let Some((node, _)) = pool {
            self.values[node.index()] = std::mem::take(&mut result);
        }
        Ok(result)
    }

    /// The sum that computes `rows` of a convolution, with the Add fused into it.
    fn row_sum(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        (x, input): (ValueId, &[ChannelView]),
        rows: &Range<usize>,
        add: Option<(ValueId, ValueId, &Activation)>,
    ) -> Result<ConvBuilder, PlanError> {
        let mut sum = ConvBuilder::new(rows.len(), self.graph.shape(v).size());
        sum.bias = conv.bias[rows.clone()].to_vec();
        sum.activation = clip(&conv.activation, rows);
        for block in &conv.blocks {
            if block.out.start < rows.end && rows.start < block.out.end {
                self.block(v, conv, block, (x, input), rows, &mut sum)?;
            }
        }
        if let Some((_, other, activation)) = add {
            sum.activation = vec![(0..rows.len(), activation.clone())];
            self.add_value(other, &mut sum)?;
        }
        Ok(sum)
    }

    /// Where to split the buffer of `rows` of a convolution whose result is `v`, relative to their start.
    fn output_cuts(&self, v: ValueId, conv: &Conv2d, rows: &Range<usize>) -> Vec<usize> {
        // The output is one buffer.
        if v == self.graph.output() {
            return vec![];
        }
        let mut cuts = if rows.len() == conv.out_channels { self.cuts(v) } else { self.row_cuts(v, rows) };
        // Also split at block ends: carried rows and rows computed by the layer have different live ranges.
        cuts.extend(
            conv.blocks
                .iter()
                .map(|b| b.out.end)
                .filter(|c| rows.start < *c && *c < rows.end && !self.read_through(v, *c))
                .map(|c| c - rows.start),
        );
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// Whether a reader multiplies channels on both sides of a cut together, so that both have the same live range.
    fn read_through(&self, v: ValueId, cut: usize) -> bool {
        let through = |b: &Block| {
            let dense = matches!(b.weight, BlockWeight::Dense { .. } | BlockWeight::Pointwise(_));
            dense && b.input.start < cut && cut < b.input.end
        };
        self.consumers[v.index()].iter().any(|reader| match &self.graph.node(*reader).op {
            Op::Conv2d(conv) => conv.blocks.iter().any(through),
            _ => false,
        })
    }

    /// Cuts of a value inside a row range, relative to its start.
    fn row_cuts(&self, v: ValueId, rows: &Range<usize>) -> Vec<usize> {
        let inside = |c: &usize| rows.start < *c && *c < rows.end && (c - rows.start).is_multiple_of(4);
        self.cuts(v).into_iter().filter(inside).map(|c| c - rows.start).collect()
    }

    /// The views that equal `rows`, if no computation is needed: one diagonal block whose bias and activation change nothing, or can be
    /// applied by all readers as a prologue.
    fn view(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        (x, input): (ValueId, &[ChannelView]),
        rows: &Range<usize>,
    ) -> Result<Option<Vec<ChannelView>>, PlanError> {
        let mut over = conv.blocks.iter().filter(|b| b.out.start < rows.end && rows.start < b.out.end);
        let (Some(block), None) = (over.next(), over.next()) else { return Ok(None) };
        let at = rows.start - block.out.start..rows.end - block.out.start;
        let scale = match &block.weight {
            BlockWeight::Dirac | BlockWeight::AvgPool2x2 => None,
            BlockWeight::Diagonal(scale) => Some(&scale[at.clone()]),
            _ => return Ok(None),
        };
        if conv.stride[0] != conv.stride[1] {
            return Ok(None);
        }
        let first = block.input.start + at.start;
        let views: Vec<(ChannelView, usize)> =
            pieces(input, first..first + rows.len()).map(|(s, range, at)| (s.sub(range), at)).collect();
        let activations = clip(&conv.activation, rows);
        let bias = &conv.bias[rows.clone()];
        let unchanged =
            |(s, _): &(ChannelView, usize)| activations.iter().all(|(_, a)| a.preserves(s.is_non_negative()));
        let alias = scale.is_none() && bias.iter().all(|b| *b == 0.0) && views.iter().all(unchanged);
        let pool = matches!(block.weight, BlockWeight::AvgPool2x2);
        let prologue = match activations.as_slice() {
            [(_, activation)] if !alias => Some(Function::from(activation)),
            _ => None,
        };
        if !alias && (pool || prologue.is_none() || !self.readers_apply_prologue(v, rows)) {
            return Ok(None);
        }
        let mut result = vec![];
        for (view, at) in views {
            let channels = at..at + view.channels;
            let apply = |s: &ChannelView| {
                let s = match prologue {
                    None => s.clone(),
                    Some(function) => {
                        let ones = || vec![1.0; channels.len()];
                        let scale = scale.map_or_else(ones, |s| s[channels.clone()].to_vec());
                        s.with_prologue(Prologue { function, scale, shift: bias[channels.clone()].to_vec() })?
                    }
                };
                if pool { s.avg_pooled() } else { s.strided(conv.stride[0]) }
            };
            if prologue.is_some() && apply(&view).is_none() {
                return Ok(None);
            }
            result.push(self.viewed(x, &view, apply)?);
        }
        Ok(Some(result))
    }

    /// Whether every reader of these channels can apply a prologue: ungrouped convolutions, and Dirac rows that pass them on.
    fn readers_apply_prologue(&mut self, v: ValueId, channels: &Range<usize>) -> bool {
        if self.kept(v) || v == self.graph.output() {
            return false;
        }
        let without_prologue = self.without_prologue(v);
        let after = without_prologue.partition_point(|r| r.end <= channels.start);
        without_prologue.get(after).is_none_or(|r| r.start >= channels.end)
    }

    /// The channels of a value for which some reader cannot apply a prologue, as sorted disjoint ranges.
    fn without_prologue(&mut self, v: ValueId) -> Arc<[Range<usize>]> {
        if let Some(known) = &self.without_prologue[v.index()] {
            return known.clone();
        }
        let mut ranges: Vec<Range<usize>> = vec![];
        for reader in &self.consumers[v.index()] {
            match &self.graph.node(*reader).op {
                Op::Conv2d(conv) => ranges.extend(channels_without_prologue(conv)),
                _ => ranges.push(0..self.graph.shape(v).channels),
            }
        }
        sort_by_key(&mut ranges, |r| r.start);
        ranges.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            last.end = last.end.max(if touches { next.end } else { last.end });
            touches
        });
        let ranges: Arc<[Range<usize>]> = ranges.into();
        self.without_prologue[v.index()] = Some(ranges.clone());
        ranges
    }

    /// Adds a block's contribution to `rows` to a sum.
    fn block(
        &mut self,
        v: ValueId,
        conv: &Conv2d,
        block: &Block,
        (x, input): (ValueId, &[ChannelView]),
        rows: &Range<usize>,
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let out = &block.out;
        let shared = out.start.max(rows.start)..out.end.min(rows.end);
        let shared_rows = SharedRows {
            in_block: shared.start - out.start..shared.end - out.start,
            in_sum: shared.start - rows.start,
        };
        match &block.weight {
            BlockWeight::Dirac | BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2 => {
                self.diagonal_block(conv, block, (x, input), shared_rows, sum)
            }
            BlockWeight::Dense { weight, groups } if *groups > 1 => {
                if shared != *out || *rows != *out {
                    return Err(self.unsupported(v, "a grouped convolution over part of a range"));
                }
                let views = pieces(input, block.input.clone()).map(|(s, range, _)| s.sub(range)).collect();
                self.grouped_block(conv, (weight, *groups), (x, views), sum)
            }
            BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                self.dense_block(conv, block, weight, (x, input), shared_rows, sum)
            }
        }
    }

    /// Adds rows of a Dirac, diagonal or average-pool block to a sum.
    fn diagonal_block(
        &mut self,
        conv: &Conv2d,
        block: &Block,
        (x, input): (ValueId, &[ChannelView]),
        rows: SharedRows,
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let first = block.input.start + rows.in_block.start;
        for (s, range, at) in pieces(input, first..first + rows.in_block.len()) {
            let (s, to) = (s.sub(range), rows.in_sum + at);
            match &block.weight {
                BlockWeight::Diagonal(factors) => {
                    let start = rows.in_block.start + at;
                    let factors = factors[start..start + s.channels].into();
                    let s = self.viewed(x, &s, |s| s.tapped(conv.stride))?;
                    self.diagonal(x, s, factors, to, conv.stride, sum)?;
                }
                BlockWeight::AvgPool2x2 => {
                    let s = self.viewed(x, &s, ChannelView::avg_pooled)?;
                    let ones = vec![1.0; s.channels];
                    self.diagonal(x, s, ones.into(), to, [1, 1], sum)?;
                }
                _ => self.add_view(x, s, to, conv.stride, sum)?,
            }
        }
        Ok(())
    }

    /// Adds a grouped block with all rows of a sum, as a K range over one view.
    fn grouped_block(
        &mut self,
        conv: &Conv2d,
        (weight, groups): (&Weight, usize),
        (x, views): (ValueId, Vec<ChannelView>),
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let [_, per_group, kh, kw] = weight.shape();
        let mut k = KWeight::zero([sum.channels, per_group, kh, kw]);
        k.add_tensor(weight, 0..sum.channels, 0..per_group, 0, 0, None);
        let readable =
            |s: &ChannelView| s.is_strided() && s.gate.is_none() && s.first_channel.is_multiple_of(4);
        let view = match views.as_slice() {
            [one] if readable(one) => one.clone(),
            _ => self.gathered(x, views)?,
        };
        sum.k_ranges.push(KRangeBuilder::window(conv, view, groups, k));
        Ok(())
    }

    /// Adds rows of a dense or pointwise block to a sum, as a K range per view.
    fn dense_block(
        &mut self,
        conv: &Conv2d,
        block: &Block,
        weight: &Weight,
        (x, input): (ValueId, &[ChannelView]),
        rows: SharedRows,
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let pointwise = matches!(block.weight, BlockWeight::Pointwise(_));
        let one = pointwise || conv.kernel == [1, 1] && [conv.padding, conv.padding_end] == [[0, 0]; 2];
        let readable = |s: &ChannelView| {
            let whole = one && conv.stride == [1, 1];
            (s.gate.is_none() && (!s.avg_pool_2x2 || whole)).then(|| s.clone())
        };
        let [_, _, kh, kw] = weight.shape();
        for (s, range, at) in pieces(input, block.input.clone()) {
            let view = self.viewed(x, &s.sub(range.clone()), readable)?;
            let (view, lead) = view.quad_start();
            let mut k = KWeight::zero([sum.channels, view.channels, kh, kw]);
            k.add_tensor(weight, rows.in_block.clone(), at..at + range.len(), rows.in_sum, lead, None);
            sum.k_ranges.push(match pointwise {
                true => KRangeBuilder::pointwise(view, conv.stride, 1, k),
                false => KRangeBuilder::window(conv, view, 1, k),
            });
        }
        Ok(())
    }

    /// Adds views to output channels from 0 on, one after another.
    fn add_views(
        &mut self,
        x: ValueId,
        views: Vec<ChannelView>,
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let mut first = 0;
        for view in views {
            let channels = view.channels;
            self.add_view(x, view, first, [1, 1], sum)?;
            first += channels;
        }
        Ok(())
    }

    /// Adds a view to output channels from `first_out` on, in the epilogue, without multiplications. Where quads are not aligned, the
    /// epilogue moves channels across quads. A view that the epilogue cannot read is copied or, if small, becomes a diagonal K range.
    pub(super) fn add_view(
        &mut self,
        x: ValueId,
        view: ChannelView,
        first_out: usize,
        stride: [usize; 2],
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let aligned = view.quad_aligned(first_out);
        let added = |s: &ChannelView| s.is_strided() && (aligned || s.gate.is_none());
        let moved = view.is_strided() || !fits_dense_diagonal(sum.channels, view.channels);
        if stride[0] == stride[1] && (aligned || moved) {
            let apply = |s: &ChannelView| s.strided(stride[0]).filter(added);
            let view = self.viewed(x, &view, apply)?;
            sum.adds.push((view, first_out));
            return Ok(());
        }
        let ones = vec![1.0; view.channels];
        let from = self.viewed(x, &view, |s| s.tapped(stride))?;
        self.diagonal(x, from, ones.into(), first_out, stride, sum)
    }

    /// Copies views into one buffer, for a reader that cannot read several.
    pub(super) fn gathered(&mut self, x: ValueId, parts: Vec<ChannelView>) -> Result<ChannelView, PlanError> {
        let channels = parts.iter().map(|s| s.channels).sum();
        let [height, width] = parts.first().map_or([1, 1], |s| s.operand().size());
        let non_negative = parts.iter().all(ChannelView::is_non_negative);
        let mut sum = ConvBuilder::new(channels, [height, width]);
        self.add_views(x, parts, &mut sum)?;
        let to = BufferShape { height, width, layout: Layout::Packed, ..self.buffer_shape(x, channels) };
        let name = format!("{}.copy", self.name(x));
        let mut gathered = self.emitter.sum(&name, sum, None, to, &[])?;
        let whole = gathered.pop().expect("one buffer without cuts");
        Ok(ChannelView { non_negative, ..whole })
    }

    /// Adds a view times a factor per channel to output channels from `first_out` on: as a depthwise K range if it covers all channels of
    /// the sum, as a dense one if small, else as a separate dispatch whose result is added.
    pub(super) fn diagonal(
        &mut self,
        x: ValueId,
        view: ChannelView,
        factors: Arc<[f64]>,
        first_out: usize,
        stride: [usize; 2],
        sum: &mut ConvBuilder,
    ) -> Result<(), PlanError> {
        let channels = view.channels;
        let aligned = view.shape.layout == Layout::Packed && view.first_channel.is_multiple_of(4);
        let all = first_out == 0 && channels == sum.channels;
        if !(all && aligned) && fits_dense_diagonal(sum.channels, channels) {
            let (from, lead) = view.quad_start();
            let mut weight = KWeight::zero([sum.channels, from.channels, 1, 1]);
            weight.add_diagonal(factors, first_out, lead, [0, 0]);
            sum.k_ranges.push(KRangeBuilder::pointwise(from, stride, 1, weight));
            return Ok(());
        }
        let view = match aligned {
            true => self.viewed(x, &view, |s| s.prologue.is_none().then(|| s.clone()))?,
            false => self.emitter.copy(self.graph.node(x).name.as_str(), &view)?,
        };
        let mut weight = KWeight::zero([channels, 1, 1, 1]);
        let tensor = Tensor::from_f64(vec![channels, 1, 1, 1], factors.to_vec());
        weight.add_tensor(&Weight::new(tensor), 0..channels, 0..1, 0, 0, None);
        let k_range = KRangeBuilder::pointwise(view, stride, channels, weight);
        if all {
            sum.k_ranges.push(k_range);
            return Ok(());
        }
        let [height, width] = sum.size;
        let to = BufferShape { height, width, layout: Layout::Packed, ..self.buffer_shape(x, channels) };
        let mut own = ConvBuilder::new(channels, sum.size);
        own.k_ranges.push(k_range);
        let name = format!("{}.scaled", self.name(x));
        let mut scaled = self.emitter.sum(&name, own, None, to, &[])?;
        sum.adds.push((scaled.pop().expect("one buffer without cuts"), first_out));
        Ok(())
    }
}
