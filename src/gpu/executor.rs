//! A plan on a device, ready to run.

use super::clock::Stopwatch;
use super::mapped::MapFuture;
use super::program::{Compiled, IoBindGroups, Program};
use super::slots::Slots;
use super::software::{self, ArenaRanges};
use super::staging::RunSlot;
use super::upload::Uploader;
use super::{Gpu, GpuError, Tuned, Tuning};
use crate::kernel::{Choice, Kernel, Rounding, Spec};
use crate::plan::{BufferId, CheckedPlan, Dispatch, Memory, Place, Plan};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder};

/// How an executor is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Keeps wgpu's run-time checks in the shaders: bounds of buffers, of loops, of divisors. Slower on most GPUs.
    pub safe_shaders: bool,
    /// Kernels measured to be faster than the static choice. Empty by default.
    pub tuning: Tuning,
}

/// Runs one plan on one device. `Send` and `Sync` where wgpu is; runs from several threads queue up on the device.
pub struct GpuExecutor {
    pub(super) gpu: Gpu,
    /// Without its weights.
    pub(super) plan: CheckedPlan,
    pub(super) program: Program,
    tuned: Tuned,
    weight_bytes: usize,
    upload: Duration,
    compile: Duration,
    shared: Mutex<Shared>,
}

/// What runs share.
#[derive(Default)]
struct Shared {
    /// The executor's own input and output, made by the first run that needs them.
    internal_io: Option<InternalIo>,
    /// Ready for the next runs.
    run_slots: Vec<RunSlot>,
    /// Held by every turn there is.
    token: Arc<()>,
    /// Runs that were submitted, oldest first, also those that nobody awaits any more.
    in_flight: VecDeque<MapFuture>,
}

/// Runs of one executor that may be in flight; the next one waits for the oldest. A run that is dropped before it is done still has its
/// buffers.
const MAX_IN_FLIGHT: usize = 16;

/// The executor's own input and output.
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
    /// As there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(gpu: &Gpu, plan: &CheckedPlan, options: &ExecOptions) -> Result<GpuExecutor, GpuError> {
        pollster::block_on(GpuExecutor::new_async(gpu, plan, options))
    }

    /// Allocates slots, packs and uploads the weights one dispatch at a time, compiles the shaders. The plan's tensors
    /// are not needed afterwards.
    ///
    /// `plan` should have been compiled for [`Gpu::plan_target`].
    ///
    /// # Errors
    /// [`GpuError::LimitTooSmall`] and [`GpuError::Kernel`] for a plan made for a larger adapter,
    /// [`GpuError::Overflow`], [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`], [`GpuError::Refused`].
    pub async fn new_async(
        gpu: &Gpu,
        plan: &CheckedPlan,
        options: &ExecOptions,
    ) -> Result<GpuExecutor, GpuError> {
        gpu.check_lost()?;
        check_limits(gpu, plan)?;
        software::check_memory(gpu, plan)?;
        let starts = ArenaRanges::new(plan, gpu.capabilities());
        let mut tuned = Tuned::default();
        let choose = |d| gpu.choose(plan, d, &options.tuning, &mut tuned);
        let kernels: Vec<Kernel> = (0..plan.dispatches.len()).map(choose).collect::<Result<_, _>>()?;

        let stopwatch = Stopwatch::start();
        let mut compiled = Compiled::new(gpu, kernels, options.safe_shaders).await?;
        if !super::software::writes_in_place(gpu) {
            // Uploads wait for the queue: they would be booked what compiles there.
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
        Ok(GpuExecutor { gpu, plan, program, tuned, weight_bytes, upload, compile, shared: Mutex::default() })
    }

    /// The device it runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The plan, without its weights.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The kernels that run, one per dispatch.
    pub fn kernels(&self) -> Vec<Choice> {
        self.program.choices().collect()
    }

    /// What became of [`ExecOptions::tuning`].
    pub fn tuned(&self) -> &Tuned {
        &self.tuned
    }

    /// The rounding of the kernels that make a kept value; of one that is not kept, that of a plain sum.
    pub fn rounding(&self, kept: &str) -> Rounding {
        let parts = self.plan.kept.iter().filter(|k| k.name == kept).flat_map(|k| &k.parts);
        let makers = parts.flat_map(|part| {
            let writes = |d: &&Dispatch| d.writes.contains(&part.buffer);
            let dispatches = self.plan.dispatches.iter();
            dispatches.enumerate().filter(move |(_, d)| writes(d)).map(|(i, _)| self.program.rounding(i))
        });
        makers.fold(Rounding::DIRECT, Rounding::or)
    }

    /// Bytes of packed weights of every dispatch.
    pub fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.program.weight_bytes().collect()
    }

    /// Number of distinct shaders.
    pub fn pipelines(&self) -> usize {
        self.program.pipelines()
    }

    /// Time to pack and upload the weights, and time to compile the shaders. Zero in a browser, which has no clock here.
    pub fn startup(&self) -> (Duration, Duration) {
        (self.upload, self.compile)
    }

    /// Bytes of packed weights and biases.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// What is allocated on the device by now.
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

    /// Records one run into the app's command encoder: `input`, planar f32 `[batch, channels, height, width]`, is read,
    /// `output`, planar f32 of the plan's output shape, is written, nothing comes back to the host.
    ///
    /// Runs of one executor share its slots: their order in the queue keeps them apart, so submit what is recorded to
    /// the queue of this device, in order. The buffers are bound anew each time and not kept alive beyond the commands.
    ///
    /// # Errors
    /// [`GpuError::Buffer`] when a buffer is too small, lacks the usage `STORAGE`, is given as both, is destroyed or of another device;
    /// [`GpuError::DeviceLost`]. The encoder of another device is an error of wgpu's when it is finished. A buffer of another
    /// `wgpu::Instance` cannot always be told from one of this instance: do not mix them. In a browser, where errors come later, the
    /// app's error handler has those of destroyed and foreign buffers.
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
            // wgpu panics at a buffer that its instance does not know.
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

    /// The commands of one run through a turn's staging buffers; the slots of kept values are copied in its end.
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

    /// A turn nobody uses; new where all are in flight.
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

    /// Gives a turn back after its run. As many wait for the next runs as are in use, and one: what a crowd of runs made goes again
    /// when the crowd is gone.
    pub(super) fn return_run_slot(&self, run_slot: RunSlot) {
        let mut shared = self.shared();
        let all = Arc::strong_count(&shared.token) - 1;
        let in_use = all.saturating_sub(shared.run_slots.len() + 1);
        if shared.run_slots.len() <= in_use {
            shared.run_slots.push(run_slot);
        }
    }

    /// Runs that the device has not done yet, those that nobody awaits any more among them: at most 16, as another one then waits for
    /// the oldest. In a browser they are not counted.
    pub fn in_flight(&self) -> usize {
        let mut shared = self.shared();
        shared.in_flight.retain(|run| !run.is_ready());
        shared.in_flight.len()
    }

    /// Where too many runs are in flight, the one to wait for.
    pub(super) fn oldest_in_flight(&self) -> Option<MapFuture> {
        let mut shared = self.shared();
        shared.in_flight.retain(|run| !run.is_ready());
        shared.in_flight.front().filter(|_| shared.in_flight.len() >= MAX_IN_FLIGHT).cloned()
    }

    /// Remembers a run that was submitted.
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
