//! A device with its queue, opened by this crate or by the app.

use super::adapter::{self, AdapterReport};
#[cfg(not(target_arch = "wasm32"))]
use super::mapped::WaitQueue;
use super::{AdapterChoice, GpuError, SelfTests};
use crate::kernel::{self, Capabilities, Class};
use crate::plan::PlanTarget;
use crate::shared::Shared;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::{DeviceType, ErrorFilter, Features};

/// Features needed by the kernels for matrix units.
const MATRIX_FEATURES: Features =
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

/// Default timeout of waits for the driver. Drivers reset a hardware GPU after some seconds on one submission; software GPUs may take
/// minutes for a large batch.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Kinds of GPU for which different kernels are selected; see [`Gpu::with_kernels_for`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GpuKind {
    /// Integrated and mobile GPUs, and browsers.
    Integrated,
    /// A discrete card with its own memory.
    Discrete,
}

/// An opened GPU: device, queue and the adapter's properties. Clones share the device.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    report: AdapterReport,
    capabilities: Capabilities,
    /// Reason of a device loss. For an app's own device it stays unknown until a call fails.
    lost: Arc<Mutex<Option<String>>>,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser waits as long as it likes"))]
    timeout: Duration,
    /// Submissions that a separate thread waits for.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) waits: Arc<WaitQueue>,
    /// Packed weights of the sessions on this device.
    pub(super) weights: Arc<Shared<wgpu::Buffer>>,
    /// Compiled pipelines, if a cache is used.
    pub(super) cache: Option<wgpu::PipelineCache>,
    /// Which kernels compute right: the record of the process, or one of its own.
    pub(super) self_tests: Arc<Mutex<SelfTests>>,
    /// Changes the kernels that are chosen: how tests make a driver wrong.
    #[cfg(feature = "internals")]
    pub(super) changed: Option<fn(&mut kernel::Kernel)>,
}

