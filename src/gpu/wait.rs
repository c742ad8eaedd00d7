//! Waiting for what was submitted, and reading what it left.

use super::{Gpu, GpuError};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use wgpu::{Buffer, MapMode, SubmissionIndex};

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

/// What is in a buffer that is mapped.
pub(super) fn read<T: bytemuck::Pod>(gpu: &Gpu, mapped: &Buffer) -> Result<Vec<T>, GpuError> {
    let view = mapped.get_mapped_range(..).map_err(|e| gpu.failed("reading the result", e))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}

/// Blocks until the device has done a submission and told so.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn wait(gpu: &Gpu, index: SubmissionIndex) -> Result<(), GpuError> {
    gpu.poll("waiting for the device", wgpu::PollType::Wait { submission_index: Some(index), timeout: None })
}

/// Lets a thread wait for a submission; a browser tells by itself. Buffers count as mapped once the thread has let go of the device as
/// well: who has their result may drop the device, or leave `main`, and is not met inside the driver by this thread. Where waiting
/// fails they count as failed, since nobody maps buffers of a lost device.
pub(super) fn wait_aside(gpu: &Gpu, index: SubmissionIndex, mapped: &Mapped) {
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
pub(super) struct Mapped(Arc<Mutex<Mapping>>);

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

    pub(super) fn callback(&self) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + use<> {
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
