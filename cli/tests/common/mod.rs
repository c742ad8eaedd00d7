//! What tests of the program need of those of the library.
#![allow(dead_code, unused_imports, reason = "each test file uses its share")]

#[path = "../../../tests/common/difference.rs"]
mod difference;
#[path = "../../../tests/common/fixtures.rs"]
pub mod fixtures;
#[path = "../../../tests/common/spoil.rs"]
pub mod spoil;

pub use difference::difference;
