//! Software Vulkan: a CPU that pretends to be a GPU, whose invocations are SIMD lanes.

mod access;

pub(super) use access::SoftwareAccess;
