//! Selects the GPU of the default device: a hardware GPU, never a software one.

use super::adapter::{self, AdapterReport};
use super::{Gpu, GpuError};
use std::fmt;

/// An adapter skipped by the default device: a software GPU, or one that lacks a required feature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// Its position in [`adapters`](super::adapters): [`AdapterChoice::Index`](super::AdapterChoice::Index) asks for it.
    pub index: usize,
    /// The adapter; [`AdapterReport::problem`] says what it lacks, if that is the reason.
    pub adapter: AdapterReport,
}

impl fmt::Display for PassedOver {
    /// `llvmpipe (LLVM 15.0.6, 256 bits), vulkan, software`, followed by the problem if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.adapter)?;
        self.adapter.problem.as_ref().map_or(Ok(()), |problem| write!(f, " (cannot be used: {problem})"))
    }
}

/// Result of [`Gpu::hardware`].
#[derive(Clone, Debug)]
pub enum HardwareGpu {
    /// The best hardware GPU, opened.
    Open(Box<Gpu>),
    /// There is no usable hardware GPU; the adapters found instead, possibly none.
    Absent(Vec<PassedOver>),
}

impl Gpu {
    /// Opens the best hardware GPU: the first adapter, in the order of [`adapters`](super::adapters), that has all required features and
    /// does not report itself as software. Software GPUs are slower than the CPU executor on the same cores, so they are used only if an
    /// [`AdapterChoice`](super::AdapterChoice) asks for them.
    ///
    /// # Errors
    /// [`GpuError::Open`] if the driver refuses to open it: a hardware GPU is not skipped silently.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn hardware() -> Result<HardwareGpu, GpuError> {
        pollster::block_on(Gpu::hardware_async())
    }

    /// [`Gpu::hardware`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::hardware`].
    pub async fn hardware_async() -> Result<HardwareGpu, GpuError> {
        let (mut adapters, reports) = adapter::all_with_reports().await;
        match choose(reports) {
            Ok(index) => Ok(HardwareGpu::Open(Box::new(Gpu::open(&adapters.swap_remove(index)).await?))),
            Err(passed_over) => Ok(HardwareGpu::Absent(passed_over)),
        }
    }
}

/// The position of the first usable hardware GPU; if there is none, all adapters.
fn choose(reports: Vec<AdapterReport>) -> Result<usize, Vec<PassedOver>> {
    reports.iter().position(AdapterReport::is_usable_hardware).ok_or_else(|| {
        reports.into_iter().enumerate().map(|(index, adapter)| PassedOver { index, adapter }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::{Backend, DeviceType, Features, Limits};

    fn report(device_type: DeviceType, problem: Option<&str>) -> AdapterReport {
        let info = wgpu::AdapterInfo::new(device_type, Backend::Vulkan);
        let report = AdapterReport::new(&info, Features::empty(), &Limits::default());
        AdapterReport { problem: problem.map(Into::into), ..report }
    }

    #[test]
    fn the_first_hardware_gpu_without_a_problem_is_chosen() {
        use DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
        for hardware in [DiscreteGpu, IntegratedGpu, VirtualGpu, Other] {
            let reports =
                vec![report(DiscreteGpu, Some("it is old")), report(Cpu, None), report(hardware, None)];
            assert_eq!(choose(reports), Ok(2), "{hardware:?}");
        }
    }

    #[test]
    fn without_one_every_adapter_is_passed_over_with_its_reason() {
        let reports = vec![report(DeviceType::DiscreteGpu, Some("it is old")), report(DeviceType::Cpu, None)];
        let passed_over = choose(reports).unwrap_err();
        let texts: Vec<String> = passed_over.iter().map(ToString::to_string).collect();
        assert_eq!(passed_over.iter().map(|p| p.index).collect::<Vec<_>>(), [0, 1]);
        assert!(texts[0].ends_with("discrete (cannot be used: it is old)"), "{texts:?}");
        assert!(texts[1].ends_with("vulkan, software"), "{texts:?}");
        assert_eq!(choose(vec![]), Err(vec![]));
    }
}
