//! Common building blocks of all families: tensors by name, and the layers built from them.

pub(super) mod head;
pub(super) mod layers;
pub(super) mod reader;
pub(super) mod state_dict;
pub(super) mod steps;
pub(super) mod stray;
