//! Whose names the tensors have.

use std::fmt;

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Naming {
    /// torchvision, and CIFAR networks that follow it.
    Torchvision,
    /// timm. For ResNets: torchvision's names, with a `config.json` that states the architecture.
    Timm,
    /// Hugging Face transformers.
    HuggingFace,
    /// insightface: IResNet (ArcFace).
    InsightFace,
    /// The repository of the RMNet paper.
    RmNet,
    /// Numbers, as in `torch.nn.Sequential`, with a list of the modules in `config.json` or the file's metadata.
    Sequential,
    /// The repository of a network's authors: RepVGG's.
    Original,
    /// A file that [`Model::save`](crate::Model::save) wrote.
    Saved,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Naming::Torchvision => "torchvision",
            Naming::Timm => "timm",
            Naming::HuggingFace => "Hugging Face",
            Naming::InsightFace => "insightface",
            Naming::RmNet => "RMNet repository",
            Naming::Sequential => "nn.Sequential",
            Naming::Original => "original",
            Naming::Saved => "rmnet",
        })
    }
}
