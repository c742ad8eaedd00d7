//! The inner loops of convolutions, compiled for each set of instructions.

use super::transforms::{self, InputTile, OutputTile};
use super::{Instructions, Vector};

/// Output pixels of the largest tile. With four vectors of channels its 24 sums, four weights and an input take 29 of 32 registers; with
/// two its 12 sums, two weights and an input take 15 of 16. In WebAssembly products and sums are two instructions and take registers more.
pub const PIXELS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };
/// Values of a cache line, which a dense kernel fetches per row of weights.
pub const CACHE_LINE: usize = 16;

/// A part of a sum: for each segment a row per pixel, of `depth` consecutive values.
#[derive(Clone, Copy)]
pub struct Term {
    /// Its first segment among all segments of the tile.
    pub first: usize,
    /// How many segments it has.
    pub segments: usize,
    /// Values of a row.
    pub depth: usize,
    /// Where in a row its values, or for depthwise the tile's first channel, begin.
    pub offset: usize,
}

/// What one call of a kernel computes: `channels` channels of a few pixels,
/// `out = min(max(bias + initial + sum of terms, low), high)`.
pub struct Tile<'a> {
    /// The sum's parts, in the order in which they are added.
    pub terms: &'a [Term],
    /// `[segments][pixels]`, each valid for its term's `offset + depth` values (dense), or `offset` and the tile's channels (depthwise).
    pub rows: *const *const f32,
    /// Dense: `[segments * depth of all terms][vectors * LANES]`. Depthwise: for each vector of channels its bias, then a row per segment,
    /// `[channels / LANES rounded up][1 + segments of all terms][LANES]`.
    pub weights: *const f32,
    /// Dense: `[vectors * LANES]`. Null: none.
    pub bias: *const f32,
    /// Weights that will be needed next, fetched meanwhile; any address will do.
    pub next: *const f32,
    /// Output channels that are stored.
    pub channels: usize,
    /// Pixel `i` is at `initial + i * initial_step`; may be `out`. Null: nothing is added.
    pub initial: *const f32,
    /// See `initial`.
    pub initial_step: usize,
    /// Pixel `i` is at `out + i * out_step`.
    pub out: *mut f32,
    /// See `out`.
    pub out_step: usize,
    /// Least value stored.
    pub low: f32,
    /// Largest value stored.
    pub high: f32,
}

/// # Safety
/// The processor has the instructions, and the pointers of the tile are valid for what they say.
pub type Kernel = unsafe fn(&Tile<'_>);

/// The kernels of one set of instructions.
pub struct Kernels {
    /// Values of a vector.
    pub lanes: usize,
    /// By vectors of channels, less one, and by pixels, less one.
    dense: &'static [[Kernel; PIXELS]],
    /// By pixels, less one.
    depthwise: [Kernel; PIXELS],
    /// The input transform of Winograd's algorithm.
    pub input: unsafe fn(&InputTile<'_>),
    /// Its output transform.
    pub output: unsafe fn(&OutputTile<'_>),
}

impl Kernels {
    /// The kernels of `instructions`.
    ///
    /// # Panics
    /// If they are not among [`Instructions::available`].
    pub fn of(instructions: Instructions) -> &'static Kernels {
        assert!(Instructions::available().contains(&instructions), "this processor has no {instructions}");
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => &AVX2,
            Instructions::Baseline => &BASELINE,
        }
    }

    /// Largest number of pixels of a tile.
    pub const fn pixels(&self) -> usize {
        PIXELS
    }

    /// Largest number of vectors of channels of a dense tile.
    pub fn vectors(&self) -> usize {
        self.dense.len()
    }

    /// The kernel of dense tiles of `pixels` pixels and `vectors` vectors of channels.
    pub fn dense(&self, pixels: usize, vectors: usize) -> Kernel {
        self.dense[vectors - 1][pixels - 1]
    }

    /// The kernel of depthwise tiles of `pixels` pixels.
    pub fn depthwise(&self, pixels: usize) -> Kernel {
        self.depthwise[pixels - 1]
    }
}

/// Each pixel's and each channel's sum, in the order of the terms, whatever the shape of the tile.
#[inline(always)]
unsafe fn dense<V: Vector, const R: usize, const N: usize>(t: &Tile<'_>) {
    // SAFETY: of the whole function, the caller's.
    unsafe {
        let mut weights = t.weights;
        let row =
            |weights: *const f32| -> [V; N] { std::array::from_fn(|n| V::load(weights.add(n * V::LANES))) };
        let mut next = t.next;
        let mut sums = [if t.bias.is_null() { [V::splat(0.0); N] } else { row(t.bias) }; R];
        let last = t.channels - (N - 1) * V::LANES;
        if !t.initial.is_null() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let initial = t.initial.add(r * t.initial_step);
                for (n, sum) in sums.iter_mut().enumerate() {
                    let from = initial.add(n * V::LANES);
                    let part = n + 1 == N && last < V::LANES;
                    *sum = sum.add(if part { V::load_part(from, last) } else { V::load(from) });
                }
            }
        }
        for term in t.terms {
            for segment in 0..term.segments {
                let rows: [*const f32; R] =
                    std::array::from_fn(|r| (*t.rows.add((term.first + segment) * R + r)).add(term.offset));
                for k in 0..term.depth {
                    let factors = row(weights);
                    V::prefetch(next);
                    next = next.wrapping_add(CACHE_LINE);
                    weights = weights.add(N * V::LANES);
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        let value = V::splat(*row.add(k));
                        for (sum, factor) in sums.iter_mut().zip(factors) {
                            *sum = value.mul_add(factor, *sum);
                        }
                    }
                }
            }
        }
        let (low, high) = (V::splat(t.low), V::splat(t.high));
        for (r, sums) in sums.iter().enumerate() {
            let out = t.out.add(r * t.out_step);
            for (n, sum) in sums.iter().enumerate() {
                let (to, sum) = (out.add(n * V::LANES), sum.at_least(low).at_most(high));
                match n + 1 == N && last < V::LANES {
                    true => sum.store_part(to, last),
                    false => sum.store(to),
                }
            }
        }
    }
}

