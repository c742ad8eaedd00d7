//! The version of the library.

use std::ffi::{CStr, c_char};

/// The version of the library that runs, such as "0.1.0"; RMNET_VERSION is that of the header. They go
/// together if the major numbers are equal and, while these are 0, the minor numbers too; while the minor
/// numbers are 0 as well, all three. The text is valid until the process ends.
#[unsafe(no_mangle)]
pub extern "C" fn rmnet_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version without NUL"),
        };
    VERSION.as_ptr()
}

/// The version of the library that runs as a number: 1000000 * major + 1000 * minor + patch, as
/// RMNET_VERSION_NUMBER is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn rmnet_version_number() -> u32 {
    const fn number(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("a version of numbers"),
        }
    }
    const NUMBER: u32 = 1_000_000 * number(env!("CARGO_PKG_VERSION_MAJOR"))
        + 1_000 * number(env!("CARGO_PKG_VERSION_MINOR"))
        + number(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}