impl Gpu {
    /// Opens an adapter with its own limits and those of its features that kernels can use.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`], with the adapters found and what to install; [`GpuError::Open`], with the driver's reason.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(choice: &AdapterChoice) -> Result<Gpu, GpuError> {
        pollster::block_on(Gpu::new_async(choice))
    }

    /// [`Gpu::new`] without blocking, for example in a browser.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn new_async(choice: &AdapterChoice) -> Result<Gpu, GpuError> {
        Gpu::open(&adapter::choose(choice).await?).await
    }

    /// Opens an enumerated adapter.
    pub(super) async fn open(adapter: &wgpu::Adapter) -> Result<Gpu, GpuError> {
        let info = adapter.get_info();
        let mut required_features = Gpu::features_for(adapter);
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if matrix_units(adapter) {
            required_features |= MATRIX_FEATURES;
            // SAFETY: only the matrix feature is requested, and the kernels that use it are tested against the f64 reference like all
            // others.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("rmnet"),
            required_features,
            required_limits: adapter.limits(),
            experimental_features,
            // Small allocation blocks: a whole network takes tens of MiB.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let refused = |reason: String| GpuError::Open { adapter: info.name.clone(), reason };
        let (device, queue) =
            adapter.request_device(&descriptor).await.map_err(|e| refused(e.to_string()))?;
        let gpu = Gpu::from_device(device, queue).with_matrix_units(adapter);
        let lost = gpu.lost.clone();
        gpu.device.set_device_lost_callback(move |reason, message| {
            let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.get_or_insert_with(|| {
                if message.is_empty() { format!("{reason:?}") } else { format!("{reason:?}: {message}") }
            });
        });
        Ok(gpu)
    }

    /// The features of an adapter that kernels, timing and the pipeline cache can use, for apps that open their own device. Request the
    /// adapter's own limits, since large limits allow large networks. Matrix units are experimental in wgpu and not included; see
    /// [`Gpu::with_matrix_units`].
    ///
    /// ```
    /// use rmnet::{Gpu, wgpu};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    /// let adapter = pollster::block_on(instance.request_adapter(&Default::default()));
    /// let Ok(adapter) = adapter else { return Ok(()) }; // no GPU here
    /// let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
    ///     required_features: Gpu::features_for(&adapter), // and the app's own
    ///     required_limits: adapter.limits(),
    ///     ..Default::default()
    /// }))?;
    /// let gpu = Gpu::from_device(device, queue);
    /// println!("{}", gpu.adapter());
    /// # Ok(())
    /// # }
    /// ```
    pub fn features_for(adapter: &wgpu::Adapter) -> Features {
        let mut useful = Features::SUBGROUP
            | Features::TIMESTAMP_QUERY
            | Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | Features::PIPELINE_CACHE;
        if adapter.get_info().device_type == DeviceType::Cpu {
            // Device memory is host memory: fill it directly, without a copy.
            useful |= Features::SHADER_INT64 | Features::MAPPABLE_PRIMARY_BUFFERS;
        }
        adapter.features() & useful
    }

    /// Wraps the app's own device. Kernels are selected by the features and limits it was opened with; [`Gpu::features_for`] lists the
    /// useful features.
    ///
    /// The app keeps its error handler and device-lost callback.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        let (info, features, limits) = (device.adapter_info(), device.features(), device.limits());
        #[cfg_attr(not(target_arch = "wasm32"), expect(unused_mut, reason = "a browser says more"))]
        let mut report = AdapterReport::new(&info, features, &limits);
        #[cfg_attr(not(target_arch = "wasm32"), expect(unused_mut, reason = "a browser says more"))]
        let mut class = match info.device_type {
            DeviceType::Cpu => Class::Software,
            DeviceType::DiscreteGpu => Class::Discrete,
            _ => Class::Integrated,
        };
        #[cfg(target_arch = "wasm32")]
        super::browser::describe(&device, &mut report, &mut class);
        let capabilities = Capabilities {
            class,
            features: kernel::Features {
                subgroup_size: report.subgroup.filter(|[min, max]| min == max).map(|[size, _]| size),
                int64: features.contains(Features::SHADER_INT64),
                matrix_units: false,
            },
            limits: kernel::Limits {
                max_workgroup_invocations: report.max_workgroup_invocations,
                max_workgroup_memory: report.max_workgroup_memory,
                max_workgroups: report.max_workgroups,
                max_binding_bytes: report.max_binding_bytes,
                max_storage_buffers: report.max_storage_buffers,
            },
        };
        Gpu {
            device,
            queue,
            report,
            capabilities,
            lost: Arc::default(),
            timeout: TIMEOUT,
            #[cfg(not(target_arch = "wasm32"))]
            waits: Arc::default(),
            weights: Arc::default(),
            cache: None,
            self_tests: SelfTests::shared(),
            #[cfg(feature = "internals")]
            changed: None,
        }
    }

    /// Lets kernels in f16 use the matrix units of a device that was opened on `adapter` with the features
    /// `EXPERIMENTAL_COOPERATIVE_MATRIX`, `SHADER_F16` and `SUBGROUP`; changes nothing if a feature is missing, the adapter is a
    /// different one, or it has no 16x16 matrices of f16 with f32 sums. [`Gpu::new`] does this automatically; for an app's own device the
    /// adapter must be given.
    #[must_use]
    pub fn with_matrix_units(mut self, adapter: &wgpu::Adapter) -> Gpu {
        let (own, other) = (self.device.adapter_info(), adapter.get_info());
        let same = (own.backend, own.vendor, own.device, &own.name)
            == (other.backend, other.vendor, other.device, &other.name);
        self.capabilities.features.matrix_units =
            same && self.device.features().contains(MATRIX_FEATURES) && matrix_units(adapter);
        self
    }

    /// Plans and selects kernels for another kind of GPU, within the adapter's limits, for example to run a discrete card's kernels on
    /// software Vulkan. Results are equally accurate; timings are meaningless. Matrix units are disabled.
    #[must_use]
    pub fn with_kernels_for(mut self, kind: GpuKind) -> Gpu {
        let Capabilities { class, features, .. } = &mut self.capabilities;
        *class = match kind {
            GpuKind::Integrated => Class::Integrated,
            GpuKind::Discrete => Class::Discrete,
        };
        (features.int64, features.matrix_units) = (false, false);
        self
    }

    /// Sets the time to wait for the driver (default: 5 minutes) before a run or an upload fails with [`GpuError::Timeout`]. Submitted
    /// work is not cancelled: the next run waits behind it. Ignored in a browser.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Gpu {
        self.timeout = timeout;
        self
    }

    /// The device, to share with the rest of an app.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The device's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// The adapter's properties.
    pub fn adapter(&self) -> &AdapterReport {
        &self.report
    }

    /// Buffers of packed weights that sessions have on this device and its clones, each counted once, and their bytes.
    pub fn shared_weights(&self) -> (usize, usize) {
        let buffers = self.weights.values();
        (buffers.len(), buffers.iter().map(|buffer| buffer.size() as usize).sum())
    }

    /// The properties by which kernels are chosen.
    #[doc(hidden)]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The limits to plan for.
    #[doc(hidden)]
    pub fn plan_target(&self) -> PlanTarget {
        PlanTarget::of(&self.capabilities)
    }

    /// [`GpuError::DeviceLost`] once the device is known to be lost.
    pub(super) fn check_lost(&self) -> Result<(), GpuError> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(GpuError::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Polls the device, then [`Gpu::check_lost`].
    fn poll_lost(&self) -> Result<(), GpuError> {
        // Ignore errors of this call: something has failed already.
        let _ = polled(&self.device, wgpu::PollType::Poll);
        self.check_lost()
    }

    /// [`GpuError::DeviceLost`] if the device is lost without notice, as an app's device may be: a lost device cannot map buffers.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn check_alive(&self) -> Result<(), GpuError> {
        self.check_lost()?;
        let filters = [ErrorFilter::Validation, ErrorFilter::Internal, ErrorFilter::OutOfMemory];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let probe = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        let mapped = probe.get_mapped_range_mut(..).map(drop);
        let errors = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).count();
        match mapped {
            // Inconclusive if memory has run out.
            Err(e) if errors == 0 => Err(self.failed("mapping a buffer", e)),
            _ => Ok(()),
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn check_alive(&self) -> Result<(), GpuError> {
        self.poll_lost()
    }

    /// Polls the device until a submission is done, for at most `time` and at most [`MAX_POLL`], so that no lock in wgpu is held for
    /// long. Returns whether it is done.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn poll_submission(
        &self,
        time: Duration,
        doing: &str,
        index: wgpu::SubmissionIndex,
    ) -> Result<bool, GpuError> {
        let timeout = Some(time.min(MAX_POLL));
        match polled(&self.device, wgpu::PollType::Wait { submission_index: Some(index), timeout }) {
            Ok(()) => Ok(true),
            Err(PollFailure::Timeout) => self.check_lost().map(|()| false),
            Err(PollFailure::Failed(why)) => Err(self.failed(doing, why)),
        }
    }

    /// The timeout of waits for the driver.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn timeout(&self) -> Duration {
        // Capped, so that `Instant` can represent the deadline on every system.
        self.timeout.min(Duration::from_secs(u32::MAX.into()))
    }

    /// The error for a failed operation whose calls were all valid: the device is lost.
    pub(super) fn failed(&self, doing: &str, what: impl std::fmt::Display) -> GpuError {
        self.poll_lost()
            .err()
            .unwrap_or_else(|| GpuError::DeviceLost { reason: format!("{doing} failed: {what}") })
    }

    /// Runs wgpu calls inside error scopes and returns the first error. The calls run immediately; the errors may have to be awaited.
    pub(super) fn scoped<T, F: FnOnce() -> T>(
        &self,
        doing: &'static str,
        calls: F,
    ) -> impl Future<Output = Result<T, GpuError>> + use<T, F> {
        let validation = self.device.push_error_scope(ErrorFilter::Validation);
        let internal = self.device.push_error_scope(ErrorFilter::Internal);
        let memory = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let made = calls();
        let (memory, internal, validation) = (memory.pop(), internal.pop(), validation.pop());
        let gpu = self.clone();
        async move {
            // Await all scopes, so that none is left behind; running out of memory explains the other errors.
            let errors = [memory.await, internal.await, validation.await];
            match errors.into_iter().flatten().next() {
                None => Ok(made),
                // A lost device refuses every call.
                Some(error) => Err(gpu.check_alive().err().unwrap_or(GpuError::from_wgpu(error, doing))),
            }
        }
    }
}

