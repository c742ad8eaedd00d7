//! The version of the library.

use std::ffi::{CStr, c_char};

/// The version of the library that runs, such as "0.1.0"; RMNET_VERSION is that of the header. They go
/// together if the major numbers are equal and, while these are 0, the minor numbers too. The text is
/// valid until the process ends.
#[unsafe(no_mangle)]
pub extern "C" fn rmnet_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version without NUL"),
        };
    VERSION.as_ptr()
}
