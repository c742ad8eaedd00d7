//! One run with data from and to the host: copy in, all dispatches, copy out, one submission, one wait.

use super::clock::Stopwatch;
#[cfg(not(target_arch = "wasm32"))]
use super::wait::wait;
use super::wait::{Mapped, read, read_back, wait_aside};
use super::{GpuError, GpuExecutor};
use crate::kernel::{BufferShape, Precision};
use crate::plan::{Part, Place};
use std::sync::Arc;
use std::time::Duration;
use wgpu::{Buffer, BufferUsages, CommandBuffer, MapMode, SubmissionIndex};

/// Bytes that one thread copies.
#[cfg(not(target_arch = "wasm32"))]
const PART: usize = 2 << 20;

/// The host's end of a run: two buffers it can map, and the commands of the next run, recorded ahead.
pub(super) struct Turn {
    /// Mapped while no run is in flight.
    pub(super) upload: Buffer,
    pub(super) download: Buffer,
    pub(super) commands: Option<CommandBuffer>,
    /// Counts the turns there are.
    pub(super) _token: Arc<()>,
}

/// A run that has been submitted.
pub(super) struct InFlight {
    turn: Turn,
    index: SubmissionIndex,
    mapped: Mapped,
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "a browser has no clock to fill it by"))]
    phases: Phases,
}

/// Where the time of one run went on the host, in order. Recording overlaps with the device's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Copying the input and submitting.
    pub submit: Duration,
    /// Recording the commands of the next run.
    pub encode: Duration,
    /// Waiting for the device.
    pub wait: Duration,
    /// Copying the output.
    pub readback: Duration,
}

