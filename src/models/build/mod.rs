//! What every family is built with: the tensors under their names, and the layers that are made of them.

pub(super) mod head;
pub(super) mod layers;
pub(super) mod reader;
pub(super) mod state_dict;
pub(super) mod steps;
pub(super) mod stray;
