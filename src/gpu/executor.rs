//! A plan on a device, ready to run.

use super::clock::Stopwatch;
use super::mapped::MapFuture;
use super::program::{Compiled, IoBindGroups, Program};
use super::slots::Slots;
use super::software::{self, ArenaRanges};
use super::staging::RunSlot;
use super::upload::Uploader;
use super::{Gpu, GpuError, Quarantined, SelfTests, Tuned, Tuning};
use crate::kernel::{Choice, Kernel, Rounding, Spec};
use crate::plan::{BufferId, CheckedPlan, Dispatch, Memory, Place, Plan};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder};

/// Options of an executor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Keeps wgpu's run-time checks of buffer bounds, loops and divisors in shaders. Slower on most GPUs.
    pub safe_shaders: bool,
    /// Kernels measured to be faster than the static choice. Empty by default.
    pub tuning: Tuning,
    /// Neither tests the kernels on their first use with a driver nor leaves out those that were wrong; see
    /// [`SelfTests`](super::SelfTests).
    pub skip_self_test: bool,
}

/// Runs one plan on one device. `Send` and `Sync` if wgpu is; runs from several threads are queued on the device.
pub struct GpuExecutor {
    pub(super) gpu: Gpu,
    /// Without its weights.
    pub(super) plan: CheckedPlan,
    pub(super) program: Program,
    tuned: Tuned,
    quarantined: Vec<Quarantined>,
    weight_bytes: usize,
    upload: Duration,
    compile: Duration,
    shared: Mutex<Shared>,
}

/// State shared by runs.
#[derive(Default)]
struct Shared {
    /// The executor's own input and output buffers, created by the first run that needs them.
    internal_io: Option<InternalIo>,
    /// Slots ready for the next runs.
    run_slots: Vec<RunSlot>,
    /// Cloned into every existing slot, to count them.
    token: Arc<()>,
    /// Submitted runs, oldest first, including those no longer awaited.
    in_flight: VecDeque<MapFuture>,
}

/// Maximum runs of one executor in flight; a further run waits for the oldest. A run dropped before it is done keeps its buffers until
/// then.
const MAX_IN_FLIGHT: usize = 16;

/// The executor's own input and output buffers, with their bind groups.
#[derive(Clone)]
pub(super) struct InternalIo {
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    pub(super) io_bind_groups: Arc<IoBindGroups>,
}

