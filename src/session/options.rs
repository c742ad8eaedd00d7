//! What a session can be asked for.

use super::OutputChoice;
use crate::gpu::{AdapterChoice, Tuning};
use crate::kernel::Precision;
use crate::rewrite::Mode;

/// Where a network runs. A choice that cannot be met is an error; the device is never changed silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A GPU through wgpu, software Vulkan included.
    Gpu(AdapterChoice),
    /// All cores of the CPU, without wgpu.
    #[cfg(not(target_arch = "wasm32"))]
    Cpu,
    /// The best adapter, or the CPU where there is none; [`Session::device_name`](super::Session::device_name) says which.
    #[cfg(not(target_arch = "wasm32"))]
    GpuOrCpu,
}

impl Default for Device {
    /// The best adapter.
    fn default() -> Device {
        Device::Gpu(AdapterChoice::Best)
    }
}

/// What a session runs, and where. `Options::default()` is the structured form at the model's own size, one image a run, on
/// the best adapter.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images per run.
    pub batch: usize,
    /// Which value of the network a run gives.
    pub output: OutputChoice,
    /// Which form of the network runs.
    pub mode: Mode,
    /// Whether neighbouring linear 1x1 convolutions (MobileNetV2's) are multiplied into one:
    /// [`rewrite::Form::merge`](crate::rewrite::Form::merge). [`faster_merged`](super::faster_merged) measures whether it pays.
    pub merge: bool,
    /// What values between layers and packed weights are stored in; sums are f32 in either. [`Precision::F16`] halves the memory;
    /// whether a network's values fit it, `rmnet verify --precision f16` tells.
    pub precision: Precision,
    /// Where it runs. Not read by [`Session::on`](super::Session::on), which is given a device.
    pub device: Device,
    /// Names of nodes of the rewritten graph whose values stay readable after a run.
    pub keep: Vec<String>,
    /// Compile shaders with wgpu's run-time checks. Plans are checked, so they are off by default.
    pub safe_shaders: bool,
    /// Kernels measured to be the fastest. Empty by default: the static choice. On the CPU it is not read.
    pub tuning: Tuning,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            batch: 1,
            output: OutputChoice::default(),
            mode: Mode::default(),
            merge: false,
            precision: Precision::F32,
            device: Device::default(),
            keep: vec![],
            safe_shaders: false,
            tuning: Tuning::default(),
        }
    }
}
