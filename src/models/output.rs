//! What the values that a network gives are.

use serde::{Deserialize, Serialize};

/// What the values that a network gives are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputKind {
    /// A score per class.
    #[default]
    Logits,
    /// A direction: two images are alike where the cosine between theirs is near 1.
    Embedding,
    /// Pooled features, of a network without a head too, or a layer's map: values for another program to use.
    Features,
}

impl std::fmt::Display for OutputKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OutputKind::Logits => "logits",
            OutputKind::Embedding => "an embedding",
            OutputKind::Features => "features",
        })
    }
}

/// How logits become scores of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scores {
    /// Softmax: an image has one label.
    #[default]
    Softmax,
    /// A sigmoid for each class: an image may have several labels, or the network has one class.
    Sigmoid,
    /// None: the values are those of a regression.
    Raw,
}
