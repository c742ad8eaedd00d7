//! Waiting for what was submitted, and reading what it left. Why no wait is lost is said in `mapped`.

#[cfg(not(target_arch = "wasm32"))]
use super::mapped::PendingSubmission;
use super::mapped::{MapError, MapFuture, MapGuard};
use super::{Gpu, GpuError};
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
use wgpu::{Buffer, SubmissionIndex};

/// What a submission left in a staging buffer, once it is done. Blocks.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn read_back<T: bytemuck::Pod>(
    gpu: &Gpu,
    index: SubmissionIndex,
    staging: &Buffer,
    doing: &'static str,
) -> Result<Vec<T>, GpuError> {
    let mapped = MapFuture::default();
    let map = || staging.map_async(wgpu::MapMode::Read, .., mapped.callback());
    pollster::block_on(gpu.scoped(doing, map))?;
    wait(gpu, doing, index)?;
    pollster::block_on(mapped).map_err(|e| e.of(gpu, doing))?;
    read(gpu, staging)
}

/// What is in a buffer that is mapped.
pub(super) fn read<T: bytemuck::Pod>(gpu: &Gpu, mapped: &Buffer) -> Result<Vec<T>, GpuError> {
    let view = mapped.get_mapped_range(..).map_err(|e| gpu.failed("reading the result", e))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}

/// Blocks until the device has done a submission and told so, or the device's timeout has passed.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn wait(gpu: &Gpu, doing: &str, index: SubmissionIndex) -> Result<(), GpuError> {
    let until = Instant::now() + gpu.timeout();
    while !gpu.poll_submission(until.saturating_duration_since(Instant::now()), doing, index.clone())? {
        if Instant::now() >= until {
            return Err(GpuError::Timeout { doing: doing.into(), after: gpu.timeout() });
        }
    }
    Ok(())
}

/// Waits for all that is in the queue of a device. Who has the last result may drop the device, or leave `main`, and is not met inside
/// the driver by this thread: it lets go of the device before it tells.
#[cfg(not(target_arch = "wasm32"))]
fn wait_for_all(gpu: Gpu) {
    let waits = gpu.waits.clone();
    loop {
        let (index, until) = {
            let mut queue = waits.queue();
            let until = queue.waiting.iter().map(|w| w.until).min();
            let Some((first, until)) = queue.waiting.front().zip(until) else {
                queue.has_thread = false;
                return;
            };
            (first.index.clone(), until)
        };
        let waited = gpu.poll_submission(until.saturating_duration_since(Instant::now()), "a run", index);
        let mut ended = vec![];
        let last = {
            let mut queue = waits.queue();
            match &waited {
                // Submissions are done in their order, but not all of them have the same patience.
                Ok(false) => {
                    let now = Instant::now();
                    let (late, rest): (Vec<_>, Vec<_>) =
                        queue.waiting.drain(..).partition(|w| w.until <= now);
                    queue.waiting = rest.into();
                    ended.extend(late.into_iter().map(|w| {
                        let after = w.timeout;
                        (w, Err(GpuError::Timeout { doing: "a run".into(), after }))
                    }));
                }
                Ok(true) => ended.extend(queue.waiting.pop_front().map(|w| (w, Ok(())))),
                Err(e) => ended.extend(queue.waiting.pop_front().map(|w| (w, Err(e.clone())))),
            }
            queue.has_thread = !queue.waiting.is_empty();
            !queue.has_thread
        };
        if last {
            drop(gpu);
            ended.into_iter().for_each(|(waiting, result)| waiting.end(&result));
            return;
        }
        ended.into_iter().for_each(|(waiting, result)| waiting.end(&result));
    }
}

/// Lets a thread wait for a submission; a browser tells by itself. Buffers count as mapped once the thread has let go of the device as
/// well, and the run, `in_flight`, as done then, whoever awaits it. Where waiting fails they count as failed, since nobody maps
/// buffers of a lost device.
pub(super) fn wait_in_background(gpu: &Gpu, index: SubmissionIndex, mapped: &MapFuture, in_flight: MapGuard) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let (timeout, guards) = (gpu.timeout(), [mapped.guard(), in_flight]);
        let waiting = PendingSubmission { index, until: Instant::now() + timeout, timeout, guards };
        {
            let mut queue = gpu.waits.queue();
            queue.waiting.push_back(waiting);
            if std::mem::replace(&mut queue.has_thread, true) {
                return;
            }
        }
        let own = gpu.clone();
        let thread = std::thread::Builder::new().name("rmnet wait".into());
        if thread.spawn(move || wait_for_all(own)).is_err() {
            wait_for_all(gpu.clone());
        }
    }
    #[cfg(target_arch = "wasm32")]
    let _ = (gpu, index, mapped, in_flight);
}

impl MapError {
    /// What it means for what was being done.
    pub(super) fn of(self, gpu: &Gpu, doing: &str) -> GpuError {
        match self {
            MapError::Wait(e) => e,
            MapError::Refused => gpu.failed(doing, self),
        }
    }
}
