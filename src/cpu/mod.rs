//! Runs a [`Plan`] on the CPU with all cores: the path without a GPU, and a second opinion on every plan.
//!
//! The same dispatches, slots and in-place sums as on a GPU, and of an f16 plan the same roundings: weights and stored values
//! take the values that f16 has, in memory they stay f32. Inside, values lie as `[batch, height, width, channels]` (NHWC),
//! so that the pixels of a tile are one slice of the output and the taps of a row are one slice of the input.
//! Convolutions are implicit GEMMs: a tile of patches is gathered, then multiplied by the `gemm` crate.

mod conv;
mod depthwise;
mod patches;
mod pool;
mod product;
mod timing;

pub use timing::peak;

use crate::kernel::{BufferShape, Pooling, Precision, Spec};
use crate::memory::{self, OutOfMemory};
use crate::plan::{BufferId, Dispatch, Place, Plan};
use conv::PackedConv;
use std::sync::{Mutex, PoisonError};

/// An error of a run on the CPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// An input of the wrong length.
    #[error("the input holds {expected} values, found {found}")]
    InputLength {
        /// Values of the plan's input: batch, channels, height and width multiplied.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A value beyond the range of the plan's precision.
    #[error(
        "{layer}: a value is beyond the range of f16, which ends at 65504, or is no number; `rmnet verify --precision f16` says \
         by how much, --precision f32 runs it"
    )]
    Overflow {
        /// Name of the dispatch that gave it.
        layer: String,
    },
    /// A weight or bias that batch norm took beyond what f32 holds.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Weights {
        /// The layer.
        layer: String,
    },
    /// A value that was not asked for when the network was planned.
    #[error("`{name}` was not kept; kept values: {}", if .kept.is_empty() { "none".into() } else { .kept.join(", ") })]
    NotKept {
        /// The name asked for.
        name: String,
        /// The names that can be read.
        kept: Vec<String>,
    },
    /// A batch, or a network, beyond the machine.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Runs one plan. `Send` and `Sync`; runs from several threads take turns.
pub struct CpuExecutor {
    /// Without its weights.
    plan: Plan,
    /// One per dispatch; `None` where it is no convolution.
    convs: Vec<Option<PackedConv>>,
    state: Mutex<State>,
}

/// What a run writes.
struct State {
    input: Vec<f32>,
    output: Vec<f32>,
    slots: Vec<Vec<f32>>,
    scratch: Vec<Scratch>,
}

/// Working memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    patches: Vec<f32>,
    rows: Vec<f32>,
}

impl State {
    fn place(&mut self, place: Place) -> &mut Vec<f32> {
        match place {
            Place::Input => &mut self.input,
            Place::Output => &mut self.output,
            Place::Slot(s) => &mut self.slots[s],
        }
    }

    fn values(&self, place: Place) -> &[f32] {
        match place {
            Place::Input => &self.input,
            Place::Output => &self.output,
            Place::Slot(s) => &self.slots[s],
        }
    }
}

/// Elements of each slot.
fn slots(plan: &Plan) -> impl Iterator<Item = usize> {
    plan.slots.iter().map(|bytes| bytes.div_ceil(plan.precision().bytes()))
}

/// What a thread needs beside: patches, and what packing takes for a moment.
const WORKING_BYTES: usize = 4 << 20;

/// Lets every thread allocate something. Its allocator may set much aside for a thread that does so the first time (glibc 64 MiB of
/// addresses): what is there is asked after that.
fn settle_threads() {
    rayon::broadcast(|_| drop(std::hint::black_box(vec![0u8; 1024])));
}

/// Values of the largest map that is made to be averaged.
fn averaged(plan: &Plan) -> usize {
    let values = |d: &Dispatch| match &d.spec {
        Spec::Conv(c) if c.pooling == Some(Pooling::Average) => {
            plan.batch.saturating_mul(c.size[0] * c.size[1] * c.out_channels)
        }
        _ => 0,
    };
    plan.dispatches.iter().map(values).max().unwrap_or(0)
}

