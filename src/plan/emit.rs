//! Collects virtual buffers and dispatches, within the limits of one binding.

use super::channel_view::{ChannelView, clip};
use super::conv_builder::{ConvBuilder, KRangeBuilder, fits_dense_diagonal};
use super::reads::Reads;
use super::weights::{ConvWeights, KWeight};
use super::{Buffer, BufferId, Dispatch, Kept, KeptPart, Place, PlanError, PlanOptions, PlanTarget};
use crate::graph::{Activation, MaxPool, Weight};
use crate::kernel::{
    AverageSpec, BufferShape, ConvSpec, Function, Layout, Operand, Output, PoolSpec, Precision, Spec,
    packed_weight_bytes,
};
use crate::tensor::Tensor;
use std::ops::Range;

/// The buffers and dispatches emitted so far. Buffers are virtual until memory is assigned.
#[derive(Clone)]
pub(super) struct Emitter {
    pub(super) buffers: Vec<Buffer>,
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) kept: Vec<Kept>,
    target: PlanTarget,
    precision: Precision,
}

impl Emitter {
    pub(super) fn new(input: BufferShape, options: &PlanOptions) -> Emitter {
        let &PlanOptions { target, precision, .. } = options;
        let buffer = Buffer { name: "input".into(), shape: input, place: Place::Input };
        Emitter { buffers: vec![buffer], dispatches: vec![], kept: vec![], target, precision }
    }

    pub(super) fn input_view(&self) -> ChannelView {
        self.whole(0, false)
    }

    pub(super) fn whole(&self, buffer: usize, non_negative: bool) -> ChannelView {
        ChannelView::whole(buffer, self.buffers[buffer].shape, non_negative)
    }

    pub(super) fn keep(&mut self, name: &str, value: &[ChannelView]) {
        let part = |s: &ChannelView| KeptPart {
            buffer: BufferId(s.buffer),
            first_channel: s.first_channel,
            channels: s.channels,
            stride: s.stride,
        };
        self.kept.push(Kept { name: name.into(), parts: value.iter().map(part).collect() });
    }

    /// Creates a buffer of this shape; packed ones get the plan's precision.
    pub(super) fn buffer(&mut self, name: &str, mut shape: BufferShape) -> Result<usize, PlanError> {
        shape.precision = match shape.layout {
            Layout::Packed => self.precision,
            Layout::Planar => Precision::F32,
        };
        self.fits(name, "an activation buffer", shape.bytes() as u64)?;
        // The slot is set when memory is assigned.
        let place = if shape.layout == Layout::Planar { Place::Output } else { Place::Slot(0) };
        self.buffers.push(Buffer { name: label(name), shape, place });
        Ok(self.buffers.len() - 1)
    }

    fn fits(&self, layer: &str, what: &'static str, bytes: u64) -> Result<(), PlanError> {
        let limit = self.target.max_binding_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(PlanError::BindingTooLarge { layer: layer.into(), what, bytes, limit })
    }

    /// Emits `activation(k_ranges + adds + bias)`, pooled, into one buffer, or into several that are split at `cuts`; `to` is the shape of
    /// the whole output. If the weights exceed the binding limit, output channels are split over several dispatches. If the sum reads more
    /// buffers than the adapter allows, its operands are split.
    pub(super) fn sum(
        &mut self,
        name: &str,
        sum: ConvBuilder,
        pool: Option<MaxPool>,
        to: BufferShape,
        cuts: &[usize],
    ) -> Result<Vec<ChannelView>, PlanError> {
        supported(name, &sum)?;
        let most = self.most_operands();
        let cuts = if cuts.len() + 1 > most / 2 { &[] } else { cuts };
        let mut edges = vec![0];
        edges.extend(cuts.iter().copied().filter(|c| *c > 0 && *c < sum.channels && c.is_multiple_of(4)));
        edges.push(sum.channels);
        let sum = self.within_bindings(name, sum, edges.len() - 1, to)?;
        let mut targets = vec![];
        for (i, w) in edges.windows(2).enumerate() {
            let shape = BufferShape { channels: w[1] - w[0], ..to };
            let label = if edges.len() > 2 { format!("{name}[{i}]") } else { name.to_string() };
            targets.push(OutputRange {
                channels: w[0]..w[1],
                buffer: self.buffer(&label, shape)?,
                first_channel: 0,
            });
        }
        self.dispatches(name, &sum, pool, &targets)?;
        let non_negative = |range: &Range<usize>| {
            sum.activation
                .iter()
                .filter(|(r, _)| r.start < range.end && range.start < r.end)
                .all(|(_, a)| a.non_negative(false))
        };
        Ok(targets.iter().map(|t| self.whole(t.buffer, non_negative(&t.channels))).collect())
    }

