//! Winograd's minimal filtering in one dimension, F(m, 3): m outputs of a three-tap filter from m + 2 inputs, with m + 2 products instead
//! of 3 m. `out = A' [(G g) .* (B' d)]`; in two dimensions, `A' [(G g G') .* (B' d B)] A`.
//!
//! The matrices are those of the Cook-Toom construction (Lavin and Gray, arXiv 1509.09308) at the points 0, 1, -1 and infinity for
//! m = 2, and 0, +-1/sqrt(2), +-sqrt(2) and infinity for m = 4: with +-1 and +-2 its rounding error would be three times as large.
//!
//! # Rounding
//! In two dimensions, the summed magnitudes are at most `gain^2 * sum |g| max |d|`, the maximum over the tile, with `gain` the largest
//! over outputs i and taps k of `sum_s |A'|_is |B'|_s |G|_sk`, `|B'|_s` the sum of the magnitudes of row s. Each product has
//! * one rounding of `G g G'`, which is computed in f64;
//! * [`WinogradTransform::roundings`] of `B' d B` and `A' m A`: per dimension, for m = 2 one addition in the input transform and two in
//!   the output transform; for m = 4 a rounded constant, its product and two additions in the input transform, and the same with three
//!   additions in the output transform;
//! * its own rounding, and those of adding up channels: at most the number of channels of all K ranges minus one, and at most the number
//!   of terms of the sum, since adding a product of zero is exact;
//! * one for the bias, and one per added value;
//!
//! in total at most `min(channels, terms) + roundings + 2 + adds`, and one more for products of roundings.

use super::super::Rounding;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Outputs of a tile along one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WinogradTransform {
    /// F(2, 3).
    F2x3,
    /// F(4, 3).
    F4x3,
}

impl WinogradTransform {
    /// Both, the larger tile first.
    pub const ALL: [WinogradTransform; 2] = [WinogradTransform::F4x3, WinogradTransform::F2x3];

    /// Outputs of a tile.
    pub fn outputs(self) -> usize {
        match self {
            WinogradTransform::F2x3 => 2,
            WinogradTransform::F4x3 => 4,
        }
    }

    /// Inputs (and products) per tile and dimension.
    pub fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// G.
    pub fn filter(self) -> Vec<[f64; 3]> {
        match self {
            WinogradTransform::F2x3 => {
                vec![[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
            }
            WinogradTransform::F4x3 => {
                let (inner, outer) = (-2.0 / 3.0, 1.0 / 6.0);
                let row = |factor: f64, point: f64| [factor, factor * point, factor * point * point];
                vec![
                    [1.0, 0.0, 0.0],
                    row(inner, FRAC_1_SQRT_2),
                    row(inner, -FRAC_1_SQRT_2),
                    row(outer, SQRT_2),
                    row(outer, -SQRT_2),
                    [0.0, 0.0, 1.0],
                ]
            }
        }
    }

    /// B'.
    pub fn input(self) -> Vec<Vec<f64>> {
        let (a, b) = (FRAC_1_SQRT_2, SQRT_2);
        match self {
            WinogradTransform::F2x3 => vec![
                vec![1.0, 0.0, -1.0, 0.0],
                vec![0.0, 1.0, 1.0, 0.0],
                vec![0.0, -1.0, 1.0, 0.0],
                vec![0.0, 1.0, 0.0, -1.0],
            ],
            WinogradTransform::F4x3 => vec![
                vec![1.0, 0.0, -2.5, 0.0, 1.0, 0.0],
                vec![0.0, -b, -2.0, a, 1.0, 0.0],
                vec![0.0, b, -2.0, -a, 1.0, 0.0],
                vec![0.0, -a, -0.5, b, 1.0, 0.0],
                vec![0.0, a, -0.5, -b, 1.0, 0.0],
                vec![0.0, 1.0, 0.0, -2.5, 0.0, 1.0],
            ],
        }
    }

    /// A'.
    pub fn output(self) -> Vec<Vec<f64>> {
        let (a, b) = (FRAC_1_SQRT_2, SQRT_2);
        match self {
            WinogradTransform::F2x3 => vec![vec![1.0, 1.0, 1.0, 0.0], vec![0.0, 1.0, -1.0, -1.0]],
            WinogradTransform::F4x3 => vec![
                vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                vec![0.0, a, -a, b, -b, 0.0],
                vec![0.0, 0.5, 0.5, 2.0, 2.0, 0.0],
                vec![0.0, a / 2.0, -a / 2.0, 2.0 * b, -2.0 * b, 1.0],
            ],
        }
    }

    /// `G g G'` of a 3x3 filter at place (`row`, `column`) as factors of its nine weights.
    pub fn filter_at(self, row: usize, column: usize) -> [f64; 9] {
        let g = self.filter();
        std::array::from_fn(|k| g[row][k / 3] * g[column][k % 3])
    }

    /// Roundings of the input and output transforms, in both dimensions.
    fn roundings(self) -> usize {
        match self {
            WinogradTransform::F2x3 => 2 * (1 + 2),
            WinogradTransform::F4x3 => 2 * (4 + 5),
        }
    }

    /// Maximum growth of the summed magnitudes over a direct sum, in one dimension.
    fn gain(self) -> f64 {
        let (a, b, g) = (self.output(), self.input(), self.filter());
        let size = |row: &Vec<f64>| row.iter().map(|v| v.abs()).sum::<f64>();
        let gain = |i: usize, k: usize| -> f64 {
            (0..self.inputs()).map(|s| a[i][s].abs() * size(&b[s]) * g[s][k].abs()).sum()
        };
        (0..self.outputs())
            .flat_map(|i| (0..3).map(move |k| (i, k)))
            .map(|(i, k)| gain(i, k))
            .fold(0.0, f64::max)
    }

    /// The rounding bound of a convolution over `channels` input channels (of all K ranges together) with `adds` added values.
    pub fn rounding(self, channels: usize, adds: usize) -> Rounding {
        Rounding {
            gain: self.gain().powi(2),
            extra_roundings: self.roundings() + 3 + adds,
            max_terms: channels,
            // The window of an output at one end of a tile is centred one row from that end.
            reach: Some(self.outputs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
        matrix.iter().map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
    }

    /// By the definition, against the direct sum; and what the shaders are told to compute, by the matrices.
    #[test]
    fn transforms_fit_one_another() {
        for transform in [WinogradTransform::F2x3, WinogradTransform::F4x3] {
            let d: Vec<f64> = (0..transform.inputs()).map(|x| (7 * x * x + 3 * x) as f64 - 9.0).collect();
            let g = [2.0, -1.0, 4.0];
            let filter: Vec<f64> =
                transform.filter().iter().map(|row| row.iter().zip(g).map(|(a, b)| a * b).sum()).collect();
            let products: Vec<f64> =
                times(&transform.input(), &d).iter().zip(&filter).map(|(a, b)| a * b).collect();
            for (i, found) in times(&transform.output(), &products).into_iter().enumerate() {
                let direct: f64 = (0..3).map(|k| g[k] * d[i + k]).sum();
                assert!((found - direct).abs() < 1e-12 * 100.0, "{transform:?}, {i}: {found}, {direct}");
            }
        }
    }

    #[test]
    fn what_rounding_gains() {
        assert_eq!(WinogradTransform::F2x3.gain(), 4.0);
        assert!((WinogradTransform::F4x3.gain() - 12.5).abs() < 0.1, "{}", WinogradTransform::F4x3.gain());
    }
}
