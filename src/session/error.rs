//! Errors of the public face: those of every stage below it.

use super::output::{OutputError, some};
use crate::checkpoint::CheckpointError;
#[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
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
#[cfg(not(target_arch = "wasm32"))]
use crate::threads::ThreadsError;

/// Why a session could not be made, or a run not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tensors are no network that is known, or it does not fit the input size asked for.
    #[error(transparent)]
    Model(ModelError),
    /// A pass over the graph would have built a layer that does not fit: an error of rmnet's, please report it.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It cannot be planned within the adapter's limits.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan was refused by the checker: an error of ours, please report it.
    #[error("the plan is wrong, please report it: {0}")]
    Check(#[from] CheckError),
    /// No such adapter, a limit too small, a device lost.
    #[cfg(feature = "gpu")]
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The values of a network, which pruning judges by, are too large for the machine.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Threads that the system does not give.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The CPU executor refused an input, or has too little memory.
    #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The network has no such value as [`Options::output`](super::Options::output) names.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A run whose output is NaN or infinite somewhere: a layer of the network overflows its precision.
    #[error(
        "{} of the batch is {value}: a layer overflows {precision}", position(.at, .shape)
    )]
    NotFinite {
        /// Of the run.
        precision: Precision,
        /// Image, channel, row and column of the first such value.
        at: [usize; 4],
        /// `[batch, channels, height, width]` of the output.
        shape: [usize; 4],
        /// That value.
        value: f32,
        /// What the run gave.
        values: Values,
    },
    /// An input that is no whole number of images, or more of them than the session's batch.
    #[error("input: expected 1 to {batch} images of {image} values each, found {found} values")]
    InputLength {
        /// Values of one image.
        image: usize,
        /// Images of a run at most.
        batch: usize,
        /// Values given.
        found: usize,
    },
    /// A slice for the input that does not fit the images.
    #[error("input: expected a slice of {expected} values for the images given, found {found}")]
    InputSlice {
        /// Values of the images given.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// A slice for the output that does not fit it.
    #[error("output: expected a slice of {expected} values, found {found}")]
    OutputLength {
        /// Values of the output of the images given.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// More images at once, or fewer, than a run takes.
    #[error("expected 1 to {batch} images, found {found}")]
    Images {
        /// Images of a run at most.
        batch: usize,
        /// Images given.
        found: usize,
    },
    /// An image, or how images become the input.
    #[error("image {index}: {source}")]
    Preprocess {
        /// Which image, from 0.
        index: usize,
        /// What is wrong.
        source: PreprocessError,
    },
    /// Classes asked of values that are no logits.
    #[error("expected logits, [1, classes, 1, 1], found {output}, {shape:?}: they have no classes")]
    NotLogits {
        /// What the values are.
        output: OutputKind,
        /// `[batch, channels, height, width]`.
        shape: [usize; 4],
    },
    /// Logits of more images than one, or of another network.
    #[error("expected the {expected} logits of one image, found {found} values")]
    LogitsLength {
        /// Classes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The crate was built without the features `gpu` and `cpu`, or for a browser without `gpu`.
    #[error("there is nothing to run on: rmnet was built with neither of its features `gpu` and `cpu`")]
    NoExecutor,
    /// A device by name that this build cannot run on.
    #[error("device `{text}`: this build of rmnet has no {executor} executor")]
    NoSuchDevice {
        /// The name asked for.
        text: String,
        /// The executor that it needs, `gpu` or `cpu`: the crate's feature of that name, and for `cpu` a target that is no browser.
        executor: &'static str,
    },
    /// An input with a NaN or an infinity: what it would do need not show in the output.
    #[error("the input is {value} at {}: expected finite values", input_position(.at))]
    InputNotFinite {
        /// Image, channel, row and column of the first such value.
        at: [usize; 4],
        /// That value.
        value: f32,
    },
    /// A value to keep that the network does not have.
    #[error("there is no value `{name}` to keep; there are {}", some(.names))]
    Keep {
        /// The name asked for.
        name: String,
        /// Names there are: blocks, then nodes of the rewritten graph.
        names: Vec<String>,
    },
    /// Two forms of one network gave different logits: an error of ours or of the driver's.
    #[error("the merged form gives other logits, off by {relative:.1e} of the largest: please report it")]
    Disagree {
        /// Largest difference over the largest logit.
        relative: f64,
    },
    /// A network that cannot be written as safetensors.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// A network that cannot be written as ONNX.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] crate::onnx::OnnxError),
    /// A model that could not be pruned as asked.
    #[error(transparent)]
    Prune(#[from] crate::rewrite::prune::PruneError),
    /// Calibration images that are no whole number of images.
    #[error("calibration: expected a multiple of {image} values, an image's, at least one; found {found}")]
    Calibration {
        /// Values of one image.
        image: usize,
        /// Values given.
        found: usize,
    },
    /// Two runs on one input gave different logits: a race, or a driver at fault.
    #[error("two runs on one input gave different logits: please report it with the adapter and driver")]
    Unsteady,
    /// Times of dispatches were asked of an adapter without timestamps.
    #[error("the adapter has no timestamps, which the times of dispatches need")]
    NoTimestamps,
    /// Something only a GPU session has was asked of one on the CPU.
    #[error("a session on the CPU has no GPU commands to encode: make it on a GPU")]
    NotOnGpu,
}

impl From<ModelError> for Error {
    /// A file that cannot be used is [`Error::Checkpoint`], whoever opened it.
    fn from(e: ModelError) -> Error {
        match e {
            ModelError::Checkpoint(e) => Error::Checkpoint(e),
            e => Error::Model(e),
        }
    }
}

/// Where a value of the input is, for people.
fn input_position([image, channel, y, x]: &[usize; 4]) -> String {
    format!("channel {channel}, row {y}, column {x} of image {image}")
}

/// Where a value is, for people; rows and columns are those of a map.
fn position([image, channel, y, x]: &[usize; 4], shape: &[usize; 4]) -> String {
    match shape[2..] {
        [1, 1] => format!("output {channel} of image {image}"),
        _ => format!("the output at channel {channel}, row {y}, column {x} of image {image}"),
    }
}
