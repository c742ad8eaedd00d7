//! What a session can be asked for.

use super::OutputChoice;
use crate::gpu::{AdapterChoice, Tuning};
use crate::kernel::Precision;
use crate::rewrite::Mode;
#[cfg(not(target_arch = "wasm32"))]
use crate::threads::Threads;

/// Where a network runs. A choice that cannot be met is an error; the device is never changed silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best hardware GPU; where there is none, the CPU executor, and
    /// [`Session::passed_over`](super::Session::passed_over) names the software GPUs that were left alone. A hardware GPU that
    /// is there and cannot be opened is an error. In a browser it is the GPU that the browser offers.
    #[default]
    Auto,
    /// The GPU asked for, through wgpu, software GPUs included.
    Gpu(AdapterChoice),
    /// The CPU executor: all cores, without wgpu.
    #[cfg(not(target_arch = "wasm32"))]
    Cpu,
}

/// What a session runs, and where. `Options::default()` is the structured form at the model's own size, one image a run, on
/// the best hardware GPU, or on the CPU where there is none ([`Device::Auto`]).
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
    /// Names of values that [`Session::run_keeping`](super::Session::run_keeping) gives with the output: blocks
    /// ([`Model::blocks`](crate::models::Model::blocks)), or nodes of the rewritten graph, such as a converted file has.
    pub keep: Vec<String>,
    /// Whether a run looks through its input for NaN and infinities, which costs one read of it, and refuses them. A network may hide
    /// what they do: ReLU takes minus infinity for 0, and a GPU the larger of NaN and 0 for 0. On by default.
    pub check_input: bool,
    /// The threads of the CPU executor. By default those that all sessions share ([`Threads::shared`]), which are none of the
    /// app's own; on a GPU it is not read. Loading a network and compiling shaders is done on the shared ones in any case.
    #[cfg(not(target_arch = "wasm32"))]
    pub threads: Option<Threads>,
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
            check_input: true,
            #[cfg(not(target_arch = "wasm32"))]
            threads: None,
            safe_shaders: false,
            tuning: Tuning::default(),
        }
    }
}
