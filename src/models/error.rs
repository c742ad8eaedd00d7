//! Why this crate cannot run the network of a checkpoint.

use super::key::Key;
use super::naming::Naming;
use crate::checkpoint::CheckpointError;
use crate::graph::GraphError;
use crate::preprocess::PreprocessError;

/// Why a checkpoint was refused, with the tensor or config key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A saved chain that does not fit its tensors.
    #[error(transparent)]
    Saved(#[from] super::saved::SavedError),
    /// A tensor that the naming scheme requires is missing.
    #[error("missing tensor `{tensor}`: expected shape {expected} (read as {naming})")]
    Missing {
        /// The tensor.
        tensor: String,
        /// Its expected shape, with `any` for free dimensions.
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
        /// Why it does not belong to the network.
        why: &'static str,
        /// The scheme assumed.
        naming: Naming,
    },
    /// A tensor whose shape does not fit its neighbours.
    #[error("tensor `{tensor}`: expected shape {expected}, found {found:?} (read as {naming})")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The expected shape, with `any` for free dimensions.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
        /// The scheme assumed.
        naming: Naming,
    },
    /// A tensor of the network whose element type cannot be computed with.
    #[error("tensor `{tensor}`: expected dtype F32, F16, BF16 or F64, found {found}")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its element type as safetensors spells it.
        found: String,
    },
    /// An invalid value: NaN, an infinity, or a negative variance.
    #[error("tensor `{tensor}`: expected {expected}, found {value} at element {index}")]
    Value {
        /// The tensor.
        tensor: String,
        /// What its values must be.
        expected: &'static str,
        /// Row-major position of the first invalid value.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A network that is recognised but not supported.
    #[error("{what} is recognised but not supported by this version: {why}")]
    Unsupported {
        /// The network or option, by name.
        what: String,
        /// What identifies it in the file, and what is not supported.
        why: String,
    },
    /// The tensor names match no known naming scheme.
    #[error("unknown network, of no family that is supported: the file has {found}; {looked_for}")]
    Unknown {
        /// Number of tensors, and the first names.
        found: String,
        /// The names that would have been recognised.
        looked_for: String,
    },
    /// Several candidates where a network has only one, and no convention to choose.
    #[error(
        "the file has several {what}: {}; expected one, or the assumption `{key}` to choose",
        list(found)
    )]
    Ambiguous {
        /// Kind of the candidates.
        what: &'static str,
        /// Their names.
        found: Vec<String>,
        /// The assumption that chooses one.
        key: Key,
    },
    /// A property that neither names nor shapes nor a convention determine.
    #[error("{what}: {why}")]
    Unclear {
        /// What it is.
        what: String,
        /// Where it occurs, and the assumption that determines it.
        why: String,
    },
    /// An assumption with an unknown key, an invalid value, or one that the file contradicts.
    #[error("assumption `{key}={value}`: {why}")]
    Assumption {
        /// Its key.
        key: String,
        /// The stated value.
        value: String,
        /// What contradicts it, or what was expected.
        why: String,
    },
    /// An unread tensor beside the network that may be one of its layers.
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
    /// A config file with a value that contradicts the tensors or is not understood.
    #[error("config.json: `{key}` is {found}, but expected {expected}")]
    Config {
        /// The key, with dots between levels.
        key: String,
        /// The value that follows from the tensors, or the allowed values.
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
    /// An input size that does not fit a layer over the whole map.
    #[error("input size {}x{}: expected {expected}: {why}", size[0], size[1])]
    FixedSize {
        /// `[height, width]`.
        size: [usize; 2],
        /// The size that fits.
        expected: String,
        /// The layer, the map it needs and the map it would get.
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

/// Maximum side of a network's input in pixels.
pub const MAX_INPUT_SIDE: usize = 1 << 14;

/// The quoted names, separated by commas. The empty name is described in words, and a long list is truncated.
fn list(names: &[String]) -> String {
    const MAX_LISTED: usize = 20;
    let quoted = |name: &String| if name.is_empty() { "the bare names".into() } else { format!("`{name}`") };
    let listed = names.iter().take(MAX_LISTED).map(quoted).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_LISTED) {
        None | Some(0) => listed,
        Some(more) => format!("{listed} and {more} more"),
    }
}
