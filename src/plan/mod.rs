//! A plan: dispatches over slots, as data that can be printed and replayed by a checker.
//!
//! [`compile`] lowers a graph to dispatches on virtual buffers, lets outputs overwrite values at their last use where legal, and assigns a
//! slot to each buffer. [`check`] replays the finished plan and proves that every read sees the intended value.
//!
//! The size of a plan is bounded: all values of a batch are at most [`MAX_VALUES`](crate::graph::MAX_VALUES), weights at most
//! [`MAX_WEIGHT_GROWTH`] times the bytes of the graph's tensors and [`FREE_WEIGHT_BYTES`] more. Time and memory to create and check a
//! plan grow roughly linearly with the number of its dispatches.

mod channel_view;
mod check;
mod checked;
mod conv_builder;
mod display;
mod emit;
mod in_place;
mod limits;
mod lower;
mod lower_conv;
mod memory;
mod reads;
mod svg;
mod values;
mod weights;

pub use check::{CheckError, check};
pub use checked::CheckedPlan;
pub use limits::{FREE_WEIGHT_BYTES, MAX_WEIGHT_GROWTH};
pub use values::{Memory, Phases, Values};
pub use weights::{ConvWeights, KWeight};

use crate::graph::{Block, BlockWeight, Graph, Op, Shape};
use crate::kernel::{BufferShape, Capabilities, KRange, Precision, Spec};
use lower::Splits;
use std::collections::HashMap;

/// A virtual buffer: one value, or one channel range of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Where a virtual buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The caller's input buffer, planar `[batch, channels, height, width]`.
    Input,
    /// The caller's output buffer, planar `[batch, channels, height, width]`: logits are `[batch, classes, 1, 1]`.
    Output,
    /// A slot of the plan, from its first byte.
    Slot(usize),
}

/// A virtual buffer: shape and place.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// The layer that computes it.
    pub name: String,
    /// Shape and layout.
    pub shape: BufferShape,
    /// Its place.
    pub place: Place,
}

/// One compute dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The layer or layers it computes.
    pub name: String,
    /// What it computes; operands refer to buffers by index in `reads`.
    pub spec: Spec,
    /// Buffers read, each once.
    pub reads: Vec<BufferId>,
    /// Buffers written, in the order of the spec's outputs.
    pub writes: Vec<BufferId>,
    /// The buffer that `writes[0]` overwrites element by element: it holds the spec's in-place adds, and shares the slot.
    pub in_place: Option<BufferId>,
    /// Weights of a convolution.
    pub weights: Option<ConvWeights>,
}

/// A channel range of a buffer that is part of a kept value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPart {
    /// The buffer.
    pub buffer: BufferId,
    /// First channel of the buffer.
    pub first_channel: usize,
    /// Number of channels.
    pub channels: usize,
    /// Stride of the rows and columns that belong to the value.
    pub stride: usize,
}

/// A value that stays readable after a run.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Name of the graph's node.
    pub name: String,
    /// Its channels, in order.
    pub parts: Vec<KeptPart>,
}

/// Everything needed to run a network on a device.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Images per run.
    pub batch: usize,
    /// Virtual buffers; `BufferId` indexes them. The first is the input, and exactly one is the output.
    #[doc(hidden)]
    pub buffers: Vec<Buffer>,
    /// Bytes of each slot.
    pub slots: Vec<usize>,
    /// Dispatches in order of execution.
    #[doc(hidden)]
    pub dispatches: Vec<Dispatch>,
    /// Values kept besides the output.
    #[doc(hidden)]
    pub kept: Vec<Kept>,
    /// Maximum bytes of values live at one time: a lower bound for any assignment of slots.
    pub lower_bound: usize,
}

impl Plan {
    /// A buffer by its id.
    #[doc(hidden)]
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The input buffer.
    #[doc(hidden)]
    pub fn input(&self) -> &Buffer {
        &self.buffers[0]
    }

    /// The output buffer.
    ///
    /// # Panics
    /// If the plan has none, which `compile` never produces.
    #[doc(hidden)]
    pub fn output(&self) -> &Buffer {
        self.buffers.iter().find(|b| b.place == Place::Output).expect("every plan has an output")
    }

    /// Type of the values stored between dispatches.
    pub fn precision(&self) -> Precision {
        let half = self.buffers.iter().any(|b| b.shape.precision == Precision::F16);
        if half { Precision::F16 } else { Precision::F32 }
    }

