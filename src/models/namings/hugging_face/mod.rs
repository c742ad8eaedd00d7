//! The names of Hugging Face transformers.

pub(in crate::models) mod mobilenet_v2;
pub(in crate::models) mod resnet;
