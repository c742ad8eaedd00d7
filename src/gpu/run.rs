//! A run with data from and to the host: copy in, all dispatches, copy out, in one submission with one wait. Kept values are copied out
//! by the same submission, so that later runs cannot overwrite them.

use super::clock::Stopwatch;
use super::mapped::{MapFuture, MapGuard};
use super::staging::RunSlot;
#[cfg(not(target_arch = "wasm32"))]
use super::wait::wait;
use super::wait::{read, wait_in_background};
use super::{GpuError, GpuExecutor};
use crate::kernel::{BufferShape, Precision};
use crate::order::sort_by_key;
use crate::plan::{BufferId, Kept, KeptPart, Phases, Values};
use std::collections::BTreeMap;
use wgpu::{Buffer, BufferUsages, MapMode, SubmissionIndex};

/// Bytes copied by one thread.
#[cfg(not(target_arch = "wasm32"))]
const COPY_CHUNK: usize = 2 << 20;

/// A submitted run.
pub(super) struct InFlight {
    run_slot: RunSlot,
    /// Staging buffers of kept values.
    kept: Vec<(BufferId, Buffer)>,
    index: SubmissionIndex,
    mapped: MapFuture,
    /// Held until the device has finished or the wait is given up, even if nobody awaits the buffers.
    in_flight: MapGuard,
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "a browser has no clock to fill it by"))]
    phases: Phases,
}

