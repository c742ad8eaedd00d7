//! Runs a [`Plan`] on all CPU cores: the executor without a GPU, and a second implementation of every plan.
//!
//! It uses the same dispatches, slots and in-place sums as on a GPU. In an f16 plan weights and stored values are rounded to f16 but kept
//! as f32 in memory. Values are laid out as `[batch, height, width, channels]` (NHWC), so that the pixels of a tile are one slice of the
//! output and the taps of a row are one slice of the input.
//!
//! Convolutions are sums of products of a few pixels by a few vectors of channels, kept in registers (`sums`, with the kernels of
//! `rmnet_simd`): inputs are read where they are (`inputs`), weights in the order in which the kernels need them (`panels`). Where filters
//! are small, 3x3 convolutions are computed by Winograd's algorithm (`winograd`). `tasks` divides the work of a dispatch, by
//! pixels or by channels, between threads that stay awake during a run.

mod conv;
mod error;
mod function;
mod inputs;
mod pages;
mod panels;
mod planar;
mod pool;
mod scratch;
mod state;
mod sums;
mod target;
mod tasks;
#[cfg(not(target_arch = "wasm32"))]
mod timing;
mod winograd;
mod winograd_weights;

pub use error::CpuError;
pub use rmnet_simd::Instructions;
pub use state::RUNS_AT_ONCE;

use crate::kernel::{Precision, Rounding, Spec};
use crate::memory;
use crate::plan::{BufferId, CheckedPlan, Dispatch, Kept, Memory, Plan, Values};
use crate::threads::{Crew, Threads};
use panels::PackedConv;
use planar::{elements, from_planar, to_planar};
use rmnet_simd::Kernels;
use state::{State, States};
use tasks::Workers;

/// Runs one plan on a thread pool. `Send` and `Sync`. Up to [`RUNS_AT_ONCE`] runs from several threads proceed in parallel; others sleep
/// until one is done, except for runs that begin on the pool's own threads, which must not sleep.
pub struct CpuExecutor {
    /// Without its weights.
    plan: CheckedPlan,
    /// One per dispatch; `None` if it is not a convolution.
    convs: Vec<Option<PackedConv>>,
    instructions: Instructions,
    kernels: &'static Kernels,
    threads: Threads,
    states: States,
}

impl CpuExecutor {
    /// An executor on the shared threads ([`Threads::shared`]). The plan's tensors are not needed afterwards.
    ///
    /// # Errors
    /// As [`CpuExecutor::with_threads`], and [`CpuError::Threads`].
    pub fn new(plan: &CheckedPlan) -> Result<CpuExecutor, CpuError> {
        CpuExecutor::with_threads(&Threads::shared()?, plan)
    }

    /// Reads and reorders the weights and sets up the slots. The plan's tensors are not needed afterwards.
    ///
    /// # Errors
    /// [`CpuError::OutOfMemory`] when there is too little memory for the plan's slots, its input and its output, or for its weights;
    /// [`CpuError::Weights`].
    pub fn with_threads(threads: &Threads, plan: &CheckedPlan) -> Result<CpuExecutor, CpuError> {
        CpuExecutor::with_instructions(Instructions::available()[0], threads, plan)
    }

    /// [`CpuExecutor::with_threads`], with other instructions than the fastest.
    ///
    /// # Errors
    /// As [`CpuExecutor::with_threads`].
    pub fn with_instructions(
        instructions: Instructions,
        threads: &Threads,
        plan: &CheckedPlan,
    ) -> Result<CpuExecutor, CpuError> {
        let kernels = Kernels::of(instructions);
        // The caller has an input and gets an output as well.
        let caller = [plan.input().shape, plan.output().shape].map(|shape| elements(shape).saturating_mul(4));
        // Memory: all packed weights, plus the stored form of the one being packed.
        let packed = plan.dispatches.iter().map(|d| match &d.spec {
            Spec::Conv(spec) => PackedConv::needed(spec, kernels),
            _ => 0,
        });
        let all = packed.fold(0, usize::saturating_add);
        let stored = plan.dispatches.iter().filter_map(|d| d.weights.as_ref()).flat_map(|w| &w.k_ranges);
        let stored = stored.map(|k| k.shape.iter().fold(4, |bytes: usize, n| bytes.saturating_mul(*n)));
        let largest = stored.max().unwrap_or(0);
        let own = State::needed(plan, threads.count());
        let parts = [own, caller[0], caller[1], all, largest];
        memory::ask("weights and activations", parts.into_iter().fold(0, usize::saturating_add))?;
        let pack = |d: &Dispatch| {
            let (Spec::Conv(spec), Some(weights)) = (&d.spec, &d.weights) else { return Ok(None) };
            let packed = PackedConv::new(spec, weights, kernels);
            packed.map(Some).ok_or_else(|| CpuError::Weights { layer: d.name.clone() })
        };
        let convs = threads.run(|| plan.dispatches.iter().map(pack).collect::<Result<_, CpuError>>())?;
        let plan = plan.without_weights();
        let states = States::new(State::new(&plan, threads.count()));
        Ok(CpuExecutor { plan, convs, instructions, kernels, threads: threads.clone(), states })
    }