/// Maximum duration of one poll.
#[cfg(not(target_arch = "wasm32"))]
const MAX_POLL: Duration = Duration::from_millis(250);

/// Why polling a device failed.
#[derive(Debug, PartialEq, Eq)]
enum PollFailure {
    Timeout,
    Failed(String),
}

/// Polls a device. wgpu panics if it is lost, which is an error here.
fn polled(device: &wgpu::Device, how: wgpu::PollType) -> Result<(), PollFailure> {
    caught(|| device.poll(how.clone()).map(drop))
}

/// The result of a poll that may panic. wgpu 30 also panics if a wait times out just as a poll or a submission of another thread finds the
/// work done (gfx-rs/wgpu#9958, mended in 31). A second poll then succeeds, but panics again if the device is lost.
fn caught(poll: impl Fn() -> Result<(), wgpu::PollError>) -> Result<(), PollFailure> {
    let once = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(&poll));
    match once().or_else(|_| once()) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(wgpu::PollError::Timeout)) => Err(PollFailure::Timeout),
        Ok(Err(e)) => Err(PollFailure::Failed(e.to_string())),
        Err(_) => Err(PollFailure::Failed("the driver lost it".into())),
    }
}

/// Whether an adapter multiplies 16x16 matrices of f16 with f32 sums, with the subgroup size of the kernels.
fn matrix_units(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let fitting = [info.subgroup_min_size, info.subgroup_max_size] == [32, 32];
    if info.device_type == DeviceType::Cpu || !fitting {
        return false;
    }
    adapter.features().contains(MATRIX_FEATURES)
        && adapter
            .cooperative_matrix_properties()
            .iter()
            .any(|p| (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type) == (16, 16, 16, F16, F32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_poll_that_panics_once_is_no_lost_device() {
        let polls = Cell::new(0);
        let panics = |times: usize| {
            polls.set(0);
            caught(|| {
                polls.set(polls.get() + 1);
                assert!(polls.get() > times, "as wgpu does");
                Ok(())
            })
        };
        assert_eq!((panics(0), polls.get()), (Ok(()), 1));
        assert_eq!((panics(1), polls.get()), (Ok(()), 2));
        let lost = Err(PollFailure::Failed("the driver lost it".into()));
        assert_eq!((panics(2), polls.get()), (lost, 2));
        assert_eq!(caught(|| Err(wgpu::PollError::Timeout)), Err(PollFailure::Timeout));
    }
}
