//! Families: builders of graphs that do not depend on tensor names. A naming provides the names, and properties that no tensor shows.

pub(super) mod chain;
pub(super) mod iresnet;
pub(super) mod mobilenet_v2;
pub(super) mod repvgg;
pub(super) mod resnet;
pub(super) mod resnet_v2;
pub(super) mod rmnet;