impl GpuExecutor {
    /// Runs `input`, planar `[batch, channels, height, width]`, and returns the output, planar `[batch, channels, height, width]`. Blocks.
    ///
    /// # Errors
    /// [`GpuError::InputLength`] when the input is not exactly one batch; [`GpuError::DeviceLost`],
    /// [`GpuError::OutOfMemory`], [`GpuError::Refused`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, GpuError> {
        self.run_timed(input).map(|(output, _)| output)
    }

    /// [`GpuExecutor::run`], with the time of each phase.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), GpuError> {
        self.run_blocking(input, false).map(|(values, phases)| (values.output, phases))
    }

    /// [`GpuExecutor::run`], with the values that the plan keeps.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_keeping(&self, input: &[f32]) -> Result<Values, GpuError> {
        self.run_blocking(input, true).map(|(values, _)| values)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run_blocking(&self, input: &[f32], keep: bool) -> Result<(Values, Phases), GpuError> {
        let InFlight { run_slot, kept, index, mapped, in_flight, mut phases } =
            pollster::block_on(self.submit(input, keep))?;
        let stopwatch = Stopwatch::start();
        wait(&self.gpu, "a run", index)?;
        drop(in_flight);
        phases.wait = stopwatch.elapsed();
        let stopwatch = Stopwatch::start();
        let values = pollster::block_on(self.finish(run_slot, kept, mapped))?;
        phases.readback = stopwatch.elapsed();
        Ok((values, phases))
    }

    /// [`GpuExecutor::run`] without blocking, for browsers and apps with an async runtime. Works with any runtime; outside a browser a
    /// background thread waits for the device.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, GpuError> {
        self.run_in_background(input, false).await.map(|values| values.output)
    }

    /// [`GpuExecutor::run_keeping`] without blocking, as [`GpuExecutor::run_async`].
    ///
    /// # Errors
    /// As [`GpuExecutor::run`].
    pub async fn run_keeping_async(&self, input: &[f32]) -> Result<Values, GpuError> {
        self.run_in_background(input, true).await
    }

    async fn run_in_background(&self, input: &[f32], keep: bool) -> Result<Values, GpuError> {
        let InFlight { run_slot, kept, index, mapped, in_flight, .. } = self.submit(input, keep).await?;
        wait_in_background(&self.gpu, index, &mapped, in_flight);
        self.finish(run_slot, kept, mapped).await
    }

    /// Copies the input and submits the run.
    async fn submit(&self, input: &[f32], keep: bool) -> Result<InFlight, GpuError> {
        let expected = self.plan.input().shape.elements();
        if input.len() != expected {
            return Err(GpuError::InputLength { expected, found: input.len() });
        }
        self.gpu.check_lost()?;
        while let Some(oldest) = self.oldest_in_flight() {
            // Its result is reported to its own caller.
            let _ = oldest.await;
        }
        let submit = || {
            let stopwatch = Stopwatch::start();
            let mut run_slot = self.take_run_slot();
            let kept = if keep { self.staging_of_kept() } else { vec![] };
            let commands = match run_slot.commands.take().filter(|_| kept.is_empty()) {
                Some(commands) => commands,
                None => self.commands(&run_slot, &kept),
            };
            match run_slot.upload.get_mapped_range_mut(..) {
                Ok(mut view) => copy(view.slice(..), bytemuck::cast_slice(input)),
                Err(e) => return Err(self.gpu.failed("mapping the input", e)),
            }
            run_slot.upload.unmap();
            let index = self.gpu.queue().submit([commands]);
            let mapped = MapFuture::default();
            run_slot.download.map_async(MapMode::Read, .., mapped.callback());
            run_slot.upload.map_async(MapMode::Write, .., mapped.callback());
            kept.iter().for_each(|(_, to)| to.map_async(MapMode::Read, .., mapped.callback()));
            let run = MapFuture::default();
            let in_flight = run.guard();
            self.is_in_flight(run);
            let mut phases = Phases { submit: stopwatch.elapsed(), ..Phases::default() };
            // Record the next run while the device works.
            let stopwatch = Stopwatch::start();
            run_slot.commands = Some(self.commands(&run_slot, &[]));
            phases.encode = stopwatch.elapsed();
            Ok(InFlight { run_slot, kept, index, mapped, in_flight, phases })
        };
        self.gpu.scoped("a run", submit).await?
    }

    /// Reads the results of a run once its buffers are mapped. The slot of a failed run is dropped.
    async fn finish(
        &self,
        run_slot: RunSlot,
        staged: Vec<(BufferId, Buffer)>,
        mapped: MapFuture,
    ) -> Result<Values, GpuError> {
        mapped.await.map_err(|e| e.of(&self.gpu, "a run"))?;
        let output = read(&self.gpu, &run_slot.download)?;
        run_slot.download.unmap();
        let mut buffers = BTreeMap::new();
        for (id, buffer) in &staged {
            buffers.insert(*id, self.read_buffer(self.plan.buffer(*id).shape, buffer)?);
        }
        let mut kept = BTreeMap::new();
        for k in self.plan.kept.iter().filter(|_| !staged.is_empty()) {
            kept.insert(k.name.clone(), self.kept(k, &buffers));
        }
        self.return_run_slot(run_slot);
        Ok(Values { output, kept })
    }

    /// A staging buffer for every buffer that holds kept values.
    fn staging_of_kept(&self) -> Vec<(BufferId, Buffer)> {
        let parts = self.plan.kept.iter().flat_map(|k| &k.parts);
        let mut ids: Vec<BufferId> = parts.map(|p| p.buffer).collect();
        sort_by_key(&mut ids, |id| *id);
        ids.dedup();
        let staging = |id: BufferId| {
            let descriptor = wgpu::BufferDescriptor {
                label: Some("kept value"),
                size: self.plan.buffer(id).shape.bytes() as u64,
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            };
            (id, self.gpu.device().create_buffer(&descriptor))
        };
        ids.into_iter().map(staging).collect()
    }

    /// The elements of a mapped buffer, in its own layout.
    fn read_buffer(&self, shape: BufferShape, mapped: &Buffer) -> Result<Vec<f32>, GpuError> {
        match shape.precision {
            Precision::F32 => read(&self.gpu, mapped),
            Precision::F16 => {
                let bits: Vec<u16> = read(&self.gpu, mapped)?;
                Ok(bits.into_iter().map(|b| half::f16::from_bits(b).to_f32()).collect())
            }
        }
    }

    /// Assembles a kept value from the buffers that hold it.
    fn kept(&self, kept: &Kept, buffers: &BTreeMap<BufferId, Vec<f32>>) -> Vec<f32> {
        let planar = |part: &KeptPart| {
            let (shape, elements) = (self.plan.buffer(part.buffer).shape, &buffers[&part.buffer]);
            let mut planar = vec![];
            for image in 0..self.plan.batch {
                for c in part.first_channel..part.first_channel + part.channels {
                    for y in (0..shape.height).step_by(part.stride) {
                        let row = (0..shape.width).step_by(part.stride);
                        planar.extend(row.map(|x| elements[shape.index(image, c, y, x)]));
                    }
                }
            }
            planar
        };
        kept.joined(self.plan.batch, &kept.parts.iter().map(planar).collect::<Vec<_>>())
    }
}

/// Copies into mapped memory of the same size. Large inputs are copied by several threads, since a single one is slower than the bus.
fn copy(mut to: wgpu::WriteOnly<'_, [u8]>, from: &[u8]) {
    #[cfg(not(target_arch = "wasm32"))]
    if from.len() > COPY_CHUNK && from.len() == to.len() {
        use std::sync::atomic::{AtomicPtr, Ordering};
        // Views of mapped memory cannot be sent to other threads; the address can.
        let start = AtomicPtr::new(to.as_raw_element_ptr().as_ptr());
        let parts: Vec<&[u8]> = from.chunks(COPY_CHUNK).collect();
        crate::threads::map(parts.len(), |i| {
            // SAFETY: writes part `i` of `to`, which is as long as `from` and stays borrowed during the copies; parts do not overlap.
            unsafe {
                let at = start.load(Ordering::Relaxed).add(i * COPY_CHUNK);
                std::ptr::copy_nonoverlapping(parts[i].as_ptr(), at, parts[i].len());
            }
        });
        return;
    }
    to.copy_from_slice(from);
}
