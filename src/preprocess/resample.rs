//! Pillow's `Image.resize` on 8-bit images of 1, 3 or 4 channels, pixel for pixel.
//!
//! As in Pillow's `Resample.c`: antialiased, with coefficients computed and normalised in f64 and rounded to 22-bit fixed point, in two
//! passes with 8-bit values between them. Nearest is Pillow's affine scaling. Four channels are RGBA, resized with premultiplied alpha as
//! Pillow does.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The resampling filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    /// The pixel that contains the centre.
    Nearest,
    /// A triangle filter.
    Bilinear,
    /// Keys' cubic with `a = -0.5`.
    Bicubic,
    /// A sinc windowed by a sinc, with three lobes.
    Lanczos,
    /// The mean of the covered pixels.
    Box,
    /// A sinc with a Hamming window, with one lobe.
    Hamming,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
            Interpolation::Box => "box",
            Interpolation::Hamming => "hamming",
        })
    }
}

impl Interpolation {
    /// Half the width of the kernel at scale 1; `None` for nearest, which has no kernel.
    fn support(self) -> Option<f64> {
        match self {
            Interpolation::Nearest => None,
            Interpolation::Bilinear => Some(1.0),
            Interpolation::Bicubic => Some(2.0),
            Interpolation::Lanczos => Some(3.0),
            Interpolation::Box => Some(0.5),
            Interpolation::Hamming => Some(1.0),
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
            Interpolation::Box => f64::from(x > -0.5 && x <= 0.5),
            Interpolation::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x < 1.0 => sinc(x) * (0.54 + 0.46 * (x * std::f64::consts::PI).cos()),
                _ => 0.0,
            },
        }
    }
}

/// Fractional bits of a coefficient: 32 bits minus 8 for the pixel and 2 spare.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The input pixels of one output pixel: the first one, and a coefficient for each.
type Taps = (usize, Vec<i32>);

/// The taps of the outputs in `window`, for a side of `input` pixels resized to `output`. If the side keeps its length, the taps copy
/// pixels.
fn taps(input: usize, output: usize, window: Range<usize>, filter: Interpolation, support: f64) -> Vec<Taps> {
    if input == output {
        return window.map(|i| (i, vec![1 << PRECISION_BITS])).collect();
    }
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

/// The weighted sum of pixels `stride` bytes apart, in all `N` channels.
fn gather<const N: usize>(bytes: &[u8], at: usize, stride: usize, coefficients: &[i32]) -> [u8; N] {
    let mut sum = [1i32 << (PRECISION_BITS - 1); N];
    for (i, &k) in coefficients.iter().enumerate() {
        let pixel = &bytes[at + i * stride..at + i * stride + N];
        for (s, &p) in sum.iter_mut().zip(pixel) {
            *s = s.wrapping_add(i32::from(p).wrapping_mul(k));
        }
    }
    sum.map(|s| (s >> PRECISION_BITS).clamp(0, 255) as u8)
}

/// The range of inputs that the taps read. Makes the taps relative to its start.
fn span(taps: &mut [Taps]) -> Range<usize> {
    let first = taps.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let last = taps.iter().map(|(start, k)| start + k.len()).max().unwrap_or(0);
    taps.iter_mut().for_each(|(start, _)| *start -= first);
    first..last.max(first)
}

/// Rows of interleaved pixels without gaps.
pub(super) struct PackedImage<'a> {
    /// `height * width * channels` bytes.
    pub(super) pixels: Cow<'a, [u8]>,
    /// Pixels in a row.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Bytes of a pixel: 1 (gray), 3 (RGB) or 4 (RGBA).
    pub(super) channels: usize,
}

/// An image of `N` channels, rows of interleaved pixels.
struct Image<'a, const N: usize> {
    pixels: &'a [u8],
    height: usize,
    width: usize,
}

