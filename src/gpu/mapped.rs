//! Buffers being mapped, and the queue of submissions that they wait for.
//!
//! Why no wait is lost: a [`Mapped`] counts what it waits for under its lock, and [`Open::drop`] takes the wakers under that same lock
//! once the count is 0, so that a future that looked before registers its waker in time, and one that looks after finds it ready. Why
//! none lasts for ever: whatever is counted ends by a callback of wgpu, by the thread of [`Waits`], which gives up after the device's
//! timeout, or by a drop on the way out of an error. Why nothing waits in a circle: no lock is held while the driver is waited for.

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

/// Submissions that are waited for by a thread of the device's own, one for all of them, in the order of their submission. It ends
/// when there is none left.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Queue>);

#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) has_thread: bool,
}

#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) index: SubmissionIndex,
    /// When it is given up, and after how long that is.
    pub(super) until: Instant,
    pub(super) timeout: Duration,
    /// Its buffers, and the run itself.
    pub(super) open: [Open; 2],
}

#[cfg(not(target_arch = "wasm32"))]
impl Waiting {
    pub(super) fn end(self, result: &Result<(), GpuError>) {
        self.open.into_iter().for_each(|open| open.end(result.clone()));
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Waits {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buffers being mapped, and threads that wait for them: ready once all are, or as soon as one fails. Clones are of the same buffers,
/// and may be awaited by several tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapped(Arc<Mutex<Mapping>>);

#[derive(Debug, Default)]
struct Mapping {
    open: usize,
    error: Option<Unmapped>,
    wakers: Vec<Waker>,
}

/// Why buffers were not mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmapped {
    /// wgpu does not say why.
    #[error("a buffer could not be mapped")]
    Refused,
    /// Waiting for the device failed.
    #[error(transparent)]
    Wait(GpuError),
}

impl Mapping {
    fn is_ready(&self) -> bool {
        self.open == 0 || self.error.is_some()
    }
}

/// One of what a [`Mapped`] waits for, until the drop.
#[derive(Debug)]
pub(super) struct Open(Mapped);

impl Open {
    fn end(self, result: Result<(), impl Into<Unmapped>>) {
        if let Err(e) = result {
            self.0.lock().error.get_or_insert(e.into());
        }
    }
}

impl From<wgpu::BufferAsyncError> for Unmapped {
    fn from(_: wgpu::BufferAsyncError) -> Unmapped {
        Unmapped::Refused
    }
}

impl From<GpuError> for Unmapped {
    fn from(e: GpuError) -> Unmapped {
        Unmapped::Wait(e)
    }
}

impl Mapped {
    /// One more to wait for.
    pub(super) fn open(&self) -> Open {
        self.lock().open += 1;
        Open(self.clone())
    }

    /// Whether it would give something now.
    pub(super) fn is_ready(&self) -> bool {
        self.lock().is_ready()
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
        let wakers = {
            let mut mapping = self.0.lock();
            mapping.open -= 1;
            if mapping.is_ready() { std::mem::take(&mut mapping.wakers) } else { vec![] }
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Mapped {
    type Output = Result<(), Unmapped>;

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

    /// What a future gives now, and a counter of its wakes.
    fn poll(mapped: &Mapped, wakes: &Arc<Wakes>) -> Poll<Result<(), Unmapped>> {
        Pin::new(&mut mapped.clone()).poll(&mut Context::from_waker(&wakes.clone().into()))
    }

    #[test]
    fn mapped_buffers_wait_for_the_thread_that_waited() {
        let (mapped, wakes) = (Mapped::default(), Arc::new(Wakes(0.into())));
        let (download, upload, thread) = (mapped.callback(), mapped.callback(), mapped.open());
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
        let (mapped, wakes) = (Mapped::default(), Arc::new(Wakes(0.into())));
        let (_download, _upload, thread) = (mapped.callback(), mapped.callback(), mapped.open());
        assert_eq!(poll(&mapped, &wakes), Poll::Pending);
        let lost = GpuError::DeviceLost { reason: "gone".into() };
        thread.end(Err(lost.clone()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mapped, &wakes), Poll::Ready(Err(Unmapped::Wait(lost))));
    }

    #[test]
    fn everybody_who_waits_is_woken() {
        let mapped = Mapped::default();
        let wakes = [0, 1, 2].map(|_| Arc::new(Wakes(0.into())));
        let thread = mapped.open();
        assert!(wakes.iter().all(|w| poll(&mapped, w) == Poll::Pending));
        assert!(!mapped.is_ready());
        drop(thread);
        assert!(mapped.is_ready() && wakes.iter().all(|w| w.0.load(Ordering::Relaxed) == 1));
    }
}