impl CpuExecutor {
    /// Reads and reorders the weights and sets up the slots. The plan's tensors are not needed afterwards.
    ///
    /// # Panics
    /// Where [`CpuExecutor::try_new`] reports an error.
    pub fn new(plan: &Plan) -> CpuExecutor {
        CpuExecutor::try_new(plan).unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`CpuExecutor::new`], where the plan may be of any size.
    ///
    /// # Errors
    /// [`CpuError::OutOfMemory`] when there is too little memory for the plan's slots, its input and its output, or for its weights;
    /// [`CpuError::Weights`].
    pub fn try_new(plan: &Plan) -> Result<CpuExecutor, CpuError> {
        let elements = |shape: BufferShape| shape.batch * shape.channels * shape.height * shape.width;
        let (input, output) = (elements(plan.input().shape), elements(plan.output().shape));
        settle_threads();
        // The caller has an input and gets an output as well.
        let caller = 2 * 4 * (input + output);
        let own = (4 * slots(plan).sum::<usize>()).saturating_add(averaged(plan).saturating_mul(4));
        // Every weight is there once packed, and the one that is being packed as it is stored as well.
        let weights = plan.dispatches.iter().filter_map(|d| d.weights.as_ref()).flat_map(|w| &w.k_ranges);
        let bytes = weights.map(|k| k.shape.iter().fold(4, |bytes: usize, n| bytes.saturating_mul(*n)));
        let (all, largest) = bytes.fold((0usize, 0), |(all, most), n| (all.saturating_add(n), most.max(n)));
        let working = rayon::current_num_threads() * WORKING_BYTES;
        let parts = [own, caller, all, largest, working];
        memory::ask("weights and activations", parts.iter().fold(0, |sum: usize, n| sum.saturating_add(*n)))?;
        let pack = |d: &Dispatch| {
            let (Spec::Conv(spec), Some(weights)) = (&d.spec, &d.weights) else { return Ok(None) };
            let packed = PackedConv::new(spec, weights);
            packed.map(Some).ok_or_else(|| CpuError::Weights { layer: d.name.clone() })
        };
        let convs = plan.dispatches.iter().map(pack).collect::<Result<_, _>>()?;
        let mut plan = plan.clone();
        plan.dispatches.iter_mut().for_each(|d| d.weights = None);
        let state = State {
            input: vec![0.0; input],
            output: vec![0.0; output],
            slots: slots(&plan).map(|elements| vec![0.0; elements]).collect(),
            scratch: (0..rayon::current_num_threads()).map(|_| Scratch::default()).collect(),
        };
        Ok(CpuExecutor { plan, convs, state: Mutex::new(state) })
    }

    /// The plan, without its weights.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of the slots as they lie in memory: f32 in every precision.
    pub fn activation_bytes(&self) -> usize {
        4 * slots(&self.plan).sum::<usize>()
    }

    /// Bytes of the weights as they lie in memory.
    pub fn weight_bytes(&self) -> usize {
        self.convs.iter().flatten().map(PackedConv::bytes).sum()
    }

    /// Runs `input`, planar `[batch, channels, height, width]`, and gives the output, planar `[batch, channels, height,
    /// width]` (logits are `[batch, classes]`).
    ///
    /// # Errors
    /// [`CpuError::InputLength`] when the input is not exactly one batch; [`CpuError::Overflow`].
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, CpuError> {
        self.run_each(input, |run| run())
    }