    /// Bytes of all slots, at most [`usize::MAX`]: the activations' memory. The caller's input and output are not counted.
    pub fn activation_bytes(&self) -> usize {
        self.slots.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Multiply-accumulates of one run over the whole batch, at most [`usize::MAX`].
    pub fn macs(&self) -> usize {
        self.dispatches.iter().fold(0, |sum, d| sum.saturating_add(d.macs(self.batch)))
    }
}

/// One dispatch of a plan, as readable text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanStep {
    /// The layer or layers it computes.
    pub name: String,
    /// What it computes, over slots: `s1 = relu(conv3x3(s0))`.
    pub formula: String,
    /// Multiply-accumulates of one run over the whole batch.
    pub macs: usize,
}

impl Plan {
    /// The dispatches in their order.
    pub fn steps(&self) -> Vec<PlanStep> {
        let step = |d: &Dispatch| PlanStep {
            name: d.name.clone(),
            formula: self.formula(d),
            macs: d.macs(self.batch),
        };
        self.dispatches.iter().map(step).collect()
    }
}

impl Dispatch {
    /// Multiply-accumulates for `batch` images, at most [`usize::MAX`].
    pub fn macs(&self, batch: usize) -> usize {
        let product = |factors: &[usize]| factors.iter().fold(1, |n: usize, f| n.saturating_mul(*f));
        match &self.spec {
            Spec::Conv(c) => {
                let of_range = |k: &KRange| {
                    let inputs = k.from.channels / k.groups.max(1);
                    product(&[c.out_channels, inputs, k.kernel[0], k.kernel[1]])
                };
                let per_pixel = c.k_ranges.iter().map(of_range).fold(0, usize::saturating_add);
                product(&[per_pixel, c.size[0], c.size[1], batch])
            }
            Spec::MaxPool(_) | Spec::Average(_) => 0,
        }
    }
}

/// A graph that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A layer that no kernel supports.
    #[error("{layer}: {what}")]
    Unsupported {
        /// Name of the node.
        layer: String,
        /// What is not supported, with the figures.
        what: String,
    },
    /// A buffer that exceeds the binding limit.
    #[error("{layer}: {what} takes {bytes} bytes, one storage binding holds at most {limit}")]
    BindingTooLarge {
        /// Name of the node.
        layer: String,
        /// Which buffer.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
    },
    /// More buffers than one dispatch may bind.
    #[error("{layer}: {needed} storage buffers in one dispatch, the adapter allows {limit}")]
    TooManyBuffers {
        /// Name of the node.
        layer: String,
        /// Buffers needed.
        needed: usize,
        /// The adapter's limit.
        limit: u32,
    },
    /// Weights that the requested precision cannot represent.
    #[error("{layer}: {what}")]
    Weights {
        /// Name of the dispatch.
        layer: String,
        /// What cannot be represented, with figures.
        what: String,
    },
    /// A network that exceeds a limit of plans.
    #[error("{layer}: expected at most {most} {what}, found {found}")]
    TooLarge {
        /// Name of the layer at which the limit is exceeded.
        layer: String,
        /// What is counted.
        what: &'static str,
        /// The count.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// A batch of no images.
    #[error("batch: expected 1 image or more, found 0")]
    EmptyBatch,
    /// More images than a plan may have, or than sizes can be computed for without overflow.
    #[error("batch: expected at most {most} images of this network, found {batch}")]
    BatchTooLarge {
        /// Images asked for.
        batch: usize,
        /// Maximum images.
        most: usize,
    },
}

/// The device limits that a plan must respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanTarget {
    /// Bytes of one storage binding; also taken for one buffer.
    pub max_binding_bytes: u64,
    /// Storage buffers in one dispatch.
    pub max_storage_buffers: u32,
}

impl PlanTarget {
    /// The CPU executor, which has no limits.
    pub const CPU: PlanTarget = PlanTarget { max_binding_bytes: u64::MAX, max_storage_buffers: u32::MAX };

    /// An adapter.
    pub fn of(caps: &Capabilities) -> PlanTarget {
        PlanTarget {
            max_binding_bytes: caps.limits.max_binding_bytes,
            max_storage_buffers: caps.limits.max_storage_buffers,
        }
    }
}

