//! The names of timm. Its ResNets use torchvision's names; `resnet` checks their config files.

mod arguments;
pub(in crate::models) mod mobilenet_v2;
mod names;
pub(in crate::models) mod repvgg;
pub(in crate::models) mod resnet;
pub(in crate::models) mod resnet_v2;

pub(in crate::models) use arguments::{architecture, check};
