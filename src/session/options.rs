//! What a session can be asked for.

use super::{Error, OutputChoice};
#[cfg(feature = "gpu")]
use crate::gpu::{AdapterChoice, Tuning};
use crate::kernel::Precision;
use crate::rewrite::{Form, Mode};
#[cfg(not(target_arch = "wasm32"))]
use crate::threads::Threads;
use std::fmt;
use std::str::FromStr;
#[cfg(feature = "gpu")]
use std::time::Duration;

/// Where a network runs. A choice that cannot be met is an error; the device is never changed silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The best hardware GPU; where there is none, the CPU, and [`Session::passed_over`](super::Session::passed_over) names the
    /// software GPUs that were left alone. A hardware GPU that is there and cannot be opened is an error. In a browser it is the GPU
    /// that the browser offers. With only one of the features `gpu` and `cpu` it is what that one runs on.
    #[default]
    Auto,
    /// The GPU asked for, through wgpu, software GPUs included. Needs the feature `gpu`.
    #[cfg(feature = "gpu")]
    Gpu(AdapterChoice),
    /// CPU threads, without wgpu. Needs the feature `cpu`; not in a browser.
    #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
    Cpu,
}

impl FromStr for Device {
    type Err = Error;

    /// `auto`, `cpu`, or a GPU as `AdapterChoice` reads it: `best`, a number, a graphics API, `pci:ADDRESS`, a part of an adapter's
    /// name. As a config file or a command line has it:
    ///
    /// ```
    /// use rmnet::{AdapterChoice, Device};
    ///
    /// # fn main() -> Result<(), rmnet::Error> {
    /// assert_eq!("cpu".parse::<Device>()?, Device::Cpu);
    /// assert_eq!("1".parse::<Device>()?, Device::Gpu(AdapterChoice::Index(1)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`] for a device that this build has no executor for.
    fn from_str(text: &str) -> Result<Device, Error> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "auto" => Ok(Device::Auto),
            #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
            "cpu" => Ok(Device::Cpu),
            #[cfg(feature = "gpu")]
            other if other != "cpu" => {
                let Ok(choice) = text.parse::<AdapterChoice>();
                Ok(Device::Gpu(choice))
            }
            other => {
                let executor = if other == "cpu" { "cpu" } else { "gpu" };
                Err(Error::NoSuchDevice { text: text.into(), executor })
            }
        }
    }
}

impl fmt::Display for Device {
    /// A text that [`Device::from_str`] reads as this device, if it came from there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            #[cfg(feature = "gpu")]
            Device::Gpu(choice) => choice.fmt(f),
            #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
            Device::Cpu => f.write_str("cpu"),
        }
    }
}