impl GpuExecutor {
    /// [`GpuExecutor::new_async`], blocking.
    ///
    /// # Errors
    /// As [`GpuExecutor::new_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(gpu: &Gpu, plan: &CheckedPlan, options: &ExecOptions) -> Result<GpuExecutor, GpuError> {
        pollster::block_on(GpuExecutor::new_async(gpu, plan, options))
    }

    /// Allocates slots, packs and uploads weights one dispatch at a time, and compiles shaders. The plan's tensors are not needed
    /// afterwards.
    ///
    /// `plan` should have been compiled for [`Gpu::plan_target`].
    ///
    /// # Errors
    /// [`GpuError::LimitTooSmall`] and [`GpuError::Kernel`] for a plan made for a larger adapter,
    /// [`GpuError::WrongResults`] where the driver computes every kernel for a dispatch wrong;
    /// [`GpuError::Overflow`], [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`], [`GpuError::Refused`], [`GpuError::Timeout`].
    pub async fn new_async(
        gpu: &Gpu,
        plan: &CheckedPlan,
        options: &ExecOptions,
    ) -> Result<GpuExecutor, GpuError> {
        gpu.check_lost()?;
        check_limits(gpu, plan)?;
        software::check_memory(gpu, plan)?;
        let starts = ArenaRanges::new(plan, gpu.capabilities());
        let chooser = match options.skip_self_test {
            true => gpu.clone().with_self_tests(SelfTests::default()),
            false => gpu.clone(),
        };
        // Every further pass has at least one kernel family less.
        let (mut compiled, tuned, stopwatch) = loop {
            let mut tuned = Tuned::default();
            let choose = |d| chooser.choose(plan, d, &options.tuning, &mut tuned);
            let kernels: Vec<Kernel> = (0..plan.dispatches.len()).map(choose).collect::<Result<_, _>>()?;
            let stopwatch = Stopwatch::start();
            #[cfg_attr(target_arch = "wasm32", expect(unused_mut, reason = "a browser has no self-test"))]
            let mut compiled = Compiled::new(gpu, kernels, options.safe_shaders).await?;
            #[cfg(target_arch = "wasm32")]
            let wrong = false;
            #[cfg(not(target_arch = "wasm32"))]
            let wrong = !options.skip_self_test
                && super::self_test::finds_wrong(gpu, plan, &mut compiled, options.safe_shaders)?;
            if !wrong {
                break (compiled, tuned, stopwatch);
            }
        };
        let quarantined = chooser.left_out(plan, 0..plan.dispatches.len());
        quarantined.iter().for_each(|q| log::warn!("{}: {q}", gpu.adapter()));
        if !super::software::writes_in_place(gpu) {
            // Uploads wait for the queue: wait for compilation first, so that its time is not counted as upload.
            compiled.finish(gpu)?;
        }
        let mut compile = stopwatch.elapsed();

        let stopwatch = Stopwatch::start();
        let mut uploader = Uploader::new(gpu);
        let mut weights = vec![];
        for (d, kernel) in plan.dispatches.iter().zip(compiled.kernels()) {
            let (Spec::Conv(spec), Some(w)) = (&d.spec, &d.weights) else {
                weights.push(None);
                continue;
            };
            let packed = w.with_values(|values| values.are_finite().then(|| kernel.pack(spec, values)));
            let packed = packed.ok_or_else(|| GpuError::Overflow { layer: d.name.clone() })?;
            weights.push(match packed.is_empty() {
                true => None,
                false => Some(uploader.shared(&d.name, &packed).await?),
            });
        }
        let weight_bytes = uploader.finish().await?;
        let upload = stopwatch.elapsed();

        let slots = Slots::new(gpu, plan, starts.as_ref()).await?;
        let stopwatch = Stopwatch::start();
        compiled.finish(gpu)?;
        let program = Program::new(gpu, plan, compiled, slots, weights).await?;
        compile += stopwatch.elapsed();

        let (gpu, plan) = (gpu.clone(), plan.without_weights());
        Ok(GpuExecutor {
            gpu,
            plan,
            program,
            tuned,
            quarantined,
            weight_bytes,
            upload,
            compile,
            shared: Mutex::default(),
        })
    }

    /// The executor's device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The plan, without its weights.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The kernel of each dispatch.
    pub fn kernels(&self) -> Vec<Choice> {
        self.program.choices().collect()
    }

    /// How [`ExecOptions::tuning`] was applied.
    pub fn tuned(&self) -> &Tuned {
        &self.tuned
    }

    /// The kernel families that have kernels for the plan, but were wrong when its kernels were chosen.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// Rounding bound of the kernels that compute a kept value; [`Rounding::DIRECT`] for other names.
    pub fn rounding(&self, kept: &str) -> Rounding {
        let parts = self.plan.kept.iter().filter(|k| k.name == kept).flat_map(|k| &k.parts);
        let makers = parts.flat_map(|part| {
            let writes = |d: &&Dispatch| d.writes.contains(&part.buffer);
            let dispatches = self.plan.dispatches.iter();
            dispatches.enumerate().filter(move |(_, d)| writes(d)).map(|(i, _)| self.program.rounding(i))
        });
        makers.reduce(Rounding::or).unwrap_or(Rounding::DIRECT)
    }

    /// Bytes of packed weights, per dispatch.
    pub fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.program.weight_bytes().collect()
    }

    /// Number of distinct shaders.
    pub fn pipelines(&self) -> usize {
        self.program.pipelines()
    }

    /// `(upload, compile)`: the time to pack and upload weights, and to compile shaders and test them where they are new. Zero in a browser,
    /// where no clock is available.
    pub fn startup(&self) -> (Duration, Duration) {
        (self.upload, self.compile)
    }

    /// Bytes of packed weights and biases.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Current allocations on the device.
    pub fn memory(&self) -> Memory {
        let shared = self.shared();
        let io_bind_groups = self.plan.input().shape.bytes() + self.plan.output().shape.bytes();
        Memory {
            weights: self.weight_bytes,
            activations: self.program.slot_bytes(),
            scratch: self.program.scratch_bytes(),
            transfer: io_bind_groups
                * (usize::from(shared.internal_io.is_some()) + Arc::strong_count(&shared.token) - 1),
        }
    }

    /// Records one run into the app's command encoder. It reads `input`, planar f32 `[batch, channels, height, width]`, and writes
    /// `output`, planar f32 of the plan's output shape. Nothing is copied to the host.
    ///
    /// Runs of one executor share its slots and must not overlap: submit the recorded commands to this device's queue, in order. The
    /// buffers are bound for each call and kept alive only by the commands.
    ///
    /// # Errors
    /// [`GpuError::Buffer`] when a buffer is too small, lacks the usage `STORAGE`, is given as both, is destroyed or belongs to another
    /// device; [`GpuError::DeviceLost`]. An encoder of another device is a wgpu error when it is finished. Do not mix buffers of several
    /// `wgpu::Instance`s: they cannot always be told apart. In a browser errors are asynchronous, and the app's error handler receives
    /// those of destroyed buffers and buffers of other devices.
    pub fn encode(
        &self,
        encoder: &mut CommandEncoder,
        input: &Buffer,
        output: &Buffer,
    ) -> Result<(), GpuError> {
        self.gpu.check_lost()?;
        check_buffer("input", input, self.plan.input().shape.bytes())?;
        check_buffer("output", output, self.plan.output().shape.bytes())?;
        if input == output {
            return Err(GpuError::Buffer { which: "output", problem: "is the input buffer too".into() });
        }
        let bind = || self.program.io_bind_groups(&self.gpu, &self.plan, input, output);
        #[cfg(target_arch = "wasm32")]
        let io_bind_groups = bind();
        #[cfg(not(target_arch = "wasm32"))]
        let io_bind_groups = {
            let unbound = |why: &str| {
                let problem = format!("cannot be bound: {why}");
                GpuError::Buffer { which: "input or output", problem }
            };
            // wgpu panics on a buffer of another instance.
            let bind = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(bind));
            let bound = pollster::block_on(self.gpu.scoped("the app's buffers", bind));
            self.gpu.check_alive()?;
            match bound {
                Ok(Ok(io_bind_groups)) => io_bind_groups,
                Ok(Err(_)) => return Err(unbound("it is of another wgpu instance")),
                Err(GpuError::Refused { message, .. }) => return Err(unbound(&message)),
                Err(e) => return Err(e),
            }
        };
        self.record(encoder, &io_bind_groups);
        Ok(())
    }

    fn record(&self, encoder: &mut CommandEncoder, io_bind_groups: &IoBindGroups) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("rmnet"),
            timestamp_writes: None,
        });
        self.program.record(&mut pass, io_bind_groups, 0..self.program.len());
    }

    /// The commands of one run: upload, dispatches, download, then copies of the kept values.
    pub(super) fn commands(&self, run_slot: &RunSlot, kept: &[(BufferId, Buffer)]) -> wgpu::CommandBuffer {
        let internal_io = self.internal_io();
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("rmnet") });
        encoder.copy_buffer_to_buffer(&run_slot.upload, 0, &internal_io.input, 0, run_slot.upload.size());
        self.record(&mut encoder, &internal_io.io_bind_groups);
        encoder.copy_buffer_to_buffer(
            &internal_io.output,
            0,
            &run_slot.download,
            0,
            run_slot.download.size(),
        );
        for (id, to) in kept {
            let (from, offset) = match self.plan.buffer(*id).place {
                Place::Slot(slot) => self.program.slot(slot),
                Place::Input => (&internal_io.input, 0),
                Place::Output => (&internal_io.output, 0),
            };
            encoder.copy_buffer_to_buffer(from, offset, to, 0, to.size());
        }
        encoder.finish()
    }

    pub(super) fn internal_io(&self) -> InternalIo {
        let mut shared = self.shared();
        let internal_io = shared.internal_io.get_or_insert_with(|| {
            let bytes = |b: &crate::plan::Buffer| b.shape.bytes();
            let (to, from) = (BufferUsages::COPY_DST, BufferUsages::COPY_SRC);
            let input = buffer(&self.gpu, "input", bytes(self.plan.input()), BufferUsages::STORAGE | to);
            let output = buffer(&self.gpu, "output", bytes(self.plan.output()), BufferUsages::STORAGE | from);
            let io_bind_groups =
                Arc::new(self.program.io_bind_groups(&self.gpu, &self.plan, &input, &output));
            InternalIo { input, output, io_bind_groups }
        });
        internal_io.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free run slot; creates one if all are in flight.
    pub(super) fn take_run_slot(&self) -> RunSlot {
        let token = {
            let mut shared = self.shared();
            if let Some(run_slot) = shared.run_slots.pop() {
                return run_slot;
            }
            shared.token.clone()
        };
        let map = |label, bytes, usage| {
            self.gpu.device().create_buffer(&BufferDescriptor {
                label: Some(label),
                size: bytes as u64,
                usage,
                mapped_at_creation: label == "upload",
            })
        };
        let upload =
            map("upload", self.plan.input().shape.bytes(), BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC);
        let download = map(
            "download",
            self.plan.output().shape.bytes(),
            BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        );
        RunSlot { upload, download, commands: None, _token: token }
    }

    /// Returns a slot after its run. At most one more slot is kept free than are in use, so that slots created by a burst of runs are
    /// released after it.
    pub(super) fn return_run_slot(&self, run_slot: RunSlot) {
        let mut shared = self.shared();
        let all = Arc::strong_count(&shared.token) - 1;
        let in_use = all.saturating_sub(shared.run_slots.len() + 1);
        if shared.run_slots.len() <= in_use {
            shared.run_slots.push(run_slot);
        }
    }

    /// Number of unfinished runs, including those no longer awaited. At most 16, as a further run waits for the oldest. Not counted in a
    /// browser.
    pub fn in_flight(&self) -> usize {
        let mut shared = self.shared();
        shared.in_flight.retain(|run| !run.is_ready());
        shared.in_flight.len()
    }

    /// The run to wait for, if too many are in flight.
    pub(super) fn oldest_in_flight(&self) -> Option<MapFuture> {
        let mut shared = self.shared();
        shared.in_flight.retain(|run| !run.is_ready());
        shared.in_flight.front().filter(|_| shared.in_flight.len() >= MAX_IN_FLIGHT).cloned()
    }

    /// Registers a submitted run.
    pub(super) fn is_in_flight(&self, run: MapFuture) {
        self.shared().in_flight.push_back(run);
    }
}

fn buffer(gpu: &Gpu, label: &str, bytes: usize, usage: BufferUsages) -> Buffer {
    let descriptor =
        BufferDescriptor { label: Some(label), size: bytes as u64, usage, mapped_at_creation: false };
    gpu.device().create_buffer(&descriptor)
}

fn check_limits(gpu: &Gpu, plan: &Plan) -> Result<(), GpuError> {
    let allowed = gpu.capabilities().limits.max_binding_bytes;
    for buffer in &plan.buffers {
        let needed = buffer.shape.bytes() as u64;
        if needed > allowed {
            let (adapter, what) = (gpu.adapter().name.clone(), buffer.name.clone());
            return Err(GpuError::LimitTooSmall { adapter, what, needed, allowed });
        }
    }
    Ok(())
}

fn check_buffer(which: &'static str, buffer: &Buffer, bytes: usize) -> Result<(), GpuError> {
    let problem = if !buffer.usage().contains(BufferUsages::STORAGE) {
        format!("must have the usage STORAGE, found {:?}", buffer.usage())
    } else if buffer.size() < bytes as u64 {
        format!("must hold {bytes} bytes, found {}", buffer.size())
    } else {
        return Ok(());
    };
    Err(GpuError::Buffer { which, problem })
}