    /// Emits `activation(k_ranges + adds + bias)` into an existing buffer, from channel `first_channel` on.
    pub(super) fn sum_into(
        &mut self,
        name: &str,
        sum: ConvBuilder,
        buffer: usize,
        first_channel: usize,
    ) -> Result<(), PlanError> {
        supported(name, &sum)?;
        let sum = self.within_bindings(name, sum, 1, self.buffers[buffer].shape)?;
        let channels = 0..sum.channels;
        self.dispatches(name, &sum, None, &[OutputRange { channels, buffer, first_channel }])
    }

    /// If a sum reads more buffers than one dispatch with `outputs` outputs may bind, computes part of it into a buffer that the rest
    /// adds.
    fn within_bindings(
        &mut self,
        name: &str,
        mut sum: ConvBuilder,
        outputs: usize,
        to: BufferShape,
    ) -> Result<ConvBuilder, PlanError> {
        let most = self.most_operands();
        while sum.buffers().len() + outputs > most {
            let Some(part) = sum.split_off(most.saturating_sub(1)) else { break };
            let [height, width] = part.size;
            let shape = BufferShape { channels: part.channels, height, width, layout: Layout::Packed, ..to };
            let parts = self.sum(&format!("{name}.part"), part, None, shape, &[])?;
            sum.adds.extend(parts.into_iter().map(|s| (s, 0)));
        }
        Ok(sum)
    }

    /// Maximum buffers per dispatch besides the weights.
    fn most_operands(&self) -> usize {
        (self.target.max_storage_buffers as usize).saturating_sub(1)
    }

    fn dispatches(
        &mut self,
        name: &str,
        sum: &ConvBuilder,
        pool: Option<MaxPool>,
        targets: &[OutputRange],
    ) -> Result<(), PlanError> {
        for rows in self.chunks(name, sum, pool, targets)? {
            self.chunk(name, sum, rows, pool, targets)?;
        }
        Ok(())
    }

    /// Output channels per dispatch, so that the packed weights of each fit one binding.
    fn chunks(
        &self,
        name: &str,
        sum: &ConvBuilder,
        pool: Option<MaxPool>,
        targets: &[OutputRange],
    ) -> Result<Vec<Range<usize>>, PlanError> {
        let limit = self.target.max_binding_bytes;
        let bytes = |rows: usize| packed_weight_bytes(&self.conv_spec(sum, 0..rows, pool, targets).0);
        let mut rows = sum.channels;
        while bytes(rows) > limit {
            if rows <= ROW_TILE || sum.k_ranges.iter().any(|t| t.groups > 1) {
                let what = "the packed weights of a dispatch";
                return Err(PlanError::BindingTooLarge {
                    layer: name.into(),
                    what,
                    bytes: bytes(rows),
                    limit,
                });
            }
            rows = rows.div_ceil(2).next_multiple_of(ROW_TILE);
        }
        Ok((0..sum.channels).step_by(rows).map(|a| a..(a + rows).min(sum.channels)).collect())
    }

    /// The spec for output channels `rows` of a sum, with the buffers it reads and writes.
    fn conv_spec(
        &self,
        sum: &ConvBuilder,
        rows: Range<usize>,
        pool: Option<MaxPool>,
        targets: &[OutputRange],
    ) -> (ConvSpec, Vec<BufferId>, Vec<BufferId>) {
        let mut reads = Reads::default();
        let k_ranges = sum.k_ranges.iter().map(|t| reads.k_range(t)).collect();
        let adds = sum.adds.iter().filter_map(|(view, first)| reads.add(view, *first, &rows)).collect();
        let (outputs, writes) = targets.iter().filter_map(|target| self.output(target, &rows)).unzip();
        let activation = clip(&sum.activation, &rows).iter().map(|(r, a)| (r.clone(), a.into())).collect();
        let spec = ConvSpec {
            k_ranges,
            adds,
            in_place: 0,
            out_channels: rows.len(),
            size: sum.size,
            activation,
            pool,
            outputs,
        };
        (spec, reads.buffers, writes)
    }

