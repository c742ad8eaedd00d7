//! Namings: the tensor names that a library uses for a family, and its config files. Each library has a file or a folder; a folder has one
//! file for each family.

pub(super) mod hugging_face;
pub(super) mod insightface;
pub(super) mod original;
pub(super) mod rmnet;
pub(super) mod sequential;
pub(super) mod timm;
pub(super) mod torchvision;
