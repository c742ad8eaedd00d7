//! `config.json`, read once into a struct for each library that writes one. Values are compared with the tensors, and invalid values are
//! refused.

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

use serde_json::Value;

/// All keys that are read from a `config.json`.
#[derive(Default)]
pub(super) struct Config {
    /// Keys of this crate.
    pub(super) own: RmnetConfig,
    /// The meaning of the network's outputs.
    pub(super) results: Results,
    /// Keys of timm.
    pub(super) timm: TimmConfig,
    /// Keys of Hugging Face transformers.
    pub(super) hugging_face: HuggingFaceConfig,
}

impl Config {
    /// Reads the file's object. No value is refused yet, since a key only matters if a network depends on it.
    pub(super) fn read(file: Option<&Value>) -> Config {
        let file = file.unwrap_or(&Value::Null);
        Config {
            own: RmnetConfig::read(file),
            results: Results::read(file),
            timm: TimmConfig::read(file),
            hugging_face: HuggingFaceConfig::read(file),
        }
    }
}
