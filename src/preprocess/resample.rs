//! Pillow's `Image.resize` on 8-bit RGB, pixel for pixel.
//!
//! As in its `Resample.c`: antialiased, coefficients in f64, normalised, rounded to 22-bit fixed point; a horizontal pass
//! to 8 bits, then a vertical one; a pass whose size does not change is left out. Nearest is its affine scaling.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a resized pixel follows from those it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The pixel that the centre falls into.
    Nearest,
    /// A triangle.
    Bilinear,
    /// Keys' cubic with `a = -0.5`.
    Bicubic,
    /// A sinc windowed by a sinc, three lobes.
    Lanczos,
}

impl Interpolation {
    /// Half the width of the kernel at scale 1; `None` for nearest, which has no kernel.
    fn support(self) -> Option<f64> {
        match self {
            Interpolation::Nearest => None,
            Interpolation::Bilinear => Some(1.0),
            Interpolation::Bicubic => Some(2.0),
            Interpolation::Lanczos => Some(3.0),
        }
    }

    fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| {
            if x == 0.0 {
                return 1.0;
            }
            let x = x * std::f64::consts::PI;
            x.sin() / x
        };
        match self {
            Interpolation::Nearest => 0.0,
            Interpolation::Bilinear => (1.0 - x.abs()).max(0.0),
            Interpolation::Bicubic => match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            },
            Interpolation::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Interpolation::Lanczos => 0.0,
        }
    }
}

/// Bits behind the point of a coefficient: 8 for the pixel and 2 to spare.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// What one output pixel reads: a start and one coefficient per input pixel from there.
type Taps = (usize, Vec<i32>);

/// The taps of the outputs in `window`, for a side of `input` pixels resized to `output`.
fn taps(input: usize, output: usize, window: Range<usize>, filter: Interpolation, support: f64) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let filter_scale = scale.max(1.0);
    let support = support * filter_scale;
    let one = |i: usize| {
        let center = (i as f64 + 0.5) * scale;
        let inverse = 1.0 / filter_scale;
        // Casts saturate at 0, where C clamps.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weights: Vec<f64> = (start..end)
            .map(|x| filter.kernel(((x - start) as f64 + start as f64 - center + 0.5) * inverse))
            .collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: &f64| {
            let w = if sum != 0.0 { w / sum } else { *w };
            let scaled = w * f64::from(1 << PRECISION_BITS);
            (if w < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        (start, weights.iter().map(fixed).collect())
    };
    window.map(one).collect()
}

/// The weighted sum of pixels `stride` bytes apart, all three channels.
fn gather(bytes: &[u8], at: usize, stride: usize, coefficients: &[i32]) -> [u8; 3] {
    let mut sum = [1i32 << (PRECISION_BITS - 1); 3];
    for (i, &k) in coefficients.iter().enumerate() {
        let pixel = &bytes[at + i * stride..at + i * stride + 3];
        for (s, &p) in sum.iter_mut().zip(pixel) {
            *s = s.wrapping_add(i32::from(p).wrapping_mul(k));
        }
    }
    sum.map(|s| (s >> PRECISION_BITS).clamp(0, 255) as u8)
}

/// An RGB image, rows of interleaved pixels.
pub(super) struct Image<'a> {
    pub(super) rgb: &'a [u8],
    pub(super) height: usize,
    pub(super) width: usize,
}

/// The window `rows` x `columns` of the image resized to `size` (`[height, width]`): only that much is computed.
pub(super) fn resize(
    image: &Image<'_>,
    size: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    filter: Interpolation,
) -> Vec<u8> {
    let Some(support) = filter.support() else { return nearest(image, size, rows, columns) };
    let vertical = (size[0] != image.height)
        .then(|| taps(image.height, size[0], rows.clone(), filter, support))
        .unwrap_or_else(|| rows.map(|y| (y, vec![])).collect());
    // Input rows that the vertical pass reads.
    let first = vertical.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let last = vertical.iter().map(|(start, k)| start + k.len().max(1)).max().unwrap_or(0);

    let mut middle = Vec::with_capacity((last - first) * columns.len() * 3);
    let horizontal =
        (size[1] != image.width).then(|| taps(image.width, size[1], columns.clone(), filter, support));
    for y in first..last {
        let row = &image.rgb[y * image.width * 3..(y + 1) * image.width * 3];
        match &horizontal {
            None => middle.extend_from_slice(&row[columns.start * 3..columns.end * 3]),
            Some(taps) => middle.extend(taps.iter().flat_map(|(start, k)| gather(row, start * 3, 3, k))),
        }
    }

    let stride = columns.len() * 3;
    if size[0] == image.height {
        return middle;
    }
    let mut out = Vec::with_capacity(vertical.len() * stride);
    for (start, k) in &vertical {
        let row = (start - first) * stride;
        out.extend((0..columns.len()).flat_map(|x| gather(&middle, row + x * 3, stride, k)));
    }
    out
}

fn nearest(image: &Image<'_>, size: [usize; 2], rows: Range<usize>, columns: Range<usize>) -> Vec<u8> {
    // Positions are summed up one step at a time, as Pillow does: their rounding is part of the result.
    let positions = |input: usize, output: usize, window: Range<usize>| -> Vec<usize> {
        let step = input as f64 / output as f64;
        let mut at = step * 0.5;
        let mut all = Vec::with_capacity(window.len());
        for i in 0..window.end {
            if i >= window.start {
                all.push((at as usize).min(input - 1));
            }
            at += step;
        }
        all
    };
    let xs = positions(image.width, size[1], columns);
    positions(image.height, size[0], rows)
        .into_iter()
        .flat_map(|y| xs.iter().map(move |x| (y * image.width + x) * 3))
        .flat_map(|at| [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]])
        .collect()
}
