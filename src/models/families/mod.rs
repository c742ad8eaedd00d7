//! Families: networks as graphs, whatever their tensors are called. A naming gives the names, and what no tensor shows.

pub(super) mod chain;
pub(super) mod iresnet;
pub(super) mod mobilenet_v2;
pub(super) mod repvgg;
pub(super) mod resnet;
pub(super) mod resnet_v2;
pub(super) mod rmnet;