/// Channel by channel: each channel has one weight per segment.
#[inline(always)]
unsafe fn depthwise<V: Vector, const R: usize>(t: &Tile<'_>) {
    // SAFETY: of the whole function, the caller's.
    unsafe {
        let (low, high) = (V::splat(t.low), V::splat(t.high));
        let mut weights = t.weights;
        let mut channel = 0;
        while channel < t.channels {
            let left = t.channels - channel;
            let load = |from: *const f32| match left < V::LANES {
                true => V::load_part(from, left),
                false => V::load(from),
            };
            let mut sums = [V::load(weights); R];
            weights = weights.add(V::LANES);
            if !t.initial.is_null() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(load(t.initial.add(r * t.initial_step + channel)));
                }
            }
            for term in t.terms {
                for segment in 0..term.segments {
                    let factor = V::load(weights);
                    weights = weights.add(V::LANES);
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let row = *t.rows.add((term.first + segment) * R + r);
                        *sum = load(row.add(term.offset + channel)).mul_add(factor, *sum);
                    }
                }
            }
            for (r, sum) in sums.iter().enumerate() {
                let (to, sum) = (t.out.add(r * t.out_step + channel), sum.at_least(low).at_most(high));
                match left < V::LANES {
                    true => sum.store_part(to, left),
                    false => sum.store(to),
                }
            }
            channel += V::LANES;
        }
    }
}

/// Compiles the kernels for a vector type and the instructions that it needs, as `$name`.
macro_rules! kernels {
    ($name:ident, $module:ident, $vector:ty, [$($vectors:literal)*] $(, $features:literal)?) => {
        mod $module {
            use super::*;

            /// # Safety
            /// That of [`Kernel`].
            $(#[target_feature(enable = $features)])?
            unsafe fn dense<const R: usize, const N: usize>(t: &Tile<'_>) {
                // SAFETY: the caller's.
                unsafe { super::dense::<$vector, R, N>(t) }
            }

            /// # Safety
            /// That of [`Kernel`].
            $(#[target_feature(enable = $features)])?
            unsafe fn depthwise<const R: usize>(t: &Tile<'_>) {
                // SAFETY: the caller's.
                unsafe { super::depthwise::<$vector, R>(t) }
            }

            /// # Safety
            /// That of [`Kernel`].
            $(#[target_feature(enable = $features)])?
            unsafe fn input(t: &InputTile<'_>) {
                // SAFETY: the caller's.
                unsafe { transforms::input::<$vector>(t) }
            }

            /// # Safety
            /// That of [`Kernel`].
            $(#[target_feature(enable = $features)])?
            unsafe fn output(t: &OutputTile<'_>) {
                // SAFETY: the caller's.
                unsafe { transforms::output::<$vector>(t) }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                lanes: <$vector>::LANES,
                dense: &[$([
                    dense::<1, $vectors>,
                    dense::<2, $vectors>,
                    dense::<3, $vectors>,
                    dense::<4, $vectors>,
                    #[cfg(not(target_arch = "wasm32"))]
                    dense::<5, $vectors>,
                    #[cfg(not(target_arch = "wasm32"))]
                    dense::<6, $vectors>,
                ]),*],
                depthwise: [
                    depthwise::<1>,
                    depthwise::<2>,
                    depthwise::<3>,
                    depthwise::<4>,
                    #[cfg(not(target_arch = "wasm32"))]
                    depthwise::<5>,
                    #[cfg(not(target_arch = "wasm32"))]
                    depthwise::<6>,
                ],
                input,
                output,
            };
        }
        use $module::KERNELS as $name;
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(AVX512, avx512, crate::x86::Avx512, [1 2 3 4], "avx512f");
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, avx2, crate::x86::Avx2, [1 2], "avx2,fma");
// 32 registers on 64-bit ARM, elsewhere 16.
#[cfg(target_arch = "aarch64")]
kernels!(BASELINE, baseline, crate::portable::Portable, [1 2 3 4]);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
kernels!(BASELINE, baseline, crate::wasm::Simd128, [1 2]);
#[cfg(not(any(target_arch = "aarch64", all(target_arch = "wasm32", target_feature = "simd128"))))]
kernels!(BASELINE, baseline, crate::portable::Portable, [1 2]);
