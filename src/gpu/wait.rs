//! Waits for submissions and reads their results. The module `mapped` explains why no wait is lost.

#[cfg(not(target_arch = "wasm32"))]
use super::mapped::PendingSubmission;
use super::mapped::{MapError, MapFuture, MapGuard};
use super::{Gpu, GpuError};
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
use wgpu::{Buffer, SubmissionIndex};

/// Waits for a submission and reads a staging buffer it wrote. Blocks.
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

/// Reads a mapped buffer.
pub(super) fn read<T: bytemuck::Pod>(gpu: &Gpu, mapped: &Buffer) -> Result<Vec<T>, GpuError> {
    let view = mapped.get_mapped_range(..).map_err(|e| gpu.failed("reading the result", e))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}

/// Blocks until a submission is done, or until the device's timeout.
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

/// Waits for all queued submissions of a device. The last result is reported only after this thread has dropped its device handle, so the
/// caller may drop the device or leave `main` without finding this thread inside the driver.
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
                // Submissions finish in order, but may have different timeouts.
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

/// Starts waiting for a submission on a background thread; a browser needs none. The buffers are reported mapped, and the run `in_flight`
/// as done, only after the thread has dropped its device handle. If waiting fails they are reported failed, since buffers of a lost
/// device are never mapped.
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
    {
        let _ = (index, in_flight);
        super::browser::hurry(gpu.queue(), mapped);
    }
}

impl MapError {
    /// The error of the operation that needed the buffers.
    pub(super) fn of(self, gpu: &Gpu, doing: &str) -> GpuError {
        match self {
            MapError::Wait(e) => e,
            MapError::Refused => gpu.failed(doing, self),
        }
    }
}
