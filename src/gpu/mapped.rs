//! Futures of buffer mappings, and the queue of submissions they wait for.
//!
//! No wake-up is lost: a [`MapFuture`] counts its pending operations under its lock, and [`MapGuard::drop`] takes the wakers under the same
//! lock once the count is 0. A future polled before then has registered its waker, and one polled later is ready. Every wait ends: a guard
//! is dropped by a callback of wgpu, by the thread of [`WaitQueue`], which gives up after the device's timeout, or while an error is
//! returned. There are no deadlocks: no lock is held while waiting for the driver.

use super::GpuError;
#[cfg(not(target_arch = "wasm32"))]
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(not(target_arch = "wasm32"))]
use std::time::{Duration, Instant};
#[cfg(not(target_arch = "wasm32"))]
use wgpu::SubmissionIndex;

/// Submissions awaited by one background thread per device, in submission order. The thread ends when none is left.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Default)]
pub(super) struct WaitQueue(Mutex<PendingSubmissions>);

#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Default)]
pub(super) struct PendingSubmissions {
    pub(super) waiting: VecDeque<PendingSubmission>,
    pub(super) has_thread: bool,
}

#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub(super) struct PendingSubmission {
    pub(super) index: SubmissionIndex,
    /// The deadline, and the timeout it results from.
    pub(super) until: Instant,
    pub(super) timeout: Duration,
    /// Guards of its buffers and of the run itself.
    pub(super) guards: [MapGuard; 2],
}

#[cfg(not(target_arch = "wasm32"))]
impl PendingSubmission {
    pub(super) fn end(self, result: &Result<(), GpuError>) {
        self.guards.into_iter().for_each(|guard| guard.end(result.clone()));
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl WaitQueue {
    pub(super) fn queue(&self) -> MutexGuard<'_, PendingSubmissions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future of several buffer mappings and waits: ready when all are done, or as soon as one fails. Clones refer to the same mappings,
/// and several tasks may await them.
#[derive(Clone, Debug, Default)]
pub(super) struct MapFuture(Arc<Mutex<MapState>>);

#[derive(Debug, Default)]
struct MapState {
    pending: usize,
    error: Option<MapError>,
    wakers: Vec<Waker>,
}

/// Why buffers were not mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MapError {
    /// Refused by wgpu, without a reason.
    #[error("a buffer could not be mapped")]
    Refused,
    /// Waiting for the device failed.
    #[error(transparent)]
    Wait(GpuError),
}

impl MapState {
    fn is_ready(&self) -> bool {
        self.pending == 0 || self.error.is_some()
    }
}

/// One pending operation of a [`MapFuture`]; dropping the guard completes it.
#[derive(Debug)]
pub(super) struct MapGuard(MapFuture);

impl MapGuard {
    fn end(self, result: Result<(), impl Into<MapError>>) {
        if let Err(e) = result {
            self.0.lock().error.get_or_insert(e.into());
        }
    }
}

impl From<wgpu::BufferAsyncError> for MapError {
    fn from(_: wgpu::BufferAsyncError) -> MapError {
        MapError::Refused
    }
}

impl From<GpuError> for MapError {
    fn from(e: GpuError) -> MapError {
        MapError::Wait(e)
    }
}

impl MapFuture {
    /// Adds one more operation to wait for.
    pub(super) fn guard(&self) -> MapGuard {
        self.lock().pending += 1;
        MapGuard(self.clone())
    }

    /// Whether it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.lock().is_ready()
    }

    pub(super) fn callback(&self) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + use<> {
        let guard = self.guard();
        move |result| guard.end(result)
    }

    fn lock(&self) -> MutexGuard<'_, MapState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MapGuard {
    fn drop(&mut self) {
        let wakers = {
            let mut mapping = self.0.lock();
            mapping.pending -= 1;
            if mapping.is_ready() { std::mem::take(&mut mapping.wakers) } else { vec![] }
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for MapFuture {
    type Output = Result<(), MapError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut mapping = self.lock();
        if !mapping.is_ready() {
            if !mapping.wakers.iter().any(|w| w.will_wake(context.waker())) {
                mapping.wakers.push(context.waker().clone());
            }
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

    /// Polls a future, with a waker that counts its wakes.
    fn poll(mapped: &MapFuture, wakes: &Arc<Wakes>) -> Poll<Result<(), MapError>> {
        Pin::new(&mut mapped.clone()).poll(&mut Context::from_waker(&wakes.clone().into()))
    }

    #[test]
    fn mapped_buffers_wait_for_the_thread_that_waited() {
        let (mapped, wakes) = (MapFuture::default(), Arc::new(Wakes(0.into())));
        let (download, upload, thread) = (mapped.callback(), mapped.callback(), mapped.guard());
        download(Ok(()));
        upload(Ok(()));
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        thread.end(Ok::<(), GpuError>(()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mapped, &wakes), Poll::Ready(Ok(())));
    }

    #[test]
    fn buffers_of_a_lost_device_fail_though_nobody_calls_back() {
        let (mapped, wakes) = (MapFuture::default(), Arc::new(Wakes(0.into())));
        let (_download, _upload, thread) = (mapped.callback(), mapped.callback(), mapped.guard());
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        let lost = GpuError::DeviceLost { reason: "gone".into() };
        thread.end(Err(lost.clone()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mapped, &wakes), Poll::Ready(Err(MapError::Wait(lost))));
    }

    #[test]
    fn everybody_who_waits_is_woken() {
        let mapped = MapFuture::default();
        let wakes = [0, 1, 2].map(|_| Arc::new(Wakes(0.into())));
        let thread = mapped.guard();
        assert!(wakes.iter().all(|w| poll(&mapped, w) == Poll::Pending));
        assert!(!mapped.is_ready());
        drop(thread);
        assert!(mapped.is_ready() && wakes.iter().all(|w| w.0.load(Ordering::Relaxed) == 1));
    }
}