    /// [`CpuExecutor::run`], every dispatch through `each`.
    fn run_each(&self, input: &[f32], mut each: impl FnMut(&mut dyn FnMut())) -> Result<Vec<f32>, CpuError> {
        let shape = self.plan.input().shape;
        let expected = shape.batch * shape.channels * shape.height * shape.width;
        if input.len() != expected {
            return Err(CpuError::InputLength { expected, found: input.len() });
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        from_planar(shape, input, &mut state.input);
        for i in 0..self.plan.dispatches.len() {
            let mut fits = true;
            each(&mut || fits = self.dispatch(state, i));
            if !fits {
                return Err(CpuError::Overflow { layer: self.plan.dispatches[i].name.clone() });
            }
        }
        Ok(to_planar(self.plan.output().shape, &state.output, 0..self.plan.output().shape.channels, 1))
    }

    /// A kept value of the last run, planar `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`CpuError::NotKept`] when the plan keeps no value of that name.
    pub fn read_kept(&self, name: &str) -> Result<Vec<f32>, CpuError> {
        let Some(kept) = self.plan.kept.iter().find(|k| k.name == name) else {
            let kept = self.plan.kept.iter().map(|k| k.name.clone()).collect();
            return Err(CpuError::NotKept { name: name.into(), kept });
        };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<Vec<f32>> = kept
            .parts
            .iter()
            .map(|p| {
                let buffer = self.plan.buffer(p.buffer);
                let channels = p.first_channel..p.first_channel + p.channels;
                to_planar(buffer.shape, state.values(buffer.place), channels, p.stride)
            })
            .collect();
        // Each part is [batch, its channels, height, width]; images interleave them.
        let batch = self.plan.batch;
        let image = |image: usize| {
            parts.iter().flat_map(move |p| {
                let n = p.len() / batch;
                p[image * n..(image + 1) * n].iter().copied()
            })
        };
        Ok((0..batch).flat_map(image).collect())
    }

    /// Runs one dispatch; says whether what it wrote has a value in the precision of each buffer.
    fn dispatch(&self, state: &mut State, index: usize) -> bool {
        let d = &self.plan.dispatches[index];
        let place = |id: &BufferId| self.plan.buffer(*id).place;
        // What is written is taken out, so that the rest can be borrowed for reading: a plan never has one slot on both
        // sides, except in place, where the written slot itself holds the operand.
        let mut written: Vec<Vec<f32>> =
            d.writes.iter().map(|w| std::mem::take(state.place(place(w)))).collect();
        let mut scratch = std::mem::take(&mut state.scratch);
        {
            let reads: Vec<&[f32]> = d.reads.iter().map(|r| state.values(place(r))).collect();
            match &d.spec {
                Spec::Conv(spec) => {
                    if let Some(packed) = &self.convs[index] {
                        conv::run(spec, packed, self.plan.batch, &reads, &mut written, &mut scratch);
                    }
                }
                Spec::MaxPool(spec) => pool::max(spec, reads[spec.from.buffer], &mut written[0]),
                Spec::Average(spec) => pool::average(spec, reads[spec.from.buffer], &mut written[0]),
            }
        }
        state.scratch = scratch;
        let mut fits = true;
        for (id, mut values) in d.writes.iter().zip(written) {
            let shape = self.plan.buffer(*id).shape;
            if shape.precision != Precision::F32 {
                let values = &mut values[..elements(shape)];
                shape.precision.store(values);
                fits &= values.iter().all(|v| !v.is_nan());
            }
            *state.place(place(id)) = values;
        }
        fits
    }
}

/// Values of a buffer: NHWC has no padded channels.
fn elements(shape: BufferShape) -> usize {
    shape.batch * shape.channels * shape.height * shape.width
}

/// `[batch, channels, height, width]` to NHWC.
fn from_planar(shape: BufferShape, planar: &[f32], to: &mut [f32]) {
    let pixels = shape.height * shape.width;
    let image = shape.channels * pixels;
    for (from, to) in planar.chunks_exact(image).zip(to.chunks_exact_mut(image)) {
        for (c, plane) in from.chunks_exact(pixels).enumerate() {
            for (value, pixel) in plane.iter().zip(to.chunks_exact_mut(shape.channels)) {
                pixel[c] = *value;
            }
        }
    }
}

/// Pixels of NHWC that are taken apart at a time: their channels stay in the cache while every plane gets its part.
const PIXELS_AT_ONCE: usize = 16;

/// NHWC to `[batch, channels, height, width]`, of a channel range, every `stride`-th row and column.
fn to_planar(
    shape: BufferShape,
    values: &[f32],
    channels: std::ops::Range<usize>,
    stride: usize,
) -> Vec<f32> {
    let [height, width] = [shape.height, shape.width].map(|n| n.div_ceil(stride));
    let pixels = height * width;
    let mut planar = vec![0.0; shape.batch * channels.len() * pixels];
    for (image, planes) in planar.chunks_exact_mut(channels.len() * pixels).enumerate() {
        let image = &values[image * shape.height * shape.width * shape.channels..];
        for start in (0..pixels).step_by(PIXELS_AT_ONCE) {
            let end = (start + PIXELS_AT_ONCE).min(pixels);
            for (c, plane) in channels.clone().zip(planes.chunks_exact_mut(pixels)) {
                for (pixel, value) in (start..end).zip(&mut plane[start..end]) {
                    let from = match stride {
                        1 => pixel,
                        _ => pixel / width * stride * shape.width + pixel % width * stride,
                    };
                    *value = image[from * shape.channels + c];
                }
            }
        }
    }
    planar
}
