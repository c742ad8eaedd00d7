//! WebAssembly's simd128.

use super::Vector;
use std::arch::wasm32::*;

/// Four values.
#[derive(Clone, Copy)]
pub(super) struct Simd128(v128);

// SAFETY of every block below: the trait's conditions are those of the intrinsics.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Simd128 {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Simd128 {
        Simd128(f32x4_splat(value))
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Simd128 {
        Simd128(unsafe { v128_load(from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Simd128 {
        let mut values = [0.0f32; 4];
        unsafe {
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
            Simd128::load(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { v128_store(to.cast(), self.0) };
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        let mut values = [0.0f32; 4];
        unsafe {
            self.store(values.as_mut_ptr());
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, n);
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Simd128) -> Simd128 {
        Simd128(f32x4_add(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Simd128, term: Simd128) -> Simd128 {
        Simd128(f32x4_add(f32x4_mul(self.0, factor.0), term.0))
    }

    // `pmax(a, b)` is `a < b ? b : a`, and `pmin(a, b)` is `b < a ? b : a`: with NaN both give `a`.
    #[inline(always)]
    unsafe fn at_least(self, low: Simd128) -> Simd128 {
        Simd128(f32x4_pmax(self.0, low.0))
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Simd128) -> Simd128 {
        Simd128(f32x4_pmin(self.0, high.0))
    }
}
