//! The transforms of Winograd's F(4x4, 3x3), vector by vector of channels. The matrices are those of Cook and Toom's
//! construction at the points 0, +-1/sqrt(2), +-sqrt(2) and infinity.

use super::Vector;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Inputs of a tile along one dimension.
const INPUTS: usize = 6;
/// Outputs of a tile along one dimension.
const OUTPUTS: usize = 4;

/// Six by six pixels to transform, `B' d B`.
pub struct InputTile<'a> {
    /// Where the channels of each pixel begin, row by row.
    pub pixels: &'a [*const f32],
    /// Channels of a pixel.
    pub channels: usize,
    /// The tile's channels, rounded up to whole vectors, at each of 36 places that are `step` values apart.
    pub out: *mut f32,
    /// See `out`.
    pub step: usize,
}

/// Four by four outputs, `min(max(A' m A + bias + initial, low), high)`.
pub struct OutputTile<'a> {
    /// The tile's channels, in whole vectors, at each of 36 places that are `step` values apart.
    pub from: *const f32,
    /// See `from`.
    pub step: usize,
    /// Output channels that are stored.
    pub channels: usize,
    /// The channels' biases, in whole vectors.
    pub bias: *const f32,
    /// Rows inside the image: where their first pixels are stored, and what is added to them, null if nothing is.
    pub rows: &'a [(*mut f32, *const f32)],
    /// Columns inside the image.
    pub columns: usize,
    /// Values from a pixel to the next, of the outputs and of what is added.
    pub steps: [usize; 2],
    /// Least value stored.
    pub low: f32,
    /// Largest value stored.
    pub high: f32,
}

/// `B' d`
#[inline(always)]
unsafe fn input_line<V: Vector>(d: [V; INPUTS]) -> [V; INPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let [a, b] = [V::splat(FRAC_1_SQRT_2), V::splat(SQRT_2)];
        let times = |v: V, factor: f32, term: V| v.mul_add(V::splat(factor), term);
        let minus = |x: V, y: V| times(y, -1.0, x);
        let zero = V::splat(0.0);
        let even = [times(d[2], -2.0, d[4]), times(d[2], -0.5, d[4])];
        let odd = [
            d[3].mul_add(a, minus(zero, d[1].mul_add(b, zero))),
            d[3].mul_add(b, minus(zero, d[1].mul_add(a, zero))),
        ];
        [
            times(d[2], -2.5, d[0].add(d[4])),
            even[0].add(odd[0]),
            minus(even[0], odd[0]),
            even[1].add(odd[1]),
            minus(even[1], odd[1]),
            times(d[3], -2.5, d[1].add(d[5])),
        ]
    }
}

/// `A' m`
#[inline(always)]
unsafe fn output_line<V: Vector>(m: [V; INPUTS]) -> [V; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let times = |v: V, factor: f32, term: V| v.mul_add(V::splat(factor), term);
        let minus = |x: V, y: V| times(y, -1.0, x);
        let zero = V::splat(0.0);
        let [inner, outer] = [m[1].add(m[2]), m[3].add(m[4])];
        let [inner_odd, outer_odd] = [minus(m[1], m[2]), minus(m[3], m[4])];
        [
            m[0].add(inner).add(outer),
            times(inner_odd, FRAC_1_SQRT_2, times(outer_odd, SQRT_2, zero)),
            times(inner, 0.5, times(outer, 2.0, zero)),
            times(inner_odd, FRAC_1_SQRT_2 / 2.0, times(outer_odd, 2.0 * SQRT_2, m[5])),
        ]
    }
}

#[inline(always)]
pub(super) unsafe fn input<V: Vector>(t: &InputTile<'_>) {
    // SAFETY: of the whole function, the caller's.
    unsafe {
        for channel in (0..t.channels).step_by(V::LANES) {
            let left = t.channels - channel;
            let load = |pixel: *const f32| match left < V::LANES {
                true => V::load_part(pixel.add(channel), left),
                false => V::load(pixel.add(channel)),
            };
            let mut columns = [[V::splat(0.0); INPUTS]; INPUTS];
            for (x, column) in columns.iter_mut().enumerate() {
                *column = input_line(std::array::from_fn(|y| load(t.pixels[y * INPUTS + x])));
            }
            // Line by line: as an array of all of them they would not stay in registers.
            #[allow(clippy::needless_range_loop)]
            for y in 0..INPUTS {
                let line = input_line(std::array::from_fn(|x| columns[x][y]));
                for (x, value) in line.into_iter().enumerate() {
                    value.store(t.out.add((y * INPUTS + x) * t.step + channel));
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn output<V: Vector>(t: &OutputTile<'_>) {
    // SAFETY: of the whole function, the caller's.
    unsafe {
        let (low, high) = (V::splat(t.low), V::splat(t.high));
        for channel in (0..t.channels).step_by(V::LANES) {
            let left = t.channels - channel;
            let part = left < V::LANES;
            let mut columns = [[V::splat(0.0); OUTPUTS]; INPUTS];
            for (x, column) in columns.iter_mut().enumerate() {
                let load = |y| V::load(t.from.add((y * INPUTS + x) * t.step + channel));
                *column = output_line(std::array::from_fn(load));
            }
            let bias = V::load(t.bias.add(channel));
            for (y, (out, initial)) in t.rows.iter().enumerate() {
                let line = output_line(std::array::from_fn(|x| columns[x][y]));
                for (x, value) in line.into_iter().take(t.columns).enumerate() {
                    let mut value = value.add(bias);
                    if !initial.is_null() {
                        let from = initial.add(x * t.steps[1] + channel);
                        value = value.add(if part { V::load_part(from, left) } else { V::load(from) });
                    }
                    let (to, value) = (out.add(x * t.steps[0] + channel), value.at_least(low).at_most(high));
                    match part {
                        true => value.store_part(to, left),
                        false => value.store(to),
                    }
                }
            }
        }
    }
}