impl<const N: usize> Image<'_, N> {
    /// Resizes a range of rows horizontally.
    fn horizontal(&self, rows: Range<usize>, taps: &[Taps]) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows.len() * taps.len() * N);
        for row in self.pixels.chunks_exact(self.width * N).skip(rows.start).take(rows.len()) {
            out.extend(taps.iter().flat_map(|(start, k)| gather::<N>(row, start * N, N, k)));
        }
        out
    }

    /// Resizes a range of columns vertically.
    fn vertical(&self, columns: Range<usize>, taps: &[Taps]) -> Vec<u8> {
        let stride = self.width * N;
        let mut out = Vec::with_capacity(columns.len() * taps.len() * N);
        for (start, k) in taps {
            let from = start * stride;
            out.extend(columns.clone().flat_map(|x| gather::<N>(self.pixels, from + x * N, stride, k)));
        }
        out
    }
}

/// Whether the vertical pass comes first. In Pillow since version 13 it does if the height shrinks by more than twice as many pixels as the
/// width. Found by trying both orders on thousands of sizes; they differ by the rounding between the passes.
fn vertical_first(image: [usize; 2], size: [usize; 2]) -> bool {
    let shrinks = |from: usize, to: usize| from as i64 - to as i64;
    let (height, width) = (shrinks(image[0], size[0]), shrinks(image[1], size[1]));
    height > 0 && height > 2 * width
}

/// Maximum bytes of [`resize`] for an image of `[height, width]`, including its result.
pub(super) fn bytes(
    [height, width]: [usize; 2],
    channels: usize,
    size: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    filter: Interpolation,
) -> u64 {
    let product = |factors: &[usize]| factors.iter().fold(1u64, |n, f| n.saturating_mul(*f as u64));
    let result = product(&[channels, rows.len(), columns.len()]);
    let Some(support) = filter.support() else {
        let positions = product(&[size_of::<usize>(), rows.len().saturating_add(columns.len())]);
        return result.saturating_add(positions);
    };
    // Coefficients are in f64 before they are rounded, for one output at a time.
    let taps = |input: usize, output: usize, count: usize| {
        let reach = if input == output { 0.0 } else { support * (input as f64 / output as f64).max(1.0) };
        let each = (2.0 * reach) as usize + 3;
        let all = product(&[count, each.saturating_mul(size_of::<i32>()) + size_of::<Taps>()]);
        all.saturating_add(product(&[each, size_of::<f64>()]))
    };
    let taps = taps(height, size[0], rows.len()).saturating_add(taps(width, size[1], columns.len()));
    // Between the passes: all rows of the kept columns, or all columns of the kept rows. The input may be the window alone.
    let between = match vertical_first([height, width], size) {
        true => product(&[channels, width, rows.len()]),
        false => product(&[channels, height, columns.len()]),
    };
    let premultiplied = if channels == 4 { product(&[4, height, width]) } else { 0 };
    [taps, between, premultiplied].iter().fold(result, |sum, n| sum.saturating_add(*n))
}

/// The window `rows` x `columns` of the image resized to `size` (`[height, width]`). Only the window is computed.
pub(super) fn resize(
    image: &PackedImage<'_>,
    size: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    filter: Interpolation,
) -> Vec<u8> {
    let PackedImage { pixels, width, height, channels } = image;
    let (pixels, width, height, channels) = (pixels.as_ref(), *width, *height, *channels);
    match channels {
        1 => resize_channels(&Image::<1> { pixels, height, width }, size, rows, columns, filter),
        3 => resize_channels(&Image::<3> { pixels, height, width }, size, rows, columns, filter),
        _ if size == [height, width] || filter == Interpolation::Nearest => {
            resize_channels(&Image::<4> { pixels, height, width }, size, rows, columns, filter)
        }
        _ => {
            let pixels = &premultiply(pixels);
            let image = Image::<4> { pixels, height, width };
            unmultiply(resize_channels(&image, size, rows, columns, filter))
        }
    }
}