    /// The part of an output range that a dispatch of `rows` writes, and its buffer; `None` if they do not overlap.
    fn output(&self, target: &OutputRange, rows: &Range<usize>) -> Option<(Output, BufferId)> {
        let OutputRange { channels: range, buffer, first_channel } = target;
        let (lo, hi) = (rows.start.max(range.start), rows.end.min(range.end));
        let output = || Output {
            channels: lo - rows.start..hi - rows.start,
            shape: self.buffers[*buffer].shape,
            first_channel: first_channel + lo - range.start,
        };
        (lo < hi).then(|| (output(), BufferId(*buffer)))
    }

    fn chunk(
        &mut self,
        name: &str,
        sum: &ConvBuilder,
        rows: Range<usize>,
        pool: Option<MaxPool>,
        targets: &[OutputRange],
    ) -> Result<(), PlanError> {
        let (spec, reads, writes) = self.conv_spec(sum, rows.clone(), pool, targets);
        let bindings = reads.len() + writes.len() + 1;
        if bindings > self.target.max_storage_buffers as usize {
            let limit = self.target.max_storage_buffers;
            return Err(PlanError::TooManyBuffers { layer: name.into(), needed: bindings, limit });
        }
        let f32s = |values: &[f64]| -> Vec<f32> { values.iter().map(|v| *v as f32).collect() };
        let mut slopes = vec![];
        if spec.has_slopes() {
            slopes = vec![0.0; rows.len()];
            for (range, activation) in clip(&sum.activation, &rows) {
                if let Activation::PRelu(values) = activation {
                    slopes[range].copy_from_slice(&f32s(&values));
                }
            }
        }
        let prologue = |t: &KRangeBuilder| t.from.prologue.as_ref().map(|m| (f32s(&m.scale), f32s(&m.shift)));
        let weights = ConvWeights {
            k_ranges: sum.k_ranges.iter().map(|t| t.weight.rows(rows.clone())).collect(),
            bias: f32s(&sum.bias[rows]),
            slopes,
            prologues: sum.k_ranges.iter().map(prologue).collect(),
        };
        self.dispatch(name, Spec::Conv(spec), reads, writes, Some(weights));
        Ok(())
    }

    fn dispatch(
        &mut self,
        name: &str,
        spec: Spec,
        reads: Vec<BufferId>,
        writes: Vec<BufferId>,
        weights: Option<ConvWeights>,
    ) {
        self.dispatches.push(Dispatch { name: label(name), spec, reads, writes, in_place: None, weights });
    }

    pub(super) fn max_pool(
        &mut self,
        (name, from): (&str, ChannelView),
        pool: MaxPool,
        to: BufferShape,
    ) -> Result<ChannelView, PlanError> {
        let buffer = self.buffer(name, to)?;
        let operand = Operand { buffer: 0, ..from.operand() };
        let spec = Spec::MaxPool(PoolSpec { from: operand, pool, to: self.buffers[buffer].shape });
        self.dispatch(name, spec, vec![BufferId(from.buffer)], vec![BufferId(buffer)], None);
        Ok(self.whole(buffer, from.non_negative))
    }

    pub(super) fn average(
        &mut self,
        (name, from): (&str, ChannelView),
        to: BufferShape,
    ) -> Result<ChannelView, PlanError> {
        let buffer = self.buffer(name, to)?;
        let operand = Operand { buffer: 0, ..from.operand() };
        let spec = Spec::Average(AverageSpec { from: operand, to: self.buffers[buffer].shape });
        self.dispatch(name, spec, vec![BufferId(from.buffer)], vec![BufferId(buffer)], None);
        Ok(self.whole(buffer, from.non_negative))
    }

    /// Copies a view to a new buffer, with the view applied.
    pub(super) fn copy(&mut self, name: &str, view: &ChannelView) -> Result<ChannelView, PlanError> {
        let Some(sum) = copy_sum(view) else { return self.copy_in_steps(name, view) };
        let (channels, [height, width]) = (sum.channels, sum.size);
        let to = BufferShape { channels, height, width, layout: Layout::Packed, ..view.shape };
        let mut copied = self.sum(&format!("{name}.copy"), sum, None, to, &[])?;
        let whole = copied.pop().expect("one buffer without cuts");
        Ok(ChannelView { non_negative: view.is_non_negative(), ..whole })
    }

