//! AVX-512 and AVX2.

use super::Vector;
use std::arch::x86_64::*;

/// Sixteen values, with AVX-512F.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

/// The mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of every block below: the trait's conditions are those of the intrinsics.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Avx512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Avx512 {
        Avx512(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx512 {
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Avx512 {
        Avx512(unsafe { _mm512_maskz_loadu_ps(first(n), from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) };
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(n), self.0) };
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }

    #[inline(always)]
    unsafe fn add(self, other: Avx512) -> Avx512 {
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Avx512, term: Avx512) -> Avx512 {
        Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }

    // Of two values of which one is NaN, x86 takes the second.
    #[inline(always)]
    unsafe fn at_least(self, low: Avx512) -> Avx512 {
        Avx512(unsafe { _mm512_max_ps(low.0, self.0) })
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Avx512) -> Avx512 {
        Avx512(unsafe { _mm512_min_ps(high.0, self.0) })
    }
}

/// Eight values, with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

/// Eight lanes set, then eight that are not: the mask of the first `n` lanes begins `n` before the middle.
static LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

// SAFETY of every block below: the trait's conditions are those of the intrinsics; `n` is less than 8, so that masks lie inside `LANES`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Avx2 {
        Avx2(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx2 {
        Avx2(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Avx2 {
        Avx2(unsafe { _mm256_maskload_ps(from, _mm256_loadu_si256(LANES.as_ptr().add(8 - n).cast())) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) };
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        unsafe { _mm256_maskstore_ps(to, _mm256_loadu_si256(LANES.as_ptr().add(8 - n).cast()), self.0) };
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }

    #[inline(always)]
    unsafe fn add(self, other: Avx2) -> Avx2 {
        Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Avx2, term: Avx2) -> Avx2 {
        Avx2(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
    }

    // Of two values of which one is NaN, x86 takes the second.
    #[inline(always)]
    unsafe fn at_least(self, low: Avx2) -> Avx2 {
        Avx2(unsafe { _mm256_max_ps(low.0, self.0) })
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Avx2) -> Avx2 {
        Avx2(unsafe { _mm256_min_ps(high.0, self.0) })
    }
}