    /// The plan, without its weights.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of the weights of every dispatch.
    pub fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.convs.iter().map(|c| c.as_ref().map_or(0, PackedConv::bytes)).collect()
    }

    /// Rounding bound of what computes a kept value; [`Rounding::DIRECT`] for other names.
    pub fn rounding(&self, kept: &str) -> Rounding {
        let parts = self.plan.kept.iter().filter(|k| k.name == kept).flat_map(|k| &k.parts);
        let makers = parts.flat_map(|part| {
            let dispatches = self.plan.dispatches.iter().zip(&self.convs);
            dispatches.filter(move |(d, _)| d.writes.contains(&part.buffer)).map(|(d, conv)| {
                match (&d.spec, conv) {
                    (Spec::Conv(spec), Some(conv)) => conv.rounding(spec),
                    _ => Rounding::DIRECT,
                }
            })
        });
        makers.reduce(Rounding::or).unwrap_or(Rounding::DIRECT)
    }

    /// How each dispatch is computed, such as `winograd`.
    pub fn kernels(&self) -> Vec<String> {
        let name = |(d, conv): (&Dispatch, &Option<PackedConv>)| match (&d.spec, conv) {
            (Spec::MaxPool(_), _) => "max-pool".into(),
            (Spec::Average(_), _) => "average".into(),
            (Spec::Conv(_), conv) => conv.as_ref().map_or(String::new(), PackedConv::name),
        };
        self.plan.dispatches.iter().zip(&self.convs).map(name).collect()
    }

    /// The instructions that it uses.
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// The threads it computes on.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Current memory use.
    pub fn memory(&self) -> Memory {
        let [activations, transfer, scratch] = self.states.bytes();
        Memory { weights: self.weight_bytes(), activations, scratch, transfer }
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.convs.iter().flatten().map(PackedConv::bytes).sum()
    }

    /// Runs `input`, planar `[batch, channels, height, width]`, and returns the output, planar `[batch, channels, height, width]` (logits
    /// are `[batch, classes]`).
    ///
    /// # Errors
    /// [`CpuError::InputLength`] when the input is not exactly one batch; [`CpuError::Overflow`]; [`CpuError::OutOfMemory`] if there is
    /// no memory for a run nested in another one.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, CpuError> {
        self.run_each(input, |run| run(), |state| self.output(state))
    }

    /// [`CpuExecutor::run`], with the values that the plan keeps.
    ///
    /// # Errors
    /// As [`CpuExecutor::run`].
    pub fn run_keeping(&self, input: &[f32]) -> Result<Values, CpuError> {
        let values = |state: &State| {
            let kept = |kept: &Kept| (kept.name.clone(), self.kept(kept, state));
            Values { output: self.output(state), kept: self.plan.kept.iter().map(kept).collect() }
        };
        self.run_each(input, |run| run(), values)
    }

    /// Runs all dispatches through `each` and returns what `gives` extracts.
    fn run_each<R: Send>(
        &self,
        input: &[f32],
        mut each: impl FnMut(&mut dyn FnMut()) + Send,
        gives: impl FnOnce(&State) -> R + Send,
    ) -> Result<R, CpuError> {
        let expected = elements(self.plan.input().shape);
        if input.len() != expected {
            return Err(CpuError::InputLength { expected, found: input.len() });
        }
        let may_sleep = !self.threads.has_current();
        let mut taken = self.states.take(&self.plan, self.threads.count(), may_sleep)?;
        let state = taken.state();
        let result = self.threads.run(|| {
            let mut crew = self.threads.crew();
            let mut workers = Workers { crew: &mut crew, scratch: &mut state.scratch };
            from_planar(self.plan.input().shape, input, &mut state.input, &mut workers);
            for (i, dispatch) in self.plan.dispatches.iter().enumerate() {
                let mut fits = true;
                each(&mut || fits = self.dispatch(state, i, &mut crew));
                if !fits {
                    return Err(CpuError::Overflow { layer: dispatch.name.clone() });
                }
            }
            Ok(gives(state))
        });
        taken.give_back();
        result
    }

    fn output(&self, state: &State) -> Vec<f32> {
        let shape = self.plan.output().shape;
        to_planar(shape, &state.output, 0..shape.channels, 1)
    }

    fn kept(&self, kept: &Kept, state: &State) -> Vec<f32> {
        let parts = kept.parts.iter().map(|p| {
            let buffer = self.plan.buffer(p.buffer);
            let channels = p.first_channel..p.first_channel + p.channels;
            to_planar(buffer.shape, state.values(buffer.place), channels, p.stride)
        });
        kept.joined(self.plan.batch, &parts.collect::<Vec<_>>())
    }

    /// Runs one dispatch; returns whether the results are representable in each buffer's precision.
    fn dispatch(&self, state: &mut State, index: usize, crew: &mut Crew) -> bool {
        let d = &self.plan.dispatches[index];
        let place = |id: &BufferId| self.plan.buffer(*id).place;
        // Move the written slots out, so that the others can be borrowed for reading: no dispatch reads a slot it writes, except in
        // place, where the written slot holds the operand.
        let mut written: Vec<Vec<f32>> =
            d.writes.iter().map(|w| std::mem::take(state.place(place(w)))).collect();
        let mut scratch = std::mem::take(&mut state.scratch);
        {
            let mut workers = Workers { crew, scratch: &mut scratch };
            let reads: Vec<&[f32]> = d.reads.iter().map(|r| state.values(place(r))).collect();
            match &d.spec {
                Spec::Conv(spec) => {
                    if let Some(packed) = &self.convs[index] {
                        let conv = (spec, packed, self.kernels);
                        conv::run(conv, self.plan.batch, &reads, &mut written, &mut workers);
                    }
                }
                Spec::MaxPool(spec) => {
                    pool::max(spec, reads[spec.from.buffer], &mut written[0], &mut workers)
                }
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
