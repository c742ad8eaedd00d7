//! The C interface of rmnet: the library `librmnet` and its header `include/rmnet.h`, which cbindgen makes from these
//! files (`tests/header.rs`). The doc comments of public items are the header's comments, and its first lines
//! (`cbindgen.toml`) are the rules that callers keep.
//!
//! Every function that can fail runs inside [`status::call`], the others inside [`status::answer`]: a failure becomes a
//! status and the thread's last message, and no panic leaves the library.
#![allow(non_camel_case_types, reason = "types and values have the names that they have in C")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the rules for callers are stated once, at the top of the header"
)]

mod about;
mod adapters;
mod image;
mod logging;
mod options;
mod pointers;
mod predict;
mod process;
mod self_tests;
mod session;
mod status;
mod version;

pub use about::*;
pub use adapters::*;
pub use image::*;
pub use logging::*;
pub use options::*;
pub use predict::*;
pub use session::*;
pub use status::{rmnet_last_error, rmnet_status};
pub use version::*;

/// Any thread of the caller may use and free a handle.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<rmnet_session>();
    shared::<rmnet_image>();
    shared::<rmnet_adapters>();
};