/// Pillow's `RGBA` to `RGBa`.
fn premultiply(rgba: &[u8]) -> Vec<u8> {
    let by_alpha = |v: u8, alpha: u8| {
        let t = u32::from(v) * u32::from(alpha) + 128;
        (((t >> 8) + t) >> 8) as u8
    };
    rgba.chunks_exact(4)
        .flat_map(|p| [by_alpha(p[0], p[3]), by_alpha(p[1], p[3]), by_alpha(p[2], p[3]), p[3]])
        .collect()
}

/// Pillow's `RGBa` to `RGBA`.
fn unmultiply(mut pixels: Vec<u8>) -> Vec<u8> {
    for pixel in pixels.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        if alpha != 0 && alpha != 255 {
            pixel[..3].iter_mut().for_each(|v| *v = (255 * u32::from(*v) / alpha).min(255) as u8);
        }
    }
    pixels
}

fn resize_channels<const N: usize>(
    image: &Image<'_, N>,
    size: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    filter: Interpolation,
) -> Vec<u8> {
    let Some(support) = filter.support() else { return nearest(image, size, rows, columns) };
    let (height, width) = (rows.len(), columns.len());
    let mut down = taps(image.height, size[0], rows, filter, support);
    let mut across = taps(image.width, size[1], columns, filter, support);
    if vertical_first([image.height, image.width], size) {
        let needed = span(&mut across);
        let pixels = &image.vertical(needed.clone(), &down);
        Image::<N> { pixels, height, width: needed.len() }.horizontal(0..height, &across)
    } else {
        let needed = span(&mut down);
        let pixels = &image.horizontal(needed.clone(), &across);
        Image::<N> { pixels, height: needed.len(), width }.vertical(0..width, &down)
    }
}

fn nearest<const N: usize>(
    image: &Image<'_, N>,
    size: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
) -> Vec<u8> {
    // Positions are accumulated step by step, as in Pillow, because their rounding affects the result.
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
    let (xs, ys) = (positions(image.width, size[1], columns), positions(image.height, size[0], rows));
    let mut out = Vec::with_capacity(ys.len() * xs.len() * N);
    for y in ys {
        for x in &xs {
            let at = (y * image.width + x) * N;
            out.extend_from_slice(&image.pixels[at..at + N]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes for which the order of the passes shows in the result, by Pillow 13.0.
    #[test]
    fn the_order_of_the_passes_is_pillows() {
        let cases = [
            (
                [30, 3],
                [3, 4],
                Interpolation::Lanczos,
                vec![
                    88, 147, 95, 110, 148, 113, 146, 119, 137, 156, 93, 140, 123, 87, 132, 133, 131, 137,
                    123, 150, 120, 104, 124, 99, 158, 166, 179, 148, 120, 156, 111, 111, 110, 89, 151, 91,
                ],
            ),
            (
                [17, 6],
                [2, 4],
                Interpolation::Bicubic,
                vec![
                    111, 122, 109, 146, 120, 126, 118, 134, 131, 121, 125, 123, 170, 145, 157, 118, 133, 121,
                    115, 130, 155, 99, 120, 105,
                ],
            ),
            (
                [3, 30],
                [4, 3],
                Interpolation::Lanczos,
                vec![
                    121, 143, 134, 133, 129, 115, 120, 119, 132, 116, 119, 119, 130, 122, 124, 109, 122, 127,
                    130, 114, 112, 119, 137, 131, 114, 119, 138, 149, 134, 119, 113, 157, 128, 129, 112, 154,
                ],
            ),
        ];
        for (from, size, filter, expected) in cases {
            let [height, width] = from;
            let rgb: Vec<u8> = (0..height * width * 3).map(|i| ((i * i * 7 + i * 31) % 256) as u8).collect();
            let image = PackedImage { pixels: rgb.as_slice().into(), width, height, channels: 3 };
            let found = resize(&image, size, 0..size[0], 0..size[1], filter);
            assert_eq!(found, expected, "{from:?} to {size:?}");
            // A window has the same pixels.
            let window = resize(&image, size, 1..2, 1..3, filter);
            let at = (size[1] + 1) * 3;
            assert_eq!(window, expected[at..at + 6], "{from:?} to {size:?}");
        }
    }
}
