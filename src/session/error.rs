//! Errors of the public interface, including those of every stage below it.

use super::output::{OutputError, some};
use crate::checkpoint::CheckpointError;
#[cfg(feature = "cpu")]
use crate::cpu::CpuError;
#[cfg(feature = "gpu")]
use crate::gpu::GpuError;
use crate::graph::GraphError;
use crate::kernel::Precision;
use crate::memory::OutOfMemory;
use crate::models::saved::SavedError;
use crate::models::{ModelError, OutputKind};
use crate::plan::{CheckError, PlanError, Values};
use crate::preprocess::PreprocessError;
use crate::threads::ThreadsError;

/// Why a session could not be created, or why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tensors match no known network, or the network does not fit the requested input size.
    #[error(transparent)]
    Model(ModelError),
    /// A rewrite built a layer that does not fit its inputs: a bug in rmnet, please report it.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network cannot be planned within the adapter's limits.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The checker refused the plan: a bug in rmnet, please report it.
    #[error("the plan is wrong, please report it: {0}")]
    Check(#[from] CheckError),
    /// An error of the GPU executor, such as a missing adapter, a limit that is too small, or a lost device.
    #[cfg(feature = "gpu")]
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The machine has too little memory for the activations that pruning is based on.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The system could not start the threads.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The CPU executor refused an input, or has too little memory.
    #[cfg(feature = "cpu")]
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The network has no value that matches [`Options::output`](super::Options::output).
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The output contains NaN or infinity: a layer of the network overflows the run's precision.
    #[error("{} is {value}: a layer overflows {precision}", position(.at, .shape))]
    NotFinite {
        /// Precision of the run.
        precision: Precision,
        /// Image, channel, row and column of the first such value.
        at: [usize; 4],
        /// `[batch, channels, height, width]` of the output.
        shape: [usize; 4],
        /// That value.
        value: f32,
        /// The complete results of the run.
        values: Values,
    },
    /// The input is not a whole number of images, is empty, or holds more images than the session's batch.
    #[error("input: expected 1 to {batch} images of {image} values each, found {found} values")]
    InputLength {
        /// Values of one image.
        image: usize,
        /// Images of a run at most.
        batch: usize,
        /// Values given.
        found: usize,
    },
    /// The slice to be filled with the input has the wrong length for the images.
    #[error("input: expected a slice of {expected} values for the images given, found {found}")]
    InputSlice {
        /// Values of the images given.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// The slice to be filled with the output has the wrong length.
    #[error("output: expected a slice of {expected} values, found {found}")]
    OutputLength {
        /// Output values for the given images.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// No images, or more than one run takes.
    #[error("expected 1 to {batch} images, found {found}")]
    Images {
        /// Images of a run at most.
        batch: usize,
        /// Images given.
        found: usize,
    },
    /// An image that cannot be preprocessed.
    #[error("image {index}: {source}")]
    Preprocess {
        /// Which image, from 0.
        index: usize,
        /// What is wrong.
        source: PreprocessError,
    },
    /// Classes were requested, but the values are not logits.
    #[error("expected logits, [1, classes, 1, 1], found {output}, {shape:?}: they have no classes")]
    NotLogits {
        /// Kind of the values.
        output: OutputKind,
        /// `[batch, channels, height, width]`.
        shape: [usize; 4],
    },
    /// Logits that contain NaN or infinity, of which no class is the best.
    #[error("expected finite logits, found {value} for class {class}")]
    LogitsNotFinite {
        /// The first such class.
        class: usize,
        /// Its logit.
        value: f32,
    },
    /// The number of values is not that of one image's logits.
    #[error("expected the {expected} logits of one image, found {found} values")]
    LogitsLength {
        /// Classes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The crate was built with neither of the features `gpu` and `cpu`, or for a browser without `gpu`.
    #[error("there is nothing to run on: rmnet was built with neither of its features `gpu` and `cpu`")]
    NoExecutor,
    /// The named device needs an executor that this build does not have.
    #[error("device `{text}`: this build of rmnet has no {executor} executor")]
    NoSuchDevice {
        /// The name asked for.
        text: String,
        /// The executor it needs, `gpu` or `cpu`. It requires the crate feature of the same name, and `cpu` also a target other than a
        /// browser.
        executor: &'static str,
    },
    /// The input contains NaN or infinity. Its effect need not show in the output.
    #[error("the input is {value} at {}: expected finite values", input_position(.at))]
    InputNotFinite {
        /// Image, channel, row and column of the first such value.
        at: [usize; 4],
        /// That value.
        value: f32,
    },
    /// The network has no value of a name in [`Options::keep`](super::Options::keep).
    #[error("there is no value `{name}` to keep; there are {}", some(.names))]
    Keep {
        /// The name asked for.
        name: String,
        /// Available names: blocks, then nodes of the rewritten graph.
        names: Vec<String>,
    },
    /// Two forms of one network gave different logits: a bug in rmnet or in the driver.
    #[error("the merged form gives other logits, off by {relative:.1e} of the largest: please report it")]
    Disagree {
        /// Largest difference, divided by the largest logit.
        relative: f64,
    },
    /// A network that cannot be written as safetensors.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// A network that cannot be written as ONNX.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] crate::onnx::OnnxError),
    /// A model that cannot be pruned as requested.
    #[error(transparent)]
    Prune(#[from] crate::rewrite::prune::PruneError),
    /// The calibration data is empty or not a whole number of images.
    #[error("calibration: expected a multiple of {image} values, an image's, at least one; found {found}")]
    Calibration {
        /// Values of one image.
        image: usize,
        /// Values given.
        found: usize,
    },
    /// Two runs on one input gave different logits: a race condition or a driver bug.
    #[error("two runs on one input gave different logits: please report it with the adapter and driver")]
    Unsteady,
    /// Dispatch times were requested, but the adapter has no timestamps.
    #[error("the adapter has no timestamps, which the times of dispatches need")]
    NoTimestamps,
    /// An operation that needs a GPU session was called on a CPU session.
    #[error("a session on the CPU has no GPU commands to encode: make it on a GPU")]
    NotOnGpu,
}

impl From<ModelError> for Error {
    /// An unusable file becomes [`Error::Checkpoint`], no matter which stage opened it.
    fn from(e: ModelError) -> Error {
        match e {
            ModelError::Checkpoint(e) => Error::Checkpoint(e),
            e => Error::Model(e),
        }
    }
}

/// The position of an input value as readable text.
fn input_position([image, channel, y, x]: &[usize; 4]) -> String {
    format!("channel {channel}, row {y}, column {x} of image {image}")
}

/// The position of an output value as readable text, with row and column only if the output is a map.
fn position([image, channel, y, x]: &[usize; 4], shape: &[usize; 4]) -> String {
    match shape[2..] {
        [1, 1] => format!("output {channel} of image {image}"),
        _ => format!("the output at channel {channel}, row {y}, column {x} of image {image}"),
    }
}