impl GpuExecutor {
    /// Runs `input`, planar `[batch, channels, height, width]`, and gives the output, planar `[batch, channels, height,
    /// width]`. Blocks.
    ///
    /// # Errors
    /// [`GpuError::InputLength`] when the input is not exactly one batch; [`GpuError::DeviceLost`],
    /// [`GpuError::OutOfMemory`], [`GpuError::Refused`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, GpuError> {
        self.run_timed(input).map(|(output, _)| output)
    }

    /// [`GpuExecutor::run`], and where its time went.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), GpuError> {
        let in_flight = pollster::block_on(self.submit(input))?;
        let mut phases = in_flight.phases;
        let stopwatch = Stopwatch::start();
        wait(&self.gpu, in_flight.index.clone())?;
        phases.wait = stopwatch.elapsed();
        let stopwatch = Stopwatch::start();
        let output = pollster::block_on(self.finish(in_flight))?;
        phases.readback = stopwatch.elapsed();
        Ok((output, phases))
    }

    /// [`GpuExecutor::run`] without blocking: for a browser, and for apps with an async runtime. Needs no particular
    /// runtime; outside a browser a thread waits for the device.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, GpuError> {
        let in_flight = self.submit(input).await?;
        wait_aside(&self.gpu, in_flight.index.clone(), &in_flight.mapped);
        self.finish(in_flight).await
    }

    /// Copies the input and submits the run.
    async fn submit(&self, input: &[f32]) -> Result<InFlight, GpuError> {
        let expected = self.plan.input().shape.elements();
        if input.len() != expected {
            return Err(GpuError::InputLength { expected, found: input.len() });
        }
        self.gpu.check_lost()?;
        let submit = || {
            let stopwatch = Stopwatch::start();
            let mut turn = self.take_turn();
            let commands = turn.commands.take().unwrap_or_else(|| self.commands(&turn));
            match turn.upload.get_mapped_range_mut(..) {
                Ok(mut view) => copy(view.slice(..), bytemuck::cast_slice(input)),
                Err(e) => return Err(self.gpu.failed("mapping the input", e)),
            }
            turn.upload.unmap();
            let index = self.gpu.queue().submit([commands]);
            let mapped = Mapped::default();
            turn.download.map_async(MapMode::Read, .., mapped.callback());
            turn.upload.map_async(MapMode::Write, .., mapped.callback());
            let mut phases = Phases { submit: stopwatch.elapsed(), ..Phases::default() };
            // While the device works, the next run is recorded.
            let stopwatch = Stopwatch::start();
            turn.commands = Some(self.commands(&turn));
            phases.encode = stopwatch.elapsed();
            Ok(InFlight { turn, index, mapped, phases })
        };
        self.gpu.scoped("a run", submit).await?
    }

    async fn finish(&self, in_flight: InFlight) -> Result<Vec<f32>, GpuError> {
        // A turn whose run failed is dropped.
        in_flight.mapped.clone().await.map_err(|e| self.gpu.failed("a run", e))?;
        let output = read(&self.gpu, &in_flight.turn.download)?;
        in_flight.turn.download.unmap();
        self.return_turn(in_flight.turn);
        Ok(output)
    }

    /// A kept value of the run submitted last, planar `[batch, channels, height, width]`. Blocks.
    ///
    /// # Errors
    /// [`GpuError::NotKept`] when the plan keeps no value of that name; else as [`GpuExecutor::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_kept(&self, name: &str) -> Result<Vec<f32>, GpuError> {
        pollster::block_on(self.read_kept_async(name))
    }

    /// [`GpuExecutor::read_kept`] without blocking.
    ///
    /// # Errors
    /// As there.
    pub async fn read_kept_async(&self, name: &str) -> Result<Vec<f32>, GpuError> {
        let Some(kept) = self.plan.kept.iter().find(|k| k.name == name) else {
            let kept = self.plan.kept.iter().map(|k| k.name.clone()).collect();
            return Err(GpuError::NotKept { name: name.into(), kept });
        };
        let mut parts = vec![];
        for part in &kept.parts {
            let shape = self.plan.buffer(part.buffer).shape;
            parts.push((part, shape, self.read_buffer(part, shape).await?));
        }
        let mut value = vec![];
        for image in 0..self.plan.batch {
            for (part, shape, elements) in &parts {
                for c in part.first_channel..part.first_channel + part.channels {
                    for y in (0..shape.height).step_by(part.stride) {
                        let row = (0..shape.width).step_by(part.stride);
                        value.extend(row.map(|x| elements[shape.index(image, c, y, x)]));
                    }
                }
            }
        }
        Ok(value)
    }

    /// The whole buffer of a part, in its own layout.
    async fn read_buffer(&self, part: &Part, shape: BufferShape) -> Result<Vec<f32>, GpuError> {
        let size = shape.bytes() as u64;
        let (index, staging) = self
            .gpu
            .scoped("reading a kept value", || {
                let own = self.own();
                let (from, offset) = match self.plan.buffer(part.buffer).place {
                    Place::Slot(slot) => self.program.slot(slot),
                    Place::Input => (&own.input, 0),
                    Place::Output => (&own.output, 0),
                };
                let device = self.gpu.device();
                let staging = device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("kept value"),
                    size,
                    usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                let mut encoder = device.create_command_encoder(&Default::default());
                encoder.copy_buffer_to_buffer(from, offset, &staging, 0, size);
                (self.gpu.queue().submit([encoder.finish()]), staging)
            })
            .await?;
        let doing = "reading a kept value";
        match shape.precision {
            Precision::F32 => read_back(&self.gpu, index, &staging, doing).await,
            Precision::F16 => {
                let bits: Vec<u16> = read_back(&self.gpu, index, &staging, doing).await?;
                Ok(bits.into_iter().map(|b| half::f16::from_bits(b).to_f32()).collect())
            }
        }
    }
}

/// Copies into mapped memory of the same size, a large input on several threads: one alone is slower than the bus behind it.
fn copy(mut to: wgpu::WriteOnly<'_, [u8]>, from: &[u8]) {
    #[cfg(not(target_arch = "wasm32"))]
    // Not on a thread of rayon's: while it waited there, it might take up other work of the app, another run among it.
    if from.len() > PART && from.len() == to.len() && rayon::current_thread_index().is_none() {
        use rayon::prelude::*;
        use std::sync::atomic::{AtomicPtr, Ordering};
        // Views of mapped memory stay on their thread; its address may go to others.
        let start = AtomicPtr::new(to.as_raw_element_ptr().as_ptr());
        from.par_chunks(PART).enumerate().for_each(|(i, part)| {
            // SAFETY: part `i` of `to`, which is as long as `from` and borrowed for all of this; parts do not overlap.
            unsafe {
                let at = start.load(Ordering::Relaxed).add(i * PART);
                std::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
            }
        });
        return;
    }
    to.copy_from_slice(from);
}
