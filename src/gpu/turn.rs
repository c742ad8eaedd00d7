//! One run with data from and to the host: copy in, all dispatches, copy out, one submission, one wait.

use super::clock::Stopwatch;
use super::{Gpu, GpuError, GpuExecutor};
use crate::kernel::{BufferShape, Precision};
use crate::plan::{Part, Place};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
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
    /// Runs `input`, planar `[batch, channels, height, width]`, and gives the output, planar `[batch, classes]`. Blocks.
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

/// What a submission left in a staging buffer, once it is done.
pub(super) async fn read_back<T: bytemuck::Pod>(
    gpu: &Gpu,
    index: SubmissionIndex,
    staging: &Buffer,
    doing: &'static str,
) -> Result<Vec<T>, GpuError> {
    let mapped = map(gpu, staging, doing).await?;
    wait_aside(gpu, index, &mapped);
    mapped.await.map_err(|e| gpu.failed(doing, e))?;
    read(gpu, staging)
}

/// [`read_back`], waiting on this thread.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn read_back_blocking<T: bytemuck::Pod>(
    gpu: &Gpu,
    index: SubmissionIndex,
    staging: &Buffer,
    doing: &'static str,
) -> Result<Vec<T>, GpuError> {
    let mapped = pollster::block_on(map(gpu, staging, doing))?;
    wait(gpu, index)?;
    pollster::block_on(mapped).map_err(|e| gpu.failed(doing, e))?;
    read(gpu, staging)
}

async fn map(gpu: &Gpu, staging: &Buffer, doing: &'static str) -> Result<Mapped, GpuError> {
    let map = || {
        let mapped = Mapped::default();
        staging.map_async(MapMode::Read, .., mapped.callback());
        mapped
    };
    gpu.scoped(doing, map).await
}

fn read<T: bytemuck::Pod>(gpu: &Gpu, mapped: &Buffer) -> Result<Vec<T>, GpuError> {
    let view = mapped.get_mapped_range(..).map_err(|e| gpu.failed("reading the result", e))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}

/// Blocks until the device has done a submission and told so.
#[cfg(not(target_arch = "wasm32"))]
fn wait(gpu: &Gpu, index: SubmissionIndex) -> Result<(), GpuError> {
    gpu.poll("waiting for the device", wgpu::PollType::Wait { submission_index: Some(index), timeout: None })
}

/// Lets a thread wait for a submission; a browser tells by itself. Buffers count as mapped once the thread has let go of the device as
/// well: who has their result may drop the device, or leave `main`, and is not met inside the driver by this thread. Where waiting
/// fails they count as failed, since nobody maps buffers of a lost device.
fn wait_aside(gpu: &Gpu, index: SubmissionIndex, mapped: &Mapped) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let (own, at, open) = (gpu.clone(), index.clone(), mapped.open());
        let waiting = move || {
            let waited = wait(&own, at);
            drop(own);
            open.end(waited.map_err(|_| wgpu::BufferAsyncError));
        };
        if std::thread::Builder::new().name("rmnet wait".into()).spawn(waiting).is_err() {
            mapped.open().end(wait(gpu, index).map_err(|_| wgpu::BufferAsyncError));
        }
    }
    #[cfg(target_arch = "wasm32")]
    let _ = (gpu, index, mapped);
}

/// Buffers being mapped, and threads that wait for them: ready once all are, or as soon as one fails.
#[derive(Clone, Default)]
struct Mapped(Arc<Mutex<Mapping>>);

#[derive(Default)]
struct Mapping {
    open: usize,
    error: Option<wgpu::BufferAsyncError>,
    waker: Option<Waker>,
}

impl Mapping {
    fn is_ready(&self) -> bool {
        self.open == 0 || self.error.is_some()
    }
}

/// One of what a [`Mapped`] waits for, until the drop.
struct Open(Mapped);

impl Open {
    fn end(self, result: Result<(), wgpu::BufferAsyncError>) {
        if let Err(e) = result {
            self.0.lock().error.get_or_insert(e);
        }
    }
}

impl Mapped {
    fn open(&self) -> Open {
        self.lock().open += 1;
        Open(self.clone())
    }

    fn callback(&self) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + use<> {
        let open = self.open();
        move |result| open.end(result)
    }

    fn lock(&self) -> MutexGuard<'_, Mapping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let waker = {
            let mut mapping = self.0.lock();
            mapping.open -= 1;
            if mapping.is_ready() { mapping.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Mapped {
    type Output = Result<(), wgpu::BufferAsyncError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut mapping = self.lock();
        if !mapping.is_ready() {
            mapping.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(mapping.error.clone().map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a future gives now, and a counter of its wakes.
    fn poll(mapped: &Mapped, wakes: &Arc<Wakes>) -> Poll<Result<(), wgpu::BufferAsyncError>> {
        Pin::new(&mut mapped.clone()).poll(&mut Context::from_waker(&wakes.clone().into()))
    }

    #[test]
    fn mapped_buffers_wait_for_the_thread_that_waited() {
        let (mapped, wakes) = (Mapped::default(), Arc::new(Wakes(0.into())));
        let (download, upload, thread) = (mapped.callback(), mapped.callback(), mapped.open());
        download(Ok(()));
        upload(Ok(()));
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        thread.end(Ok(()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mapped, &wakes), Poll::Ready(Ok(())));
    }

    #[test]
    fn buffers_of_a_lost_device_fail_though_nobody_calls_back() {
        let (mapped, wakes) = (Mapped::default(), Arc::new(Wakes(0.into())));
        let (_download, _upload, thread) = (mapped.callback(), mapped.callback(), mapped.open());
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        thread.end(Err(wgpu::BufferAsyncError));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mapped, &wakes), Poll::Ready(Err(wgpu::BufferAsyncError)));
    }
}
