//! The inner loops of [rmnet](https://docs.rs/rmnet)'s convolutions on a CPU, with the instructions that the processor has. A crate of its
//! own so that it is compiled for speed where the rest is compiled for size. It is a part of rmnet: nothing here is stable.
//!
//! Kernels are written once, generic over a vector of f32. For each set of instructions there is a function compiled for it, into which
//! the generic code is inlined. [`Kernels::of`] has them.

mod kernels;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable;
mod transforms;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernels::{CACHE_LINE, Kernel, Kernels, PIXELS, Term, Tile};
pub use transforms::{InputTile, OutputTile};

use std::fmt;

/// A set of instructions that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instructions {
    /// AVX-512F: 16 values a vector.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA: 8 values a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler may use on every processor of the architecture: 4 values a vector (SSE2, NEON, simd128).
    Baseline,
}

impl Instructions {
    /// All that this processor has, the fastest first.
    pub fn available() -> Vec<Instructions> {
        vec![
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2,
            Instructions::Baseline,
        ]
        .into_iter()
        .filter(|i| i.is_available())
        .collect()
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Instructions::Baseline => true,
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "AVX2",
            Instructions::Baseline => "baseline",
        })
    }
}

/// A vector of f32.
///
/// # Safety
/// Of every function: the processor has the instructions of the implementation. Pointers are valid for the values that are read or
/// written: [`Vector::LANES`] of them, or `n`.
trait Vector: Copy {
    /// Values of one vector.
    const LANES: usize;

    /// `value` in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// All lanes from memory, which need not be aligned.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n` lanes from memory, `n` less than [`Vector::LANES`]; the others are zero.
    unsafe fn load_part(from: *const f32, n: usize) -> Self;
    /// All lanes to memory, which need not be aligned.
    unsafe fn store(self, to: *mut f32);
    /// The first `n` lanes to memory, `n` less than [`Vector::LANES`].
    unsafe fn store_part(self, to: *mut f32, n: usize);
    /// Fetches a cache line that will be read soon. Any address will do.
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    /// `self + other`
    unsafe fn add(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once or twice.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `self` where it is at least `low`, else `low`. NaN stays NaN.
    unsafe fn at_least(self, low: Self) -> Self;
    /// `self` where it is at most `high`, else `high`. NaN stays NaN.
    unsafe fn at_most(self, high: Self) -> Self;
}