impl Default for PlanTarget {
    /// An adapter with the limits that WebGPU guarantees.
    fn default() -> PlanTarget {
        PlanTarget::of(&Capabilities::WEBGPU)
    }
}

/// Options of [`compile`].
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Images per run.
    pub batch: usize,
    /// Names of nodes whose values stay readable after a run.
    pub keep: Vec<String>,
    /// The device.
    pub target: PlanTarget,
    /// Whether values may be stored as two buffers if this saves memory.
    pub split: bool,
    /// Type of the values stored between dispatches and of packed weights.
    pub precision: Precision,
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions {
            batch: 1,
            keep: vec![],
            target: PlanTarget::default(),
            split: true,
            precision: Precision::F32,
        }
    }
}

/// Plans a graph, and returns the smallest of the plans tried.
///
/// # Errors
/// [`PlanError`] names the layer that cannot be planned, with figures. In f16 every weight is read once to check for
/// [`PlanError::Weights`], after [`PlanError::TooLarge`] has refused weights out of proportion.
pub fn compile(graph: &Graph, options: &PlanOptions) -> Result<Plan, PlanError> {
    let mut splits = Splits::new();
    let mut best = plan_with(graph, options, &splits)?;
    limits::check_weights(&best, graph)?;
    weights::check(&best, options.precision)?;
    if !options.split {
        return Ok(best);
    }
    // Values of one shape share a slot, so they are split together. A split has to save a twentieth, since it adds a binding and a K
    // range.
    let mut candidates = split_candidates(graph);
    let mut tries = MAX_LOWERED / graph.nodes().len();
    while best.activation_bytes() > best.lower_bound {
        let mut found = None;
        for (i, candidate) in candidates.iter().enumerate() {
            if tries == 0 {
                return Ok(best);
            }
            tries -= 1;
            let mut tried = splits.clone();
            tried.extend(candidate.clone());
            // Skip splits that cannot be lowered (a fused pool) or that a reader has to copy together again (a grouped convolution).
            let Ok(plan) = plan_with(graph, options, &tried) else { continue };
            let copies = plan.dispatches.len() > best.dispatches.len();
            if !copies && plan.activation_bytes() * 20 <= best.activation_bytes() * 19 {
                best = plan;
                found = Some((i, tried));
            }
        }
        let Some((i, tried)) = found else { break };
        splits = tried;
        candidates.swap_remove(i);
    }
    Ok(best)
}

/// Maximum nodes lowered to try splits, over all tries: about 500 tries for a network of 500 nodes.
const MAX_LOWERED: usize = 1 << 18;

fn plan_with(graph: &Graph, options: &PlanOptions, splits: &Splits) -> Result<Plan, PlanError> {
    let mut lowered = lower::lower(graph, options, splits)?;
    let mut widened = lowered.clone();
    in_place::in_place(&mut lowered, false);
    let plan = memory::assign(lowered, options.batch);
    if !in_place::in_place(&mut widened, true) {
        return Ok(plan);
    }
    let widened = memory::assign(widened, options.batch);
    Ok(if widened.activation_bytes() < plan.activation_bytes() { widened } else { plan })
}

/// Sets of values to halve together: values computed by convolutions inside blocks, by shape, of at least two quads of channels. A
/// block's output is not split, as adds happen there in place.
fn split_candidates(graph: &Graph) -> Vec<Splits> {
    let mut sets: Vec<Splits> = vec![];
    let mut by_shape: HashMap<Shape, usize> = HashMap::new();
    for v in graph.values().filter(|v| *v != graph.output()) {
        let Op::Conv2d(conv) = &graph.node(v).op else { continue };
        let dense = |b: &&Block| matches!(b.weight, BlockWeight::Dense { .. });
        let mut computed = conv.blocks.iter().filter(dense).map(|b| b.out.clone());
        let (Some(rows), None) = (computed.next(), computed.next()) else { continue };
        let merges = conv.blocks.iter().filter(|b| !dense(b)).any(|b| b.out.end > rows.start);
        if merges || rows.len() < 8 {
            continue;
        }
        let shape = Shape { channels: rows.len(), ..graph.shape(v) };
        let cut = vec![rows.start + (rows.len() / 2).next_multiple_of(4)];
        let set = *by_shape.entry(shape).or_insert(sets.len());
        sets.resize_with(sets.len().max(set + 1), Splits::new);
        sets[set].insert(v, cut);
    }
    sets
}