    /// A copy that takes several dispatches: align to quads, then apply the prologue, then pool.
    fn copy_in_steps(&mut self, name: &str, view: &ChannelView) -> Result<ChannelView, PlanError> {
        if view.gate.is_some() {
            let (whole, own) = view.whole_quads();
            if !whole.quad_aligned(0) {
                let what = "a gate over channels that do not begin at a multiple of 4".into();
                return Err(PlanError::Unsupported { layer: name.into(), what });
            }
            let whole = self.copy(name, &whole)?;
            return self.copy(name, &whole.sub(own));
        }
        if view.prologue.is_some() && is_depthwise_operand(view) {
            let with_prologue = self.copy(name, &ChannelView { avg_pool_2x2: false, ..view.clone() })?;
            return self.copy(name, &ChannelView { avg_pool_2x2: true, ..with_prologue });
        }
        let plain = ChannelView { prologue: None, avg_pool_2x2: false, ..view.clone() };
        let ChannelView { prologue, avg_pool_2x2, .. } = view.clone();
        let plain = self.copy(name, &plain)?;
        self.copy(name, &ChannelView { prologue, avg_pool_2x2, ..plain })
    }
}

/// The sum that copies a view in one dispatch, with the view applied; `None` if it takes several.
fn copy_sum(view: &ChannelView) -> Option<ConvBuilder> {
    let channels = view.channels;
    let mut sum = ConvBuilder::new(channels, view.operand().size());
    let depthwise = |view: ChannelView, factors: &[f64]| {
        let mut weight = KWeight::zero([channels, 1, 1, 1]);
        let factors = Tensor::from_f64(vec![channels, 1, 1, 1], factors.to_vec());
        weight.add_tensor(&Weight::new(factors), 0..channels, 0..1, 0, 0, None);
        KRangeBuilder::pointwise(view, [1, 1], channels, weight)
    };
    let ones = vec![1.0; channels];
    match &view.prologue {
        None if !view.avg_pool_2x2 && (view.gate.is_none() || view.quad_aligned(0)) => {
            sum.adds.push((view.clone(), 0));
        }
        None if is_depthwise_operand(view) && view.gate.is_none() => {
            sum.k_ranges.push(depthwise(view.clone(), &ones));
        }
        // The prologue as weight, bias and activation.
        Some(prologue) if is_depthwise_operand(view) && !view.avg_pool_2x2 => {
            let plain = ChannelView { prologue: None, ..view.clone() };
            sum.k_ranges.push(depthwise(plain, &prologue.scale));
            sum.bias.clone_from(&prologue.shift);
            let activation = match prologue.function {
                Function::Relu => Activation::Relu,
                Function::Relu6 => Activation::Relu6,
                _ => Activation::Identity,
            };
            sum.activation = vec![(0..channels, activation)];
        }
        _ if view.gate.is_none() && fits_dense_diagonal(channels, channels) => {
            let (from, lead) = view.clone().quad_start();
            let mut weight = KWeight::zero([channels, from.channels, 1, 1]);
            weight.add_diagonal(ones.into(), 0, lead, [0, 0]);
            sum.k_ranges.push(KRangeBuilder::pointwise(from, [1, 1], 1, weight));
        }
        _ => return None,
    }
    Some(sum)
}

/// Whether a depthwise K range can read a view: its channels begin with a quad of a packed buffer.
fn is_depthwise_operand(view: &ChannelView) -> bool {
    view.first_channel.is_multiple_of(4) && view.shape.layout == Layout::Packed
}

/// A range of output channels, and the buffer and first channel where it is stored.
struct OutputRange {
    channels: Range<usize>,
    buffer: usize,
    first_channel: usize,
}

/// Maximum bytes of a name repeated by dispatches and buffers.
const MAX_LABEL: usize = 1024;

/// The name of a dispatch or buffer, shortened, since one layer may have many of them.
fn label(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.into();
    }
    let end = (0..=MAX_LABEL).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}..", &name[..end])
}

/// Refuses combinations of activations that no kernel supports.
fn supported(name: &str, sum: &ConvBuilder) -> Result<(), PlanError> {
    let has = |of: fn(&Activation) -> bool| sum.activation.iter().any(|(_, a)| of(a));
    if has(|a| matches!(a, Activation::PRelu(_)))
        && has(|a| matches!(a, Activation::Relu6 | Activation::Sigmoid))
    {
        let what = "PReLU beside ReLU6 or sigmoid in one range".into();
        return Err(PlanError::Unsupported { layer: name.into(), what });
    }
    Ok(())
}

/// Output channels are split over dispatches in multiples of this, the maximum padding of kernels.
const ROW_TILE: usize = 32;