/// What a session runs, and where. `Options::default()` is the structured form at the model's own size, one image a run, on
/// the best hardware GPU, or on the CPU where there is none ([`Device::Auto`]). Every field has a setter of its name:
///
/// ```
/// use rmnet::{Options, Precision};
///
/// let options = Options::default().batch(8).precision(Precision::F16).keep(["layer3.1"]);
/// assert_eq!(options.batch, 8);
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct Options {
    /// Images that one run takes at most; memory is that of this many. 1 by default.
    pub batch: usize,
    /// Which value of the network a run gives. The logits by default.
    pub output: OutputChoice,
    /// Which form of the network runs. [`Mode::Structured`] by default.
    pub mode: Mode,
    /// Whether neighbouring linear 1x1 convolutions (MobileNetV2's) are multiplied into one: fewer dispatches, more multiplies. Not in
    /// [`Mode::Residual`]. Off by default; [`benchmark_merge`](super::benchmark_merge) measures whether it is faster.
    pub merge: bool,
    /// What values between layers and packed weights are stored in; sums are f32 in either. [`Precision::F16`] halves the memory;
    /// a value beyond its range makes a run an error. [`Precision::F32`] by default.
    pub precision: Precision,
    /// Where it runs. Not read by [`Session::with_gpu`](super::Session::with_gpu), which is given a device.
    pub device: Device,
    /// Names of values that [`Session::run_keeping`](super::Session::run_keeping) gives with the output: blocks
    /// ([`Model::blocks`](crate::Model::blocks)), modules of the original that end with a block (`layer3`), or nodes of the graph that
    /// runs, such as a converted file has. None by default.
    pub keep: Vec<String>,
    /// Whether a run looks through its input for NaN and infinities, which costs one read of it, and refuses them. A network may hide
    /// what they do: ReLU takes minus infinity for 0, and a GPU the larger of NaN and 0 for 0. On by default.
    pub check_input: bool,
    /// The threads of the CPU executor. By default those that all sessions share ([`Threads::shared`]), which are none of the
    /// app's own; on a GPU it is not read. Loading a network and compiling shaders is done on the shared ones in any case.
    #[cfg(not(target_arch = "wasm32"))]
    pub threads: Option<Threads>,
    /// Whether shaders are compiled with wgpu's run-time checks of bounds. Plans are checked, so they are off by default.
    #[cfg(feature = "gpu")]
    pub safe_shaders: bool,
    /// The longest that a run or an upload waits for the GPU's driver before it is an error. By default that of the
    /// [`Gpu`](crate::Gpu), 5 minutes; on the CPU, and in a browser, it is not read.
    #[cfg(feature = "gpu")]
    pub timeout: Option<Duration>,
    /// Kernels measured to be the fastest. Empty by default: the static choice. On the CPU it is not read.
    #[cfg(feature = "gpu")]
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
            #[cfg(feature = "gpu")]
            safe_shaders: false,
            #[cfg(feature = "gpu")]
            timeout: None,
            #[cfg(feature = "gpu")]
            tuning: Tuning::default(),
        }
    }
}

impl Options {
    /// Sets [`Options::batch`].
    pub fn batch(mut self, images: usize) -> Options {
        self.batch = images;
        self
    }

    /// Sets [`Options::output`].
    pub fn output(mut self, output: OutputChoice) -> Options {
        self.output = output;
        self
    }

    /// Sets [`Options::mode`].
    pub fn mode(mut self, mode: Mode) -> Options {
        self.mode = mode;
        self
    }

    /// Sets [`Options::merge`].
    pub fn merge(mut self, merge: bool) -> Options {
        self.merge = merge;
        self
    }

    /// Sets [`Options::precision`].
    pub fn precision(mut self, precision: Precision) -> Options {
        self.precision = precision;
        self
    }

    /// Sets [`Options::device`].
    pub fn device(mut self, device: Device) -> Options {
        self.device = device;
        self
    }

    /// Sets [`Options::keep`].
    pub fn keep<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Options {
        self.keep = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`Options::check_input`].
    pub fn check_input(mut self, check: bool) -> Options {
        self.check_input = check;
        self
    }

    /// Sets [`Options::threads`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn threads(mut self, threads: Threads) -> Options {
        self.threads = Some(threads);
        self
    }

    /// Sets [`Options::safe_shaders`].
    #[cfg(feature = "gpu")]
    pub fn safe_shaders(mut self, safe: bool) -> Options {
        self.safe_shaders = safe;
        self
    }

    /// Sets [`Options::timeout`].
    #[cfg(feature = "gpu")]
    pub fn timeout(mut self, timeout: Duration) -> Options {
        self.timeout = Some(timeout);
        self
    }

    /// Sets [`Options::tuning`].
    #[cfg(feature = "gpu")]
    pub fn tuning(mut self, tuning: Tuning) -> Options {
        self.tuning = tuning;
        self
    }

    /// What [`Options::mode`] and [`Options::merge`] say together.
    pub(super) fn form(&self) -> Form {
        Form { mode: self.mode, merge: self.merge }
    }
}
