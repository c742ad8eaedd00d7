//! Namings: what a library calls the tensors of a family, and what its config files say of the network. One file or folder for each
//! library, in a folder one file for each family.

pub(super) mod hugging_face;
pub(super) mod insightface;
pub(super) mod original;
pub(super) mod rmnet;
pub(super) mod sequential;
pub(super) mod timm;
pub(super) mod torchvision;
