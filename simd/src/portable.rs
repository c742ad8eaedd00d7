//! Vectors as arrays, which the compiler turns into the vectors of any architecture.

use super::Vector;

/// Four values: a vector of SSE2, of NEON, of simd128.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Portable, f: impl Fn(f32, f32) -> f32) -> Portable {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Portable {
        Portable([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Portable {
        // SAFETY: the caller's pointer is valid for 4 values; an array of f32 has the alignment of an f32.
        Portable(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Portable {
        // SAFETY: the caller's pointer is valid for `n` values.
        Portable(std::array::from_fn(|i| if i < n { unsafe { from.add(i).read() } } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for 4 values; an array of f32 has the alignment of an f32.
        unsafe { to.cast::<[f32; 4]>().write(self.0) };
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        for (i, value) in self.0.into_iter().take(n).enumerate() {
            // SAFETY: the caller's pointer is valid for `n` values.
            unsafe { to.add(i).write(value) };
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Portable) -> Portable {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Portable, term: Portable) -> Portable {
        // NEON multiplies and adds at once; elsewhere `f32::mul_add` would be a call.
        let fused = cfg!(target_arch = "aarch64");
        let product = self.zip(factor, |a, b| a * b);
        match fused {
            true => Portable(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i]))),
            false => product.zip(term, |p, t| p + t),
        }
    }

    #[inline(always)]
    unsafe fn at_least(self, low: Portable) -> Portable {
        self.zip(low, |v, low| if v < low { low } else { v })
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Portable) -> Portable {
        self.zip(high, |v, high| if v > high { high } else { v })
    }
}
