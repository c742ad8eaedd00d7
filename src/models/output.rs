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
    /// An embedding: two images are similar if the cosine of the angle between their embeddings is near 1.
    Embedding,
    /// Features: the pooled features, also of a network without a head, or a layer's map.
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

/// How logits become class scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scores {
    /// Softmax: an image has one label.
    #[default]
    Softmax,
    /// A sigmoid for each class: an image may have several labels, or the network has one class.
    Sigmoid,
    /// Unscaled values of a regression.
    Raw,
}
