//! `config.json`, read once into a struct for each library that writes one. What a key says is compared with the tensors, or refused
//! where it is nothing that the key can have.

mod check;
mod hugging_face;
mod own;
mod result;
mod timm;

pub(super) use check::wrong;
pub(super) use hugging_face::HuggingFaceConfig;
pub(super) use own::{Module, RmnetConfig, Stated};
pub(super) use result::Results;
pub(super) use timm::TimmConfig;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// All that is looked at in a `config.json`.
#[derive(Default)]
pub(super) struct Config {
    /// What is stated to this program.
    pub(super) own: RmnetConfig,
    /// What the values that the network gives mean.
    pub(super) results: Results,
    /// What timm writes.
    pub(super) timm: TimmConfig,
    /// What Hugging Face transformers writes.
    pub(super) hugging_face: HuggingFaceConfig,
}

impl Config {
    /// From the object in the file. Nothing is refused yet: what a key says counts only where a network depends on it.
    pub(super) fn read(file: Option<&Value>) -> Config {
        fn part<T: DeserializeOwned + Default>(file: Option<&Value>) -> T {
            file.and_then(|object| T::deserialize(object).ok()).unwrap_or_default()
        }
        Config { own: part(file), results: part(file), timm: part(file), hugging_face: part(file) }
    }
}
