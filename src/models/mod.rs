//! Builds networks from the tensors of checkpoints.
//!
//! There are two axes. A *family* (`families/`) is a graph that is built from tensors: ResNet, MobileNetV2, RepVGG. A *naming* (`namings/`)
//! defines the tensor names that a library uses for a family, and reads its config files: torchvision's, timm's, Hugging Face's. An
//! *architecture* is a family under one naming; `detect` lists all. Both use `build`, the common building blocks, and `config`, the config
//! files as structs. `docs/adding-a-model.md` adds one of each.
//!
//! The network follows from tensor shapes as far as possible, and otherwise from `config.json`. A missing, unread, misshapen or
//! contradictory tensor or key is an error that names it. Properties that neither shows follow the family's convention. They are listed in
//! [`Model::assumed`] and can be overridden ([`Assume`]).

mod architecture;
mod assume;
mod build;
mod config;
mod detect;
mod error;
mod families;
mod key;
mod load;
mod model;
mod naming;
mod namings;
mod output;
pub mod saved;

pub use assume::{Assume, Assumption, in_words};
pub use build::stray::normalises;
pub use error::{MAX_INPUT_SIDE, ModelError};
pub use key::Key;
pub use load::{LoadOptions, load};
pub use model::Model;
pub use naming::Naming;
pub use output::{OutputKind, Scores};
