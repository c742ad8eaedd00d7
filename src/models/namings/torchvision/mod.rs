//! The names of torchvision.

pub(in crate::models) mod mobilenet_v2;
pub(in crate::models) mod resnet;
