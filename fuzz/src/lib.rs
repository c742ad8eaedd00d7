//! The bodies of the fuzz targets: functions of bytes that panic where something is wrong.
//!
//! They are apart from libFuzzer, so that `cargo test` replays the seeds and the regressions without it.

mod checkpoint;
mod common;
mod config;
mod file;
mod image;
mod judge;
mod kernels;
mod network;
mod onnx;
mod pickle;
mod plan;
mod preprocess;
mod saved;
mod source;
mod tuning;

pub use checkpoint::checkpoint;
pub use config::config;
pub use image::images;
pub use kernels::kernels;
pub use onnx::onnx;
pub use pickle::pickle;
pub use plan::plan;
pub use preprocess::preprocess;
pub use saved::saved;
pub use tuning::tuning;

/// A fuzz target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which its folders under `corpus` and `regressions` have too.
pub const TARGETS: [Target; 10] = [
    ("checkpoint", checkpoint),
    ("saved", saved),
    ("config", config),
    ("preprocess", preprocess),
    ("tuning", tuning),
    ("images", images),
    ("pickle", pickle),
    ("onnx", onnx),
    ("kernels", kernels),
    ("plan", plan),
];

/// Called once before a target. libFuzzer's own hook ends the process at every panic, those that `rmnet::images` catches in a
/// decoder too; the panics that reach the target end the process all the same.
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        if !rmnet::images::is_decoding() {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}
