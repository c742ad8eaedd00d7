//! Options of a session.

use super::{Error, OutputChoice};
#[cfg(feature = "gpu")]
use crate::gpu::{AdapterChoice, Tuning};
use crate::kernel::Precision;
use crate::rewrite::{Form, Mode};
use crate::threads::Threads;
use std::fmt;
use std::str::FromStr;
#[cfg(feature = "gpu")]
use std::time::Duration;

/// Where a network runs. A device that is not available is an error, and is never replaced silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The best hardware GPU, or the CPU if there is none; [`Session::passed_over`](super::Session::passed_over) then lists the adapters
    /// that were skipped. A hardware GPU that cannot be opened is an error. A browser offers one GPU; its fallback adapter is a software
    /// GPU. With only one of the features `gpu` and `cpu`, it is the best device of that feature.
    #[default]
    Auto,
    /// The chosen GPU, which may be a software GPU. Needs the feature `gpu`.
    #[cfg(feature = "gpu")]
    Gpu(AdapterChoice),
    /// CPU threads, without wgpu; in a browser the calling thread. Needs the feature `cpu`.
    #[cfg(feature = "cpu")]
    Cpu,
}

impl FromStr for Device {
    type Err = Error;

    /// Parses the device of a config file or a command line: `auto`, `cpu`, or a GPU as `AdapterChoice` parses it (`best`, a number, a
    /// graphics API, `pci:ADDRESS`, or a part of an adapter's name).
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
            #[cfg(feature = "cpu")]
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
    /// A text that [`Device::from_str`] parses as the same device, if the device was parsed from text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            #[cfg(feature = "gpu")]
            Device::Gpu(choice) => choice.fmt(f),
            #[cfg(feature = "cpu")]
            Device::Cpu => f.write_str("cpu"),
        }
    }
}

/// What a session runs, and where. `Options::default()` is the structured form, with one image per run, on the best hardware GPU or, if
/// there is none, on the CPU ([`Device::Auto`]). Every field has a setter of the same name:
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
    /// Maximum images per run. Memory is allocated for this number. 1 by default.
    pub batch: usize,
    /// The value of the network that a run returns. The logits by default.
    pub output: OutputChoice,
    /// Which form of the network runs. [`Mode::Structured`] by default.
    pub mode: Mode,
    /// Whether neighbouring linear 1x1 convolutions, as in MobileNetV2, are merged into one: fewer dispatches, more multiplies. Ignored in
    /// [`Mode::Residual`]. Off by default; [`benchmark_merge`](super::benchmark_merge) measures whether it is faster.
    pub merge: bool,
    /// The type in which values between layers and packed weights are stored; sums are always f32. [`Precision::F16`] halves the memory on
    /// a GPU, and a run fails if a value overflows it. [`Precision::F32`] by default.
    pub precision: Precision,
    /// The device. Ignored by [`Session::with_gpu`](super::Session::with_gpu), which is given one.
    pub device: Device,
    /// Names of values that [`Session::run_keeping`](super::Session::run_keeping) returns with the output: blocks
    /// ([`Model::blocks`](crate::Model::blocks)), modules of the original that end with a block (`layer3`), or nodes of the rewritten
    /// graph. None by default.
    pub keep: Vec<String>,
    /// Whether a run reads through its input and refuses NaN and infinity. Without the check a network may hide them: ReLU turns minus
    /// infinity into 0, and on a GPU `max(NaN, 0)` may be 0. On by default.
    pub check_input: bool,
    /// The threads of the CPU executor; ignored on a GPU. By default all sessions share one pool ([`Threads::shared`]), which is separate
    /// from the app's threads. Networks are loaded and shaders compiled on the shared pool in any case.
    pub threads: Option<Threads>,
    /// Whether shaders are compiled with wgpu's run-time bounds checks. Off by default, since plans are checked.
    #[cfg(feature = "gpu")]
    pub safe_shaders: bool,
    /// How long a run or an upload waits for the GPU's driver before it fails. By default the timeout of the [`Gpu`](crate::Gpu), which is
    /// 5 minutes unless set otherwise. Ignored on the CPU and in a browser.
    #[cfg(feature = "gpu")]
    pub timeout: Option<Duration>,
    /// Kernels measured to be the fastest. Empty by default, which selects the static choice. Ignored on the CPU.
    #[cfg(feature = "gpu")]
    pub tuning: Tuning,
    /// Whether the kernels are tested on their first use with a driver, and left out if they are wrong
    /// ([`SelfTests`](crate::SelfTests)). A test takes some milliseconds for each kernel, once in a process. On by default. Ignored on the CPU
    /// and in a browser.
    #[cfg(feature = "gpu")]
    pub self_test: bool,
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
            threads: None,
            #[cfg(feature = "gpu")]
            safe_shaders: false,
            #[cfg(feature = "gpu")]
            timeout: None,
            #[cfg(feature = "gpu")]
            tuning: Tuning::default(),
            #[cfg(feature = "gpu")]
            self_test: true,
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

    /// Sets [`Options::self_test`].
    #[cfg(feature = "gpu")]
    pub fn self_test(mut self, test: bool) -> Options {
        self.self_test = test;
        self
    }

    /// [`Options::mode`] and [`Options::merge`] combined.
    pub(super) fn form(&self) -> Form {
        Form { mode: self.mode, merge: self.merge }
    }
}
