//! Why a checkpoint is not a network this crate can run.

use super::key::Key;
use super::naming::Naming;
use crate::checkpoint::CheckpointError;
use crate::graph::GraphError;
use crate::preprocess::PreprocessError;

/// A checkpoint refused, naming the tensor or the config key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A saved chain that does not fit its tensors.
    #[error(transparent)]
    Saved(#[from] super::saved::SavedError),
    /// A tensor that the naming scheme asks for is not there.
    #[error("missing tensor `{tensor}`: expected shape {expected} (read as {naming})")]
    Missing {
        /// The tensor.
        tensor: String,
        /// Its shape, `any` where nothing fixes a dimension.
        expected: String,
        /// The scheme assumed.
        naming: Naming,
    },
    /// A tensor that no layer of the network reads.
    #[error("unexpected tensor `{tensor}` of shape {found:?}: {why} (read as {naming})")]
    Unexpected {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// Why it has no place.
        why: &'static str,
        /// The scheme assumed.
        naming: Naming,
    },
    /// A tensor of another shape than its neighbours ask for.
    #[error("tensor `{tensor}`: expected shape {expected}, found {found:?} (read as {naming})")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape asked for, `any` where nothing fixes a dimension.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
        /// The scheme assumed.
        naming: Naming,
    },
    /// A tensor of the network whose element type takes no part in inference.
    #[error("tensor `{tensor}`: expected dtype F32, F16, BF16 or F64, found {found}")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its element type as safetensors spells it.
        found: String,
    },
    /// A value that no trained network has: NaN, an infinity, a negative variance.
    #[error("tensor `{tensor}`: expected {expected}, found {value} at element {index}")]
    Value {
        /// The tensor.
        tensor: String,
        /// What its values must be.
        expected: &'static str,
        /// Row-major position of the first bad one.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A network that is recognised but that this version cannot load.
    #[error("{what} is recognised but not supported by this version: {why}")]
    Unsupported {
        /// The network or option, by name.
        what: String,
        /// What in the file says so, and what is missing here.
        why: String,
    },
    /// Tensor names of no scheme that is known.
    #[error("unknown network, of no family that is supported: the file has {found}; {looked_for}")]
    Unknown {
        /// How many tensors, and the first names.
        found: String,
        /// The names that would have been recognised.
        looked_for: String,
    },
    /// Several candidates for what a network has one of, and no convention that chooses.
    #[error(
        "the file has several {what}: {}; expected one, or the assumption `{key}` to choose",
        list(found)
    )]
    Ambiguous {
        /// Of what there are several.
        what: &'static str,
        /// Their names.
        found: Vec<String>,
        /// The assumption that chooses one.
        key: Key,
    },
    /// Something that neither names nor shapes show, and no convention settles.
    #[error("{what}: {why}")]
    Unclear {
        /// What it is.
        what: String,
        /// Where it is, and the assumption that settles it.
        why: String,
    },
    /// An assumption that is unknown, that cannot have such a value, or that the file contradicts.
    #[error("assumption `{key}={value}`: {why}")]
    Assumption {
        /// Its key.
        key: String,
        /// What was stated.
        value: String,
        /// What stands against it, or what was expected.
        why: String,
    },
    /// A tensor beside the network that may be a layer of it, which nothing reads.
    #[error(
        "tensor `{tensor}` of shape {found:?} is no layer of the network (read as {naming}) and may be a part of its function, which \
         cannot be run then; where it takes no part in inference, stating `{advice}` leaves it out, and `head=none` gives the pooled \
         features; where it is a part of the head, `head` names all its parts in order, with commas between"
    )]
    Beside {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The scheme assumed.
        naming: Naming,
        /// An assumption that can be stated, such as `head=fc`.
        advice: String,
    },
    /// A config file that contradicts the tensors, or says something that is not understood.
    #[error("config.json: `{key}` is {found}, but expected {expected}")]
    Config {
        /// The key, with dots between levels.
        key: String,
        /// What the tensors say, or what the key may be.
        expected: String,
        /// The config's value.
        found: String,
    },
    /// An input size out of range.
    #[error("input size {}x{}: expected each side to be from 1 to {MAX_INPUT_SIDE}", size[0], size[1])]
    Size {
        /// `[height, width]`.
        size: [usize; 2],
    },
    /// An input size that a layer over the whole map does not fit.
    #[error("input size {}x{}: expected {expected}: {why}", size[0], size[1])]
    FixedSize {
        /// `[height, width]`.
        size: [usize; 2],
        /// The size that fits.
        expected: String,
        /// The layer, the map it reads and the map it would get.
        why: String,
    },
    /// The file cannot be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The preprocessing of a config file has a number that is out of range.
    #[error("{file}: {source}")]
    Preprocess {
        /// The name of the file.
        file: &'static str,
        /// The key, what was expected and what was found.
        source: PreprocessError,
    },
    /// The network does not fit its input, such as an image smaller than a window.
    #[error("layer {0}")]
    Graph(#[from] GraphError),
}

/// The longest side of a network's input in pixels.
pub const MAX_INPUT_SIDE: usize = 1 << 14;

/// `a`, `b`; the empty name in words, and of many the first ones.
fn list(names: &[String]) -> String {
    const MAX_LISTED: usize = 20;
    let quoted = |name: &String| if name.is_empty() { "the bare names".into() } else { format!("`{name}`") };
    let listed = names.iter().take(MAX_LISTED).map(quoted).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_LISTED) {
        None | Some(0) => listed,
        Some(more) => format!("{listed} and {more} more"),
    }
}
